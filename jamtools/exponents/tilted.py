"""Tilted power laws: normalisation, moments, and maximum-likelihood fits to the lowest share of the values.

    p(x) = x^t exp(c₁x + c₂x² + …) / Z        on x₀ < x ≤ x_c,        t ≥ −1

In units of the cut, u = x/x_c and u₀ = x₀/x_c, this is an exponential family:

    p(u) = exp(η·T(u)) / Z(η)   on u₀ < u ≤ 1,      T = (log u, u, u², …),      η = (t, c₁, c₂, …)

    ∇ log Z = E[T],   ∇∇ log Z = Cov[T];      the maximum of η·⟨T⟩ − log Z(η) is where E[T] = ⟨T⟩.

The log-likelihood per value, η·⟨T⟩ − log Z(η), is concave, so that Newton's method reaches its only maximum. It depends on
the values only through their means ⟨T⟩, at every order. To first order in 1/n, the influence of value i on the exponent is

    ψ_i = [Cov[T]⁻¹ (T_i − ⟨T⟩)]_t / n,        Var t̂ = Σ_i ψ_i²,        Var(t̂ − t̂') = Σ_i (ψ_i − ψ'_i)².

These variances also hold where the model does not, and for independent runs if ψ is summed over the values of each run.
Moments are exact to rounding from t = −0.999 to t = 30: see `_panel_edges`.

Source: none, own derivation above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jamtools.errors import InputError
from jamtools.records import Array

#: The squared length, in standard deviations, of the last step of Newton's method. After this step η is exact to rounding.
NEWTON_DECREMENT_TOLERANCE = 1e-16
NEWTON_MAX_STEPS = 60
NEWTON_MAX_HALVINGS = 40

#: If the correlation matrix of T has a smaller eigenvalue, Newton's method loses more than half of its digits.
MIN_CORRELATION_EIGENVALUE = math.sqrt(np.finfo(float).eps)

#: Gauss–Legendre rule of one panel, on (−1, 1).
PANEL_NODES, PANEL_WEIGHTS = np.polynomial.legendre.leggauss(16)

MAX_TILT_ORDER = 3

#: The fewest values that are fitted.
MIN_VALUES_FITTED = 50


class Moments(NamedTuple):
    """log Z, E[T] [1 + order] and Cov[T] [1 + order, 1 + order] of a tilted power law."""

    log_z: float
    mean: Array
    covariance: Array


@dataclass(frozen=True)
class Maximum:
    """The maximum of the likelihood: η [1 + order], and Cov[T] [1 + order, 1 + order] at this η.

    height: the log-likelihood per value, η·⟨T⟩ − log Z(η), of the density of u.
    """

    eta: Array
    height: float
    covariance: Array
    converged: bool

    @property
    def error(self) -> float:
        """The standard error of t, times √n."""
        return math.sqrt(np.linalg.inv(self.covariance)[0, 0])


def sufficient_statistics(log_u: Array, order: int) -> Array:
    """T = (log u, u, u², …) [1 + order, …] of log u [any shape]."""
    return np.stack([log_u, *(np.exp(k * log_u) for k in range(1, order + 1))])


def _panel_edges(eta: Array, u0: float) -> Array:
    """Edges, in −log u, of panels on which 16 nodes can follow the integrand.

    With y = log u the integrand is exp((1+t)y + g(eʸ)), where g is the tilt. The first panel begins at y = 0. It is as long
    as the distance over which the integrand falls there, and the panels after it double in length. Where the tilt matters,
    eʸ ≳ 1/|g'|, all panels have the same length. At smaller y the integrand is a pure exponential, and the panels double
    again, down to log u₀ or to e^−40 of the integrand's height. (This is at y = −40/(1+t): as t → −1, panels of equal
    length would never reach it.)
    """
    rate = 1 + eta[0]
    slope = float(np.arange(1, eta.size) @ np.abs(eta[1:]))  # ≥ |g'(u)| on (0, 1]
    end = min(-math.log(u0) if u0 else math.inf, 40 / rate + math.log1p(slope) if rate > 0 else math.inf)
    width = min(0.5, max(8 / (1 + slope + abs(rate)), 1 / 64))
    equal = math.log1p(slope) + 3 if rate >= 0 else end
    edges = [0.0, min(width, 1 / (1 + abs(rate) + slope))]
    while edges[-1] < end:
        edges.append(edges[-1] + (min(edges[-1], width) if edges[-1] < equal else edges[-1]))
    return np.array([*edges[:-1], end])


def moments(eta: Array, u0: float) -> Moments:
    """Moments of exp(η·T(u)) on u₀ < u ≤ 1, η [1 + order], by composite Gauss–Legendre quadrature in log u."""
    edges = _panel_edges(eta, u0)
    half = np.diff(edges)[:, None] / 2
    y = -(edges[:-1, None] + half * (1 + PANEL_NODES)).ravel()
    statistics = sufficient_statistics(y, eta.size - 1)  # [1 + order, nodes]
    exponent = eta @ statistics + y
    largest = exponent.max()
    weight = (half * PANEL_WEIGHTS).ravel() * np.exp(exponent - largest)
    z = weight.sum()
    mean = statistics @ weight / z
    centred = statistics - mean[:, None]
    return Moments(float(largest + math.log(z)), mean, (centred * weight) @ centred.T / z)


@np.errstate(all="ignore")  # a step that is too long may overflow: it is then halved
def newton_maximum(mean: Array, u0: float, start: Array, free: slice = slice(None)) -> Maximum:
    """Newton's method with step halving on η·⟨T⟩ − log Z(η), over the `free` components of η.

    mean: ⟨T⟩ [1 + order]; start: the first η [1 + order]. Where the method fails, `converged` is False.
    """
    eta, current = start, moments(start, u0)
    for _ in range(NEWTON_MAX_STEPS):
        step = np.zeros_like(eta)
        force = mean - current.mean
        try:
            step[free] = np.linalg.solve(current.covariance[free, free], force[free])
        except np.linalg.LinAlgError:
            break
        decrement = float(force @ step)
        if abs(decrement) <= NEWTON_DECREMENT_TOLERANCE:
            height = float(eta @ mean) - current.log_z
            return Maximum(eta + step, height + decrement / 2, current.covariance, True)
        accepted = _line_search(eta, current, step, mean, u0)
        if accepted is None:
            break
        eta, current = accepted
    return Maximum(eta, float(eta @ mean) - current.log_z, current.covariance, False)


def _line_search(
    eta: Array, current: Moments, step: Array, mean: Array, u0: float
) -> tuple[Array, Moments] | None:
    """The η [1 + order] and its moments after the longest fraction of a Newton step that raises the likelihood enough.

    The rise is enough if it is a tenth of the linear prediction, up to rounding (1e-14 of the likelihood). The result is
    None where no fraction is accepted.
    """
    decrement = float((mean - current.mean) @ step)
    height = float(eta @ mean) - current.log_z
    longest = 1 / max(1.0, math.sqrt(abs(decrement)))
    if not u0:
        longest = min(longest, 0.9 * (1 + eta[0]) / max(-step[0], 1e-300))  # Z exists for t > −1 only
    for scale in longest * 0.5 ** np.arange(NEWTON_MAX_HALVINGS):
        candidate = eta + scale * step
        trial = moments(candidate, u0)
        gain = scale * float(step @ mean) - (trial.log_z - current.log_z)
        if gain >= 0.1 * scale * decrement - 1e-14 * (1 + abs(height)):
            return candidate, trial
    return None


def is_collinear(covariance: Array) -> bool:
    """Whether the correlation matrix of this covariance [m, m] is singular, so that the statistics do not determine η."""
    scale = np.sqrt(np.diag(covariance))
    if not scale.min() > 0:
        return True
    lowest = np.linalg.eigvalsh(covariance / np.outer(scale, scale))[0]
    return not lowest > MIN_CORRELATION_EIGENVALUE


def profile_maximum(t: float, mean: Array, u0: float, maximum: Maximum) -> Maximum:
    """The maximum over the tilt at a given t, for ⟨T⟩ = `mean` [1 + order].

    Newton's method starts where Cov[T] at `maximum`, the maximum over all of η, predicts it.
    """
    start = np.array([t, *maximum.eta[1:]])
    cov = maximum.covariance
    start[1:] -= np.linalg.solve(cov[1:, 1:], cov[1:, 0]) * (t - maximum.eta[0])
    return newton_maximum(mean, u0, start, slice(1, None))


def likelihood_maximum(mean: Array, u0: float, start: Array) -> Maximum:
    """The maximum over t ≥ −1, for ⟨T⟩ = `mean` [1 + order], from η = `start` [1 + order].

    With u₀ > 0 the likelihood may have its maximum at t < −1. Then t = −1 is the best allowed value.
    """
    maximum = newton_maximum(mean, u0, start)
    return (
        maximum if maximum.eta[0] >= -1 or not maximum.converged else profile_maximum(-1.0, mean, u0, maximum)
    )


def sorted_values(values: ArrayLike, clusters: ArrayLike | None) -> tuple[Array, NDArray[np.intp] | None]:
    """The sorted values [n] and their runs [n], which are counted from 0; None for the runs without `clusters`.

    Raises InputError for values that are not finite and positive, and for clusters that are not one whole number per value.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise InputError(f"values have shape {x.shape}, expected a list of numbers that is not empty")
    bad = x[~(np.isfinite(x) & (x > 0))]
    if bad.size:
        raise InputError(
            f"{bad.size} of {x.size} values are zero, negative or not finite (as {bad[0]:g}), "
            "expected positive numbers; leave them out"
        )
    order = np.argsort(x, kind="stable")
    if clusters is None:
        return x[order], None
    runs = np.asarray(clusters)
    if runs.shape != x.shape or not np.issubdtype(runs.dtype, np.integer):
        raise InputError(
            f"clusters are {runs.dtype} of shape {runs.shape}, "
            f"expected one whole number for each of the {x.size} values"
        )
    return x[order], np.unique(runs, return_inverse=True)[1][order]


