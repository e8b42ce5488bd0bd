"""Gaps of a finite system: where their power law ends, and the exponent of an infinite system.

    x₀ = F x̃ N^(−1/(1−γ)),        γ(N) = γ_∞ + b N^(−ω)

Of N gaps distributed like x^−γ, with median x̃, the smallest is near x̃ N^(−1/(1−γ)). Around that gap a finite system has
no power law, and without a lower cut of some times that gap every γ comes out too small. What the cut does not remove
vanishes with N, with a power that theory does not give: ω is fitted together with γ_∞ and b, between the limits of
SIZE_EXPONENT_RANGE, and the interval of γ_∞ contains every ω that the sizes do not exclude.

Measured on the spherical perceptron at N = 200, where γ = 0.413: 0.30 without a cut, 0.32 to 0.36 with x₀ = 1e-3 to
3e-3, which is F = 10 to 25.

Source: none, own derivation above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jamtools.errors import InputError, JamError
from jamtools.exponents.powerlaw import PowerLaw
from jamtools.exponents.references import (
    GAMMA_REFERENCES,
    MEAN_FIELD_GAMMA,
    SIGNIFICANCE,
    Comparison,
    MeasuredExponent,
    compare_with_references,
)
from jamtools.records import Array

#: F: the lower cut, in units of the smallest gap that is expected.
FINITE_SIZE_CUT_FACTOR = 10.0

#: The smallest and the largest ω.
SIZE_EXPONENT_RANGE = (0.25, 1.0)

N_SIZE_EXPONENTS = 61

#: The least ratio of the largest N to the smallest that determines a trend.
MIN_SIZE_RATIO = 2

#: Fits whose χ² differ by less are equally good: with two sizes, those of every ω.
CHI2_TIE = 1e-6


def finite_size_cut(typical: float, N: float, gamma: float = MEAN_FIELD_GAMMA) -> float:
    """x₀ below which N parameters show no power law of gaps of median `typical`, in units of `typical`."""
    return FINITE_SIZE_CUT_FACTOR * typical * N ** (-1 / (1 - gamma))


@dataclass(frozen=True)
class Trend:
    """γ for N → ∞: that of the best ω (ω = ½ where two sizes allow every ω), and the interval over all ω not excluded.

    p_constant: the probability that the sizes scatter this much around a single γ; p_fit: around the trend (None with two
    sizes or three); amplitude: b.
    """

    exponent: float
    interval: tuple[float, float]
    level: float
    omega: float
    amplitude: float
    p_constant: float
    p_fit: float | None
    n_sizes: int

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {**asdict(self), "interval": list(self.interval)}


def extrapolate(N: ArrayLike, exponents: ArrayLike, errors: ArrayLike, level: float = 0.95) -> Trend:
    """γ_∞ from γ(N) of two sizes or more: N, exponents and their standard errors, all [sizes].

    At each ω the fit is linear least squares, and γ_∞ lies within σ(ω) √(z² − χ²(ω) + min χ²) of its value. The profile
    likelihood interval is the union of these over ω, below γ = 1, above which no density can be normalised.
    Raises InputError for N within a factor of MIN_SIZE_RATIO.
    """
    from scipy.special import chdtrc, ndtri

    size, gamma, sigma = (np.asarray(values, dtype=np.float64) for values in (N, exponents, errors))
    if size.max() < MIN_SIZE_RATIO * size.min():
        raise InputError(
            f"got N from {size.min():g} to {size.max():g}, expected a factor of {MIN_SIZE_RATIO} for a trend"
        )
    z, weight = float(ndtri((1 + level) / 2)), 1 / sigma
    omegas = np.linspace(*SIZE_EXPONENT_RANGE, N_SIZE_EXPONENTS)
    lines = [_fit_line(size**-omega, gamma, weight) for omega in omegas]
    chi2 = np.array([line.chi2 for line in lines])
    tied = np.flatnonzero(chi2 <= chi2.min() + CHI2_TIE)  # with two sizes all of them: then the middle power
    best = int(tied[np.abs(omegas[tied] - 0.5).argmin()])
    mean = (gamma @ weight**2) / (weight @ weight)
    scatter = float((((gamma - mean) * weight) ** 2).sum())
    n_free = len(size) - 3
    return Trend(
        exponent=float(lines[best].coefficients[0]),
        interval=_profile_interval(lines, z**2 - (chi2 - chi2[best])),
        level=level,
        omega=float(omegas[best]),
        amplitude=float(lines[best].coefficients[1]),
        p_constant=float(chdtrc(len(size) - 1, scatter)),
        p_fit=float(chdtrc(n_free, chi2[best])) if n_free > 0 else None,
        n_sizes=len(size),
    )


class _Line(NamedTuple):
    """Intercept and slope [2], their covariance [2, 2], and χ², of a least-squares line."""

    coefficients: Array
    covariance: Array
    chi2: float


def _fit_line(x: Array, y: Array, weight: Array) -> _Line:
    """The line through y [n] over x [n], each value weighted by 1/σ = `weight` [n]."""
    design = np.stack([weight, weight * x], axis=1)
    covariance = np.linalg.inv(design.T @ design)
    coefficients = covariance @ (design.T @ (weight * y))
    return _Line(coefficients, covariance, float(((design @ coefficients - weight * y) ** 2).sum()))


def _profile_interval(lines: Sequence[_Line], slack: Array) -> tuple[float, float]:
    """The union of the intervals of γ_∞ at each ω; slack [ω]: z² less the excess of χ²."""
    lows, highs = [], []
    for line, room in zip(lines, slack):
        if room >= 0:
            reach = math.sqrt(line.covariance[0, 0] * max(room, 0.0))
            lows.append(line.coefficients[0] - reach)
            highs.append(line.coefficients[0] + reach)
    return float(min(lows)), min(float(max(highs)), 1.0)


@dataclass(frozen=True)
class SizeFit:
    """γ of the runs of one N: the fit (of γ, not of t = −γ) to n gaps, or why there is none."""

    N: int
    n_runs: int
    n: int
    fit: PowerLaw | None
    refusal: InputError | None = None

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` puts an error into words."""
        row: dict[str, Any] = {"N": self.N, "n_runs": self.n_runs}
        if self.fit is None:
            reason = {"refused": wording(self.refusal)} if self.refusal else {}
            return row | {"exponent": None, "interval": None, "n": self.n} | reason
        fields = ("exponent", "interval", "standard_error", "reach", "n", "lower_cut", "settled")
        record = self.fit.as_dict()
        return row | {name: record[name] for name in fields}


