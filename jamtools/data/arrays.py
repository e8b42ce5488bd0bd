"""A dataset from the user's own arrays x [P, d] and labels.

Source: none; the arrays are only converted and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.data.labels import SIGN_LABELS, dataset_info, encode_labels
from jamtools.errors import InputError, Remedy
from jamtools.records import Array, Dataset, sha256

#: The number of hexadecimal digits of the digest by which the first pattern tells arrays of different origin apart.
DIGITS_OF_PATTERN = 12


def array_dataset(arrays: Mapping[str, NDArray[Any]], labels: str = SIGN_LABELS) -> Dataset:
    """A dataset from arrays named x [P, d] and y [P], [P, 1] or [P, C], and perhaps x_test and y_test.

    Integers, booleans and other floats become float64. labels: `SIGN_LABELS` if y already is ±1, otherwise a rule of
    `encode_labels`. The metadata have a digest of the first pattern: different arrays have different names, and the first P
    patterns of one array have one name. Raises InputError for arrays that do not hold real numbers, for shapes that do not
    fit together, for NaN, and for labels that do not fit the rule.
    """
    numbers = {name: _as_float64(array, name) for name, array in arrays.items()}
    for name in ("y", "y_test"):
        if name in numbers and numbers[name].ndim == 2 and numbers[name].shape[1] == 1:
            numbers[name] = numbers[name][:, 0]
    numbers |= _encoded({name: y for name, y in numbers.items() if name.startswith("y")}, labels)
    x, y = numbers["x"], numbers["y"]
    preprocessing = {"labels": labels, "first_pattern": sha256((x[:1], y[:1]))[:DIGITS_OF_PATTERN]}
    info = dataset_info("arrays", None, x, y, preprocessing)
    return Dataset(x, y, numbers.get("x_test"), numbers.get("y_test"), info)


def _as_float64(array: NDArray[Any], name: str) -> Array:
    """The array [any shape] as float64. Raises InputError if it has no pattern or does not hold real numbers."""
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} is of type {array.dtype}, expected real numbers; convert it first")
    if array.ndim == 0 or array.shape[0] == 0:
        raise InputError(f"{name} has shape {array.shape}, expected at least one pattern")
    return array.astype(np.float64)


def _encoded(y: Mapping[str, Array], labels: str) -> dict[str, Array]:
    """Training and test labels [P] or [P, C], encoded by one rule with the classes of both together."""
    if labels == SIGN_LABELS:
        for name, values in y.items():
            other = values[np.abs(values) != 1]
            if other.size:
                raise InputError(
                    f"{name} holds {other.flat[0]:g}, expected labels +1 and -1", Remedy.LABEL_RULE
                )
        return dict(y)
    if len({values.shape[1:] for values in y.values()}) > 1:
        raise InputError("y and y_test are of different shapes, expected the same kind of labels in both")
    ends = np.cumsum([len(values) for values in y.values()])[:-1]
    both = encode_labels(np.concatenate(list(y.values())), labels)
    return dict(zip(y, np.split(both, ends), strict=True))
