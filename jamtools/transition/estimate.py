"""N* or P* of a search with its interval, at the end of the trainings and at earlier times, from nothing but its trials.

    vary width:      m = log of the median N;       N* = N(h*),  h* = the smallest width with N ≥ e^m
    vary patterns:   m = log of the median P;       P* = the largest number of patterns ≤ e^m, at fixed N

The estimates depend on the trials and on what was searched for, and on nothing else. So the tasks of a job array, one
for each seed, together give the result of one search over all seeds (merging.py).

Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from jamtools.network.architecture import Architecture
from jamtools.transition.logistic import MedianEstimate
from jamtools.transition.sampling import SizeAxis, is_out_of_reach, is_precise
from jamtools.transition.search_record import Estimates, EstimatesAtTime, SearchRecord
from jamtools.transition.trial import Outcome, OutcomeOf, Trial, keeping_dead, outcome_at_end, outcome_at_time


def size_axis(search: SearchRecord) -> SizeAxis:
    """The sizes of a search: widths up to max_width, or numbers of patterns up to max_P."""
    if search.get("vary") == "patterns":
        return SizeAxis(float, search["max_P"], "patterns")
    d, depth, outputs = search["d"], search["depth"], search.get("outputs", 1)
    norm = 1.0 if search.get("settings", {}).get("norm") else None  # N does not depend on the radius

    def n_effective(width: int) -> float:
        bias = search.get("bias", True)
        arch = Architecture(
            d, width, depth, search["activation"], outputs, search["batch_norm"], bias=bias, norm=norm
        )
        return arch.n_effective

    return SizeAxis(n_effective, search["max_width"], "width")


def estimate_fields(search: SearchRecord, trials: Sequence[Trial]) -> SearchRecord:
    """N* or P* and all other ESTIMATE_FIELDS of a search, from all its trials; search: what was searched for."""
    at_end = _estimates(search, trials, outcomes(search, outcome_at_end))
    at_times = [
        cast(
            EstimatesAtTime,
            {"steps": time, **_estimates(search, trials, outcomes(search, outcome_at_time(i)))},
        )
        for i, time in enumerate(search.get("times", []))
    ]
    fields: SearchRecord = {
        **at_end,
        "n_undecided": sum(trial.outcome == "undecided" for trial in trials),
        "n_dead": sum(trial.outcome == "dead" for trial in trials),
        "total_steps": sum(trial.steps for trial in trials),
    }
    if at_times:
        fields["at_times"] = at_times
    return fields


def outcomes(search: SearchRecord, outcome_of: OutcomeOf) -> OutcomeOf:
    """The outcomes of the trials of a search, which may keep dead trials as failures."""
    return keeping_dead(outcome_of, search["success"]) if search.get("keep_dead") else outcome_of


def _estimates(search: SearchRecord, trials: Sequence[Trial], outcome_of: OutcomeOf) -> Estimates:
    """N* or P* of the trials with the outcomes that they have at one time."""
    axis = size_axis(search)
    median = axis.fit_median(trials, outcome_of, search["level"])
    if is_out_of_reach(median, axis):  # the value of m there depends on the grid, not on the trials
        median = replace(median, m=None, interval=(median.interval[0], None))
    found = {(axis.size_of(trial), outcome_of(trial)) for trial in trials}
    if axis.vary == "width":
        estimates = _n_star(median, axis, found)
    else:
        estimates = _p_star(median, axis, search["N"], found)
    return {
        **estimates,
        "median": _exp(median.m),
        "median_interval": [_exp(end) for end in median.interval],
        "spread": None if median.m is None else median.w,
        "precise": is_precise(median, axis, search["precision"]),
    }


def _n_star(median: MedianEstimate, axis: SizeAxis, outcomes: set[tuple[int, Outcome]]) -> Estimates:
    """N* and its interval, rounded outwards to widths that exist.

    An end e with N(h - 1) < e ≤ N(h) becomes N(h - 1) if it is the lower end, and N(h) if it is the upper one.
    outcomes: the (width, outcome) pairs that occur.
    """
    low, high = median.interval
    width = None if median.m is None else axis.smallest_from(median.m)
    all_succeed = all(outcome in ("success", "dead") for _, outcome in outcomes)
    if width is None and all_succeed and (1, "success") in outcomes:
        width = 1  # there is no smaller network
    elif width is None and all_succeed and "dead" in {outcome for _, outcome in outcomes}:
        return _upper_bound(axis, outcomes)
    low_width = 0 if low is None or width == 1 else axis.largest_below(low)
    return {
        "n_star": width and axis.amount(width),
        "width": width,
        "interval": [
            axis.amount(low_width) if low_width else 0,
            None if high is None else axis.amount(axis.smallest_from(high)),
        ],
    }


def _upper_bound(axis: SizeAxis, outcomes: set[tuple[int, Outcome]]) -> Estimates:
    """N* where every failure is dead, so that it is at most the smallest N that fitted; None where no width fitted."""
    width = min((size for size, outcome in outcomes if outcome == "success"), default=None)
    n_star = width and axis.amount(width)
    return {"n_star": n_star, "width": width, "interval": [0, n_star], "is_upper_bound": True}


def _p_star(median: MedianEstimate, axis: SizeAxis, N: int, outcomes: set[tuple[int, Outcome]]) -> Estimates:
    """P* of a network with N effective parameters. N*(P*) = N has the interval N e^m/P at the ends P of that of e^m.

    outcomes: the (P, outcome) pairs that occur. Without a median, P* is the largest P if a trial fitted it, else 0.
    """
    low, high = median.interval
    low_P = 0 if low is None else min(math.floor(math.exp(low)), axis.largest)
    P_interval: list[float | None] = [low_P, None if high is None else math.ceil(math.exp(high))]
    if median.m is None:
        fitted = axis.largest if (axis.largest, "success") in outcomes else 0
        return {"P": fitted, "n_star": None, "P_interval": P_interval, "interval": [0, None]}
    P = math.exp(median.m)
    return {
        "P": max(1, math.floor(P)),
        "n_star": N,
        "P_interval": P_interval,
        "interval": [
            0 if high is None else N * P / math.exp(high),
            None if low is None else N * P / math.exp(low),
        ],
    }


def _exp(x: float | None) -> float | None:
    return None if x is None else math.exp(x)
