"""Labels y = ±1 from the labels of a file, and an order of the patterns with balanced classes in every prefix.

    parity        y = 2 (v mod 2) − 1
    threshold:K   y = +1 where v ≥ K, else −1
    classes       y_c = +1 where c = v, else −1,     c = 0 … max v

Source: arXiv:1809.09349 for parity; its authors' program for interleaved classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError
from jamtools.random_streams import SUBSET, generator
from jamtools.records import Array

Indices = NDArray[np.intp]

#: The rule for labels that are ±1 already.
SIGN_LABELS = "signs"


class LabelRule(NamedTuple):
    """A rule from whole numbers to ±1. name: "parity", "classes" or "threshold"; threshold: the K of "threshold"."""

    name: str
    threshold: int = 0


def parse_labels(text: str) -> LabelRule:
    """The rule that "parity", "classes" or "threshold:K" names. Raises InputError for any other text."""
    name, colon, number = text.partition(":")
    if name in ("parity", "classes") and not colon:
        return LabelRule(name)
    if name == "threshold" and number.removeprefix("-").isdecimal():
        return LabelRule(name, int(number))
    raise InputError(f"got the labels {text!r}, expected parity, threshold:K or classes")


def encode_labels(values: NDArray[Any], labels: str) -> Array:
    """Labels ±1 from whole numbers [P] (or [P, C]) by a rule: y [P] or [P, C].

    parity: +1 where the number is odd, so that 0, 1 become −1, +1; threshold:K: +1 where it is K or larger; classes: y
    [P, C] with +1 in column v, C = max v + 1. Raises InputError for an unknown rule and for numbers that do not fit it.
    """
    rule = parse_labels(labels)
    broken = values[values != np.floor(values)]
    if broken.size or not np.isfinite(values).all():
        shown = f"{broken.flat[0]:g}" if broken.size else "infinity"
        raise InputError(
            f"labels hold {shown}, expected whole numbers for the rule {labels}; round them first"
        )
    if rule.name == "classes":
        return _one_hot(values)
    positive = values % 2 == 1 if rule.name == "parity" else values >= rule.threshold
    return np.where(positive, 1.0, -1.0)


def _one_hot(values: NDArray[Any]) -> Array:
    """y [P, C] from class numbers [P]."""
    if values.ndim != 1 or values.min() < 0 or values.max() < 1:
        raise InputError(
            f"labels of shape {values.shape} from {values.min():g} to {values.max():g}, "
            "expected one class number 0, 1, … per pattern for the rule classes; number the classes from 0"
        )
    columns = np.arange(int(values.max()) + 1)
    return np.where(values[:, None] == columns, 1.0, -1.0)


def balanced_order(classes: NDArray[Any], seed: int) -> Indices:
    """All indices [n] of `classes` [n], shuffled by seed, with the classes interleaved.

    In every prefix, the numbers of patterns of any two classes differ by at most one, until the smallest class is used up.
    Then the other classes continue. The first P indices are the subset of size P, and the others are its test set.
    """
    shuffled = generator(seed, SUBSET).permutation(len(classes))
    _, kind = np.unique(classes[shuffled], return_inverse=True)
    n_before = np.empty(len(classes), dtype=np.intp)  # the number of earlier patterns of the same class
    for k in range(kind.max() + 1):
        members = np.flatnonzero(kind == k)
        n_before[members] = np.arange(len(members))
    return np.asarray(shuffled[np.lexsort((kind, n_before))])


def dataset_info(
    source: str, seed: int | None, x: Array, y: Array, preprocessing: dict[str, Any]
) -> dict[str, Any]:
    """The metadata of a dataset x [P, d], y [P] or [P, C]: its origin and its shape."""
    shape = {"P": x.shape[0], "d": x.shape[-1], "classes": n_classes(y)}
    return {"source": source, "seed": seed, **shape, "preprocessing": preprocessing}


def n_classes(y: Array) -> int:
    """The number of classes of labels ±1 [P] or [P, C]."""
    return 2 if y.ndim == 1 else y.shape[1]


def class_of(y: Array) -> NDArray[Any]:
    """The class [P] of each pattern from y [P] or [P, C]: its sign, or its column."""
    return y if y.ndim == 1 else y.argmax(axis=1)


def class_counts(y: Array) -> list[int]:
    """The number of patterns of each class of y [P] or [P, C]: of −1 and +1, or in the order of the columns."""
    if y.ndim == 2:
        return [int(count) for count in (y > 0).sum(axis=0)]
    return [int((y < 0).sum()), int((y > 0).sum())]
