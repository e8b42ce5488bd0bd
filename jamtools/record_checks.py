"""Checks of the arrays and the metadata of records, each of which raises InputError.

    x [P, d] finite,        y [P] = ±1, or [P, C] = ±1 with one +1 in each row

Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError, Remedy

#: Fields of a run that are integers of at least 1. The depth may be 0.
COUNT_FIELDS = ("d", "width", "P", "n_parameters", "n_effective_expected")


def check_patterns(x: NDArray[np.float64], y: NDArray[np.float64], x_name: str, y_name: str) -> None:
    """Raises InputError unless x [P, d] is finite, y [P] or [P, C] holds labels ±1, and both are float64."""
    for name, array in ((x_name, x), (y_name, y)):
        if array.dtype != np.float64:
            raise InputError(f"{name} is {array.dtype}, expected float64", Remedy.CONVERT_ARRAYS)
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{x_name} has shape {x.shape}, expected [P, d]")
    if x.shape[0] == 0:
        raise InputError(f"{x_name} holds no pattern, expected at least one")
    if y.ndim not in (1, 2) or y.shape[0] != x.shape[0]:
        raise InputError(
            f"{x_name} has {x.shape[0]} patterns and {y_name} has shape {y.shape}, expected as many labels"
        )
    if not np.isfinite(x).all():
        pattern = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise InputError(
            f"{x_name} is not finite (NaN or infinity in pattern {pattern}); clean the data first"
        )
    check_labels(y, y_name)


def check_labels(y: NDArray[np.float64], name: str) -> None:
    """Raises InputError unless y [P] or [P, C] is ±1, with exactly one +1 in each row when it is [P, C]."""
    not_a_label = np.abs(y) != 1.0
    if not_a_label.any():
        raise InputError(f"{name} holds {y[not_a_label].flat[0]:g}, expected labels +1 and -1 only")
    if y.ndim == 2 and (y.shape[1] < 2 or ((y > 0).sum(axis=1) != 1).any()):
        raise InputError(
            f"{name} of shape {y.shape} is not one-hot, expected one +1 and otherwise -1 in each row"
        )


def check_fields(info: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    """Raises InputError when the metadata `info` lacks one of the fields `names`; `what` names the kind of record."""
    missing = [name for name in names if name not in info]
    if missing:
        raise InputError(
            f"a {what} without the field{'s' * (len(missing) > 1)} {', '.join(missing)}; make it again"
        )


def check_counts(info: Mapping[str, Any]) -> None:
    """Raises InputError unless each of `COUNT_FIELDS` of a run is an integer of at least 1; the depth may be 0."""
    for name, least in (*((name, 1) for name in COUNT_FIELDS), ("depth", 0)):
        if type(info.get(name)) is not int or info[name] < least:  # a bool is an int too
            raise InputError(
                f"a run of {name} {info.get(name)!r}, expected an integer of at least {least}; make it again"
            )


def check_set_aside(info: Mapping[str, Any]) -> None:
    """Raises InputError unless the field `set_aside` of a run, if it has one, is a list of pattern numbers, ascending."""
    numbers = info.get("set_aside", [])
    if type(numbers) is not list or any(type(number) is not int for number in numbers):
        raise InputError(f"a run of set_aside {numbers!r}, expected a list of pattern numbers; make it again")
    if any(a >= b for a, b in zip([-1, *numbers], numbers)):
        raise InputError("a run whose set_aside is not ascending from 0 on; make it again")
