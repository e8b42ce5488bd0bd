"""Overlaps and gaps of many runs, pooled into one sample with a lower cut.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0,        L = (1/P) Σ ½Δ² over the patterns that are pooled
    gaps        x = -Δ > 0 of all runs

A contact, |Δ| ≤ 10⁻¹⁰ ε, is neither. The factor √L removes the distance from the transition, so that runs of somewhat
different loss can be pooled.

Dead patterns, which a layer does not pass on, are left out, unless they are kept. A run lists those that are unsatisfied. f
is one constant at all patterns that are dead in one layer. So the other ones, and all those of a run without a list, are
found by their equal Δ: patterns of one run whose Δ agree to 10⁻¹² ε are left out too.

Two effects end the power laws at small arguments. First, while a run still descends, its overlaps still change. L ~ ‖Δ₊‖²,
and ‖Δ₊‖ changes by no more than the norm of the change of Δ₊. Therefore

    rms δz ≥ rms z (√(L₀/L) − 1),        L₀: the loss at half of the steps.

At a minimum the noise of the overlaps is the norm of the smallest subgradient, divided by the size of its terms; both are
fields of a certificate, and their ratio is one of a run. Second, the smallest gaps of a finite system have no power law
(finite_size.py).

Source: arXiv:1809.09349, section IV; own derivation above for the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jamtools.exponents.finite_size import finite_size_cut
from jamtools.records import Array, Run
from jamtools.states import is_jammed

#: What set the lower cut of a sample.
CutBy = Literal["nothing", "noise", "finite size", "given"]

#: In units of ε: Δ of one run that differ by at most this are equal, apart from their round-off. The spacing of the smallest
#: of 10⁴ independent gaps is 10⁻⁷ of their size.
EQUAL_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Sample:
    """Values [n] pooled over runs.

    runs [n]: the run of each value, or None; lower_cut: a fit discards the values up to it; cut_by: what set it. n_equal:
    how many values were left out because other patterns of their run have the same Δ. n_runs: how many runs were pooled,
    those without values included, or None.
    """

    values: Array
    runs: NDArray[np.int64] | None
    lower_cut: float = 0.0
    cut_by: CutBy = "nothing"
    n_equal: int = 0
    n_runs: int | None = None


class Overlaps(NamedTuple):
    """The Δ > 0 [n] of one run, without those of the patterns that are left out, and the loss L of these n."""

    gaps: Array
    loss: float

    @property
    def scaled(self) -> Array:
        """Δ/√L [n]."""
        return self.gaps / np.sqrt(self.loss) if len(self.gaps) else self.gaps


def overlaps_of(run: Run, keep_dead: bool = False) -> Overlaps:
    """The Δ of the unsatisfied patterns of a run, and their share of its loss; without dead ones, unless they are kept."""
    pooled = run.unsatisfied
    total = float((run.gaps[pooled] ** 2).sum())
    if not keep_dead:
        pooled[run.dead] = False
    gaps = run.gaps[pooled]
    return Overlaps(gaps, run.info["final_loss"] * float((gaps**2).sum()) / total if len(gaps) else 0.0)


def pool_overlaps(runs: Sequence[Run], keep_dead: bool = False) -> Sample:
    """The overlaps Δ/√L of all unsatisfied patterns, without dead ones unless they are kept.

    The lower cut is the median of the noise of the runs.
    """
    found = [overlaps_of(run, keep_dead) for run in runs]
    noise = [overlap_noise(run, keep_dead) for run, own in zip(runs, found) if len(own.gaps)]
    sample = _pool(
        [own.scaled for own in found], [_alone(own.gaps, run, keep_dead) for own, run in zip(found, runs)]
    )
    return replace(sample, lower_cut=float(np.median(noise)) if noise else 0.0, cut_by="noise")


def pool_gaps(runs: Sequence[Run], keep_dead: bool = False) -> Sample:
    """The gaps -Δ of all satisfied patterns, without dead ones unless they are kept.

    The lower cut is the finite-size cut of the smallest N or the median of the noise of the runs, whichever is larger.
    """
    found = [-run.gaps[run.gaps < -run.contact] for run in runs]
    sample = _pool(found, [_alone(x, run, keep_dead) for x, run in zip(found, runs)])
    if not len(sample.values):
        return sample
    with_gaps = [run for run, x in zip(runs, found) if len(x)]
    smallest_N = min(run.N for run in with_gaps)
    finite = finite_size_cut(float(np.median(sample.values)), smallest_N)
    noise = float(np.median([gap_noise(run, keep_dead) for run in with_gaps]))
    return replace(sample, lower_cut=max(finite, noise), cut_by="finite size" if finite > noise else "noise")


def overlap_noise(run: Run, keep_dead: bool = False) -> float:
    """Estimate of the rms distance of the overlaps Δ/√L of a run from those of its minimum; 0 where it has none.

    The loss of patterns that are not pooled is taken as constant.
    """
    own = overlaps_of(run, keep_dead)
    if not own.loss > 0:
        return 0.0
    info = run.info
    certificate = info.get("certificate") or {}
    if info["certified"] and certificate.get("scale"):
        return float(certificate["gradient"] / certificate["scale"])
    if is_jammed(info) and info.get("subgradient_share") is not None:
        return float(info["subgradient_share"])
    step, loss = run.history["step"], run.history["loss"]
    before = float(loss[np.searchsorted(step, step[-1] / 2, side="right") - 1])
    at_half = own.loss + before - float(loss[-1])
    rms = float(np.sqrt(np.mean(own.gaps**2) / own.loss))
    return rms * max(0.0, float(np.sqrt(max(at_half, 0.0) / own.loss)) - 1)


def gap_noise(run: Run, keep_dead: bool = False) -> float:
    """The noise of the overlaps of a run in the unit of Δ; 0 where it has none."""
    return overlap_noise(run, keep_dead) * float(np.sqrt(overlaps_of(run, keep_dead).loss))


def _alone(values: Array, run: Run, keep_dead: bool) -> NDArray[np.bool_]:
    """Which values [n] of a run, in the unit of Δ, are pooled: those that equal no other one; all if dead ones are kept."""
    if keep_dead:
        return np.ones(len(values), bool)
    order = np.argsort(values, kind="stable")
    equals_next = np.diff(values[order], append=np.inf) <= EQUAL_TOLERANCE * run.margin_unit
    alone = np.empty(len(values), bool)
    alone[order] = ~(equals_next | np.roll(equals_next, 1))
    return alone


def _pool(parts: list[Array], pooled: list[NDArray[np.bool_]]) -> Sample:
    """One sample from the values [n] of each run, as far as they are pooled; the runs are counted from 0."""
    kept = [values[alone] for values, alone in zip(parts, pooled)]
    runs = np.repeat(np.arange(len(kept)), [len(values) for values in kept])
    values = np.concatenate(kept) if kept else np.empty(0)
    return Sample(values, runs, n_equal=sum(map(len, parts)) - len(values), n_runs=len(parts))
