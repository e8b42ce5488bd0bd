"""Random patterns on the sphere of radius √d.

    x = √d g / ‖g‖,   g ~ N(0, 1)^d;      y = ±1

Source: arXiv:1809.09349, section II; alternating labels are those of the authors' program.
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
    if labels not in ("random", "balanced"):
        raise InputError(f"got labels {labels!r}, expected random or balanced")
    x, y = _patterns_and_labels(P, d, seed, labels, PATTERNS, LABELS)
    x_test, y_test = None, None
    if P_test:
        x_test, y_test = _patterns_and_labels(P_test, d, seed, labels, TEST_PATTERNS, TEST_LABELS)
    preprocessing = {"distribution": "sphere", "labels": labels, "P_test": P_test}
    return Dataset(x, y, x_test, y_test, dataset_info("random", seed, x, y, preprocessing))


def _patterns_and_labels(
    P: int, d: int, seed: int, labels: str, x_stream: int, y_stream: int
) -> tuple[Array, Array]:
    """x [P, d] and y [P] from two streams of random numbers."""
    x = on_sphere(generator(seed, x_stream).standard_normal((P, d)))
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
