"""Goodness of fit: do samples of the fitted density, fitted anew, lie as far from their fits as the values from theirs?

    A² = ∫ (F_n − F)² dF / F(1−F)        (Anderson & Darling 1952),        v = u^(1+t)

on a grid equal in v, where the fitted density is smooth. The measure sees a heavy crossover half as often again as
Kolmogorov and Smirnov's.


The bootstrap over runs: as many whole runs, drawn with replacement, each time fitted anew.

The values of one run share its network; only runs are independent of each other. With the cut kept where it is, sums per
run suffice, s_r = Σ_{i in r} (1, T_i): a refit costs no pass over the values.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from jamtools.exponents.tilted import NODES, WEIGHTS, Array, Maximum, Window, climb, maximise, powers

CELLS = 1000


def goodness(window: Window, top: Maximum, n_gof: int, rng: np.random.Generator) -> float | None:
    """The share of samples of the fitted density, each refitted, that lie as far from their fit as the values from theirs.

    Distance: Anderson & Darling's, ∫(F_n − F)² dF / F(1−F), on a grid equal in v = u^(1+t), where the fitted density is
    smooth; it sees a heavy crossover half as often again as Kolmogorov–Smirnov's. A sample is its multinomial counts, its
    ⟨T⟩ the counts' mean of E[T | cell]: the cost does not grow with the values.
    """
    t = top.eta[0]
    edges = np.linspace(window.u0 ** (1 + t), 1, CELLS + 1)
    half = np.diff(edges)[:, None] / 2
    statistics = powers(np.log(edges[:-1, None] + half * (1 + NODES)) / (1 + t), top.eta.size - 1)

    def masses(eta: Array) -> Array:
        """∝ ∫ exp(η·T) du by node [cells, nodes]; du ∝ u^−t dv."""
        exponent = np.tensordot(eta, statistics, 1) - t * statistics[0]
        mass = half * WEIGHTS * np.exp(exponent - exponent.max())
        return mass / mass.sum()

    def distance(counts: Array, eta: Array) -> float:
        cells = masses(eta).sum(axis=1)[:-1]
        f = np.cumsum(cells)
        weight = cells / np.maximum(f * (1 - f), np.finfo(float).eps)
        return float((np.cumsum(counts)[:-1] / window.n - f) ** 2 @ weight)

    fitted = masses(top.eta)
    cells = np.maximum(fitted.sum(axis=1), np.finfo(float).tiny)
    expected = (statistics * fitted).sum(axis=2) / cells  # E[T | cell] [m, cells]
    v = np.exp((1 + t) * window.statistics[0])
    seen = distance(np.diff(np.searchsorted(v, edges[1:], side="right"), prepend=0), top.eta)
    samples = rng.multinomial(window.n, cells / cells.sum(), size=n_gof)
    refits = [climb(expected @ drawn / window.n, window.u0, top.eta) for drawn in samples]
    beyond = sum(distance(drawn, refit.eta) >= seen for drawn, refit in zip(samples, refits))
    return (1 + beyond) / (1 + n_gof) if all(refit.converged for refit in refits) else None


Interval = tuple[float, float]

MIN_CLUSTERS = 8  # fewer give a standard error over runs with an error of its own beyond 1/√(2·7) = 0.27

MIN_REPLICAS = 20


def resample(
    window: Window,
    top: Maximum,
    runs: NDArray[np.intp],
    size: int,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> tuple[Array, str]:
    """Exponents of `n_bootstrap` ensembles of `size` runs, drawn with replacement; or why there are none.

    `runs` [n]: the run of each value of the window, counted from 0; those without values there are drawn like the others.
    The cut stays where it is: the estimate is of the tail below this one, and where the model holds its exponent does not
    depend on the cut, whose own wandering is O(n^−1/2). So sums per run suffice.
    """
    said = "no bootstrap over runs: the interval takes the values as independent"
    if size < MIN_CLUSTERS or not n_bootstrap:
        few = f"{size} runs, {n_bootstrap} replicas; it takes {MIN_CLUSTERS} and {MIN_REPLICAS}"
        return np.empty(0), f"{said} ({few})"
    rows = window.statistics[: top.eta.size]
    counts = np.bincount(runs, minlength=size)
    sums = np.stack([counts, *(np.bincount(runs, row, size) for row in rows)])  # [2 + order, runs]
    draws = (sums @ np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(n_bootstrap))
    tops = [maximise(drawn[1:] / drawn[0], window.u0, top.eta) for drawn in draws]
    exponents = np.array([float(replica.eta[0]) for replica in tops if replica.converged])
    if exponents.size < 0.9 * n_bootstrap:
        return exponents, f"{said} ({exponents.size} of {n_bootstrap} replicas have a maximum)"
    return exponents, ""


def student_interval(t: float, exponents: Array, runs: int, level: float) -> tuple[float, Interval]:
    """Standard error and interval of t from its replicas: percentiles about t, stretched to what few runs require.

    Resampling m runs underestimates their variance by (m−1)/m, and m runs know it only to Student's t with m−1 degrees.
    """
    from scipy.special import ndtri, stdtrit

    few = math.sqrt(runs / (runs - 1))
    stretch = few * float(stdtrit(runs - 1, (1 + level) / 2) / ndtri((1 + level) / 2))
    low, high = (float(q) for q in np.quantile(exponents, [(1 - level) / 2, (1 + level) / 2]))
    return few * float(exponents.std(ddof=1)), (max(-1.0, t - stretch * (t - low)), t + stretch * (high - t))
