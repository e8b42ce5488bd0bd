"""The share of the values and the order of the tilt, chosen by the data at a price that the interval shows.

Candidate fits are ordered from the most precise to the least biased: shares 0.8, 0.4, 0.2, 0.1 of the values, with orders
2 and 3 at each. A lower share shortens the range over which a polynomial must follow the crossover. A higher order follows
the crossover further. Both cost precision. Fit j is taken if none of the next three moves the exponent by more than κ
standard deviations of the move,

    |t̂_k − t̂_j| ≤ κ σ_jk,        σ²_jk = Var(t̂_k − t̂_j),        k = j+1 … j+3.

Otherwise the next fit is tried. κ is small enough that a fit is left on mere suspicion. The next three fits also
widen the interval: it reaches below and above that of the taken fit by as much as they lie below and above it. So a
bias that is too small to be detected, of the size of the error itself, is covered. For an easy crossover (e^−x, e^−x², a
Beta density) the interval becomes twice as wide as that of the known model.

Fits with a standard error above one half are not compared with. Where no later fit is left to compare with, the exponent
is not settled: it may still move with the share, undetected.

κ and the reach were chosen on the planted densities of benchmarks/exponents.py, which gives the bias and the coverage.

Source: Lepski's method, doi:10.1137/1135065; the reach has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError
from jamtools.exponents.tilted import (
    Maximum,
    Window,
    fit_window,
    influence,
    select_window,
    sum_by_run,
)
from jamtools.records import Array

CANDIDATE_SHARES = (0.8, 0.4, 0.2, 0.1)

CANDIDATE_ORDERS = (2, 3)

#: κ: the largest move to a later fit that does not contradict a fit, in standard deviations of the move.
LEPSKI_KAPPA = 1.4

#: How many later fits a fit is compared with.
N_FITS_COMPARED = 3

#: A fit of a larger standard error is compared with no other.
MAX_INFORMATIVE_ERROR = 0.5


@dataclass(frozen=True)
class CandidateFit:
    """One fit, at one order and share.

    psi [n] or [runs]: how far each of all values, or each run, pulls the exponent.
    """

    order: int
    share: float
    window: Window
    top: Maximum
    psi: Array

    @property
    def exponent(self) -> float:
        return float(self.top.eta[0])

    @property
    def error(self) -> float:
        """The standard error that Cov[T] gives, or that of the scatter of ψ where it is larger."""
        return max(self.top.error / math.sqrt(self.window.n), influence_error(self.psi))


@dataclass(frozen=True)
class Choice:
    """The fit taken (its index), how far the later ones lie below and above, and whether there were later ones."""

    taken: int
    below: float
    above: float
    settled: bool


def influence_error(psi: Array) -> float:
    """The standard error √Σψ² of an exponent with influences ψ [m], corrected by m/(m−1) for the fitted mean."""
    m = psi.size
    return math.sqrt(float(psi @ psi) * m / (m - 1)) if m > 1 else math.inf


def candidate_fits(
    x: Array,
    runs: NDArray[np.intp] | None,
    orders: Sequence[int],
    shares: Sequence[float],
    lower_cut: float,
) -> list[CandidateFit]:
    """The fits to the sorted values `x` [n], with `runs` [n] counted from 0, for which there are enough values.

    After the first fit, those with an error above MAX_INFORMATIVE_ERROR are left out. Raises InputError if no fit
    is possible.
    """
    fits: list[CandidateFit] = []
    refusals: list[InputError] = []
    for share in shares:
        try:
            window = select_window(x, share, lower_cut)
        except InputError as error:
            refusals.append(error)
            break  # a lower share holds still fewer values
        for order in orders:
            try:
                fit = _candidate(window, order, share, runs, x.size)
            except InputError as error:
                refusals.append(error)
                continue
            if not fits or fit.error <= MAX_INFORMATIVE_ERROR:
                fits.append(fit)
    if not fits:
        raise refusals[0]
    return fits


def _candidate(
    window: Window, order: int, share: float, runs: NDArray[np.intp] | None, n: int
) -> CandidateFit:
    """The fit to one window at one order; runs [n] of all n values."""
    top = fit_window(window, order)
    psi = np.zeros(n)
    psi[window.within] = influence(window, top)
    return CandidateFit(order, share, window, top, sum_by_run(psi, runs))


def choose_fit(fits: Sequence[CandidateFit]) -> Choice:
    """The first fit that the later ones do not contradict. If it is the last, it reaches back to the one before."""
    for taken, fit in enumerate(fits):
        later = fits[taken + 1 : taken + 1 + N_FITS_COMPARED]
        moves = [(other.exponent - fit.exponent, influence_error(other.psi - fit.psi)) for other in later]
        if all(abs(move) <= LEPSKI_KAPPA * error for move, error in moves):
            break
    distances = [move for move, _ in moves]
    if not distances and taken:
        distances = [fits[taken - 1].exponent - fit.exponent]
    return Choice(
        taken, max([0.0, *(-move for move in distances)]), max([0.0, *distances]), settled=bool(moves)
    )
