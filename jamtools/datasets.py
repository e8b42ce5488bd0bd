"""Where patterns x_µ and labels y_µ = ±1 come from: random ones, images, the user's own arrays.

    random   x = √d g / ‖g‖,  g ~ N(0, 1_d)
    images   C = (1/n) Σ (p − p̄)(p − p̄)ᵀ = V Λ Vᵀ,  z = Λ^(−1/2) Vᵀ (p − p̄),  x = √d z / ‖z‖

p [n, pixels] in [0, 1] is the whole set, training and test images together, so that both are treated
alike. Source: arXiv:1809.09349 for the data, its authors' program for whitening and the sphere.
Everything here is a pure function of arrays and a seed; `rawdata` reads the files they come from.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError
from jamtools.random_streams import LABELS, PATTERNS, SUBSET, TEST_LABELS, TEST_PATTERNS, Indices, _generator
from jamtools.records import Array, Dataset

PIXEL_MAX = 255.0

#: Labels that are ±1 already.
SIGNS = "signs"


def random_sphere(P: int, d: int, seed: int = 0, labels: str = "random", P_test: int = 0) -> Dataset:
    """P patterns uniform on the sphere of radius √d in R^d, labels ±1.

    labels: "random", each sign a fair coin; "balanced", the signs alternate (as in the authors' program),
    so that every prefix is balanced within one. The dataset of a smaller P is the first rows of a larger
    one of the same seed, and the P_test test patterns do not depend on P.
    """
    if labels not in ("random", "balanced"):
        raise InputError(f"got labels {labels!r}, expected random or balanced")
    x, y = _sphere_part(P, d, seed, labels, PATTERNS, LABELS)
    x_test, y_test = None, None
    if P_test:
        x_test, y_test = _sphere_part(P_test, d, seed, labels, TEST_PATTERNS, TEST_LABELS)
    preprocessing = {"distribution": "sphere", "labels": labels, "P_test": P_test}
    return Dataset(x, y, x_test, y_test, _info("random", seed, x, y, preprocessing))


def _sphere_part(P: int, d: int, seed: int, labels: str, x_stream: int, y_stream: int) -> tuple[Array, Array]:
    x = on_sphere(_generator(seed, x_stream).standard_normal((P, d)))
    if labels == "balanced":
        positive = np.arange(P) % 2 == 0
    else:
        positive = _generator(seed, y_stream).integers(0, 2, P) == 1
    return x, np.where(positive, 1.0, -1.0)


def on_sphere(x: Array) -> Array:
    """x [P, d] with each row scaled to the radius √d; InputError for a row without a direction."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not norms.all():
        row = int(np.flatnonzero(norms == 0)[0])
        raise InputError(f"pattern {row} is the centre itself, it has no direction; use --no-sphere")
    return np.asarray(x * (math.sqrt(x.shape[1]) / norms))


@dataclass(frozen=True)
class Components:
    """Principal components: mean [d]; axes [d, K], orthonormal columns; variances [K], descending."""

    mean: Array
    axes: Array
    variances: Array

    def project(self, x: Array, whiten: bool = True) -> Array:
        """z [n, K]: the components of x [n, d], centred; with `whiten` of unit variance."""
        scale = 1 / np.sqrt(self.variances) if whiten else 1.0
        return np.asarray((x - self.mean) @ (self.axes * scale))


def pca(x: Array, K: int) -> Components:
    """The K directions of largest variance of x [n, d], C = (1/n) Σ (x − x̄)(x − x̄)ᵀ.

    Signs are fixed: the entry of largest magnitude of each axis is positive. InputError when fewer than K
    directions have a variance above rounding, d·eps times the largest.
    """
    mean = x.mean(axis=0)
    centred = x - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(x))  # ascending
    rank = int((variances > x.shape[1] * np.finfo(np.float64).eps * variances[-1]).sum())
    if rank < K:
        raise InputError(f"asked for {K} components, the data have {rank} with any variance; lower --pca")
    axes = axes[:, ::-1][:, :K]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(K)])
    return Components(mean, np.ascontiguousarray(axes * signs), variances[::-1][:K].copy())


