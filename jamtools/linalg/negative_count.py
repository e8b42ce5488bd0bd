"""The number of negative eigenvalues, from a Lanczos quadrature whose nodes do not resolve those near zero.

    N_- = n C(0) - z/2,        C(θ_i) = Σ_{j<i} w_j + w_i/2,        C(λ_min) = 0

C estimates the share of eigenvalues below λ, where one at λ counts half: at a node θ_i the exact share lies between
Σ_{j<i} w_j and Σ_{j≤i} w_j (Chebyshev, Markov, Stieltjes), and for a smooth density near their mean. Between the nodes θ_L
< 0 < θ_R a density that changes linearly gives

    C(0) = C_L + f (C_R - C_L),      f = t - a t (1 - t),      t = |θ_L| / (θ_R - θ_L),      a = (w_R - w_L) / (w_R + w_L)

z is the known number of zero eigenvalues, and λ_min the smallest Ritz value of extreme_eigenvalues.py. Two errors add up in
squares. That of the probes follows from C as a sum Σ w g(θ). That of C(0) has a part for the shape of the density and one
for single eigenvalues, with s = n (C_R - C_L) of them between the nodes:

    (q s)² + c² s,      q = q_even + q_uneven |a|

It is no bound. It was fitted to spectra of networks, and on these the 95% intervals contain the exact number in 0.88 to 1 of
the samples of a kind (benchmarks/lanczos.py). The bounds ρ of quadrature.py hold for every spectrum and are up to fifteen
times as long. Where a gap separates eigenvalues of the size of round-off from the others, the count is that in the gap.

Source: Golub, Meurant, Matrices, Moments and Quadrature (2010) for the bounds; none for C(0), own definition above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from jamtools.linalg.extreme_eigenvalues import RitzPairs
from jamtools.linalg.quadrature import CountEstimate, Quadrature, beta_limit, christoffel
from jamtools.linalg.spectral_mass import ZeroMass
from jamtools.records import Array

#: q_even, of equal weights at both sides of zero (a = 0): the error of C(0) in units of C_R - C_L.
ERROR_EVEN = 0.03
#: q_uneven, what |a| = 1 adds to q; a is the mean over the probes.
ERROR_UNEVEN = 0.1

#: c: the single eigenvalues between two nodes deviate from a smooth density by c times the root of their number.
ERROR_OF_ONE = 0.5


@dataclass(frozen=True)
class LowEnd:
    """What the lowest Ritz values say of negative eigenvalues.

    smallest: λ_min, None where it is not known; n_negative: as many eigenvalues are negative at least (by interlacing);
    complete: whether these are all, since the next Ritz value converged and is not negative.
    """

    smallest: float | None = None
    n_negative: int = 0
    complete: bool = False

    @classmethod
    def of(cls, lowest: RitzPairs, round_off: float) -> LowEnd:
        """From the lowest Ritz pairs, ascending; round_off: |λ| of an eigenvalue that counts as zero."""
        negative = int((lowest.values < -round_off).sum())
        complete = negative < len(lowest.values) and bool(lowest.converged[: negative + 1].all())
        return cls(float(lowest.values[0]), negative, complete)


@dataclass(frozen=True)
class NegativeCount:
    """The number of eigenvalues below -round-off: estimate, standard error, interval [low, high].

    bounds: the worst case over all spectra, with the error of the probes at the same level.
    """

    value: float
    error: float
    low: float
    high: float
    bounds: tuple[float, float]


#: The count of a matrix that is known to have no negative eigenvalues.
NO_NEGATIVE = NegativeCount(0.0, 0.0, 0.0, 0.0, (0.0, 0.0))


def negative_count(
    quadrature: Quadrature,
    zero: ZeroMass,
    low_end: LowEnd | None = None,
    kernel: int = 0,
    confidence: float = 0.95,
) -> NegativeCount:
    """The number of negative eigenvalues. zero: that of this quadrature; kernel: the known number of zero eigenvalues."""
    low_end = low_end or LowEnd()
    worst = quadrature.counts(-(zero.threshold if zero.at_round_off else quadrature.round_off), confidence)
    least = low_end.n_negative
    most = least if low_end.complete else quadrature.dimension - kernel
    bounds = float(np.clip(worst.low[0], least, most)), float(np.clip(worst.high[0], least, most))
    if least == most:
        return NegativeCount(float(least), 0.0, least, least, bounds)
    estimate = worst if zero.at_round_off else _interpolated(quadrature, low_end, kernel, confidence)
    value, low, high = (
        float(np.clip(end[0], *bounds)) for end in (estimate.value, estimate.low, estimate.high)
    )
    return NegativeCount(value, float(estimate.error[0]), low, high, bounds)


class _Share(NamedTuple):
    """The share of negative eigenvalues by one probe: Σ w g and Σ w g² over the nodes, and z/2n.

    step: C_R - C_L; change: a; bound: ρ where it replaces the error q (C_R - C_L), which is then shorter.
    """

    mean: float
    mean_square: float
    kernel: float
    step: float
    change: float
    bound: float


def _interpolated(quadrature: Quadrature, low_end: LowEnd, kernel: int, confidence: float) -> CountEstimate:
    """N_- = n C(0) - z/2 [1], from the mean over the probes."""
    n, edge = quadrature.dimension, _edge(quadrature, low_end)
    parts = [_share(quadrature, i, edge, kernel / (2 * n)) for i in range(quadrature.probes)]
    mean, mean_square, half_kernel, step, change, bound = (
        np.array([quadrature.probe_weights @ column]) for column in zip(*parts)
    )
    spread = quadrature.probe_error(mean, mean_square)
    smooth = step * (ERROR_EVEN + ERROR_UNEVEN * abs(change)) + bound
    error = np.hypot(smooth, ERROR_OF_ONE * np.sqrt(step / n))
    tail = (1 - confidence) / 2
    low, high = (_probe_limit(mean, spread, tail, upper) for upper in (False, True))
    share, reach = np.maximum(mean - half_kernel, 0), -float(ndtri(tail)) * error
    return CountEstimate(
        n * share,
        n * np.hypot(spread, error),
        n * (share - np.hypot(mean - low, reach)),
        n * (share + np.hypot(high - mean, reach)),
    )


def _share(quadrature: Quadrature, i: int, edge: float, half_kernel: float) -> _Share:
    """That of the probe i. edge: λ_min / unit; half_kernel: z/2n."""
    nodes, weights = quadrature.rules[i]
    weights = weights / weights.sum()
    cut = np.array([-quadrature.round_off / quadrature.unit])
    rho = float(christoffel(quadrature.alpha[i], quadrature.beta[i], cut, quadrature.exhausted[i])[0])
    share = _between_nodes(nodes, weights, edge, half_kernel)
    if share is not None and rho > ERROR_EVEN * share.step:
        return share
    below = float(weights[nodes < cut].sum())  # nothing is known beyond the last node but the bound
    return _Share(below, below, 0.0, 0.0, 0.0, rho)


def _edge(quadrature: Quadrature, low_end: LowEnd) -> float:
    """λ_min / unit; the lowest node where it is not known."""
    if low_end.smallest is not None:
        return low_end.smallest / quadrature.unit
    return float(quadrature.scaled_nodes.min())


def _between_nodes(nodes: Array, weights: Array, edge: float, half_kernel: float) -> _Share | None:
    """C(0) of one probe, from its nodes / unit [m], its weights [m] with the sum 1, λ_min / unit, and z/2n.

    None where there are no nodes on one side of zero, nor an edge.
    """
    if edge < nodes[0]:
        nodes, weights = np.append(edge, nodes), np.append(0.0, weights)
    right = int(np.searchsorted(nodes, 0.0))
    if right in (0, len(nodes)):
        return None
    left = right - 1
    t = -nodes[left] / (nodes[right] - nodes[left])
    a = (weights[right] - weights[left]) / (weights[right] + weights[left])
    f = t - a * t * (1 - t)
    g = (np.arange(len(nodes)) < left).astype(float)
    g[left], g[right] = (1 + f) / 2, f / 2
    step = float(weights[left] + weights[right]) / 2
    return _Share(float(weights @ g), float(weights @ g**2), half_kernel, step, float(a), 0.0)


def _probe_limit(mean: Array, spread: Array, tail: float, upper: bool) -> Array:
    """The limit of a share [1] whose estimate has the standard error `spread` [1]: of the law Beta with this variance."""
    if not (spread > 0).all():
        return mean
    trials = np.maximum(2 * mean * (1 - mean) / spread**2 - 2, 1.0)
    return beta_limit(mean, trials, tail, upper)
