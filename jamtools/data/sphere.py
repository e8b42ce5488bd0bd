"""Random patterns on the sphere of radius √d.

    x = √d g / ‖g‖,   g ~ N(0, 1)^d;      y = ±1

A dataset of smaller P is the first rows of a larger one of the same seed.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math

import numpy as np

from jamtools.data.labels import _info
from jamtools.errors import InputError
from jamtools.random_streams import LABELS, PATTERNS, TEST_LABELS, TEST_PATTERNS, generator
from jamtools.records import Array, Dataset


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
    x = on_sphere(generator(seed, x_stream).standard_normal((P, d)))
    if labels == "balanced":
        positive = np.arange(P) % 2 == 0
    else:
        positive = generator(seed, y_stream).integers(0, 2, P) == 1
    return x, np.where(positive, 1.0, -1.0)


def on_sphere(x: Array) -> Array:
    """x [P, d] with each row scaled to the radius √d; InputError for a row without a direction."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not norms.all():
        row = int(np.flatnonzero(norms == 0)[0])
        raise InputError(f"pattern {row} is the centre itself, it has no direction; use --no-sphere")
    return np.asarray(x * (math.sqrt(x.shape[1]) / norms))
