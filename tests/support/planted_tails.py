"""Samples of densities with a known exponent at small arguments, and the scatter of counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def binomial_limits(trials: int, p: float) -> tuple[float, float]:
    """The range of the number of successes with probability p; chance exceeds each side once in a thousand cases."""
    return stats.binom.ppf(1e-3, trials, p), stats.binom.ppf(1 - 1e-3, trials, p)


def heavy_crossover(n: int, t: float, generator: np.random.Generator) -> Any:
    """n values of density x^t / (1+x²)², whose square is beta prime."""
    b = generator.beta((1 + t) / 2, (3 - t) / 2, size=n)
    return np.sqrt(b / (1 - b))


def two_scales(n: int, t: float, generator: np.random.Generator) -> Any:
    """n values of density x^t e^−x, half of them multiplied by 0.1."""
    return generator.gamma(1 + t, size=n) * np.where(generator.random(n) < 0.5, 0.1, 1.0)
