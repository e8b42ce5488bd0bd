"""Patterns and labels from images: principal components, whitened, on the sphere of radius √d.

    C = (1/n) Σ (p − p̄)(p − p̄)ᵀ = V Λ Vᵀ,      z = Λ^(−1/2) Vᵀ (p − p̄),      x = √d z / ‖z‖

p [n, pixels] in [0, 1] holds the training and the test images together, so that both are transformed in the same way. The
functions of this module read no files: their results depend only on arrays and a seed.

Source: arXiv:1809.09349 for the data; its authors' program for whitening and the sphere.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from jamtools.data.labels import Indices, balanced_order, class_of, dataset_info, encode_labels
from jamtools.data.sphere import on_sphere
from jamtools.errors import InputError, Remedy
from jamtools.records import Array, Dataset

#: The grey value that becomes 1.
PIXEL_MAX = 255.0


@dataclass(frozen=True)
class Components:
    """K principal components: mean [d]; axes [d, K] with orthonormal columns; variances [K], descending."""

    mean: Array
    axes: Array
    variances: Array

    def project(self, x: Array, whiten: bool = True) -> Array:
        """z [n, K]: the components of x [n, d], centred; of unit variance with `whiten`."""
        scale = 1 / np.sqrt(self.variances) if whiten else 1.0
        return np.asarray((x - self.mean) @ (self.axes * scale))


def pca(x: Array, K: int) -> Components:
    """The K directions of largest variance of x [n, d], C = (1/n) Σ (x − x̄)(x − x̄)ᵀ.

    The sign of each axis is such that its entry of largest magnitude is positive. Raises InputError when fewer than K
    directions have a variance above rounding, which is d·eps times the largest variance.
    """
    mean = x.mean(axis=0)
    centred = x - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(x))  # ascending
    rank = int((variances > x.shape[1] * np.finfo(np.float64).eps * variances[-1]).sum())
    if rank < K:
        raise InputError(
            f"asked for {K} components, the data have {rank} with any variance", Remedy.FEWER_COMPONENTS
        )
    axes = axes[:, ::-1][:, :K]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(K)])
    return Components(mean, np.ascontiguousarray(axes * signs), variances[::-1][:K].copy())


@dataclass(frozen=True)
class Images:
    """n images, the first n_train of them for training, the others for the test.

    pixels [n, rows × columns] and labels [n], both uint8.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    n_train: int

    def fingerprint(self) -> str:
        """SHA-256 of the pixels and labels, which identifies the images independently of their files."""
        return hashlib.sha256(self.pixels.tobytes() + self.labels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """The steps that turn images into patterns.

    labels: a rule of `encode_labels`; pca: the number of principal components, None for all pixels; whiten: scale the
    components to unit variance (only with pca); sphere: scale each pattern to the radius √d. The defaults are those of the
    authors' program; whiten=False and sphere=False follow the text of the paper.
    """

    labels: str = "parity"
    pca: int | None = None
    whiten: bool = True
    sphere: bool = True


def image_patterns(pixels: NDArray[np.uint8], recipe: Recipe) -> Array:
    """x [n, d] from pixels [n, rows × columns]: scaled to [0, 1], centred on the mean of all n, then as in the recipe."""
    x = pixels / PIXEL_MAX
    if recipe.pca is not None:
        x = pca(x, recipe.pca).project(x, recipe.whiten)
    else:
        x -= x.mean(axis=0)
    return on_sphere(x) if recipe.sphere else x


def image_dataset(
    images: Images, recipe: Recipe, P: int | None = None, seed: int = 0, P_test: int | None = None
) -> Dataset:
    """Patterns and labels from images; the centre and the components are those of the whole set.

    P: the number of training patterns, which are drawn by seed with balanced classes (`balanced_order`); the other images
    are the test set. With P = None the split is that of the files. P_test: keep only the first P_test test patterns.
    Raises InputError when there are fewer than P images, or when the rule for labels puts all of them in one class.
    """
    y = encode_labels(images.labels, recipe.labels)
    _check_several_classes(images, y, recipe.labels)
    train, test = _split(images, y, P, seed)
    test = test[:P_test]
    x = image_patterns(images.pixels, recipe)
    x_test, y_test = (x[test], y[test]) if len(test) else (None, None)
    preprocessing = {
        **asdict(recipe),
        "pixel_scale": 1 / PIXEL_MAX,
        "centre": "all images",
        "images": len(y),
        "sha256": images.fingerprint(),
        "split": "files" if P is None else "balanced",
        "P_test": len(test),
    }
    info = dataset_info("images", None if P is None else seed, x[train], y, preprocessing)
    return Dataset(x[train], y[train], x_test, y_test, info)


def _check_several_classes(images: Images, y: Array, labels: str) -> None:
    """Raises InputError where y [n] or [n, C] has a single class."""
    if (y == y[0]).all():
        raise InputError(
            f"the rule {labels} puts all {len(y)} images in one class, expected two or more; "
            f"their labels run from {images.labels.min()} to {images.labels.max()}"
        )


def _split(images: Images, y: Array, P: int | None, seed: int) -> tuple[Indices, Indices]:
    """Indices of the training images and of the test images; arguments as in `image_dataset`, y [n] or [n, C]."""
    n = len(y)
    if P is None:
        return np.arange(images.n_train), np.arange(images.n_train, n)
    if n < P:
        raise InputError(f"asked for {P} patterns, there are {n} images", Remedy.FEWER_PATTERNS)
    order = balanced_order(class_of(y), seed)
    return order[:P], order[P:]