@dataclass(frozen=True)
class SizeDependence:
    """γ of the runs of each N, and γ for N → ∞ with its comparison with known values, or why there is no limit."""

    sizes: tuple[SizeFit, ...]
    limit: Trend | None
    comparison: Comparison | None
    refusal: InputError | None = None

    @property
    def sizes_differ(self) -> bool:
        """Whether the values of γ(N) exclude a single γ."""
        return self.limit is not None and self.limit.p_constant <= SIGNIFICANCE

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` puts an error into words."""
        limit: dict[str, Any] = {"exponent": None, "interval": None}
        if self.limit and self.comparison:
            limit = self.limit.as_dict() | self.comparison.as_dict()
        elif self.refusal:
            limit["refused"] = wording(self.refusal)
        return {"sizes": [size.as_dict(wording) for size in self.sizes], "extrapolated": limit}


def size_dependence(sizes: Sequence[SizeFit], level: float) -> SizeDependence:
    """γ for N → ∞ from the sizes that have a fit. The error of each is its standard error combined with its reach."""
    fits = [(size.N, size.fit) for size in sizes if size.fit is not None]
    errors = [math.hypot(fit.standard_error, *fit.reach) for _, fit in fits]
    try:
        if len(fits) < 2:
            raise InputError(f"{len(fits)} of {len(sizes)} sizes have an exponent, expected two")
        trend = extrapolate([N for N, _ in fits], [fit.exponent for _, fit in fits], errors, level)
    except InputError as error:
        return SizeDependence(tuple(sizes), None, None, error)
    measured = MeasuredExponent(
        exponent=trend.exponent,
        interval=trend.interval,
        level=level,
        standard_error=_standard_error(trend),
        reach=(0.0, 0.0),
        n=sum(fit.n for _, fit in fits),
    )
    return SizeDependence(tuple(sizes), trend, compare_with_references(measured, GAMMA_REFERENCES))


def _standard_error(trend: Trend) -> float:
    """The standard error of which the interval would be the normal one."""
    from scipy.special import ndtri

    low, high = trend.interval
    return (high - low) / 2 / float(ndtri((1 + trend.level) / 2))
