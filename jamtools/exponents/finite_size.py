"""Gaps of a finite system: where their power law ends, and what the exponent is without that end.

    x₀ = F x̃ N^(−1/(1−γ)),        γ(N) = γ_∞ + b N^(−ω)

Of N gaps distributed like x^−γ, of median x̃, the smallest is near x̃ N^(−1/(1−γ)). Around there a finite system
has no power law, and without a lower cut of some times that every γ comes out too small. What the cut does not
remove goes away with N, by a power that theory does not give: it is fitted with γ_∞ and b, between the limits of
OMEGA, and the interval of γ_∞ takes in every ω that the sizes do not exclude.

Measured on the spherical perceptron at N = 200, where γ = 0.413: 0.30 without a cut, 0.32 to 0.36 with x₀ = 1e-3 to
3e-3, which is F = 10 to 25.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jamtools.errors import InputError

#: Gaps in mean field (spheres in high dimension, the non-convex perceptron).
GAMMA = 0.41269

#: The cut, in units of the smallest gap that one expects.
FACTOR = 10.0

OMEGA = (0.25, 1.0)

GRID = 61

#: The largest N over the smallest that makes a trend.
LEAST = 2


def cut(typical: float, N: float, gamma: float = GAMMA) -> float:
    """x₀ below which N parameters carry no power law of gaps whose median is `typical`, in its units."""
    return FACTOR * typical * N ** (-1 / (1 - gamma))


@dataclass(frozen=True)
class Trend:
    """γ for N → ∞: the best of all ω, ω = ½ where two sizes leave them all, and the interval of all not excluded.

    p_constant: that the sizes scatter around one γ as they do; p_fit: around the trend (None with two sizes).
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
    """γ_∞ from γ(N) of two sizes or more, with standard errors; arrays [sizes].

    At each ω the fit is linear least squares, and γ_∞ lies within σ(ω) √(z² − χ²(ω) + min χ²) of it: the profile likelihood
    interval is the union of these, below γ = 1, from where on no density is. Raises InputError for N within a factor of 2.
    """
    from scipy.special import chdtrc, ndtri

    size, gamma, sigma = (np.asarray(one, dtype=np.float64) for one in (N, exponents, errors))
    if size.max() < LEAST * size.min():
        raise InputError(
            f"got N from {size.min():g} to {size.max():g}, expected a factor of {LEAST} for a trend"
        )
    z, weight = float(ndtri((1 + level) / 2)), 1 / sigma
    omegas = np.linspace(*OMEGA, GRID)
    fits = [_line(size**-omega, gamma, weight) for omega in omegas]
    chi2 = np.array([fit[2] for fit in fits])
    near = np.flatnonzero(chi2 <= chi2.min() + 1e-6)  # of two sizes all: then the middle power
    best = int(near[np.abs(omegas[near] - 0.5).argmin()])
    slack = z**2 - (chi2 - chi2[best])
    reach = [math.sqrt(covariance[0, 0] * max(room, 0.0)) for (_, covariance, _), room in zip(fits, slack)]
    ends = [(fit[0][0] - r, fit[0][0] + r) for fit, r, room in zip(fits, reach, slack) if room >= 0]
    mean = (gamma @ weight**2) / (weight @ weight)
    spread = float((((gamma - mean) * weight) ** 2).sum())
    free = len(size) - 3
    return Trend(
        exponent=float(fits[best][0][0]),
        interval=(float(min(low for low, _ in ends)), min(float(max(high for _, high in ends)), 1.0)),
        level=level,
        omega=float(omegas[best]),
        amplitude=float(fits[best][0][1]),
        p_constant=float(chdtrc(len(size) - 1, spread)),
        p_fit=float(chdtrc(free, chi2[best])) if free > 0 else None,
        n_sizes=len(size),
    )


def _line(x: Any, y: Any, weight: Any) -> tuple[Any, Any, float]:
    """Intercept and slope [2], their covariance [2, 2], and χ², of y over x by least squares."""
    design = np.stack([weight, weight * x], axis=1)
    covariance = np.linalg.inv(design.T @ design)
    found = covariance @ (design.T @ (weight * y))
    return found, covariance, float(((design @ found - weight * y) ** 2).sum())
