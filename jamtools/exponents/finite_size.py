"""Gaps of a finite system: where their power law ends, and the exponent of an infinite system.

    x₀ = F x̃ N^(−1/(1−γ)),        γ(N) = γ_∞ + b N^(−ω)

The smallest of N gaps that are distributed like x^−γ with median x̃ is near x̃ N^(−1/(1−γ)). Near this gap a finite system
has no power law. The lower cut x₀ must be several times larger than this gap: without it every fitted γ is too small. The
bias that remains above the cut vanishes like N^(−ω). Theory does not give ω. It is fitted together with γ_∞ and b, within
SIZE_EXPONENT_RANGE, and the interval of γ_∞ is the union over all ω that the sizes do not exclude.

Test: for the spherical perceptron at N = 200 the true γ is 0.413. The fit gives 0.30 without a cut, and 0.32 to 0.36 with
x₀ = 1e-3 to 3e-3, which is F = 10 to 25.

Source: none, own derivation above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
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
    Origin,
    compare_with_references,
    too_long,
)
from jamtools.records import Array

#: F: the lower cut, in units of the smallest gap that is expected.
FINITE_SIZE_CUT_FACTOR = 10.0

#: The smallest and the largest ω.
SIZE_EXPONENT_RANGE = (0.25, 1.0)

N_SIZE_EXPONENTS = 61

#: A trend is fitted only if the ratio of the largest N to the smallest is at least this.
MIN_SIZE_RATIO = 2

#: From this N on, γ of one size is compared with known values. At N = 200 the fit to spherical perceptrons is 0.05 to 0.1
#: too low. If this falls like N^-½, it is 0.02 to 0.03 at N = 2000, less than known values differ.
LARGE_N = 2000

#: Fits whose χ² differ by at most this are equally good. With two sizes, the fits of all ω are.
CHI2_TIE = 1e-6


def finite_size_cut(typical: float, N: float, gamma: float = MEAN_FIELD_GAMMA) -> float:
    """The lower cut x₀ for gaps with the median `typical` in a system of N parameters, in the unit of `typical`."""
    return FINITE_SIZE_CUT_FACTOR * typical * N ** (-1 / (1 - gamma))


@dataclass(frozen=True)
class Trend:
    """γ for N → ∞ from n_sizes values of N.

    exponent: γ_∞ at the best ω; interval: of γ_∞ over all ω that are not excluded; omega: the best ω, or ½ where two sizes
    allow every ω; amplitude: b. p_constant: the p-value of a single γ for all sizes; p_fit: the p-value of the trend, None
    with two or three sizes.
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
    """γ_∞ from the exponents γ(N) of two or more sizes; N, exponents and errors (their standard errors) are [sizes].

    At each ω the fit is linear least squares. Its interval is γ_∞(ω) ± σ(ω) √(z² − χ²(ω) + min χ²). The profile-likelihood
    interval is the union of these intervals over ω. It ends at γ = 1, since no density with a larger γ can be normalised.
    Raises InputError where the largest N is less than MIN_SIZE_RATIO times the smallest.
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
    tied = np.flatnonzero(chi2 <= chi2.min() + CHI2_TIE)  # with two sizes every ω: then the ω nearest to ½
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
    """The union of the intervals of γ_∞ over ω, from the lines at each ω; slack [omegas]: z² − χ²(ω) + min χ²."""
    lows, highs = [], []
    for line, room in zip(lines, slack):
        if room >= 0:
            reach = math.sqrt(line.covariance[0, 0] * max(room, 0.0))
            lows.append(line.coefficients[0] - reach)
            highs.append(line.coefficients[0] + reach)
    return float(min(lows)), min(float(max(highs)), 1.0)


@dataclass(frozen=True)
class SizeFit:
    """γ of the runs of one N: the fit to n gaps, with γ as its exponent (not t = −γ), or the reason for its refusal."""

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
        fields = ("exponent", "interval", "standard_error", "reach", "n", "lower_cut", "settled", "drift")
        record = self.fit.as_dict()
        return row | {name: record[name] for name in fields}


@dataclass(frozen=True)
class SizeDependence:
    """γ at each N, and the limit for N → ∞ with its comparison with known values, or the reason why there is no limit."""

    sizes: tuple[SizeFit, ...]
    limit: Trend | None
    comparison: Comparison | None
    refusal: InputError | None = None

    @property
    def sizes_differ(self) -> bool:
        """Whether the values of γ(N) exclude a single γ."""
        return self.limit is not None and self.limit.p_constant <= SIGNIFICANCE

    @property
    def limit_is_meant(self) -> bool:
        """Whether γ of one size is not that of a large system: the sizes differ, or the smallest N is small."""
        return self.sizes_differ or min(size.N for size in self.sizes) < LARGE_N

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` puts an error into words."""
        limit: dict[str, Any] = {"exponent": None, "interval": None}
        if self.limit and self.comparison:
            limit = self.limit.as_dict() | self.comparison.as_dict()
        elif self.refusal:
            limit["refused"] = wording(self.refusal)
        return {"sizes": [size.as_dict(wording) for size in self.sizes], "extrapolated": limit}


def size_dependence(sizes: Sequence[SizeFit], level: float, origin: Origin | None = None) -> SizeDependence:
    """γ for N → ∞ from the sizes that have a fit. Standard error and reach of a fit are added in quadrature.

    A fit whose exponent drifts has no γ. origin: what the runs are, for the verdict. There is no limit where its interval is
    longer than MAX_INTERVAL_LENGTH.
    """
    fits = [(size.N, size.fit) for size in sizes if size.fit is not None and not size.fit.drift]
    errors = [math.hypot(fit.standard_error, *fit.reach) for _, fit in fits]
    try:
        if len(fits) < 2:
            raise InputError(f"{len(fits)} of {len(sizes)} sizes have an exponent, expected two")
        trend = extrapolate([N for N, _ in fits], [fit.exponent for _, fit in fits], errors, level)
        if reason := too_long(trend.interval, sum(fit.n for _, fit in fits)):
            raise InputError(reason)
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
    origin = replace(origin, symbol="γ for N → ∞") if origin else None
    return SizeDependence(tuple(sizes), trend, compare_with_references(measured, GAMMA_REFERENCES, origin))


def _standard_error(trend: Trend) -> float:
    """The standard error of a normal distribution that has an interval of the same length at the same level."""
    from scipy.special import ndtri

    low, high = trend.interval
    return (high - low) / 2 / float(ndtri((1 + trend.level) / 2))
