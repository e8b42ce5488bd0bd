"""Patterns and labels against closed forms, numpy's SVD and plain loops."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from jamtools.data.arrays import array_dataset
from jamtools.data.images import Images, Recipe, image_dataset, pca
from jamtools.data.labels import balanced_order, class_counts, encode_labels
from jamtools.data.sphere import on_sphere, random_sphere
from jamtools.errors import InputError
from jamtools.io.idx import read_images
from tests.support.commands import EXAMPLE_IMAGES

EPS = np.finfo(np.float64).eps


def assert_on_sphere(x: np.ndarray) -> None:
    """‖x‖ = √d: two sums of d squares, each within d·eps/2 of its value before the root, a few roundings."""
    d = x.shape[1]
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.sqrt(d), rtol=(d + 4) * EPS)


def some_images(n_train: int = 30, n_test: int = 20, seed: int = 0) -> Images:
    """Images of 5 × 4 random pixels; the digits 0 … 9 take turns, more of the even ones at the end."""
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    labels = np.where(np.arange(n) < n - 6, np.arange(n) % 10, 2)
    return Images(rng.integers(0, 256, (n, 20), dtype=np.uint8), labels.astype(np.uint8), n_train)


@pytest.fixture(scope="module")
def digits() -> Images:
    return read_images(str(EXAMPLE_IMAGES))


@pytest.fixture(scope="module")
def digit_pixels(digits: Images) -> np.ndarray:
    """Every other pixel, which makes the eigenvectors four times cheaper."""
    return digits.pixels[:, ::2] / 255.0


# --- random patterns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 25, 1000])
def test_random_patterns_lie_on_the_sphere(d: int) -> None:
    assert_on_sphere(random_sphere(200, d).x)


def test_each_coordinate_on_the_sphere_in_three_dimensions_is_uniform() -> None:
    """Archimedes: a coordinate of a uniform point on the unit sphere in R³ is uniform in [-1, 1]."""
    x = random_sphere(4000, 3).x / np.sqrt(3)
    for axis in range(3):
        assert kstest(x[:, axis], "uniform", args=(-1, 2)).pvalue > 1e-3


def test_random_patterns_have_no_preferred_direction() -> None:
    """E xᵢxⱼ = δᵢⱼ; the entries' standard deviation is at most √2/√P."""
    P = 20000
    x = random_sphere(P, 4, seed=7).x
    np.testing.assert_allclose(x.T @ x / P, np.eye(4), atol=5 * np.sqrt(2 / P))
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=5 / np.sqrt(P))


@given(
    small=st.integers(1, 40),
    more=st.integers(0, 300),
    d=st.integers(1, 9),
    seed=st.integers(0, 2**70),
    labels=st.sampled_from(["random", "balanced"]),
)
@settings(max_examples=60, deadline=None)
def test_a_smaller_dataset_is_the_beginning_of_a_larger_one(
    small: int, more: int, d: int, seed: int, labels: str
) -> None:
    few, many = (random_sphere(P, d, seed, labels, P_test=5) for P in (small, small + more))
    for name in ("x", "y"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:small])
        assert np.array_equal(getattr(few, f"{name}_test"), getattr(many, f"{name}_test"))


def test_patterns_labels_and_tests_come_from_streams_of_their_own() -> None:
    data, other = (random_sphere(64, 3, seed, P_test=64) for seed in (0, 1))
    for a, b in [(data.x, data.x_test), (data.y, data.y_test), (data.x, other.x), (data.y, other.y)]:
        assert not np.array_equal(a, b)


def test_seeds_beyond_32_bits_are_no_alias_of_smaller_ones() -> None:
    assert len({random_sphere(1, 1, seed).x.tobytes() + random_sphere(3, 5, seed).x.tobytes()
                for seed in (0, 1, 2**32, 2**32 + 1, 2**64)}) == 5  # fmt: skip


def test_random_labels_are_fair_coins() -> None:
    y = random_sphere(10000, 2).y
    assert set(y) == {-1.0, 1.0}
    assert abs(y.mean()) < 5 / np.sqrt(10000)
    assert abs((y[1:] * y[:-1]).mean()) < 5 / np.sqrt(10000)


def test_balanced_labels_are_balanced_in_every_prefix() -> None:
    y = random_sphere(101, 2, labels="balanced").y
    assert set(y) == {-1.0, 1.0}
    assert np.abs(np.cumsum(y)).max() == 1


def test_labels_of_another_name_are_refused() -> None:
    with pytest.raises(InputError, match="expected random or balanced"):
        random_sphere(2, 2, labels="parity")


def test_a_random_dataset_says_how_to_make_it_again() -> None:
    data = random_sphere(12, 3, seed=5, labels="balanced", P_test=2)
    info = dict(data.info)
    how = info.pop("preprocessing")
    assert info == {"source": "random", "seed": 5, "P": 12, "d": 3, "classes": 2}
    again = random_sphere(info["P"], info["d"], info["seed"], how["labels"], how["P_test"])
    assert np.array_equal(again.x, data.x) and np.array_equal(again.y_test, data.y_test)