def parse_labels(text: str) -> tuple[str, int]:
    """("parity", 0), ("classes", 0), or ("threshold", K) of "threshold:K"; ValueError for anything else."""
    rule, colon, number = text.partition(":")
    if rule in ("parity", "classes") and not colon:
        return rule, 0
    if rule == "threshold" and colon:
        return rule, int(number)
    raise ValueError(f"got {text!r}, expected parity, threshold:K or classes")


def encode_labels(values: NDArray[Any], labels: str) -> Array:
    """Labels ±1 out of whole numbers [P], by one of three rules.

    parity: y = +1 where the number is odd, −1 where it is even: y = 2 (v mod 2) − 1, so 0, 1 become −1, +1;
    threshold:K: y = +1 where v ≥ K; classes: y [P, C], +1 in column v and −1 elsewhere, C = max v + 1.
    InputError for what is no whole number.
    """
    rule, K = parse_labels(labels)
    wrong = values[values != np.floor(values)]
    if wrong.size or not np.isfinite(values).all():
        shown = f"{wrong.flat[0]:g}" if wrong.size else "infinity"
        raise InputError(
            f"labels hold {shown}, expected whole numbers for --labels {labels}; round them first"
        )
    if rule == "classes":
        return _one_hot(values)
    positive = values % 2 == 1 if rule == "parity" else values >= K
    return np.where(positive, 1.0, -1.0)


def _one_hot(values: NDArray[Any]) -> Array:
    if values.ndim != 1 or values.min() < 0 or values.max() < 1:
        raise InputError(
            f"labels of shape {values.shape} from {values.min():g} to {values.max():g}, "
            "expected one class number 0, 1, … a pattern for --labels classes; number the classes from 0"
        )
    columns = np.arange(int(values.max()) + 1)
    return np.where(values[:, None] == columns, 1.0, -1.0)


def balanced_order(classes: NDArray[Any], seed: int) -> Indices:
    """All indices of classes [n], shuffled by seed, the classes interleaved.

    Every prefix holds as many of one class as of another within one, until the smallest class is used up;
    from there on the others go on. The first P are the subset of size P, the remaining ones its test set.
    """
    shuffled = _generator(seed, SUBSET).permutation(len(classes))
    _, kind = np.unique(classes[shuffled], return_inverse=True)
    turn = np.empty(len(classes), dtype=np.intp)  # how many of its class come before
    for k in range(kind.max() + 1):
        members = np.flatnonzero(kind == k)
        turn[members] = np.arange(len(members))
    return np.asarray(shuffled[np.lexsort((kind, turn))])


@dataclass(frozen=True)
class Images:
    """Images of a training and a test set, one after the other, the first n_train for training.

    pixels [n, rows × columns] and labels [n], both uint8.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    n_train: int

    def fingerprint(self) -> str:
        """SHA-256 of the pixels and labels: which images these were, whatever their files were called."""
        return hashlib.sha256(self.pixels.tobytes() + self.labels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """How images become patterns.

    labels: a rule of `encode_labels`; pca: K principal components, None for all pixels; whiten: components
    of unit variance (with pca); sphere: each pattern scaled to radius √d. Defaults are the authors'
    program's; whiten=False, sphere=False is the paper's text alone.
    """

    labels: str = "parity"
    pca: int | None = None
    whiten: bool = True
    sphere: bool = True


def image_patterns(pixels: NDArray[np.uint8], recipe: Recipe) -> Array:
    """x [n, d] from pixels [n, rows × columns]: in [0, 1], centred on the mean of all n, then as the recipe says."""
    x = pixels / PIXEL_MAX
    if recipe.pca is not None:
        x = pca(x, recipe.pca).project(x, recipe.whiten)
    else:
        x -= x.mean(axis=0)
    return on_sphere(x) if recipe.sphere else x


def image_dataset(
    images: Images, recipe: Recipe, P: int | None = None, seed: int = 0, P_test: int | None = None
) -> Dataset:
    """Patterns and labels from images, centre and components being those of the whole set.

    P: a subset by seed with the classes in balance (`balanced_order`), and the rest as test set; None: the
    split of the files. P_test: keep the first so many test patterns. InputError when P exceeds the images
    there are, or when the labels put all of them in one class.
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
    info = _info("images", None if P is None else seed, x[train], y, preprocessing)
    return Dataset(x[train], y[train], x_test, y_test, info)


