"""Goodness of fit, and the bootstrap over runs: refits of the tilted power law to resampled data.

Goodness of fit. Samples are drawn from the fitted density, and each is refitted. The p-value is the share of samples that
are at least as far from their own fit as the values are from theirs. The distance is that of Anderson and Darling,

    A² = ∫ (F_n − F)² dF / F(1−F),        v = u^(1+t),

on a grid of equal cells in v, in which the fitted density is smooth. It detects a heavy crossover 1.5 times as often as the
distance of Kolmogorov and Smirnov. A sample is drawn as multinomial counts in the cells of the grid, and its ⟨T⟩ is the mean
of E[T | cell] over the counts. Therefore the cost does not grow with the number of values.

Bootstrap. The values of one run come from one network, so that only runs are independent of each other. Each replica
draws as many whole runs as there are, with replacement, and the exponent is refitted. The cut stays fixed. Then sums per
run are sufficient, s_r = Σ_{i in r} (1, T_i), and a refit does not read the values again.

Source: Anderson and Darling, Ann. Math. Stat. 23, 193 (1952), for the distance; own derivation above for the bootstrap.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jamtools.exponents.profile_likelihood import Interval
from jamtools.exponents.tilted import (
    PANEL_NODES,
    PANEL_WEIGHTS,
    Maximum,
    Window,
    likelihood_maximum,
    newton_maximum,
    sufficient_statistics,
)
from jamtools.records import Array

#: Cells of the grid in v on which the Anderson–Darling distance is summed.
GOODNESS_CELLS = 1000

#: With fewer runs, the relative error of the standard error is above 1/√(2·7) = 0.27.
MIN_RUNS_FOR_BOOTSTRAP = 8

MIN_BOOTSTRAP_REPLICAS = 20

#: If a smaller share of the replicas has a maximum, there is no bootstrap interval.
MIN_SHARE_OF_CONVERGED_REPLICAS = 0.9


class _Grid:
    """The cells of v = u^(1+t) on u₀ < u ≤ 1, with the fitted t, and the quadrature nodes in each cell.

    edges [cells + 1], in v; half [cells, 1]: half of the width of each cell; statistics [1 + order, cells, nodes]: T at the
    nodes.
    """

    def __init__(self, t: float, u0: float, order: int) -> None:
        self.t = t
        self.edges = np.linspace(u0 ** (1 + t), 1, GOODNESS_CELLS + 1)
        self.half = np.diff(self.edges)[:, None] / 2
        nodes = self.edges[:-1, None] + self.half * (1 + PANEL_NODES)
        self.statistics = sufficient_statistics(np.log(nodes) / (1 + t), order)

    def probabilities(self, eta: Array) -> Array:
        """The probability [cells, nodes] of each node under η [1 + order]: ∝ exp(η·T) du, with du ∝ u^−t dv."""
        exponent = np.tensordot(eta, self.statistics, 1) - self.t * self.statistics[0]
        mass = self.half * PANEL_WEIGHTS * np.exp(exponent - exponent.max())
        return mass / mass.sum()

    def distance(self, counts: NDArray[np.int64], n: int, eta: Array) -> float:
        """A² between n values, given as counts [cells], and the density of η [1 + order]."""
        cells = self.probabilities(eta).sum(axis=1)[:-1]
        f = np.cumsum(cells)
        weight = cells / np.maximum(f * (1 - f), np.finfo(float).eps)
        return float((np.cumsum(counts)[:-1] / n - f) ** 2 @ weight)


def goodness_of_fit(
    window: Window, maximum: Maximum, n_samples: int, rng: np.random.Generator
) -> float | None:
    """The p-value of the Anderson–Darling distance from `n_samples` refitted samples; None where a refit has no maximum.

    p = (1 + n_farther) / (1 + n_samples): n_farther samples are at least as far from their fit as the values from theirs.
    """
    grid = _Grid(maximum.eta[0], window.u0, maximum.eta.size - 1)
    fitted = grid.probabilities(maximum.eta)
    cells = np.maximum(fitted.sum(axis=1), np.finfo(float).tiny)
    mean_in_cell = (grid.statistics * fitted).sum(axis=2) / cells  # E[T | cell] [1 + order, cells]
    v = np.exp((1 + grid.t) * window.statistics[0])
    counts = np.diff(np.searchsorted(v, grid.edges[1:], side="right"), prepend=0)
    observed = grid.distance(counts, window.n, maximum.eta)
    samples = rng.multinomial(window.n, cells / cells.sum(), size=n_samples)
    refits = [newton_maximum(mean_in_cell @ drawn / window.n, window.u0, maximum.eta) for drawn in samples]
    n_farther = sum(
        grid.distance(drawn, window.n, refit.eta) >= observed for drawn, refit in zip(samples, refits)
    )
    return (1 + n_farther) / (1 + n_samples) if all(refit.converged for refit in refits) else None


class BootstrapExponents(NamedTuple):
    """Exponents [replicas] of resampled ensembles; obstacle: the reason why there is no bootstrap interval, or ""."""

    exponents: Array
    obstacle: str


def bootstrap_exponents(
    window: Window,
    maximum: Maximum,
    runs: NDArray[np.intp],
    n_runs: int,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> BootstrapExponents:
    """The exponents of `n_bootstrap` ensembles, each of `n_runs` runs that are drawn with replacement.

    runs [n]: the run of each value of the window, counted from 0. Runs without values in the window are drawn like the
    others. The cut stays fixed, so that the exponents describe the tail below this cut. Where the model holds, the exponent
    does not depend on the cut, which itself varies by O(n^−1/2).
    """
    consequence = "no bootstrap over runs: the interval takes the values as independent"
    if n_runs < MIN_RUNS_FOR_BOOTSTRAP or not n_bootstrap:
        needed = f"it takes {MIN_RUNS_FOR_BOOTSTRAP} and {MIN_BOOTSTRAP_REPLICAS}"
        return BootstrapExponents(
            np.empty(0), f"{consequence} ({n_runs} runs, {n_bootstrap} replicas; {needed})"
        )
    rows = window.statistics[: maximum.eta.size]
    counts = np.bincount(runs, minlength=n_runs)
    sums = np.stack([counts, *(np.bincount(runs, row, n_runs) for row in rows)])  # [2 + order, runs]
    draws = (
        sums @ np.bincount(rng.integers(n_runs, size=n_runs), minlength=n_runs) for _ in range(n_bootstrap)
    )
    refits = [likelihood_maximum(drawn[1:] / drawn[0], window.u0, maximum.eta) for drawn in draws]
    exponents = np.array([float(refit.eta[0]) for refit in refits if refit.converged])
    if exponents.size < MIN_SHARE_OF_CONVERGED_REPLICAS * n_bootstrap:
        obstacle = f"{consequence} ({exponents.size} of {n_bootstrap} replicas have a maximum)"
        return BootstrapExponents(exponents, obstacle)
    return BootstrapExponents(exponents, "")


def student_interval(t: float, exponents: Array, n_runs: int, level: float) -> tuple[float, Interval]:
    """Standard error of t and its interval, from replicas `exponents` [replicas] of an ensemble of `n_runs` runs.

    The ends of the interval are percentiles of the replicas, stretched about t for two reasons. Resampling m runs
    underestimates their variance by the factor (m−1)/m. And the variance itself is estimated from m runs, so that the
    error follows Student's t with m−1 degrees of freedom.
    """
    from scipy.special import ndtri, stdtrit

    correction = math.sqrt(n_runs / (n_runs - 1))
    stretch = correction * float(stdtrit(n_runs - 1, (1 + level) / 2) / ndtri((1 + level) / 2))
    low, high = (float(q) for q in np.quantile(exponents, [(1 - level) / 2, (1 + level) / 2]))
    interval = max(-1.0, t - stretch * (t - low)), t + stretch * (high - t)
    return correction * float(exponents.std(ddof=1)), interval
