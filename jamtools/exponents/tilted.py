"""The exponential family of tilted power laws: its normalisation, its moments, its maximum of likelihood.

    p(u) = exp(η·T(u)) / Z(η)   on u₀ < u ≤ 1,      T = (log u, u, u², …),      η = (t, c₁, c₂, …)

    ∇ log Z = E[T],   ∇∇ log Z = Cov[T];      the maximum of η·⟨T⟩ − log Z(η) is where E[T] = ⟨T⟩.

Concave, so that Newton's method reaches its one maximum. Moments are exact to rounding from t = −0.999 to 30: see `_mesh`.


The lowest share of the values, and the tilted power law that fits it best.

    p(x) = x^t exp(c₁x + c₂x² + …) / Z        on x₀ < x ≤ x_c,        t ≥ −1

In units of the cut, u = x/x_c, the log-likelihood per value is η·⟨T⟩ − log Z(η) with T = (log u, u, u², …): the
sums ⟨T⟩ of the window are all it needs, at every order. How far one value pulls the exponent is, to first order in
1/n,

    ψ_i = [Cov[T]⁻¹ (T_i − ⟨T⟩)]_t / n,        Var t̂ = Σ_i ψ_i²,        Var(t̂ − t̂') = Σ_i (ψ_i − ψ'_i)²,

right also where the model is not, and for runs with the sums of their values in the place of single ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError

Array = NDArray[np.float64]

CONVERGED = 1e-16  # squared Newton step in standard deviations; the step after it is exact to rounding

MAX_STEPS = 60

SINGULAR = math.sqrt(np.finfo(float).eps)  # statistics so nearly collinear cost Newton half its digits

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True)
class Maximum:
    """The top of η·⟨T⟩ − log Z(η): where, how high, and Cov[T] there."""

    eta: Array  # [1 + order]
    height: float  # per value, in units of the cut
    covariance: Array  # [1 + order, 1 + order]
    converged: bool

    @property
    def error(self) -> float:
        """Standard error of t times √n."""
        return math.sqrt(np.linalg.inv(self.covariance)[0, 0])


def powers(log_u: Array, order: int) -> Array:
    """T = (log u, u, u², …) [1 + order, …]."""
    return np.stack([log_u, *(np.exp(k * log_u) for k in range(1, order + 1))])


def _mesh(eta: Array, u0: float) -> Array:
    """Edges, in −log u, of panels on which 16 nodes can follow the integrand.

    In y = log u it is exp((1+t)y + g(eʸ)). From y = 0 panels double from the length on which it falls there; then they are
    equal while the tilt g acts, eʸ ≳ 1/|g'|; then they double again, for what is left is a bare exponential, down to log u₀
    or to e^−40 of its height (40/(1+t): as t → −1 no equal panels get there).
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


def moments(eta: Array, u0: float) -> tuple[float, Array, Array]:
    """log Z, E[T] [m] and Cov[T] [m, m] of exp(η·T(u)) on u₀ < u ≤ 1, by composite Gauss–Legendre in log u."""
    edges = _mesh(eta, u0)
    half = np.diff(edges)[:, None] / 2
    y = -(edges[:-1, None] + half * (1 + NODES)).ravel()
    statistics = powers(y, eta.size - 1)  # [m, nodes]
    exponent = eta @ statistics + y
    top = exponent.max()
    weight = (half * WEIGHTS).ravel() * np.exp(exponent - top)
    z = weight.sum()
    mean = statistics @ weight / z
    centred = statistics - mean[:, None]
    return float(top + math.log(z)), mean, (centred * weight) @ centred.T / z


@np.errstate(all="ignore")  # a step too far may overflow: it is then halved
def climb(mean: Array, u0: float, start: Array, free: slice = slice(None)) -> Maximum:
    """Newton's method with step halving on η·⟨T⟩ − log Z(η), over the `free` components."""
    eta = start
    log_z, expected, covariance = moments(eta, u0)
    for _ in range(MAX_STEPS):
        step = np.zeros_like(eta)
        try:
            step[free] = np.linalg.solve(covariance[free, free], (mean - expected)[free])
        except np.linalg.LinAlgError:
            break
        decrement = float((mean - expected) @ step)
        height = float(eta @ mean) - log_z
        if abs(decrement) <= CONVERGED:
            return Maximum(eta + step, height + decrement / 2, covariance, True)
        longest = 1 / max(1.0, math.sqrt(abs(decrement)))
        if not u0:
            longest = min(longest, 0.9 * (1 + eta[0]) / max(-step[0], 1e-300))  # Z exists for t > −1 only
        for scale in longest * 0.5 ** np.arange(40):
            trial = moments(eta + scale * step, u0)
            gain = scale * float(step @ mean) - (trial[0] - log_z)
            if gain >= 0.1 * scale * decrement - 1e-14 * (1 + abs(height)):
                break
        else:
            break
        eta, (log_z, expected, covariance) = eta + scale * step, trial
    return Maximum(eta, float(eta @ mean) - log_z, covariance, False)


