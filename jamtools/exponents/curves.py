"""The histogram of a sample and the density of a fit to it, with the same normalisation.

    ∫ p dx = n/n_total over the fitted range,        p(x) ∝ x^t exp(c₁x + c₂x² + …)

Source: none, own derivation above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jamtools.errors import InputError
from jamtools.exponents.powerlaw import PowerLaw
from jamtools.exponents.tilted import moments, sorted_values, sufficient_statistics
from jamtools.records import Array

N_CURVE_POINTS = 100

#: Relative distance from the ends of the curve to those of the fitted range. Outside of the range the fitted density is 0.
CURVE_MARGIN = 1e-12


@dataclass(frozen=True)
class Histogram:
    """The histogram of all values of a sample: edges [b+1], counts [b], and density [b] per unit of the values."""

    edges: Array
    counts: NDArray[np.int64]
    density: Array

    def as_dict(self) -> dict[str, list[float]]:
        """Plain types for JSON."""
        return {
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            "density": self.density.tolist(),
        }


def log_histogram(values: ArrayLike, bins_per_decade: int = 5) -> Histogram:
    """The histogram of values [n] in bins of equal ratio. The last bin ends at the largest value.

    Raises InputError for values that are not finite and positive, and for less than one bin per decade.
    """
    if bins_per_decade < 1:
        raise InputError(f"bins_per_decade is {bins_per_decade}, expected 1 or more")
    x, _ = sorted_values(values, None)
    bins = math.floor(bins_per_decade * (math.log10(x[-1]) - math.log10(x[0]))) + 1
    edges = x[-1] * 10.0 ** (np.arange(-bins, 1) / bins_per_decade)
    counts = np.histogram(x, edges)[0].astype(np.int64)
    return Histogram(edges, counts, counts / (x.size * np.diff(edges)))


@dataclass(frozen=True)
class Curve:
    """The fitted density [N_CURVE_POINTS] at x [N_CURVE_POINTS], log-spaced over the fitted range.

    Its integral is the fitted share of the values, n/n_total. Therefore it can be compared with the histogram of all values.
    """

    x: Array
    density: Array

    def as_dict(self) -> dict[str, list[float]]:
        """Plain types for JSON."""
        return {"x": self.x.tolist(), "density": self.density.tolist()}


def fitted_density(x: ArrayLike, fit: PowerLaw) -> Array:
    """The fitted density at `x` [any shape], in units of 1/x. It is 0 outside of the fitted range.

    Its integral is the fitted share of the values, n/n_total. The exponent of `fit` must be t of x^t: do not pass a fit
    that `negated` returned.
    """
    cut, u0 = fit.upper_cut, fit.lower_cut / fit.upper_cut
    u = np.asarray(x, dtype=np.float64) / cut
    inside = (u > u0) & (u <= 1)
    eta = np.array([fit.exponent, *(c * cut**k for k, c in enumerate(fit.coefficients, 1))])
    log_p = np.tensordot(eta, sufficient_statistics(np.log(np.where(inside, u, 1.0)), fit.order), 1)
    return np.where(inside, np.exp(log_p - moments(eta, u0).log_z) * fit.n / fit.n_total / cut, 0.0)


def fitted_curve(values: Array, fit: PowerLaw) -> Curve:
    """The fitted density over its range. `fit` was fitted to `values` [n], and its exponent is t of x^t."""
    lowest = max(fit.lower_cut * (1 + CURVE_MARGIN), float(values[values > fit.lower_cut].min()))
    x = np.geomspace(lowest, fit.upper_cut * (1 - CURVE_MARGIN), N_CURVE_POINTS)
    return Curve(x, fitted_density(x, fit))
