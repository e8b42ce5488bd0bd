"""Stochastic Lanczos quadrature of a spectrum: counts of eigenvalues and traces of functions, with their errors.

    N(x) = Σ_i θ(x - λ_i) = n E[μ_v(x)],     μ_v(x) = vᵀ θ(x - A) v / vᵀv,     v Gaussian in n dimensions

m Lanczos steps from v (lanczos.py) give a tridiagonal T. Its eigenvalues θ_i, with the squared first components w_i of its
eigenvectors, are the Gauss quadrature of μ_v: G(x) = Σ_{θ_i<x} w_i. Both measures have the same 2m - 2 moments, which bounds
the error of G (Chebyshev, Markov, Stieltjes):

    |μ_v(x) - G(x)| ≤ ρ(x) = 1 / Σ_{j<m} p_j(x)²,         β_j p_{j+1} = (x - α_j) p_j - β_{j-1} p_{j-1},   p_0 = 1

ρ falls exponentially with m in a gap and like 1/m in a continuum. The distribution of the error from the finite number k of
probes is known exactly: for a projector E of rank r, Σ vᵀEv / Σ vᵀv over k probes is distributed as Beta(k r/2, k (n-r)/2).
For any g, the estimate n Σ w g(θ) of tr g(A) has the variance 2 n² (⟨g²⟩ - ⟨g⟩²) / (n k + 2). Therefore even a single probe
has an error bar. All tolerances are relative to the matrix: the counts of A and of 1e-12 A are equal.

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016); Ubaru, Chen, Saad, SIAM J. Matrix Anal. 38, 1075 (2017); Golub,
Meurant, Matrices, Moments and Quadrature (2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh_tridiagonal
from scipy.special import betainc

from jamtools.errors import CheckError, Remedy
from jamtools.records import Array

#: The probability that a correct result fails a check. A normal variable deviates by six standard errors as rarely.
CHECK_FAILURE_PROBABILITY = 2e-9

#: Where Σ p_j² is above this, ρ = 1/Σ p_j² counts as 0, and the recurrence is stopped before it overflows.
CHRISTOFFEL_OVERFLOW = 1e200


@dataclass(frozen=True)
class Counts:
    """N(λ < x) at the points x [points]: estimate, standard error over probes, and an interval [low, high], all [points].

    The interval also contains the error of the finite number of steps.
    """

    x: Array
    value: Array
    error: Array
    low: Array
    high: Array


class CountEstimate(NamedTuple):
    """Numbers of eigenvalues [points]: estimate, standard error over probes, and the ends of the interval."""

    value: Array
    error: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Quadrature:
    """The Gauss rules of the Lanczos recurrences of k probes, in units of `unit`.

    alpha, beta: per probe the diagonal [m] and the off-diagonal [m - 1] of T. exhausted: per probe, whether the Krylov space
    ended before the last step, so that the rule is exact. squares [k]: vᵀv. dimension: n. eps: the relative precision of
    the products.
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
        """The number k of probes."""
        return len(self.squares)

    @property
    def steps(self) -> int:
        """The number m of steps of the probe with the fewest steps."""
        return min(map(len, self.alpha))

    @cached_property
    def probe_weights(self) -> Array:
        """The weight of each probe [k], proportional to vᵀv; the sum is 1."""
        return self.squares / self.squares.sum()

    @cached_property
    def rules(self) -> list[tuple[Array, Array]]:
        """Per probe θ / unit [m] and weights [m]; the weights of all probes sum to 1."""
        rules = []
        for alpha, beta, weight in zip(self.alpha, self.beta, self.probe_weights):
            nodes, vectors = eigh_tridiagonal(alpha, beta)
            rules.append((nodes, weight * vectors[0] ** 2))
        return rules

    @cached_property
    def scaled_nodes(self) -> Array:
        """θ / unit of all probes [nodes], one probe after the other."""
        return np.concatenate([nodes for nodes, _ in self.rules])

    @cached_property
    def weights(self) -> Array:
        """The share of all eigenvalues that each node represents [nodes]; the sum is 1."""
        return np.concatenate([weights for _, weights in self.rules])

    @property
    def nodes(self) -> Array:
        """θ of all probes [nodes], one probe after the other."""
        return self.scaled_nodes * self.unit

    @property
    def norm(self) -> float:
        """max |θ|, slightly below ‖A‖₂."""
        return float(np.abs(self.scaled_nodes).max()) * self.unit

    @property
    def round_off(self) -> float:
        """n·eps·‖A‖₂: an eigenvalue counts as zero if |λ| does not exceed it."""
        return self.dimension * self.eps * self.norm

    # --- counts -------------------------------------------------------------------------------------

    def counts(self, x: ArrayLike, confidence: float = 0.95) -> Counts:
        """N(λ < x) at every x [points]."""
        points = np.atleast_1d(np.asarray(x, dtype=float))
        scaled = points / self.unit
        share = np.array([self.weights[self.scaled_nodes < s].sum() for s in scaled])
        rho = self.step_error(scaled)
        return Counts(points, *self.count_estimate(share, share - rho, share + rho, confidence))

    def count_estimate(self, share: Array, lower: Array, upper: Array, confidence: float) -> CountEstimate:
        """The counts from the share of the spectrum that the probes give, and its bounds lower and upper, all [points]."""
        n, k, tail = self.dimension, self.probes, (1 - confidence) / 2
        round_off = max(map(len, self.alpha)) * self.eps  # of a sum of weights
        low = beta_limit(lower - round_off, n * k, tail, upper=False)
        high = beta_limit(upper + round_off, n * k, tail, upper=True)
        share = np.clip(share, 0, 1)
        return CountEstimate(n * share, n * self.probe_error(share, share), n * low, n * high)

    def probe_error(self, mean: Array, mean_square: Array) -> Array:
        """The standard error over k probes of ⟨g⟩ [points], from ⟨g⟩ and ⟨g²⟩ [points]."""
        variance = 2 * np.clip(mean_square - mean**2, 0, None) / (self.dimension * self.probes + 2)
        return np.sqrt(variance)

    def step_error(self, scaled: Array) -> Array:
        """ρ [points], the bound on the error of G, at x / unit [points]; the mean over the probes."""
        parts = [
            weight * christoffel(alpha, beta, scaled, exhausted)
            for alpha, beta, exhausted, weight in zip(
                self.alpha, self.beta, self.exhausted, self.probe_weights
            )
        ]
        return np.sum(parts, axis=0)

    # --- traces -------------------------------------------------------------------------------------

    def trace(self, g: Callable[[Array], Array] = lambda t: t) -> tuple[float, float]:
        """tr g(A) and its standard error over probes, for an elementwise g [nodes] -> [nodes]; by default tr A."""
        values = g(self.nodes)
        mean, mean_square = np.array(self.weights @ values), np.array(self.weights @ values**2)
        return float(self.dimension * mean), float(self.dimension * self.probe_error(mean, mean_square))

    def check_trace(self, exact: float, name: str = "the matrix", nonnegative: bool = False) -> None:
        """Raises CheckError when the estimate of tr A is farther from `exact` than Gaussian probes allow.

        |vᵀAv/k - tr A| ≤ 2 ‖A‖_F √(s/k) + 2 ‖A‖₂ s/k except with probability 2e⁻ˢ = CHECK_FAILURE_PROBABILITY (Laurent,
        Massart, Ann. Stat. 28, 1302 (2000)). ‖A‖_F² ≤ tr A ‖A‖₂ for a matrix without negative eigenvalues
        (`nonnegative`); otherwise it is estimated.
        """
        nodes, n = self.scaled_nodes, self.dimension
        exact /= self.unit
        total = self.squares.sum() / self.probes
        estimate, largest = total * float(self.weights @ nodes), float(np.abs(nodes).max())
        frobenius = abs(exact) * largest if nonnegative else total * float(self.weights @ nodes**2)
        s = math.log(2 / CHECK_FAILURE_PROBABILITY)
        allowed = 2 * math.sqrt(frobenius * s / self.probes) + 2 * largest * s / self.probes
        allowed += n * self.eps * (n * largest)
        if not abs(estimate - exact) <= allowed:
            raise CheckError(
                f"the trace of {name} is {estimate * self.unit:.6g} by {self.probes} probes, expected "
                f"{exact * self.unit:.6g} within {allowed * self.unit:.1g}",
                Remedy.OTHER_DEVICE,
            )

    def largest_count(self, share: Array) -> float:
        """The largest number of eigenvalues that agrees with `share` [1], except with CHECK_FAILURE_PROBABILITY."""
        trials = self.dimension * self.probes
        limit = beta_limit(share, trials, CHECK_FAILURE_PROBABILITY, upper=True)
        return float(self.dimension * limit[0])


