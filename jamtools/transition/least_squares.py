"""Weighted means and lines through points with standard errors, and the errors of both.

    mean = Σ w y / Σ w,    line: min Σ w (y - y₀ - s (x - x₀))²,        w = σ⁻²
    error² = max(1, χ²/ν) / information

The information is Σ w of a mean and Σ w (x - x₀)² of a slope. The error follows from
the σ of the points, or from their scatter where it exceeds σ. With an error from the scatter, an interval has Student's
quantile with ν degrees of freedom.

Source: none, standard least squares.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

import numpy as np

from jamtools.records import Array


class Estimate(NamedTuple):
    """A value, its standard error, and the degrees of freedom if the scatter of the points gave the error, else None."""

    value: float
    error: float
    degrees: int | None

    def interval(self, level: float) -> list[float]:
        """[lower, upper] at a confidence level: with Student's quantile where the scatter gave the error."""
        from scipy.special import stdtrit

        share = (1 + level) / 2
        quantile = (
            float(stdtrit(self.degrees, share)) if self.degrees else statistics.NormalDist().inv_cdf(share)
        )
        return [self.value - quantile * self.error, self.value + quantile * self.error]


def weighted_mean(y: Array, sigma: Array) -> Estimate:
    """The mean of y [n] with standard errors sigma [n]."""
    weight = sigma**-2
    mean = float(np.average(y, weights=weight))
    chi2 = float(weight @ (y - mean) ** 2)
    return Estimate(mean, *_error(chi2, len(y) - 1, float(weight.sum())))


def weighted_slope(x: Array, y: Array, sigma: Array) -> Estimate:
    """The slope of a line through y [n] at x [n] with standard errors sigma [n]; x must hold at least two values."""
    weight = sigma**-2
    x0, y0 = np.average(x, weights=weight), np.average(y, weights=weight)
    information = float(weight @ (x - x0) ** 2)
    slope = float(weight @ ((x - x0) * (y - y0))) / information
    chi2 = float(weight @ (y - y0 - slope * (x - x0)) ** 2)
    return Estimate(slope, *_error(chi2, len(x) - 2, information))


def chi_squared(design: Array, y: Array, sigma: Array) -> tuple[float, int]:
    """χ² of the best fit of design [n, k] to y [n] with standard errors sigma [n], and the rank of the design."""
    weighted = design / sigma[:, None]
    coefficients, _, rank, _ = np.linalg.lstsq(weighted, y / sigma, rcond=None)
    return float(((weighted @ coefficients - y / sigma) ** 2).sum()), int(rank)


def _error(chi2: float, degrees: int, information: float) -> tuple[float, int | None]:
    """The standard error, and the degrees of freedom where the scatter of the points gave it."""
    scatter = chi2 / max(degrees, 1)
    return math.sqrt(max(1.0, scatter) / information), degrees if scatter > 1 and degrees > 0 else None
