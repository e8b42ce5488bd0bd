"""Data, options and trials for searches for N* that take at most a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.transition.sampling import SizeAxis, TrialCache
from jamtools.transition.trial import Outcome, Trial
from tests.support import oracle

QUICK = with_options(TrainingOptions(), lr=1e-2, steps=3000, measurements=2, init="torch")


def separable(P: int) -> Dataset:
    """P patterns labelled by the sign of the first coordinate, with a margin: one neuron separates them."""
    x, _ = oracle.sphere(P, 3)
    x = x.numpy()
    x[:, 0] += np.where(x[:, 0] > 0, 1.0, -1.0)
    return Dataset(x, np.where(x[:, 0] > 0, 1.0, -1.0))


def trial(outcome: Outcome, **fields: Any) -> Trial:
    """A trial without a training: 3 neurons wide, on 30 patterns, unless `fields` says otherwise."""
    return Trial(**{"P": 30, "width": 3, "N": 100, "seed": 0, "steps": 7, "outcome": outcome, **fields})


def simulated(axis: SizeAxis, outcome_at: Callable[[int, int], Outcome]) -> TrialCache:
    """A cache whose trials have the outcome outcome_at(size, seed)."""
    name = "width" if axis.vary == "width" else "P"

    def run(wanted: Sequence[tuple[int, int]]) -> list[Trial]:
        return [trial(outcome_at(size, seed), seed=seed, **{name: size}) for size, seed in wanted]

    return TrialCache(run)


def scaling_point(P: float, n_star: float | None, spread: float = 1.1, **fields: Any) -> dict[str, Any]:
    """The record of a search that found n_star, with the interval [n_star/spread, n_star·spread]."""
    interval = [None, None] if n_star is None else [n_star / spread, n_star * spread]
    search = {"kind": "nstar", "P": P, "n_star": n_star, "interval": interval}
    return {**search, "loss": "hinge", "success": "satisfied", "depth": 3, **fields}


def scattered_points(
    rng: np.random.Generator,
    depths: Sequence[int],
    n_of: Callable[[int, int], float],
    error: float = 0.1,
    at: Sequence[int] = (100, 200, 500, 1000),
    scatter: float | None = None,
) -> list[dict[str, Any]]:
    """Searches at each depth L and P with N* = n_of(P, L) e^(scatter·z), z normal; their intervals are ± error in log N*."""
    scatter = error if scatter is None else scatter
    return [
        scaling_point(P, n_of(P, L) * np.exp(scatter * rng.standard_normal()), np.exp(error), depth=L)
        for L in depths
        for P in at
    ]
