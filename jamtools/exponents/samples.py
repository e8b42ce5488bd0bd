"""Overlaps and gaps of many runs in one sample, cut where they do not belong to the ensemble.

    overlaps    z = Δ/√L > 0 of the runs with N_Δ > 0
    gaps        x = -Δ > 0 of all runs

The factor √L removes the distance from the transition, so that runs of somewhat different loss can be pooled. Two effects
end the power laws at small arguments. First, a run that still descends moves its overlaps: since L ~ ‖Δ₊‖² and ‖Δ₊‖ changes
by no more than Δ₊ moves,

    rms δz ≥ rms z (√(L₀/L) − 1),        L₀: the loss at half of the steps.

At a certified minimum the overlaps are uncertain by what the smallest subgradient leaves. Second, a finite system has no
power law of its smallest gaps (finite_size.py).

Source: arXiv:1809.09349, section IV; the bound has none beyond its derivation above.
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
    """Values [n] pooled over runs, the run [n] of each (or None), and the lower cut, below which they are discarded.

    cut_by: what set the lower cut.
    """

    values: Array
    runs: NDArray[np.int64] | None
    lower_cut: float = 0.0
    cut_by: CutBy = "nothing"


def pool_overlaps(runs: Sequence[Run]) -> Sample:
    """Δ/√L of every unsatisfied pattern of every jammed run, cut at the noise of the median run."""
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
    """-Δ of every satisfied pattern, cut at the finite-size cut of the smallest run or at the noise, whichever is larger."""
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
    """How far, rms, the overlaps Δ/√L of a run may still be from those of its minimum; 0 where L = 0."""
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
    """One sample of the values [n] of each run."""
    runs = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Sample(np.concatenate(parts) if parts else np.empty(0), runs)
