r"""Goodness of fit: do samples of the fitted density, fitted anew, lie as far from their fits as the values from theirs?

    A² = ∫ (F_n − F)² dF / F(1−F)        (Anderson & Darling 1952),        v = u^(1+t)

on a grid equal in v, where the fitted density is smooth. The measure sees a heavy crossover half as often again as
Kolmogorov and Smirnov's.
"""

from __future__ import annotations

import numpy as np

from jamtools.tilt import NODES, WEIGHTS, Array, Maximum, climb, powers
from jamtools.window import Window

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
