"""Overlaps and gaps of many runs, pooled into one sample with a lower cut.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0
    gaps        x = -Δ > 0 of all runs

The factor √L removes the distance from the transition, so that runs of somewhat different loss can be pooled. Two effects
end the power laws at small arguments. First, while a run still descends, its overlaps still change. L ~ ‖Δ₊‖², and ‖Δ₊‖
changes by no more than the norm of the change of Δ₊. Therefore

    rms δz ≥ rms z (√(L₀/L) − 1),        L₀: the loss at half of the steps.

At a certified minimum the noise of the overlaps is the norm of the smallest subgradient, divided by the size of its terms;
both are fields of the certificate. Second, the smallest gaps of a finite system have no power law (finite_size.py).

Source: arXiv:1809.09349, section IV; own derivation above for the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jamtools.exponents.finite_size import finite_size_cut
from jamtools.records import CONTACT_TOLERANCE, Array, Run

#: What set the lower cut of a sample.
CutBy = Literal["nothing", "noise", "finite size", "given"]


@dataclass(frozen=True)
class Sample:
    """Values [n] pooled over runs.

    runs [n]: the run of each value, or None; lower_cut: a fit discards the values up to it; cut_by: what set it.
    """

    values: Array
    runs: NDArray[np.int64] | None
    lower_cut: float = 0.0
    cut_by: CutBy = "nothing"


def pool_overlaps(runs: Sequence[Run]) -> Sample:
    """The overlaps Δ/√L of all unsatisfied patterns. The lower cut is the median of the noise of the jammed runs."""
    parts, noise = [], []
    for run in runs:
        gaps = run.gaps.ravel()
        unsatisfied = gaps[gaps > CONTACT_TOLERANCE * run.epsilon]
        if len(unsatisfied):
            unsatisfied = unsatisfied / np.sqrt(run.info["final_loss"])
            noise.append(overlap_noise(run))
        parts.append(unsatisfied)
    return replace(_pool(parts), lower_cut=float(np.median(noise)) if noise else 0.0, cut_by="noise")


def pool_gaps(runs: Sequence[Run]) -> Sample:
    """The gaps -Δ of all satisfied patterns.

    The lower cut is the finite-size cut of the smallest N or the median of the noise of the runs, whichever is larger.
    """
    parts = [-run.gaps.ravel() for run in runs]
    parts = [x[x > CONTACT_TOLERANCE * run.epsilon] for x, run in zip(parts, runs)]
    sample = _pool(parts)
    if not len(sample.values):
        return sample
    with_gaps = [run for run, part in zip(runs, parts) if len(part)]
    smallest_N = min(run.N for run in with_gaps)
    finite = finite_size_cut(float(np.median(sample.values)), smallest_N)
    noise = float(np.median([overlap_noise(run) * np.sqrt(run.info["final_loss"]) for run in with_gaps]))
    return replace(sample, lower_cut=max(finite, noise), cut_by="finite size" if finite > noise else "noise")


def overlap_noise(run: Run) -> float:
    """Estimate of the rms distance of the overlaps Δ/√L of a run from those of its minimum; 0 where L = 0."""
    info = run.info
    if not info["n_unsatisfied"]:
        return 0.0
    certificate = info.get("certificate") or {}
    if info["certified"] and certificate.get("scale"):
        return float(certificate["gradient"] / certificate["scale"])
    step, loss = run.history["step"], run.history["loss"]
    at_half = float(loss[np.searchsorted(step, step[-1] / 2, side="right") - 1])
    at_end = float(loss[-1])
    overlaps = run.gaps[run.gaps > CONTACT_TOLERANCE * run.epsilon]
    rms = float(np.sqrt(np.mean(overlaps**2) / at_end)) if len(overlaps) else 0.0
    return rms * max(0.0, float(np.sqrt(at_half / at_end)) - 1)


def _pool(parts: list[Array]) -> Sample:
    """One sample from the values [n] of each run; the runs are counted from 0."""
    runs = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Sample(np.concatenate(parts) if parts else np.empty(0), runs)
