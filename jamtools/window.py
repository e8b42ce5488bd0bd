r"""The lowest share of the values, and the tilted power law that fits it best.

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
from jamtools.tilt import Array, Maximum, collinear, maximise, powers

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
