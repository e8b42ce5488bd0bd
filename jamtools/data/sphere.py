"""Random patterns: on the sphere of radius √d, or with Gaussian components.

    x = √d g / ‖g‖  or  x = g,   g ~ N(0, 1)^d;      y = ±1

Both have E x_i x_j = δ_ij. With the same seed they have the same directions and labels.

Source: arXiv:1809.09349, section II, for the sphere; alternating labels are those of the authors' program. E. Gardner, J.
Phys. A 21, 257 (1988), for Gaussian components.
"""

from __future__ import annotations

import math

import numpy as np

from jamtools.data.labels import dataset_info
from jamtools.errors import InputError, Remedy
from jamtools.random_streams import LABELS, PATTERNS, TEST_LABELS, TEST_PATTERNS, generator
from jamtools.records import Array, Dataset


def random_sphere(P: int, d: int, seed: int = 0, labels: str = "random", P_test: int = 0) -> Dataset:
    """P patterns x [P, d] uniform on the sphere of radius √d in R^d, with labels y [P] of ±1.

    labels: "random", each sign a fair coin; "balanced", the signs alternate, so that every prefix is balanced within one.
    With the same seed, a dataset of smaller P equals the first rows of one of larger P. The P_test test patterns do not
    depend on P. Raises InputError for any other `labels`.
    """
    return _random("sphere", P, d, seed, labels, P_test)


def random_gaussian(P: int, d: int, seed: int = 0, labels: str = "random", P_test: int = 0) -> Dataset:
    """P patterns x [P, d] of independent components N(0, 1), with labels y [P]; all else as in `random_sphere`."""
    return _random("gaussian", P, d, seed, labels, P_test)


def _random(distribution: str, P: int, d: int, seed: int, labels: str, P_test: int) -> Dataset:
    """The dataset of one of the two distributions."""
    if labels not in ("random", "balanced"):
        raise InputError(f"got labels {labels!r}, expected random or balanced")

    def drawn(n: int, x_stream: int, y_stream: int) -> tuple[Array, Array]:
        x, y = _patterns_and_labels(n, d, seed, labels, x_stream, y_stream)
        return (on_sphere(x) if distribution == "sphere" else x), y

    x, y = drawn(P, PATTERNS, LABELS)
    x_test, y_test = drawn(P_test, TEST_PATTERNS, TEST_LABELS) if P_test else (None, None)
    preprocessing = {"distribution": distribution, "labels": labels, "P_test": P_test}
    return Dataset(x, y, x_test, y_test, dataset_info("random", seed, x, y, preprocessing))


def _patterns_and_labels(
    P: int, d: int, seed: int, labels: str, x_stream: int, y_stream: int
) -> tuple[Array, Array]:
    """Gaussian x [P, d], and y [P], from two streams of random numbers."""
    x = generator(seed, x_stream).standard_normal((P, d))
    if labels == "balanced":
        positive = np.arange(P) % 2 == 0
    else:
        positive = generator(seed, y_stream).integers(0, 2, P) == 1
    return x, np.where(positive, 1.0, -1.0)


def on_sphere(x: Array) -> Array:
    """x [P, d] with each row scaled to the radius √d. Raises InputError for a row of zeros, which has no direction."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not norms.all():
        row = int(np.flatnonzero(norms == 0)[0])
        raise InputError(f"pattern {row} is at the centre, where it has no direction", Remedy.KEEP_OFF_SPHERE)
    return np.asarray(x * (math.sqrt(x.shape[1]) / norms))
