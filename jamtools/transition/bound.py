"""The bound of stability, as measured on jammed runs: P/N* ≥ C0 - N_c/N.

    N_Δ ≥ N_- - N_c at a minimum,  P ≥ N_Δ   ⇒   P/N ≥ C0 - N_c/N,       C0 = N_-(Hp)/N

Below this P/N no minimum exists at which a training could be stuck. Runs that are at no minimum do not enter, and neither
do dead ones or those whose N_c is refused. N_c is the number of convex cusps, or of all cusps where a spectrum does not
count the convex ones. The interval of the mean over the runs is Student's.

Source: arXiv:1809.09349, sections III and IV.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamtools.errors import InputError, Remedy
from jamtools.states import is_dead, is_jammed, is_satisfied

#: The metadata of a spectrum or of a run.
Info = Mapping[str, Any]


@dataclass(frozen=True)
class MeanBound:
    """Means over n_runs jammed runs: C0, N_c/N, and P_over_N = C0 - N_c/N with its interval and standard error.

    interval, error: None for a single run.
    """

    c0: float
    cusps_per_parameter: float
    P_over_N: float
    interval: tuple[float, float] | None
    error: float | None
    n_runs: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {**vars(self), "interval": None if self.interval is None else list(self.interval)}


@dataclass(frozen=True)
class StabilityBound(MeanBound):
    """The bound over all jammed runs, and over those of each depth; left_out: how many other runs there are, by reason."""

    depths: Mapping[int, MeanBound]
    left_out: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        depths = {str(depth): bound.as_dict() for depth, bound in self.depths.items()}
        return {**super().as_dict(), "depths": depths, "left_out": dict(self.left_out)}


def stability_bound(spectra: Sequence[Info], level: float = 0.95, keep_dead: bool = False) -> StabilityBound:
    """C0, N_c/N and their difference over the jammed runs of `spectra` (their metadata), with intervals at `level`.

    keep_dead: whether dead runs count as jammed. Raises InputError unless at least one spectrum is of a jammed run and has
    its negative modes counted.
    """
    reasons = [why_left_out(info, keep_dead) for info in spectra]
    jammed = [info for info, reason in zip(spectra, reasons, strict=True) if reason is None]
    left_out = Counter(reason for reason in reasons if reason is not None)
    if not jammed:
        found = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
        raise InputError(
            f"got spectra of {len(spectra)} runs, none jammed with the signs of Hp counted ({found})",
            Remedy.JAMMED_SPECTRA,
        )
    depths = sorted({info["depth"] for info in jammed})
    return StabilityBound(
        **vars(_mean_bound(jammed, level)),
        depths={
            depth: _mean_bound([info for info in jammed if info["depth"] == depth], level) for depth in depths
        },
        left_out=dict(left_out),
    )


def why_left_out(info: Info, keep_dead: bool = False) -> str | None:
    """Why a spectrum says nothing about minima, in a word or two; None for one of a jammed run with its signs counted."""
    if is_satisfied(info):
        return "satisfied"
    if is_dead(info) and not keep_dead:
        return "dead"
    if not (is_jammed(info) or is_dead(info)):
        return "at no minimum"
    if info.get("c0") is None:
        return "without signs"
    return "without N_c" if info.get("n_cusps") is None else None


def _n_effective(info: Info) -> int:
    """N of a run."""
    return int(info["n_effective_expected"])


def _cusps_per_parameter(info: Info) -> float:
    """N_c/N of a run, where N_c is the number of convex cusps, or of all cusps if the convex ones are not counted."""
    n_convex = info.get("n_convex_cusps")
    return float((info["n_cusps"] if n_convex is None else n_convex) / _n_effective(info))


def _mean_bound(infos: Sequence[Info], level: float) -> MeanBound:
    """Means over runs, with Student's interval."""
    from scipy.special import stdtrit

    c0, cusps = np.array([(info["c0"], _cusps_per_parameter(info)) for info in infos]).T
    bound, n = c0 - cusps, len(infos)
    mean = float(bound.mean())
    error = interval = None
    if n > 1:
        error = float(bound.std(ddof=1)) / math.sqrt(n)
        half_length = float(stdtrit(n - 1, (1 + level) / 2)) * error
        interval = (mean - half_length, mean + half_length)
    return MeanBound(float(c0.mean()), float(cusps.mean()), mean, interval, error, n)
