"""Fakes of a stored run: copies in which one claim is another one, for every field and every array of its record."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jamtools.minima import verification
from jamtools.minima.certificate import certify
from jamtools.records import Run

#: A change of a number that is far beyond round-off, and far below a factor of two.
SMALL_CHANGE = 1e-3

#: A change of a number by more than an order.
LARGE_FACTOR = 1e7

KNOWN_CERTIFICATES: dict[Any, Any] = {}


def leaves(info: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field of a record and of the objects in it: an object itself, and each of its fields."""
    for name, value in info.items():
        yield (*path, name)
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))


def value_at(info: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    return functools.reduce(lambda parent, name: parent[name], path, info)


def with_value(info: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of a record in which one field has another value."""
    name, *rest = path
    return {**info, name: with_value(info[name], tuple(rest), value) if rest else value}


def other_types(value: Any) -> list[Any]:
    """Values of other types than a field has."""
    return [fake for fake in (None, True, "another", []) if type(fake) is not type(value)]


def other_values(value: Any, small: bool = True) -> list[Any]:
    """Values of the type of a field that differ from it; small: also by a part of it, not only by orders."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, 1000 * value + 1]
    if isinstance(value, float):
        near = [value * (1 + SMALL_CHANGE), 0.0, -value]
        far = [float("nan"), LARGE_FACTOR * value + LARGE_FACTOR, -LARGE_FACTOR]
        return [fake for fake in (near if small else []) + far if fake != value]
    if isinstance(value, str):
        return [f"{value}s", ""]
    if isinstance(value, list):
        return (
            [[*value, 0], value[1:], *([fake, *value[1:]] for fake in other_values(value[0]))]
            if value
            else [[0]]
        )
    return []


def with_array(run: Run, name: str, array: np.ndarray) -> Run:
    """A copy of a run in which one array, by its name in a file, is another one."""
    folder, _, column = name.rpartition("/")
    if folder:
        return replace(run, **{folder: {**getattr(run, folder), column: array}})
    return replace(run, **{name: array})


def other_arrays(array: np.ndarray) -> Iterator[np.ndarray]:
    """Arrays of the same shape: in single precision, and with another last entry."""
    if array.dtype == np.float64:
        rounded = array.astype(np.float32).astype(np.float64)
        if not np.array_equal(rounded, array):
            yield rounded
        yield _with_last(array, float("nan"))
        yield _with_last(array, array.flat[-1] * (1 + SMALL_CHANGE) + SMALL_CHANGE)
    else:
        yield _with_last(array, array.flat[-1] + 1)
        yield array[:-1]


def _with_last(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[-1] = value
    return changed


def remember_certificates(monkeypatch) -> None:
    """A new certificate of the same theta and problem is made once: fakes of other claims do not change it."""

    def remembered(theta, problem, *options):
        tensors = (theta, problem.x, problem.y)
        key = (problem.arch, problem.loss, options, *(tensor.numpy().tobytes() for tensor in tensors))
        if key not in KNOWN_CERTIFICATES:
            KNOWN_CERTIFICATES[key] = certify(theta, problem, *options)
        return KNOWN_CERTIFICATES[key]

    monkeypatch.setattr(verification, "certify", remembered)
