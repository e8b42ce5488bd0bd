"""Points (log P, log N*) with their standard errors, from the records of searches.

    σ = log(upper/lower) / (2 q),      q the normal quantile of the interval's level

Where a record holds the median, the point is the median. It is finer than the N of an integer width, or the integer P.

Source: none, the definition of a standard error.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from jamtools.errors import InputError, Remedy
from jamtools.grouping import pooled_values
from jamtools.records import Array
from jamtools.transition.search_record import Ends, SearchRecord

#: σ of log N* where an end of the interval is open and all points have open ends: a factor of e.
OPEN_ENDED_SIGMA = 1.0


class LogPoints(NamedTuple):
    """log P [n], log N* [n], and the standard error σ [n] of log P/N*."""

    log_p: Array
    log_n: Array
    sigma: Array

    @classmethod
    def of(cls, searches: Sequence[SearchRecord]) -> LogPoints:
        """The points of searches that found an N*."""
        return cls(*np.array([log_point(search) for search in searches]).T)


def log_point(search: SearchRecord) -> tuple[float, float, float]:
    """log P, log N* and the standard error of their difference."""
    median, level = search.get("median"), search.get("level")
    n = search["n_star"] if median is None else median
    assert n is not None
    ends = search.get("interval") if median is None else search["median_interval"]
    low, high = ends or (None, None)
    # without a level the interval is the range of the N* of a few seeds: about one standard error to either side
    quantile = statistics.NormalDist().inv_cdf((1 + level) / 2) if median is not None and level else 1.0
    # a lower end of 0 belongs to width 1, the smallest
    sigma = (
        OPEN_ENDED_SIGMA if low is None or high is None else math.log(high / (low or n / 2)) / (2 * quantile)
    )
    if search.get("vary") == "patterns":
        assert search["n_star"] is not None
        return math.log(n), math.log(search["n_star"]), sigma
    return math.log(search["P"]), math.log(n), sigma


def is_open(search: SearchRecord) -> bool:
    """Whether the interval of an N* has an open end, so that its weight in a fit is unknown."""
    ends = search.get("interval") if search.get("median") is None else search.get("median_interval")
    return None in (ends or ())


def sort_key(search: SearchRecord) -> tuple[float, ...]:
    """Orders points independently of the order of the files, so that sums agree to the last digit."""
    return tuple(float(_get(search, name) or 0) for name in ("depth", "P", "width", "n_star"))


def at_time(search: SearchRecord, time: int) -> SearchRecord:
    """A search as it was after `time` gradient steps. InputError where the search has no such time."""
    estimates = search.get("at_times") or []
    for estimate in estimates:
        if estimate["steps"] == time:
            return {**search, **estimate}
    known = ", ".join(str(estimate["steps"]) for estimate in estimates) or "none"
    raise InputError(f"got a search of the times {known}, expected {time}", Remedy.SEARCH_TIMES, time=time)


def check_searches(records: Sequence[SearchRecord]) -> None:
    """Raises InputError unless all records are searches and hold valid numbers."""
    for record in records:
        if record.get("kind", "nstar") != "nstar" or "P" not in record or "n_star" not in record:
            raise InputError(
                f"got {record.get('kind', 'another object')}, expected searches", Remedy.SEARCH_FIRST
            )
        _check_numbers(record)


def check_one_quantity(records: Sequence[SearchRecord], names: Sequence[str]) -> None:
    """Raises InputError unless all searches agree in the fields `names`: N* of other data or dynamics is another quantity.

    A search that lacks a field agrees with all others in it.
    """
    for name, values in pooled_values(records, names).items():
        raise InputError(
            f"got searches of {name} {' and '.join(map(str, values))}, expected one: their N* are different quantities"
        )


def _check_numbers(record: SearchRecord) -> None:
    """Raises InputError unless P, n_star and the median are positive, and each interval is two ascending numbers."""
    values: list[Any] = [record.get("median") or 1.0]
    if record["n_star"] is not None:
        values += [record["P"], record["n_star"]]
    is_good = all(_is_number(value) and value > 0 for value in values)
    if not (is_good and _is_interval(record.get("interval")) and _is_interval(record.get("median_interval"))):
        raise InputError("got a search whose P, n_star or interval is no number", Remedy.SEARCH_AGAIN)


def _is_interval(ends: Ends | None) -> bool:
    """Whether `ends` is absent, or holds two ends in ascending order, each None (open) or a number of at least 0."""
    if not ends:
        return True
    if not isinstance(ends, list) or len(ends) != 2:
        return False
    low, high = ends
    is_good = all(end is None or (_is_number(end) and end >= 0) for end in ends)
    return is_good and (low is None or high is None or low < high)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _get(search: SearchRecord, name: str) -> Any:
    """A field of a search by its name, None where it is missing."""
    return cast(dict[str, Any], search).get(name)