def test_a_pattern_at_the_centre_has_no_place_on_the_sphere() -> None:
    with pytest.raises(InputError, match="pattern 1 .*--no-sphere"):
        on_sphere(np.array([[1.0, 2.0], [0.0, 0.0]]))


# --- principal components ----------------------------------------------------------------------------


def test_components_are_the_right_singular_vectors_of_the_centred_data(digit_pixels: np.ndarray) -> None:
    """Eigenvectors of C are good to eps·λ₁/(λₖ − λₖ₊₁), here below 1e-13; 1e-10 leaves room for sums."""
    pixels, K = digit_pixels[:300], 10
    centred = pixels - pixels.mean(axis=0)
    _, s, rows = np.linalg.svd(centred, full_matrices=False)
    found = pca(pixels, K)
    np.testing.assert_allclose(found.variances, s[:K] ** 2 / len(pixels), rtol=1e-11)
    axes = rows[:K].T * np.sign(np.sum(found.axes * rows[:K].T, axis=0))
    np.testing.assert_allclose(found.axes, axes, atol=1e-11)
    np.testing.assert_allclose(found.project(pixels, whiten=False), centred @ axes, atol=1e-10)


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
    with pytest.raises(InputError, match="asked for 4 components, the data have 3 "):
        pca(x, 4)


# --- labels and balance ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64])
def test_labels_follow_their_rule(kind: type) -> None:
    digits = np.array([3, 0, 1, 4, 4, 2], dtype=kind)
    parity = [+1 if int(v) in (1, 3) else -1 for v in digits]
    above = [+1 if v >= 3 else -1 for v in digits]
    one_hot = [[+1 if v == c else -1 for c in range(5)] for v in digits]
    assert encode_labels(digits, "parity").tolist() == parity
    assert encode_labels(digits, "threshold:3").tolist() == above
    assert encode_labels(digits, "classes").tolist() == one_hot
    assert encode_labels(digits, "classes").dtype == np.float64


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ([0, 0.5], "parity"),
        ([0, np.nan], "parity"),
        ([0, np.inf], "threshold:1"),
        ([-1, 1], "classes"),
        ([[0, 1]], "classes"),
    ],
)
def test_labels_that_are_no_numbers_of_classes_are_refused(values: list, rule: str) -> None:
    with pytest.raises(InputError, match="expected"):
        encode_labels(np.array(values), rule)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 2**40))
@settings(max_examples=80, deadline=None)
def test_every_prefix_is_balanced_while_the_smallest_class_lasts(classes: list[int], seed: int) -> None:
    order = balanced_order(np.array(classes), seed)
    assert sorted(order) == list(range(len(classes)))
    sizes, taken = Counter(classes), Counter(dict.fromkeys(classes, 0))
    for index in order:
        taken[classes[index]] += 1
        left = [taken[c] for c in sizes if taken[c] < sizes[c]]
        if left:  # who is not used up has had as many turns as anyone, within one
            assert max(taken.values()) - min(left) <= 1


