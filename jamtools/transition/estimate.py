"""What the trials of a search say: N*, its interval, and the same at earlier times.

    vary width:      m = log of the median N;       N* = N(h*),  h* = the smallest width with N ≥ e^m
    vary patterns:   m = log of the median P;       P* = the largest number of patterns ≤ e^m, at fixed N

A search's record follows from its trials and from what was asked; so the searches of a job array, a seed each, make the
record that one search over all seeds makes. Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jamtools.network.architecture import Architecture
from jamtools.transition.logistic import Threshold
from jamtools.transition.sampling import Reading, Scale, beyond, located, precise

Record = Mapping[str, Any]

#: What follows from the trials; and "P" where patterns vary, "width" where it does.
FOUND = (
    "n_star", "interval", "P_interval", "median", "median_interval", "spread", "precise", "n_undecided", "total_steps",
    "at_times",
)  # fmt: skip


def final(record: Record) -> str:
    """The outcome of a trial at its end."""
    return str(record["outcome"])


def at_time(i: int) -> Reading:
    """The outcome at the i-th of the times: fitted by then or not, so that none is undecided."""
    return lambda record: "success" if record["fitted_at"][i] else "unsatisfied"


def scale_of(asked: Record) -> Scale:
    """The sizes of a search: widths up to max_width, or numbers of patterns up to max_P."""
    if asked.get("vary") == "patterns":
        return Scale(float, asked["max_P"], rising=False)
    d, depth, outputs = asked["d"], asked["depth"], asked.get("outputs", 1)

    def effective(width: int) -> float:
        return Architecture(d, width, depth, asked["activation"], outputs, asked["batch_norm"]).n_effective

    return Scale(effective, asked["max_width"])


def verdict(asked: Record, trials: Sequence[Record]) -> dict[str, Any]:
    """N* and all that FOUND names, from all trials of a search; `asked`: what was searched for, as its record has it."""
    found = _reading(asked, trials, final)
    times = [
        {"steps": time, **_reading(asked, trials, at_time(i))}
        for i, time in enumerate(asked.get("times", []))
    ]
    return {
        **found,
        "n_undecided": sum(trial["outcome"] == "undecided" for trial in trials),
        "total_steps": sum(trial["steps"] for trial in trials),
        **({"at_times": times} if times else {}),
    }


def _reading(asked: Record, trials: Sequence[Record], reading: Reading) -> dict[str, Any]:
    scale = scale_of(asked)
    size = "width" if scale.rising else "P"
    outcomes = [(trial[size], reading(trial)) for trial in trials]
    found = located(scale, outcomes, asked["level"])
    if beyond(found, scale):  # how far beyond is the grid's word, not the trials'
        found = replace(found, m=None, interval=(found.interval[0], None))
    told = {
        "median": _exp(found.m),
        "median_interval": [_exp(end) for end in found.interval],
        "spread": None if found.m is None else found.w,
        "precise": precise(found, scale, asked["precision"]),
    }
    return (_of_width if scale.rising else _of_patterns)(found, scale, asked, outcomes) | told


def _of_width(
    found: Threshold, scale: Scale, asked: Record, outcomes: Sequence[tuple[int, str]]
) -> dict[str, Any]:
    """N* among the networks that there are: above N(h - 1) and not above N(h), for the ends of the interval."""
    low, high = found.interval
    width = None if found.m is None else scale.at_least(found.m)
    if width is None and all(outcome == "success" for _, outcome in outcomes) and (1, "success") in outcomes:
        width = 1  # nothing is smaller
    least = 0 if low is None or width == 1 else scale.below(low)
    return {
        "n_star": width and scale.amount(width),
        "width": width,
        "interval": [scale.amount(least) if least else 0, None if high is None else scale.amount(scale.at_least(high))],
    }  # fmt: skip


def _of_patterns(
    found: Threshold, scale: Scale, asked: Record, outcomes: Sequence[tuple[int, str]]
) -> dict[str, Any]:
    """P* of a network; of N*(P*) = N the interval is that of N P*/P.

    Without a median P is all that there are, where a training fitted them, or else 0.
    """
    low, high = found.interval
    least = 0 if low is None else min(math.floor(math.exp(low)), scale.largest)
    ends = [least, None if high is None else math.ceil(math.exp(high))]
    if found.m is None:
        fitted = scale.largest if (scale.largest, "success") in outcomes else 0
        return {"P": fitted, "n_star": None, "P_interval": ends, "interval": [0, None]}
    P, N = math.exp(found.m), asked["N"]
    return {
        "P": max(1, math.floor(P)),
        "n_star": N,
        "P_interval": ends,
        "interval": [0 if high is None else N * P / math.exp(high), None if low is None else N * P / math.exp(low)],
    }  # fmt: skip


def _exp(x: float | None) -> float | None:
    return None if x is None else math.exp(x)
