"""Interval and p-value of the exponent of one fit, from the profile likelihood.

    2n (max_η ℓ − max_c ℓ(t, c)) ~ χ²₁        at the true t, ℓ = η·⟨T⟩ − log Z(η) per value

The interval contains every t at which this ratio is below the χ²₁ quantile. For the p-value, the ratio is divided by the
design effect: the variance over runs, divided by that of independent values.

Source: Rao and Scott, Ann. Stat. 12, 46 (1984), to first order, for the design effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from jamtools.exponents.tilted import Maximum, Window, profile_maximum

Interval = tuple[float, float]


def exponent_p_value(
    window: Window, maximum: Maximum, t: float, design_effect: float, n_free: float
) -> float:
    """p-value of the exponent t from the likelihood ratio, divided by the design effect.

    The square root of the ratio follows Student's t with n_free degrees of freedom; n_free is infinite (a normal
    distribution) for independent values. The result is NaN where the maximum over the tilt at t is not found.
    """
    from scipy.special import stdtr

    null = profile_maximum(t, window.mean[: maximum.eta.size], window.u0, maximum)
    ratio = 2 * window.n * max(0.0, maximum.height - null.height) / design_effect
    return 2 * float(stdtr(n_free, -math.sqrt(ratio))) if null.converged else math.nan


def profile_interval(window: Window, maximum: Maximum, level: float) -> Interval:
    """The interval of t in which the likelihood ratio, with c refitted at each t, is below the χ²₁ quantile of `level`.

    Where the ratio does not reach the quantile, the lower end is −1 and the upper end is infinite.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z, t = float(ndtri((1 + level) / 2)), float(maximum.eta[0])
    step = z * maximum.error / math.sqrt(window.n)

    def excess(trial: float) -> float:
        best = profile_maximum(trial, window.mean[: maximum.eta.size], window.u0, maximum)
        return 2 * window.n * (maximum.height - best.height) - z**2 if best.converged else math.nan

    def crossing(trials: Iterable[float], default: float) -> float:
        near = t
        for far in trials:
            if excess(far) >= 0:
                return float(brentq(excess, near, far, xtol=1e-6 * step))
            near = far
        return default

    shrink = math.exp(-step / (1 + t)) if t > -1 else 0.0
    low = crossing((-1 + (1 + t) * shrink**k for k in range(1, 20)), -1.0)
    return low, crossing((t + step * 2**k for k in range(20)), math.inf)
