"""Whether an exponent drifts as the share of the values falls, so that no power law can be told.

    S = Σ_k w_k D_k,     D_k = τ_{k+1} − τ_k,     w_k = log(s_k/s_{k+1}) / Var D_k,     τ = log(1 + t)

The steps D_k lead through the fits to ever smaller shares s_k of the values: from the fit of the highest order at the first
share through those of the lowest order at the others. If the values have a power law, and the crossover is over at these
shares, then D_k = 0 up to chance. S is the generalised least-squares estimate of a slope of τ against −log s, up to a
factor, where the steps are independent of each other. To first order they are: the samples are nested, and the fit to the
larger sample is the more efficient one, so that Cov(τ_k, τ_{k+1}) = Var τ_k. The variance of S does not assume it:

    Var S = Σ_i (Σ_k w_k (ψ_{k+1,i}/(1 + t_{k+1}) − ψ_{k,i}/(1 + t_k)))²,     ψ_{k,i}: influence of value or run i on t_k

τ is used because the standard error of t grows like 1 + t. z = S/√Var S follows Student's t with one degree of freedom
less than there are values or runs.

A power law with a heavy crossover changes its exponent, too, between the first share and the others, but not after that.
So there is a drift only if S of the steps after the first one goes on in the same direction, by half of its own standard
error or more. Where this is not so, p is 1. For a true power law the test therefore says "drift" at most as often as its
level.

Source: none, own derivation above. Influences: tilted.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jamtools.exponents.selection import CandidateFit, influence_error

#: The level of the test. It is below that of other tests, since a false alarm costs the whole interval. The exponents of a
#: log-normal are found to drift nearly as often as at the level 0.05 (docs/exponents.md).
DRIFT_LEVEL = 0.01

#: The drift goes on if the later steps are this many of their standard errors long, in the direction of all.
MIN_LATER_DRIFT = 0.5

#: The largest standard error of τ, which is that of t in units of 1 + t. The exponents of less precise fits are too skew for
#: Student's t.
MAX_RELATIVE_ERROR = 0.35

#: The fewest fits that show a drift which goes on: two steps.
MIN_FITS_OF_DRIFT = 3


class DriftTest(NamedTuple):
    """The exponents of the first and of the last fit that were compared, and the p-value of "no drift"."""

    start: float
    end: float
    p_value: float

    @property
    def drifts(self) -> bool:
        """Whether the exponent drifts beyond chance."""
        return self.p_value <= DRIFT_LEVEL


def find_drift(fits: Sequence[CandidateFit]) -> DriftTest | None:
    """The test of a drift through fits in the order of `candidate_fits`; None for fewer than three comparable fits."""
    from scipy.special import stdtr

    compared = [
        fit for fit in _one_for_each_share(fits) if fit.error <= MAX_RELATIVE_ERROR * (1 + fit.exponent)
    ]
    if len(compared) < MIN_FITS_OF_DRIFT:
        return None
    z, later = _slope(compared), _slope(compared[1:])
    goes_on = later * math.copysign(1.0, z) >= MIN_LATER_DRIFT
    p_value = 2 * float(stdtr(compared[0].psi.size - 1, -abs(z))) if goes_on else 1.0
    return DriftTest(compared[0].exponent, compared[-1].exponent, p_value)


def _one_for_each_share(fits: Sequence[CandidateFit]) -> list[CandidateFit]:
    """Of the first share the fit of the highest order, which follows the crossover best; of others that of the lowest."""
    first = [fit for fit in fits if fit.share == fits[0].share]
    lower = {fit.share: fit for fit in reversed(fits) if fit.share != fits[0].share}
    return [first[-1], *sorted(lower.values(), key=lambda fit: -fit.share)]


def _slope(fits: Sequence[CandidateFit]) -> float:
    """S in units of its standard deviation; 0 where no step has a scatter."""
    tau = np.array([math.log1p(fit.exponent) for fit in fits])
    psi = np.stack([fit.psi / (1 + fit.exponent) for fit in fits])
    steps, step_psi = np.diff(tau), np.diff(psi, axis=0)
    errors = np.array([influence_error(of_step) for of_step in step_psi])
    lengths = -np.diff([math.log(fit.share) for fit in fits])
    weights = lengths / np.maximum(errors, np.finfo(float).tiny) ** 2 if errors.all() else lengths
    error = influence_error(weights @ step_psi)
    return float(weights @ steps) / error if error > 0 else 0.0
