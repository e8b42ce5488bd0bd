"""What stochastic Lanczos quadrature says of a spectrum: counts, the mass at zero, the density, moments.

    N(x) = Σ_i θ(x - λ_i) = n E[μ_v(x)],     μ_v(x) = vᵀ θ(x - A) v / vᵀv,     v Gaussian in n dimensions

m Lanczos steps from v (lanczos.py) give a tridiagonal T; its eigenvalues θ_i, with the squared first components of its
eigenvectors w_i, are the Gauss quadrature of μ_v: G(x) = Σ_{θ_i<x} w_i. What that leaves open is bounded
(Chebyshev, Markov, Stieltjes), since both measures have the same 2m - 2 moments:

    |μ_v(x) - G(x)| ≤ ρ(x) = 1 / Σ_{j<m} p_j(x)²,         β_j p_{j+1} = (x - α_j) p_j - β_{j-1} p_{j-1},   p_0 = 1

ρ falls exponentially with m in a gap and like 1/m in a continuum. What k probes leave open follows from an exact law:
pooled, Σ vᵀEv / Σ vᵀv of a projector E of rank r is Beta(k r/2, k (n-r)/2), and for any g the estimate n Σ w g(θ)
of tr g(A) has the variance 2 n² (⟨g²⟩ - ⟨g⟩²) / (n k + 2). So one probe has an error bar, and few have a good one.
Every tolerance is relative to the matrix: one of size 1e-12 has the same counts.

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016); Ubaru, Chen, Saad, SIAM J. Matrix Anal. 38, 1075 (2017); Golub,
Meurant, Matrices, Moments and Quadrature (2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.special import betainc

from jamtools.errors import CheckError, InputError

Array = NDArray[np.float64]

#: A check that fails by chance does so this seldom: that of six standard errors of a normal variable.
RARE = 2e-9

#: The grid of a density reaches this many widths beyond the outermost eigenvalues: all but 6e-7 of what is smeared.
TAIL = 5.0

#: Thresholds that are tried for the mass at zero, per factor of ten.
PER_DECADE = 8


@dataclass(frozen=True)
class Counts:
    """N(λ < x) at each x: the estimate, its standard error over probes, and the interval that holds the steps' share too."""

    x: Array
    value: Array
    error: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Mass:
    """The number of eigenvalues |λ| ≤ threshold: estimate, standard error over probes and interval.

    resolved: whether what the steps leave open is within that standard error. If not, the threshold is round-off and
    the value an upper bound, the largest mass at zero that the moments allow; more steps lower it.
    """

    value: float
    error: float
    low: float
    high: float
    threshold: float
    resolved: bool


@dataclass(frozen=True)
class Density:
    """Eigenvalues per unit of λ, smeared by a Gaussian of standard deviation `width`, without a resolved mass at zero.

    x, y and the standard error of y over probes [points]; empty when there is nothing but the mass at zero.
    """

    x: Array
    y: Array
    error: Array
    width: float