def christoffel(alpha: Array, beta: Array, x: Array, exhausted: bool) -> Array:
    """ρ(x) = 1 / Σ_{j<m} p_j(x)² [points], and 0 where the rule is exact; alpha [m], beta [m - 1], x [points]."""
    if exhausted:
        return np.zeros_like(x)
    previous, current, total = np.zeros_like(x), np.ones_like(x), np.ones_like(x)
    for j in range(len(beta)):
        coefficient = beta[j - 1] if j else 0.0
        previous, current = current, ((x - alpha[j]) * current - coefficient * previous) / beta[j]
        total += current**2
        large = total > CHRISTOFFEL_OVERFLOW
        previous[large], current[large] = 0.0, 0.0
    return np.where(total > CHRISTOFFEL_OVERFLOW, 0.0, 1 / total)


def beta_limit(share: Array, trials: float | Array, tail: float, upper: bool) -> Array:
    """The limit of p = r/n [points] for an observed `share` [points] of the law Beta(p M/2, (1 - p) M/2).

    trials: M, [points] or for all; n k for k probes in n dimensions.

    At the upper limit, the probability of a smaller share is `tail`; at the lower limit, that of a larger share is.
    """
    share = np.clip(share, 0, 1)
    low, high = np.zeros_like(share), np.ones_like(share)
    while (high - low > np.finfo(float).eps).any():
        p = (low + high) / 2
        below = betainc(trials * p / 2, trials * (1 - p) / 2, share)
        too_small = (below > tail) if upper else (1 - below < tail)
        low, high = np.where(too_small, p, low), np.where(too_small, high, p)
    return np.where(share >= 1, 1.0, high) if upper else np.where(share <= 0, 0.0, low)
