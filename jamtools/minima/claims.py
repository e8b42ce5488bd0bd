"""Claims about the fields of a record: what a field may hold, and what is said where it holds something else.

    exactly x        |v - x| ≤ slack        low ≤ v ≤ high        1/F ≤ max(|v|, floor) / max(|x|, floor) ≤ F

The last rule is for numbers that consist of round-off, or of the outcome of a random search: another machine gives another
value of the same order. `floor` is what round-off alone explains, F = SAME_ORDER_FACTOR.

Source: none, own design.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

#: The largest ratio of two values of the same order.
SAME_ORDER_FACTOR = 100.0


class Expected(Protocol):
    """What a field may hold; its text follows the word "expected" in a finding."""

    def admits(self, value: Any) -> bool:
        """Whether the field may hold this value."""

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Exactly:
    """One value: a number, a word, true, false, null, or a list of these."""

    value: Any

    def admits(self, value: Any) -> bool:
        """Whether the value is equal, where true is not 1."""
        if isinstance(value, bool) or isinstance(self.value, bool):
            return value is self.value
        return bool(value == self.value)

    def __str__(self) -> str:
        return in_words(self.value)


@dataclass(frozen=True)
class Among:
    """One of several words."""

    words: tuple[str, ...]

    def admits(self, value: Any) -> bool:
        """Whether the value is one of the words."""
        return isinstance(value, str) and value in self.words

    def __str__(self) -> str:
        return " or ".join(map(in_words, self.words))


@dataclass(frozen=True)
class Between:
    """An integer from `low` to `high`; high None for no upper end."""

    low: int
    high: int | None

    def admits(self, value: Any) -> bool:
        """Whether the value is an integer in the range; true is none."""
        return type(value) is int and self.low <= value and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        return f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Counts:
    """A list of integers, each in a range of its own."""

    ranges: tuple[Between, ...]

    def admits(self, value: Any) -> bool:
        """Whether the value is such a list."""
        if not isinstance(value, list) or len(value) != len(self.ranges):
            return False
        return all(expected.admits(item) for expected, item in zip(self.ranges, value))

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.ranges))}]"


@dataclass(frozen=True)
class Near:
    """A number up to `slack`."""

    value: float
    slack: float

    def admits(self, value: Any) -> bool:
        """Whether the value is a number that near; NaN is not."""
        return is_number(value) and abs(value - self.value) <= self.slack

    def __str__(self) -> str:
        return f"{self.value!r} to within {self.slack:.1e}"


@dataclass(frozen=True)
class SameOrder:
    """A number of the same order (head of the module), and of the same sign where that is more than round-off."""

    value: float
    floor: float

    def admits(self, value: Any) -> bool:
        """Whether the value is a finite number of that order."""
        if not is_number(value) or not math.isfinite(value):
            return False
        sizes = sorted(max(abs(number), self.floor) for number in (value, self.value))
        far = SAME_ORDER_FACTOR * self.floor
        flipped = value * self.value < 0 and max(abs(value), abs(self.value)) > far
        return not flipped and sizes[1] <= SAME_ORDER_FACTOR * sizes[0]

    def __str__(self) -> str:
        return f"a number like {self.value:.1e}"


@dataclass(frozen=True)
class LastNear:
    """A list whose last entry is a number up to `slack`."""

    value: float
    slack: float

    def admits(self, value: Any) -> bool:
        """Whether the value is such a list."""
        return isinstance(value, list) and bool(value) and Near(self.value, self.slack).admits(value[-1])

    def __str__(self) -> str:
        return f"a list that ends with {Near(self.value, self.slack)}"


@dataclass(frozen=True)
class Nothing:
    """No value that the field could have; `words` say what was expected."""

    words: str

    def admits(self, value: Any) -> bool:
        """False."""
        return False

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Table:
    """An object with fields of its own."""

    def admits(self, value: Any) -> bool:
        """Whether the value is an object."""
        return isinstance(value, Mapping)

    def __str__(self) -> str:
        return "an object"


def is_number(value: Any) -> bool:
    """Whether a value of a record is a number; true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_words(value: Any) -> str:
    """A value as a finding shows it: null, true and false as in a file, words in quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def contradictions(record: Mapping[str, Any], expected: Iterable[tuple[str, Expected]]) -> list[str]:
    """A line for each field of a record that holds what it may not; a field that is absent claims nothing.

    expected: pairs of a field and its expectation; a.b is a field of a field.
    """
    found = []
    for name, expectation in expected:
        parent: Any = record
        *path, last = name.split(".")
        for part in path:
            parent = parent.get(part) if isinstance(parent, Mapping) else None
        if isinstance(parent, Mapping) and last in parent and not expectation.admits(parent[last]):
            found.append(f"{name} {in_words(parent[last])}, expected {expectation}")
    return list(dict.fromkeys(found))
