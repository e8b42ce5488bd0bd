"""From the labels of a file to y = ±1, and the order of patterns that keeps their classes in balance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError
from jamtools.random_streams import SUBSET, generator
from jamtools.records import Array

Indices = NDArray[np.intp]

#: Labels that are ±1 already.
SIGNS = "signs"


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
    shuffled = generator(seed, SUBSET).permutation(len(classes))
    _, kind = np.unique(classes[shuffled], return_inverse=True)
    turn = np.empty(len(classes), dtype=np.intp)  # how many of its class come before
    for k in range(kind.max() + 1):
        members = np.flatnonzero(kind == k)
        turn[members] = np.arange(len(members))
    return np.asarray(shuffled[np.lexsort((kind, turn))])


def _info(source: str, seed: int | None, x: Array, y: Array, preprocessing: dict[str, Any]) -> dict[str, Any]:
    """What a dataset's metadata says of its origin."""
    shape = {"P": x.shape[0], "d": x.shape[-1], "classes": classes(y)}
    return {"source": source, "seed": seed, **shape, "preprocessing": preprocessing}


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
