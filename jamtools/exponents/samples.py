"""Overlaps and gaps of many runs in one sample, without what is not the ensemble's.

√L takes out the distance from the transition, so that runs of somewhat different loss can be pooled. Two things end the
power laws below. A run that still descends moves its overlaps: since L ~ ‖Δ₊‖² and ‖Δ₊‖ changes by no more than Δ₊ moves,

    rms δz ≥ rms z (√(L₀/L) − 1),        L₀: the loss at half of the steps,

and at a certified minimum by what its smallest subgradient leaves. And a finite system has no power law of its
smallest gaps (finitesize.py). Source: arXiv:1809.09349, section IV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jamtools.exponents import finite_size
from jamtools.records import CONTACT_TOLERANCE, Array, Run


@dataclass(frozen=True)
class Sample:
    """Values [n] pooled over runs, the run [n] each came from (or None), the cut below which they mean nothing, and why."""

    values: Array
    runs: NDArray[np.int64] | None
    lower_cut: float = 0.0
    cut_by: str = "nothing"


def overlaps(runs: Sequence[Run]) -> Sample:
    """Δ/√L of every unsatisfied pattern of every jammed run, cut at the noise of the median run."""
    parts, noise = [], []
    for run in runs:
        gaps = run.gaps.ravel()
        unsatisfied = gaps[gaps > CONTACT_TOLERANCE * run.info["epsilon"]]
        if len(unsatisfied):
            unsatisfied = unsatisfied / np.sqrt(run.info["final_loss"])
            noise.append(precision(run))
        parts.append(unsatisfied)
    return replace(_pool(parts), lower_cut=float(np.median(noise)) if noise else 0.0, cut_by="noise")


def gaps(runs: Sequence[Run]) -> Sample:
    """-Δ of every satisfied pattern, with the finite-size cut of the smallest run, or its noise where that is larger."""
    parts = [-run.gaps.ravel() for run in runs]
    parts = [x[x > CONTACT_TOLERANCE * run.info["epsilon"]] for x, run in zip(parts, runs)]
    sample = _pool(parts)
    if not len(sample.values):
        return sample
    having = [run for run, part in zip(runs, parts) if len(part)]
    finite = finite_size.cut(
        float(np.median(sample.values)), min(run.info["n_effective_expected"] for run in having)
    )
    noise = float(np.median([precision(run) * np.sqrt(run.info["final_loss"]) for run in having]))
    return replace(sample, lower_cut=max(finite, noise), cut_by="finite size" if finite > noise else "noise")


def precision(run: Run) -> float:
    """How far the overlaps Δ/√L of a run may still be from those of its minimum; 0 where L = 0."""
    info = run.info
    if not info["n_unsatisfied"]:
        return 0.0
    certificate = info.get("certificate") or {}
    if info["certified"] and certificate.get("scale"):
        return float(certificate["gradient"] / certificate["scale"])
    step, loss = run.history["step"], run.history["loss"]
    before = float(loss[np.searchsorted(step, step[-1] / 2, side="right") - 1])
    overlaps = run.gaps[run.gaps > CONTACT_TOLERANCE * info["epsilon"]]
    now = float(loss[-1])
    size = float(np.sqrt(np.mean(overlaps**2) / now)) if len(overlaps) else 0.0
    return size * max(0.0, float(np.sqrt(before / now)) - 1)


def _pool(parts: list[Array]) -> Sample:
    runs = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Sample(np.concatenate(parts) if parts else np.empty(0), runs)