def _check_several_classes(images: Images, y: Array, labels: str) -> None:
    if (y == y[0]).all():
        raise InputError(
            f"--labels {labels} puts all {len(y)} images in one class, expected two or more; "
            f"their labels run from {images.labels.min()} to {images.labels.max()}"
        )


def _split(images: Images, y: Array, P: int | None, seed: int) -> tuple[Indices, Indices]:
    """Indices of the training and the test images."""
    n = len(y)
    if P is None:
        return np.arange(images.n_train), np.arange(images.n_train, n)
    if n < P:
        raise InputError(f"asked for {P} patterns, there are {n} images; lower -P")
    order = balanced_order(_class_of(y), seed)
    return order[:P], order[P:]


def _info(source: str, seed: int | None, x: Array, y: Array, preprocessing: dict[str, Any]) -> dict[str, Any]:
    """What a dataset's metadata says of its origin."""
    shape = {"P": x.shape[0], "d": x.shape[-1], "classes": classes(y)}
    return {"source": source, "seed": seed, **shape, "preprocessing": preprocessing}


def array_dataset(arrays: Mapping[str, NDArray[Any]], labels: str = SIGNS) -> Dataset:
    """A dataset from x [P, d] and y [P], [P, 1] or [P, C], and perhaps x_test and y_test, numbers of any kind.

    Integers, booleans and other floats become float64. labels: `SIGNS` for y = ±1 as it is, or a rule of
    `encode_labels`. InputError for what is no number, shapes that do not fit, NaN, other labels.
    """
    numbers = {name: _numbers(array, name) for name, array in arrays.items()}
    for name in ("y", "y_test"):
        if name in numbers and numbers[name].ndim == 2 and numbers[name].shape[1] == 1:
            numbers[name] = numbers[name][:, 0]
    numbers |= _encoded({name: y for name, y in numbers.items() if name.startswith("y")}, labels)
    x, y = numbers["x"], numbers["y"]
    info = _info("arrays", None, x, y, {"labels": labels})
    return Dataset(x, y, numbers.get("x_test"), numbers.get("y_test"), info)


def _numbers(array: NDArray[Any], name: str) -> Array:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} is of type {array.dtype}, expected real numbers; convert it first")
    if array.ndim == 0 or array.shape[0] == 0:
        raise InputError(f"{name} has shape {array.shape}, expected at least one pattern")
    return array.astype(np.float64)


def _encoded(y: Mapping[str, Array], labels: str) -> dict[str, Array]:
    """Training and test labels by one rule, with the classes of both."""
    if labels == SIGNS:
        for name, values in y.items():
            wrong = values[np.abs(values) != 1]
            if wrong.size:
                raise InputError(
                    f"{name} holds {wrong.flat[0]:g}, expected labels +1 and -1; "
                    "for 0 and 1 add --labels parity, for class numbers --labels classes"
                )
        return dict(y)
    if len({values.shape[1:] for values in y.values()}) > 1:
        raise InputError("y and y_test are of different shapes, expected the same kind of labels in both")
    ends = np.cumsum([len(values) for values in y.values()])[:-1]
    both = encode_labels(np.concatenate(list(y.values())), labels)
    return dict(zip(y, np.split(both, ends), strict=True))


def classes(y: Array) -> int:
    """The number of classes of labels ±1 [P] or [P, C]."""
    return 2 if y.ndim == 1 else y.shape[1]


def class_counts(y: Array) -> list[int]:
    """How many patterns each class of y [P] or [P, C] has, in ascending order of y or by column."""
    if y.ndim == 2:
        return [int(count) for count in (y > 0).sum(axis=0)]
    return [int((y < 0).sum()), int((y > 0).sum())]


def _class_of(y: Array) -> NDArray[Any]:
    return y if y.ndim == 1 else y.argmax(axis=1)