def test_the_seed_chooses_the_subset() -> None:
    classes = np.arange(100) % 2
    first, again, other = (balanced_order(classes, seed)[:10] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert set(first) != set(other)


# --- images ------------------------------------------------------------------------------------------


def test_without_components_patterns_are_centred_pixels() -> None:
    images = some_images()
    data = image_dataset(images, Recipe(sphere=False))
    pixels = images.pixels / 255
    np.testing.assert_allclose(np.vstack([data.x, data.x_test]), pixels - pixels.mean(axis=0), atol=4 * EPS)
    assert data.P == 30 and len(data.y_test) == 20
    assert data.y.tolist() == [2.0 * (v % 2) - 1 for v in images.labels[:30].tolist()]


@pytest.mark.parametrize("pca", [None, 7])
def test_images_are_put_on_the_sphere(pca: int | None) -> None:
    data = image_dataset(some_images(), Recipe(pca=pca), P=20)
    assert data.d == (pca or 20)
    assert_on_sphere(data.x)
    assert_on_sphere(data.x_test)


def test_training_and_test_patterns_are_treated_alike() -> None:
    """Which images are trained on changes neither the components nor the centre."""
    images = some_images()
    recipe = Recipe(pca=5)
    rows = {row.tobytes() for part in [image_dataset(images, recipe)] for row in (*part.x, *part.x_test)}
    drawn = image_dataset(images, recipe, P=12, seed=3)
    assert {row.tobytes() for row in (*drawn.x, *drawn.x_test)} == rows


@pytest.mark.parametrize("rule", ["parity", "classes"])
def test_a_drawn_subset_is_balanced_and_the_rest_tests_it(rule: str) -> None:
    images = some_images()
    data = image_dataset(images, Recipe(labels=rule), P=13, seed=1)
    whole = {row.tobytes() for row in image_dataset(images, Recipe(), P=50).x}
    train, test = ({row.tobytes() for row in x} for x in (data.x, data.x_test))
    assert train.isdisjoint(test) and train | test == whole
    counts = class_counts(data.y)
    assert sum(counts) == 13 and max(counts) - min(counts) <= 1


def test_a_smaller_subset_begins_a_larger_one() -> None:
    few, many = (image_dataset(some_images(), Recipe(), P=P, seed=2) for P in (8, 30))
    assert np.array_equal(few.x, many.x[:8]) and np.array_equal(few.y, many.y[:8])


def test_beyond_balance_the_larger_class_goes_on() -> None:
    images = some_images()
    odd = int((images.labels % 2).sum())
    data = image_dataset(images, Recipe(), P=48)
    assert class_counts(data.y) == [48 - odd, odd]
    assert len(data.y_test) == 2
    assert image_dataset(images, Recipe(), P=50).x_test is None
    with pytest.raises(InputError, match="asked for 51 patterns, there are 50 images"):
        image_dataset(images, Recipe(), P=51)


def test_the_test_set_can_be_kept_short() -> None:
    images = some_images()
    whole, short, none = (image_dataset(images, Recipe(), P=10, P_test=n) for n in (None, 4, 0))
    assert np.array_equal(short.x_test, whole.x_test[:4])
    assert none.x_test is None


def test_labels_that_leave_one_class_are_refused() -> None:
    with pytest.raises(InputError, match="threshold:10 puts all 50 images in one class.*from 0 to 9"):
        image_dataset(some_images(), Recipe(labels="threshold:10"))


def test_an_image_dataset_says_how_to_make_it_again() -> None:
    images = some_images()
    data = image_dataset(images, Recipe("threshold:3", pca=4, whiten=False, sphere=False), P=9, seed=8)
    info = dict(data.info)
    how = info.pop("preprocessing")
    assert info == {"source": "images", "seed": 8, "P": 9, "d": 4, "classes": 2}
    recipe = Recipe(how["labels"], how["pca"], how["whiten"], how["sphere"])
    again = image_dataset(images, recipe, info["P"], info["seed"], how["P_test"])
    assert np.array_equal(again.x, data.x) and again.info == data.info
    assert how["sha256"] != image_dataset(some_images(seed=1), recipe).info["preprocessing"]["sha256"]


# --- arrays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int8, np.float32, np.float64, ">f8"])
def test_numbers_of_any_kind_become_float64(kind: type) -> None:
    x = np.array([[1, 2], [3, 4], [5, 6]], dtype=kind)
    data = array_dataset({"x": x, "y": np.array([1, -1, 1], dtype=kind)})
    assert data.x.dtype == data.y.dtype == np.float64
    assert data.x.tolist() == x.tolist() and data.y.tolist() == [1, -1, 1]
    assert data.info["P"] == 3 and data.info["d"] == 2 and data.info["classes"] == 2


def test_zero_and_one_are_refused_and_parity_takes_them() -> None:
    arrays = {"x": np.eye(2), "y": np.array([False, True])}
    with pytest.raises(InputError, match=r"y holds 0, expected labels \+1 and -1; .*--labels parity"):
        array_dataset(arrays)
    assert array_dataset(arrays, "parity").y.tolist() == [-1, 1]


def test_a_one_hot_matrix_of_zeros_and_ones_becomes_signs() -> None:
    data = array_dataset({"x": np.eye(2), "y": np.array([[0, 0, 1], [1, 0, 0]])}, "parity")
    assert data.y.tolist() == [[-1, -1, 1], [1, -1, -1]]
    assert data.outputs == data.info["classes"] == 3


def test_training_and_test_labels_share_their_classes() -> None:
    arrays = {"x": np.eye(2), "y": np.array([0, 1]), "x_test": np.eye(2), "y_test": np.array([2, 0])}
    data = array_dataset(arrays, "classes")
    assert data.y.tolist() == [[1, -1, -1], [-1, 1, -1]]
    assert data.y_test.tolist() == [[-1, -1, 1], [1, -1, -1]]


def test_a_column_of_labels_is_a_list_of_labels() -> None:
    assert array_dataset({"x": np.eye(2), "y": np.array([[1.0], [-1.0]])}).y.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.eye(3), "y": np.ones(2)}, "x has 3 patterns and y has shape"),
        ({"x": np.ones(3), "y": np.ones(3)}, r"x has shape \(3,\), expected \[P, d\]"),
        ({"x": np.ones((3, 2, 2)), "y": np.ones(3)}, r"expected \[P, d\]"),
        ({"x": np.array([[1.0, np.nan]]), "y": np.ones(1)}, "x is not finite"),
        ({"x": np.array([[1.0, -np.inf]]), "y": np.ones(1)}, "x is not finite"),
        ({"x": np.eye(2), "y": np.array([1.0, np.nan])}, "y holds nan"),
        ({"x": np.eye(2), "y": np.array([1.0, 2.0])}, "y holds 2"),
        ({"x": np.empty((0, 2)), "y": np.empty(0)}, "at least one"),
        ({"x": np.eye(2) * 1j, "y": np.ones(2)}, "complex128, expected real numbers"),
        ({"x": np.array([["a"]]), "y": np.ones(1)}, "expected real numbers"),
        ({"x": np.eye(2), "y": np.ones(2), "x_test": np.eye(3), "y_test": np.ones(3)}, "does not fit"),
    ],
)
def test_arrays_that_are_no_dataset_are_refused(arrays: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        array_dataset(arrays)