@dataclass(frozen=True)
class Window:
    """The values of one fit in units of their upper cut, with the means ⟨T⟩, which a fit of any order needs.

    first: index of the window's first value among all sorted values; cut: the upper cut x_c; u0: the lower
    cut in units of x_c; statistics [1 + MAX_TILT_ORDER, n]: log u, u, u², u³, ascending; mean [1 + MAX_TILT_ORDER]: ⟨T⟩.
    """

    first: int
    u0: float
    cut: float
    statistics: Array
    mean: Array

    @property
    def n(self) -> int:
        return self.statistics.shape[1]

    @property
    def within(self) -> slice:
        """The slice of all sorted values that belongs to the window."""
        return slice(self.first, self.first + self.n)


def select_window(x: Array, share: float, lower_cut: float) -> Window:
    """The lowest `share` of the sorted values `x` [n] above `lower_cut`, in units of the largest of them.

    The upper cut is one of the values. Given this value, the values below it are independent draws from the density that is
    truncated there. Raises InputError for fewer than MIN_VALUES_FITTED values, and for values whose ratio to the cut is
    outside of the range of floating-point numbers.
    """
    first = int(np.searchsorted(x, lower_cut, side="right"))
    wanted = math.ceil(
        share * (x.size - first) * (1 - 1e-12)
    )  # by rounding, 0.8·n may be just above a whole number
    tail = x[first : np.searchsorted(x, x[first + wanted - 1], side="right")] if wanted else x[:0]
    if tail.size < MIN_VALUES_FITTED:
        raise InputError(
            f"{tail.size} of {x.size} values in the fit (share {share:g}, lower cut {lower_cut:g}), expected at least "
            f"{MIN_VALUES_FITTED}, for which it takes {math.ceil(MIN_VALUES_FITTED / share)} above the cut; "
            "pool more runs, raise the share or lower the cut"
        )
    cut = float(tail[-1])
    if tail[0] / cut < np.finfo(float).tiny or abs(math.log10(cut)) > 100:  # c₃ is in units of cut⁻³
        raise InputError(
            f"values from {tail[0]:g} to {cut:g}, expected under 300 decades below 1e±100; "
            "rescale them or set a lower cut"
        )
    statistics = sufficient_statistics(np.log(tail / cut), MAX_TILT_ORDER)
    return Window(first, lower_cut / cut, cut, statistics, statistics.mean(axis=1))


