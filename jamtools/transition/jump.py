"""The jump of N_Δ/N at the transition, and the P/N at which it happens, from the runs of a sweep.

    Prob(jammed) = logistic((log P/N - m)/w)        P/N at the jump: α_J = e^m               (logistic.py)
    N_Δ/N = n_J + n_1 log(P/N / α_J),               n_J ≥ 0,  n_1 ≥ 0;  n_J is the height of the jump

The place comes from satisfied against jammed runs, the height from jammed runs alone. A jammed run is at a minimum with
L > 0 (states.py); a run on its way has a larger N_Δ than its minimum and enters neither. The line is fitted to jammed runs
up to 1.5 α_J, where N_Δ/N still grows linearly in log P/N. At fixed α_J the interval of n_J holds all values whose best
line, n_1 ≥ 0, leaves a sum of squares below (1 + t²/(n - 2)) times the smallest. If it holds 0, N_Δ/N may leave zero without
a jump. The height is that of the line at the α_J that is reported; the error of α_J is in the interval of the place alone.

Dead patterns are left out of N_Δ, and dead runs out of the sweep, unless they are kept.

Source: arXiv:1809.09349, section III and figs. 6, 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamtools.errors import InputError
from jamtools.grouping import RUN_GROUP_FIELDS, groups_of, pooled_values, value_of
from jamtools.protocols import FREE_NORM
from jamtools.records import Array
from jamtools.states import Info, alive_per_parameter, is_dead, is_jammed, is_satisfied
from jamtools.transition.logistic import MedianEstimate, Side, Tally, fit_median

#: Runs that agree in these fields belong to one sweep.
SWEEP_FIELDS = RUN_GROUP_FIELDS

#: Fields of a sweep that its JSON object has in any case; it has the others where they are neither null, false nor
#: those of free weights.
NAMED_SWEEP_FIELDS = (
    "data",
    "d",
    "depth",
    "activation",
    "batch_norm",
    "loss",
    "optimizer",
    "protocol",
    "steps",
)

#: The line is fitted to jammed runs whose P/N is at most this many times that of the jump.
LINE_MAX_P_OVER_N = 1.5

#: The smallest number of jammed runs to which a line is fitted.
LINE_MIN_RUNS = 3

#: Halvings of an interval that brackets an end of the interval of the height.
HEIGHT_HALVINGS = 60


@dataclass(frozen=True)
class Jump:
    """The jump of one sweep. Its fields are the keys of its JSON object.

    P_over_N: α_J; spread: the width w of the logistic in log P/N; unsatisfied_per_parameter: n_J, at this α_J. These are
    None where they cannot be told, and `finding` says in words what was found, or why nothing was. An open end of an
    interval is None.
    n_satisfied, n_jammed, n_dead, n_other: runs by state; the last are on their way, escaping or diverged.
    """

    sweep: Mapping[str, Any]
    finding: str
    P_over_N: float | None
    P_over_N_interval: tuple[float | None, float | None]
    spread: float | None
    unsatisfied_per_parameter: float | None
    unsatisfied_per_parameter_interval: tuple[float, float] | None
    n_satisfied: int
    n_jammed: int
    n_dead: int
    n_other: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON object: what identifies the sweep, then the jump."""
        values = {name: value for name, value in vars(self).items() if name != "sweep"}
        return {**self.sweep, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def jumps(
    runs: Sequence[Info], level: float = 0.95, keep_dead: bool = False, by: Sequence[str] = SWEEP_FIELDS
) -> list[Jump]:
    """The jump of each sweep among `runs` (their metadata), with intervals at confidence `level`.

    keep_dead: whether dead patterns count in N_Δ, and a dead run at a certified minimum as jammed; by: the fields in which
    the runs of a sweep agree. Raises InputError for runs with another loss than the hinge: with such a loss N_Δ does not
    count contacts.
    """
    for run in runs:
        if run["loss"] != "hinge":
            raise InputError(f"got runs of {run['loss']}, expected hinge: the jump is one of N_Δ")
    sweeps = [[runs[i] for i in members] for members in groups_of(runs, by).values()]
    return [_jump(_sweep_fields(sweep, by), sweep, level, keep_dead) for sweep in sweeps]


def _sweep_fields(runs: Sequence[Info], by: Sequence[str]) -> dict[str, Any]:
    """What identifies the runs of a sweep: the fields in which they agree."""
    names = tuple(dict.fromkeys((*by, *SWEEP_FIELDS)))
    pooled = pooled_values(runs, names)
    values = {name: None if name in pooled else value_of(runs[0], name) for name in names}
    return {
        name: value
        for name, value in values.items()
        if name in NAMED_SWEEP_FIELDS or value not in (None, False, FREE_NORM)
    }


def _jump(sweep: Mapping[str, Any], runs: Sequence[Info], level: float, keep_dead: bool) -> Jump:
    """The jump of the runs of one sweep."""
    sides = [_side(run, keep_dead) for run in runs]
    decided = [(_log_ratio(run), side) for run, side in zip(runs, sides) if side]
    place = fit_median(Tally.of(decided), level)
    jammed = [run for run, side in zip(runs, sides) if side == "above"]
    line = _Line.of(_points(jammed, keep_dead), place, level)
    low, high = place.interval
    return Jump(
        sweep,
        _finding(runs, sides, line),
        P_over_N=None if place.m is None else math.exp(place.m),
        P_over_N_interval=(None if low is None else math.exp(low), None if high is None else math.exp(high)),
        spread=None if place.m is None else place.w,
        unsatisfied_per_parameter=line.height if line else None,
        unsatisfied_per_parameter_interval=(line.low, line.high) if line else None,
        n_satisfied=sides.count("below"),
        n_jammed=sides.count("above"),
        n_dead=sum(is_dead(run) for run in runs),
        n_other=sum(side is None and not is_dead(run) for run, side in zip(runs, sides)),
    )


def _log_ratio(run: Info) -> float:
    return math.log(run["P"] / run["n_effective_expected"])


def _side(run: Info, keep_dead: bool) -> Side | None:
    """The side of the jump on which a run lies: above in P/N if it is jammed; None if it says nothing."""
    if is_satisfied(run):
        return "below"
    return "above" if is_jammed(run) or (keep_dead and is_dead(run) and run["certified"]) else None


def _points(jammed: Sequence[Info], keep_dead: bool) -> Array:
    """(log P/N, N_Δ/N) of jammed runs, [n, 2]."""
    heights = [
        run["n_unsatisfied"] / run["n_effective_expected"] if keep_dead else alive_per_parameter(run)
        for run in jammed
    ]
    return np.array([(_log_ratio(run), height) for run, height in zip(jammed, heights)]).reshape(-1, 2)


def _finding(runs: Sequence[Info], sides: Sequence[Side | None], line: _Line | None) -> str:
    """What the sweep shows, in one line."""
    satisfied, jammed, others = (
        [math.exp(_log_ratio(run)) for run, side in zip(runs, sides) if side == wanted]
        for wanted in ("below", "above", None)
    )
    if not jammed:
        rest = f"; {len(others)} of {len(runs)} runs are at no minimum or dead" if others else ""
        reach = (
            f"satisfied up to P/N = {max(satisfied):.3g}" if satisfied else "no run is satisfied or jammed"
        )
        return f"no jump in this range: {reach}{rest}"
    if not satisfied:
        return f"no jump in this range: no run is satisfied, all are jammed from P/N = {min(jammed):.3g}"
    if line is None:
        return f"a jump of unknown height: fewer than {LINE_MIN_RUNS} jammed runs lie near it"
    if line.low <= 0:
        return "no jump is shown: N_Δ/N may leave zero continuously"
    return "a jump"


@dataclass(frozen=True)
class _Line:
    """The line through jammed runs: its height n_J ≥ 0 at α_J, and the interval of n_J."""

    height: float
    low: float
    high: float

    @classmethod
    def of(cls, points: Array, place: MedianEstimate, level: float) -> _Line | None:
        """The line through the points (log P/N, N_Δ/N) [n, 2] up to LINE_MAX_P_OVER_N α_J; None through too few points."""
        from scipy.special import stdtrit

        if place.m is None:
            return None
        x, y = points[points[:, 0] <= place.m + math.log(LINE_MAX_P_OVER_N)].T
        if len(x) < LINE_MIN_RUNS:
            return None
        x = x - place.m
        best = _best_height(x, y)
        t = float(stdtrit(len(x) - 2, (1 + level) / 2))
        allowed = _misfit(best, x, y) * (1 + t**2 / (len(x) - 2))
        reach = 1.0 + float(y.max())
        while _misfit(best + reach, x, y) <= allowed:
            reach *= 2
        low = 0.0 if _misfit(0.0, x, y) <= allowed else _end(best, 0.0, allowed, x, y)
        return cls(best, low, _end(best, best + reach, allowed, x, y))


def _best_height(x: Array, y: Array) -> float:
    """n_J of the line through x, y [n] with the least squares, n_J ≥ 0 and n_1 ≥ 0."""
    slope = float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else 0.0
    return max(float(y.mean()) - max(slope, 0.0) * float(x.mean()), 0.0)


def _slope(height: float, x: Array, y: Array) -> float:
    """n_1 ≥ 0 of the best line through (0, height) and the points x, y [n]."""
    squares = float(x @ x)
    return max(float(x @ (y - height)) / squares, 0.0) if squares else 0.0


def _misfit(height: float, x: Array, y: Array) -> float:
    """The sum of squares of the best line with n_1 ≥ 0 through (0, height) and the points x, y [n]."""
    return float(((y - height - _slope(height, x, y) * x) ** 2).sum())


def _end(inside: float, outside: float, allowed: float, x: Array, y: Array) -> float:
    """The end of the interval between a height whose misfit is allowed and one whose misfit is not."""
    for _ in range(HEIGHT_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if _misfit(middle, x, y) <= allowed else (inside, middle)
    return inside