@dataclass(frozen=True)
class Quadrature:
    """What the Lanczos recurrences of k probes know of the spectrum of an operator.

    alpha, beta: per probe the diagonal [m] and the off-diagonal [m - 1] of T, in units of `unit`; exhausted [k]: the
    recurrence ended of itself, so that the rule is exact; squares [k]: vᵀv; dimension: n; eps: of the products.
    """

    alpha: tuple[Array, ...]
    beta: tuple[Array, ...]
    exhausted: tuple[bool, ...]
    squares: Array
    dimension: int
    unit: float
    eps: float

    @property
    def probes(self) -> int:
        return len(self.squares)

    @property
    def steps(self) -> int:
        """Of the probe that has the fewest."""
        return min(map(len, self.alpha))

    @cached_property
    def _rules(self) -> list[tuple[Array, Array]]:
        """Per probe θ in units of `unit` and its weights; the weights of all probes sum to 1."""
        rules = []
        for alpha, beta, share in zip(self.alpha, self.beta, self._shares):
            nodes, vectors = eigh_tridiagonal(alpha, beta)
            rules.append((nodes, share * vectors[0] ** 2))
        return rules

    @cached_property
    def _shares(self) -> Array:
        return self.squares / self.squares.sum()

    @cached_property
    def _nodes(self) -> Array:
        return np.concatenate([nodes for nodes, _ in self._rules])

    @cached_property
    def _weights(self) -> Array:
        return np.concatenate([weights for _, weights in self._rules])

    @property
    def nodes(self) -> Array:
        """θ of all probes, one probe after the other."""
        return self._nodes * self.unit

    @property
    def weights(self) -> Array:
        """The part of all eigenvalues that each node stands for; they sum to 1."""
        return self._weights

    @property
    def norm(self) -> float:
        """max |θ|, which ‖A‖₂ exceeds by little."""
        return float(np.abs(self._nodes).max()) * self.unit

    def counts(self, x: ArrayLike, confidence: float = 0.95) -> Counts:
        """N(λ < x) at every x [points]."""
        points = np.atleast_1d(np.asarray(x, dtype=float))
        scaled = points / self.unit
        part = np.array([self._weights[self._nodes < one].sum() for one in scaled])
        unknown = self._unknown(scaled)
        return Counts(points, *self._interval(part, part - unknown, part + unknown, confidence))

    def _interval(
        self, part: Array, least: Array, most: Array, confidence: float
    ) -> tuple[Array, Array, Array, Array]:
        """Value, standard error, low and high of a count whose measured part lies between least and most."""
        n, k, tail = self.dimension, self.probes, (1 - confidence) / 2
        round_off = max(map(len, self.alpha)) * self.eps  # in sums of weights
        low = _beta_limit(least - round_off, n, k, tail, upper=False)
        high = _beta_limit(most + round_off, n, k, tail, upper=True)
        part = np.clip(part, 0, 1)
        return n * part, n * self._deviation(part, part), n * low, n * high

    def _deviation(self, mean: Array, square: Array) -> Array:
        """The standard deviation of ⟨g⟩ over k probes, from ⟨g⟩ and ⟨g²⟩."""
        variance = 2 * np.clip(square - mean**2, 0, None) / (self.dimension * self.probes + 2)
        return np.sqrt(variance)

    def _unknown(self, x: Array) -> Array:
        """ρ(x), the mean over the probes."""
        each = [
            share * _christoffel(alpha, beta, x, exhausted)
            for alpha, beta, exhausted, share in zip(self.alpha, self.beta, self.exhausted, self._shares)
        ]
        return np.sum(each, axis=0)

    # --- the mass at zero ---------------------------------------------------------------------------

    @property
    def round_off(self) -> float:
        """|λ| up to n·eps·‖A‖₂ is zero."""
        return self.dimension * self.eps * self.norm

    def zero(self, confidence: float = 0.95, at_least: int = 0) -> Mass:
        """The mass at zero, which is not smeared: a number of eigenvalues with its interval.

        The threshold is the smallest at which the steps leave less open than the probes do: with a kernel and a gap it
        lies in the gap. at_least: what is known, such as n - N_Δ for H0. Raises CheckError where that is contradicted.
        """
        thresholds = self._thresholds()
        part = np.array([self._weights[np.abs(self._nodes) <= t].sum() for t in thresholds])
        unknown = self._unknown(thresholds) + self._unknown(-thresholds)
        most = np.clip(part + unknown, 0, 1)
        resolved = unknown <= self._deviation(most, most)
        pick = int(resolved.argmax())  # the first that is, else round-off
        here = slice(pick, pick + 1)
        if resolved[pick]:
            found = part[here], part[here] - unknown[here], most[here]
        else:
            largest = np.maximum(self._unknown(np.zeros(1)), part[here])
            found = largest, np.zeros(1), largest
        self._check_at_least(found[2], at_least)
        value, error, low, high = (float(a[0]) for a in self._interval(*found, confidence))
        threshold = float(thresholds[pick]) * self.unit
        return Mass(
            max(value, at_least),
            error,
            max(low, at_least),
            max(high, at_least),
            threshold,
            bool(resolved[pick]),
        )

    def _thresholds(self) -> Array:
        """From round-off to the second node beyond it: only one node may still be on its way to zero."""
        start = self.round_off / self.unit
        beyond = [np.sort(np.abs(nodes)[np.abs(nodes) > start]) for nodes, _ in self._rules]
        edge = min((b[min(1, len(b) - 1)] for b in beyond if len(b)), default=start)
        if not edge > start > 0:
            return np.array([start])
        number = math.ceil(PER_DECADE * math.log10(edge / start))
        return np.geomspace(start, edge, number + 1)[:-1]

    def _check_at_least(self, part: Array, at_least: int) -> None:
        most = self.dimension * _beta_limit(part, self.dimension, self.probes, RARE, upper=True)[0]
        if not most >= at_least * (1 - self.dimension * self.eps):
            raise CheckError(
                f"the probes find at most {most:.0f} eigenvalues at zero, at least {at_least} are known to be there; "
                "run it on another --device"
            )

    # --- the density --------------------------------------------------------------------------------

    @property
    def resolution(self) -> float:
        """(largest - smallest θ, zero among them) / m.

        The Chebyshev coefficients of a Gaussian of this width are below e⁻⁸ beyond the degree 2m to which the rule
        is exact: a narrower one shows the nodes, not the spectrum.
        """
        return (max(self._nodes.max(), 0.0) - min(self._nodes.min(), 0.0)) / self.steps * self.unit

    def density(self, points: int = 512, width: float | None = None, zero: Mass | None = None) -> Density:
        """The smeared density on a grid, without the mass `zero` (by default `self.zero()`) if that is resolved.

        Its integral is n - zero.value then, and n if the mass at zero could not be told from what lies around it.
        """
        zero = self.zero() if zero is None else zero
        width = self.resolution if width is None else width
        if points < 2 or width < 0:
            raise InputError(
                f"got {points} points and a width of {width}, expected at least 2 and a positive one"
            )
        away = np.abs(self._nodes) > (zero.threshold / self.unit if zero.resolved else -1.0)
        nodes, weights = self._nodes[away], self._weights[away]
        if not away.any():
            return Density(np.empty(0), np.empty(0), np.empty(0), width)
        sigma = width / self.unit
        x = np.linspace(nodes.min() - TAIL * sigma, nodes.max() + TAIL * sigma, points)
        mean, square = np.empty(points), np.empty(points)
        for i, one in enumerate(x):
            kernel = np.exp(-0.5 * ((one - nodes) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
            mean[i], square[i] = weights @ kernel, weights @ kernel**2
        factor = self.dimension / self.unit
        return Density(x * self.unit, mean * factor, self._deviation(mean, square) * factor, width)

    # --- moments ------------------------------------------------------------------------------------

    def trace(self, g: Callable[[Array], Array] = lambda t: t) -> tuple[float, float]:
        """tr g(A) and its standard error over probes; g is the identity unless told otherwise."""
        values = g(self.nodes)
        mean, square = np.array(self._weights @ values), np.array(self._weights @ values**2)
        return float(self.dimension * mean), float(self.dimension * self._deviation(mean, square))

    def check_trace(self, exact: float, name: str = "the matrix", nonnegative: bool = False) -> None:
        """Raises CheckError when tr A is farther from its exact value than Gaussian probes allow, but for RARE.

        |vᵀAv/k - tr A| ≤ 2 ‖A‖_F √(s/k) + 2 ‖A‖₂ s/k but for a chance of 2e⁻ˢ (Laurent, Massart, Ann. Stat. 28, 1302
        (2000)); ‖A‖_F² ≤ tr A ‖A‖₂ for a matrix without negative eigenvalues, else it is estimated.
        """
        nodes, n = self._nodes, self.dimension
        exact /= self.unit
        total = self.squares.sum() / self.probes
        estimate, largest = total * float(self._weights @ nodes), float(np.abs(nodes).max())
        square = abs(exact) * largest if nonnegative else total * float(self._weights @ nodes**2)
        s = math.log(2 / RARE)
        allowed = 2 * math.sqrt(square * s / self.probes) + 2 * largest * s / self.probes
        allowed += n * self.eps * (n * largest)
        if not abs(estimate - exact) <= allowed:
            raise CheckError(
                f"the trace of {name} is {estimate * self.unit:.6g} by {self.probes} probes, expected "
                f"{exact * self.unit:.6g} within {allowed * self.unit:.1g}; run it on another --device"
            )


def _christoffel(alpha: Array, beta: Array, x: Array, exhausted: bool) -> Array:
    """ρ(x) = 1 / Σ_{j<m} p_j(x)², and 0 where the recurrence has exhausted the measure."""
    if exhausted:
        return np.zeros_like(x)
    last, here, total = np.zeros_like(x), np.ones_like(x), np.ones_like(x)
    for j in range(len(beta)):
        back = beta[j - 1] if j else 0.0
        last, here = here, ((x - alpha[j]) * here - back * last) / beta[j]
        total += here**2
        large = total > 1e200  # 1/ρ of no more interest, and before it overflows
        last[large], here[large] = 0.0, 0.0
    return np.where(total > 1e200, 0.0, 1 / total)


def _beta_limit(part: Array, n: int, k: int, tail: float, upper: bool) -> Array:
    """The p = r/n at which a share as far out as `part` is met with chance `tail`: Beta(k r/2, k (n-r)/2) inverted."""
    part = np.clip(part, 0, 1)
    low, high = np.zeros_like(part), np.ones_like(part)
    while (high - low > np.finfo(float).eps).any():
        p = (low + high) / 2
        below = betainc(n * k * p / 2, n * k * (1 - p) / 2, part)
        more = (below > tail) if upper else (1 - below < tail)
        low, high = np.where(more, p, low), np.where(more, high, p)
    return np.where(part >= 1, 1.0, high) if upper else np.where(part <= 0, 0.0, low)
