"""The number of zero eigenvalues, from a Lanczos quadrature.

    r = #{|λ| ≤ τ} ≈ n Σ_{|θ_i| ≤ τ} w_i,        error of the steps: ρ(τ) + ρ(-τ)

The threshold τ is the smallest at which the error of the steps is within that of the probes. If the kernel is separated
from the rest by a gap, τ lies in the gap. Without a gap there is no such τ. Then τ is round-off, and r is an upper bound,
the largest mass at 0 that the moments allow, ρ(0).

Source: Golub, Meurant, Matrices, Moments and Quadrature (2010) for ρ; the choice of τ is our own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from jamtools.errors import CheckError, Remedy
from jamtools.linalg.quadrature import Quadrature
from jamtools.records import Array

#: Fewer eigenvalues than this are none: of those between round-off and τ.
NONE_OF_THEM = 0.1

#: Values of τ that are tried, per factor of ten.
THRESHOLDS_PER_DECADE = 8


@dataclass(frozen=True)
class ZeroMass:
    """The number of eigenvalues |λ| ≤ threshold: estimate, standard error over probes, and interval [low, high].

    resolved: whether the error of the steps is within the standard error. If not, the threshold is the round-off, and the
    value is an upper bound, which decreases with more steps, unless it is known otherwise (exact). at_round_off: whether it
    is resolved and all nodes below the threshold are round-off, so that these eigenvalues are zero and not only small.
    """

    value: float
    error: float
    low: float
    high: float
    threshold: float
    resolved: bool
    at_round_off: bool = False
    exact: bool = False

    def known(self, number: int) -> ZeroMass:
        """The same threshold, with a number that is known exactly."""
        return replace(
            self, value=float(number), error=0.0, low=float(number), high=float(number), exact=True
        )


def zero_mass(quadrature: Quadrature, confidence: float = 0.95, at_least: int = 0) -> ZeroMass:
    """The number of zero eigenvalues. at_least: a known lower bound, such as n - N_Δ for H0.

    Raises CheckError when the probes contradict the lower bound.
    """
    thresholds, n = _thresholds(quadrature), quadrature.dimension
    nodes, weights = np.abs(quadrature.scaled_nodes), quadrature.weights
    share = np.array([weights[nodes <= tau].sum() for tau in thresholds])
    rho = quadrature.step_error(thresholds) + quadrature.step_error(-thresholds)
    upper = np.clip(share + rho, 0, 1)
    is_resolved = rho <= quadrature.probe_error(upper, upper)
    i = int(is_resolved.argmax())  # the first resolved threshold, or the first of all: round-off
    chosen, resolved = slice(i, i + 1), bool(is_resolved[i])
    at_round_off = resolved and n * float(share[i] - share[0]) < NONE_OF_THEM
    if resolved:  # small eigenvalues in the gap's mass need not be zero
        bounds = share[chosen], np.minimum(share[chosen] - rho[chosen], share[0]), upper[chosen]
    else:
        largest = np.maximum(quadrature.step_error(np.zeros(1)), share[chosen])
        bounds = largest, np.zeros(1), largest
    _check_lower_bound(quadrature, bounds[2], at_least)
    value, error, low, high = (float(a[0]) for a in quadrature.count_estimate(*bounds, confidence))
    threshold = float(thresholds[i]) * quadrature.unit
    return ZeroMass(
        max(value, at_least),
        error,
        max(low, at_least),
        max(high, at_least),
        threshold,
        resolved,
        at_round_off,
    )


def _thresholds(quadrature: Quadrature) -> Array:
    """The values of τ / unit [thresholds] that are tried.

    They begin at the round-off and end at the second node above it, in the probe where this node is smallest. The first
    node above the round-off need not be the end of the gap: in each probe, one node may not have converged to zero yet.
    """
    start = quadrature.round_off / quadrature.unit
    beyond = [np.sort(np.abs(nodes)[np.abs(nodes) > start]) for nodes, _ in quadrature.rules]
    end = min((nodes[min(1, len(nodes) - 1)] for nodes in beyond if len(nodes)), default=start)
    if not end > start > 0:
        return np.array([start])
    n_thresholds = math.ceil(THRESHOLDS_PER_DECADE * math.log10(end / start))
    return np.geomspace(start, end, n_thresholds + 1)[:-1]


def _check_lower_bound(quadrature: Quadrature, share: Array, at_least: int) -> None:
    """Raises CheckError when the probes, with `share` [1] of the spectrum at zero, exclude `at_least` zero eigenvalues."""
    largest = quadrature.largest_count(share)
    if not largest >= at_least * (1 - quadrature.dimension * quadrature.eps):
        raise CheckError(
            f"the probes find at most {largest:.0f} eigenvalues at zero, at least {at_least} are known to be there",
            Remedy.OTHER_DEVICE,
        )