def collinear(covariance: Array) -> bool:
    """True where the statistics determine no separate exponents: their correlations are singular."""
    spread = np.sqrt(np.diag(covariance))
    return not spread.min() > 0 or not np.linalg.eigvalsh(covariance / np.outer(spread, spread))[0] > SINGULAR


def profile(t: float, mean: Array, u0: float, top: Maximum) -> Maximum:
    """The maximum over the tilt at a given t, from where Cov[T] at the `top` says that it lies."""
    start = np.array([t, *top.eta[1:]])
    cov = top.covariance
    start[1:] -= np.linalg.solve(cov[1:, 1:], cov[1:, 0]) * (t - top.eta[0])
    return climb(mean, u0, start, slice(1, None))


def maximise(mean: Array, u0: float, start: Array) -> Maximum:
    """The maximum over t ≥ −1. With u₀ > 0 the likelihood has one beyond that edge too: then the edge is the best."""
    top = climb(mean, u0, start)
    return top if top.eta[0] >= -1 or not top.converged else profile(-1.0, mean, u0, top)


MAX_ORDER = 3

MIN_VALUES = 50


@dataclass(frozen=True)
class Window:
    """The values of one fit in units of their cut, with the sums that a maximum of any order needs."""

    first: int  # where the window starts among the sorted values
    u0: float
    cut: float
    statistics: Array  # [1 + MAX_ORDER, n]: log u, u, u², u³, ascending
    mean: Array  # ⟨T⟩ [1 + MAX_ORDER]

    @property
    def n(self) -> int:
        return self.statistics.shape[1]

    @property
    def within(self) -> slice:
        """Where the window lies among the sorted values."""
        return slice(self.first, self.first + self.n)


def select(x: Array, share: float, lower_cut: float) -> Window:
    """The lowest `share` of the sorted values `x` [n] above `lower_cut`, in units of the largest of them.

    The cut is one of the values: given it, those below are independent draws from the density truncated there.

    Raises InputError for fewer than 50 values, and for values that no float can hold in units of the cut.
    """
    first = int(np.searchsorted(x, lower_cut, side="right"))
    wanted = math.ceil(share * (x.size - first) * (1 - 1e-12))  # 0.8·n may come out above a whole number
    tail = x[first : np.searchsorted(x, x[first + wanted - 1], side="right")] if wanted else x[:0]
    if tail.size < MIN_VALUES:
        raise InputError(
            f"{tail.size} of {x.size} values in the fit (share {share:g}, lower cut {lower_cut:g}), expected at least "
            f"{MIN_VALUES}, for which it takes {math.ceil(MIN_VALUES / share)} above the cut; pool more runs, raise the "
            "share or lower the cut"
        )
    cut = float(tail[-1])
    if tail[0] / cut < np.finfo(float).tiny or abs(math.log10(cut)) > 100:  # c₃ is in units of cut⁻³
        came = f"values from {tail[0]:g} to {cut:g}"
        raise InputError(f"{came}, expected under 300 decades below 1e±100; rescale them or set a lower cut")
    statistics = powers(np.log(tail / cut), MAX_ORDER)
    return Window(first, lower_cut / cut, cut, statistics, statistics.mean(axis=1))


def estimate(window: Window, order: int) -> Maximum:
    """The maximum-likelihood η of one window at one order.

    Raises InputError for values so nearly equal that the tilt has nothing to hold on to.
    """
    mean = window.mean[: order + 1]
    if not collinear(np.cov(window.statistics[: order + 1]).reshape(order + 1, -1)):
        bare = -1 - 1 / mean[0]  # the maximum of a bare power law
        top = maximise(mean, window.u0, np.array([bare, *order * [0.0]]))
        if top.converged and not collinear(top.covariance):
            return top
    if not window.statistics[0].std() > 0:
        raise InputError(
            f"{window.n} values that are all equal, expected a broad tail of many different ones"
        )
    raise InputError(
        f"{window.n} values with a spread of {window.statistics[0].std():.2g} in their logarithm determine no tail of order "
        f"{order}, expected a broad tail of many different values; give other values, a lower order or another share"
    )


def influence(window: Window, top: Maximum) -> Array:
    """ψ [n]: how far each value of the window pulls the exponent from where it would be."""
    m = top.eta.size
    pull = np.linalg.inv(top.covariance)[0] / window.n
    psi: Array = pull @ window.statistics[:m] - pull @ window.mean[:m]
    return psi


def by_run(of_values: Array, runs: NDArray[np.intp] | None) -> Array:
    """Sums over the values [n] of each run; the values themselves where nobody says which runs they are of."""
    return of_values if runs is None else np.bincount(runs, of_values).astype(np.float64, copy=False)
