"""Patterns from images against numpy's SVD and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.data.images import Images, Recipe, image_dataset, pca
from jamtools.data.labels import class_counts
from jamtools.errors import InputError, Remedy
from jamtools.io.idx import read_images
from tests.support.commands import EXAMPLE_IMAGES
from tests.support.spheres import EPS, assert_on_sphere


def some_images(n_train: int = 30, n_test: int = 20, seed: int = 0) -> Images:
    """Images of 5 × 4 random pixels; their labels run through 0 … 9, and the last six are 2."""
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    labels = np.where(np.arange(n) < n - 6, np.arange(n) % 10, 2)
    return Images(rng.integers(0, 256, (n, 20), dtype=np.uint8), labels.astype(np.uint8), n_train)


@pytest.fixture(scope="module")
def digits() -> Images:
    return read_images(str(EXAMPLE_IMAGES))


@pytest.fixture(scope="module")
def digit_pixels(digits: Images) -> np.ndarray:
    """Every second pixel: the eigenvectors then cost a quarter."""
    return digits.pixels[:, ::2] / 255.0


# --- principal components ----------------------------------------------------------------------------


def test_components_are_the_right_singular_vectors_of_the_centred_data(digit_pixels: np.ndarray) -> None:
    """Eigenvectors of C are exact to eps·λ₁/(λₖ − λₖ₊₁), here below 1e-13; 1e-10 leaves room for sums."""
    pixels, K = digit_pixels[:300], 10
    centred = pixels - pixels.mean(axis=0)
    _, s, rows = np.linalg.svd(centred, full_matrices=False)
    result = pca(pixels, K)
    np.testing.assert_allclose(result.variances, s[:K] ** 2 / len(pixels), rtol=1e-11)
    axes = rows[:K].T * np.sign(np.sum(result.axes * rows[:K].T, axis=0))
    np.testing.assert_allclose(result.axes, axes, atol=1e-11)
    np.testing.assert_allclose(result.project(pixels, whiten=False), centred @ axes, atol=1e-10)


def test_the_largest_entry_of_each_axis_is_positive(digit_pixels: np.ndarray) -> None:
    for axis in pca(digit_pixels[:300], 30).axes.T:
        assert axis.max() > -axis.min()


def test_whitened_components_have_unit_covariance_over_the_whole_set(digit_pixels: np.ndarray) -> None:
    """Relative errors of λₖ are eps·λ₁/λₖ, below 1e-13 for these twenty."""
    z = pca(digit_pixels, 20).project(digit_pixels)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(20), atol=1e-11)


def test_components_without_variance_are_refused() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 8))  # rank 3 in 8 dimensions
    assert pca(x, 3).axes.shape == (8, 3)
    with pytest.raises(InputError, match="asked for 4 components, the data have 3 ") as refusal:
        pca(x, 4)
    assert refusal.value.remedy is Remedy.FEWER_COMPONENTS


# --- datasets ----------------------------------------------------------------------------------------


def test_without_components_patterns_are_centred_pixels() -> None:
    images = some_images()
    data = image_dataset(images, Recipe(sphere=False))
    pixels = images.pixels / 255
    np.testing.assert_allclose(np.vstack([data.x, data.x_test]), pixels - pixels.mean(axis=0), atol=4 * EPS)
    assert data.P == 30 and len(data.y_test) == 20
    assert data.y.tolist() == [2.0 * (v % 2) - 1 for v in images.labels[:30].tolist()]


@pytest.mark.parametrize("pca", [None, 7])
def test_images_are_scaled_to_the_sphere(pca: int | None) -> None:
    data = image_dataset(some_images(), Recipe(pca=pca), P=20)
    assert data.d == (pca or 20)
    assert_on_sphere(data.x)
    assert_on_sphere(data.x_test)


def test_components_and_centre_do_not_depend_on_the_training_subset() -> None:
    images = some_images()
    recipe = Recipe(pca=5)
    rows = {row.tobytes() for part in [image_dataset(images, recipe)] for row in (*part.x, *part.x_test)}
    drawn = image_dataset(images, recipe, P=12, seed=3)
    assert {row.tobytes() for row in (*drawn.x, *drawn.x_test)} == rows


@pytest.mark.parametrize("rule", ["parity", "classes"])
def test_a_drawn_subset_is_balanced_and_the_rest_is_its_test_set(rule: str) -> None:
    images = some_images()
    data = image_dataset(images, Recipe(labels=rule), P=13, seed=1)
    whole = {row.tobytes() for row in image_dataset(images, Recipe(), P=50).x}
    train, test = ({row.tobytes() for row in x} for x in (data.x, data.x_test))
    assert train.isdisjoint(test) and train | test == whole
    counts = class_counts(data.y)
    assert sum(counts) == 13 and max(counts) - min(counts) <= 1


def test_a_smaller_subset_is_the_beginning_of_a_larger_one() -> None:
    few, many = (image_dataset(some_images(), Recipe(), P=P, seed=2) for P in (8, 30))
    assert np.array_equal(few.x, many.x[:8]) and np.array_equal(few.y, many.y[:8])


def test_a_subset_that_cannot_be_balanced_takes_more_of_the_larger_class() -> None:
    images = some_images()
    odd = int((images.labels % 2).sum())
    data = image_dataset(images, Recipe(), P=48)
    assert class_counts(data.y) == [48 - odd, odd]
    assert len(data.y_test) == 2
    assert image_dataset(images, Recipe(), P=50).x_test is None
    with pytest.raises(InputError, match="asked for 51 patterns, there are 50 images") as refusal:
        image_dataset(images, Recipe(), P=51)
    assert refusal.value.remedy is Remedy.FEWER_PATTERNS


def test_the_test_set_can_be_shortened() -> None:
    images = some_images()
    whole, short, none = (image_dataset(images, Recipe(), P=10, P_test=n) for n in (None, 4, 0))
    assert np.array_equal(short.x_test, whole.x_test[:4])
    assert none.x_test is None


def test_a_rule_that_puts_all_images_in_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="threshold:10 puts all 50 images in one class.*from 0 to 9"):
        image_dataset(some_images(), Recipe(labels="threshold:10"))


def test_the_metadata_of_an_image_dataset_reproduce_it() -> None:
    images = some_images()
    data = image_dataset(images, Recipe("threshold:3", pca=4, whiten=False, sphere=False), P=9, seed=8)
    info = dict(data.info)
    how_made = info.pop("preprocessing")
    assert info == {"source": "images", "seed": 8, "P": 9, "d": 4, "classes": 2}
    recipe = Recipe(how_made["labels"], how_made["pca"], how_made["whiten"], how_made["sphere"])
    remade = image_dataset(images, recipe, info["P"], info["seed"], how_made["P_test"])
    assert np.array_equal(remade.x, data.x) and remade.info == data.info
    assert how_made["sha256"] != image_dataset(some_images(seed=1), recipe).info["preprocessing"]["sha256"]
