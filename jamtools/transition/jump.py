"""The jump of N_Δ/N at the transition, and the P/N at which it happens, from the runs of a sweep.

    Prob(N_Δ > 0) = logistic((log P/N - m)/w)        P/N at the jump = e^m           (logistic.py)
    N_Δ/N = n₀ + n₁ (log P/N - m)                    for jammed runs near the jump;  n₀ is its height

A run that used up its steps with 0 < N_Δ ≤ 0.1 N is undecided. The line is fitted to jammed runs up to 1.5 times the P/N
of the jump, where N_Δ/N still grows linearly in log P/N.

Source: arXiv:1809.09349, section III and figs. 6, 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamtools.errors import InputError
from jamtools.records import CONTACT_TOLERANCE, JAMMED_PER_PARAMETER, Array
from jamtools.transition.logistic import MedianEstimate, Side, Tally, fit_median

#: The metadata of a run.
Info = Mapping[str, Any]

#: Runs that agree in these fields, and in the number of steps that they were given, belong to one sweep.
SWEEP_FIELDS = ("d", "depth", "activation", "batch_norm", "loss", "optimizer", "protocol")

#: The line is fitted to jammed runs whose P/N is at most this many times that of the jump.
LINE_MAX_P_OVER_N = 1.5


@dataclass(frozen=True)
class Jump:
    """The jump of one sweep. Its fields are the keys of its JSON object.

    P_over_N: the P/N at which N_Δ jumps; spread: the width w of the logistic in log P/N; unsatisfied_per_parameter: N_Δ/N
    just above the jump. These are None where all runs lie on one side of the jump. An open end of an interval is None.
    """

    sweep: Mapping[str, Any]
    P_over_N: float | None
    P_over_N_interval: tuple[float | None, float | None]
    spread: float | None
    unsatisfied_per_parameter: float | None
    unsatisfied_per_parameter_interval: tuple[float, float] | None
    n_satisfied: int
    n_jammed: int
    n_undecided: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON object: what identifies the sweep, then the jump."""
        values = {name: value for name, value in vars(self).items() if name != "sweep"}
        return {**self.sweep, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def jumps(runs: Sequence[Info], level: float = 0.95) -> list[Jump]:
    """The jump of each sweep among `runs` (their metadata), with intervals at confidence `level`.

    Raises InputError for runs with another loss than the hinge: with such a loss N_Δ does not count contacts.
    """
    sweeps: dict[tuple[Any, ...], list[Info]] = {}
    for run in runs:
        if run["loss"] != "hinge":
            raise InputError(f"got runs of {run['loss']}, expected hinge: the jump is one of N_Δ")
        steps = (run.get("settings") or {}).get("steps")
        sweeps.setdefault((*(run[name] for name in SWEEP_FIELDS), steps), []).append(run)
    names = (*SWEEP_FIELDS, "steps")
    return [_jump(dict(zip(names, key)), sweep, level) for key, sweep in sorted(sweeps.items(), key=str)]


def _jump(sweep: Mapping[str, Any], runs: Sequence[Info], level: float) -> Jump:
    """The jump of the runs of one sweep."""
    x = [math.log(run["P"] / run["n_effective_expected"]) for run in runs]
    sides = [_side(run) for run in runs]
    median = fit_median(Tally.of(list(zip(x, sides))), level)
    jammed = [
        (log_ratio, run["n_unsatisfied"] / run["n_effective_expected"])
        for log_ratio, side, run in zip(x, sides, runs)
        if side == "above" and median.m is not None and log_ratio <= median.m + math.log(LINE_MAX_P_OVER_N)
    ]
    height, interval = _height(np.array(jammed).reshape(-1, 2), median, level)
    low, high = median.interval
    return Jump(
        sweep,
        P_over_N=None if median.m is None else math.exp(median.m),
        P_over_N_interval=(None if low is None else math.exp(low), None if high is None else math.exp(high)),
        spread=None if median.m is None else median.w,
        unsatisfied_per_parameter=height,
        unsatisfied_per_parameter_interval=interval,
        n_satisfied=sides.count("below"),
        n_jammed=sides.count("above"),
        n_undecided=sides.count("undecided"),
    )


def _side(run: Info) -> Side:
    """The side of the jump on which a run lies: above the jump in P/N if the run is jammed."""
    # L ≥ ½ Δ²/P for the largest Δ: at this loss or less every Δ > 0 is that of a contact, which counts as satisfied
    loss_of_a_contact = 0.5 * (CONTACT_TOLERANCE * run["epsilon"]) ** 2 / run["P"]
    if run["n_unsatisfied"] == 0 or run["final_loss"] <= loss_of_a_contact:
        return "below"
    is_minimum = run["status"] == "stationary" and run["certified"] is True
    is_jammed = run["n_unsatisfied"] > JAMMED_PER_PARAMETER * run["n_effective_expected"]
    return "above" if is_minimum or is_jammed else "undecided"


def _height(
    points: Array, median: MedianEstimate, level: float
) -> tuple[float | None, tuple[float, float] | None]:
    """n₀ and its interval, by a line through the points (log P/N, N_Δ/N) [n, 2]; by their mean where all have one P/N.

    The interval combines the error of the fit with slope × the error of m, in quadrature.
    """
    from scipy.special import stdtrit

    if not len(points) or median.m is None:
        return None, None
    x, y = points.T
    columns = [np.ones_like(x)] + ([x - median.m] if np.ptp(x) > 0 else [])
    design = np.stack(columns, axis=1)
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    height, degrees = float(coefficients[0]), len(y) - len(columns)
    if degrees < 1 or not math.isfinite(median.length):
        return height, None
    variance = float(((y - design @ coefficients) ** 2).sum()) / degrees
    error = math.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
    rise = float(coefficients[1]) * median.length / 2 if len(columns) > 1 else 0.0
    half_length = math.hypot(float(stdtrit(degrees, (1 + level) / 2)) * error, rise)
    return height, (height - half_length, height + half_length)