def fit_window(window: Window, order: int) -> Maximum:
    """The maximum-likelihood η of one window at one order of the tilt.

    Raises InputError for values so nearly equal that they do not determine the tilt.
    """
    mean = window.mean[: order + 1]
    if not is_collinear(np.cov(window.statistics[: order + 1]).reshape(order + 1, -1)):
        bare = -1 - 1 / mean[0]  # the exponent of a power law without tilt
        maximum = likelihood_maximum(mean, window.u0, np.array([bare, *order * [0.0]]))
        if maximum.converged and not is_collinear(maximum.covariance):
            return maximum
    log_spread = window.statistics[0].std()
    if not log_spread > 0:
        raise InputError(
            f"{window.n} values that are all equal, expected a broad tail of many different ones"
        )
    raise InputError(
        f"{window.n} values with a spread of {log_spread:.2g} in their logarithm determine no tail of order "
        f"{order}, expected a broad tail of many different values; give other values, a lower order or another share"
    )


def influence(window: Window, maximum: Maximum) -> Array:
    """The influence ψ [n] of each value of the window on the exponent, to first order in 1/n."""
    m = maximum.eta.size
    response = np.linalg.inv(maximum.covariance)[0] / window.n
    psi: Array = response @ window.statistics[:m] - response @ window.mean[:m]
    return psi


def sum_by_run(of_values: Array, runs: NDArray[np.intp] | None) -> Array:
    """Sums [runs] over the values [n] of each run; the values [n] themselves where `runs` is None."""
    return of_values if runs is None else np.bincount(runs, of_values).astype(np.float64, copy=False)
