"""Choice of the share of the values and of the order of the tilt from the data. The interval includes this choice.

Candidate fits are ordered from the most precise to the least biased: shares 0.8, 0.4, 0.2, 0.1 of the values, each with
orders 2 and 3. A lower share shortens the range over which a polynomial must follow the crossover. A higher order follows
the crossover further. Both reduce the precision. Fit j is chosen if each of the next three exponents differs from its
exponent by at most κ standard deviations of the difference,

    |t̂_k − t̂_j| ≤ κ σ_jk,        σ²_jk = Var(t̂_k − t̂_j),        k = j+1 … j+3.

Otherwise fit j+1 is tested in the same way. κ is small: weak evidence is enough to reject a fit. Fit j+1 is passed over if
it has the share of fit j and differs from it by more than 5 σ: then no polynomial of so low an order follows the crossover
over this share, and one more term only hides the misfit.

The next three fits also extend the interval of the chosen fit. Its lower end moves by the largest distance of these fits
below the chosen exponent, and its upper end by the largest distance above it. These two distances are the reach. Thus the
interval also covers a bias that is too small to be detected, which can be as large as the error itself. For an easy
crossover (e^−x, e^−x², a Beta density) the interval becomes twice as wide as that of the known model.

A fit with a standard error above one half is not used in the comparison. If no later fit is left to compare with, the
exponent is not settled: an undetected dependence on the share may remain.

κ and the reach were chosen for the known densities of benchmarks/exponents.py, which measures the bias and the coverage.

Source: Lepski's method, doi:10.1137/1135065; own choice, described above, for the reach.
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

#: κ: a later fit contradicts a fit if their exponents differ by more than this, in standard deviations of the difference.
LEPSKI_KAPPA = 1.4

#: Two orders at one share contradict each other grossly beyond this, in standard deviations of the difference. For the light
#: crossovers of benchmarks/exponents.py neither chance nor a misfit that one more term removes is as large.
GROSS_CONTRADICTION = 5.0

#: The number of later fits with which a fit is compared.
N_FITS_COMPARED = 3

#: A fit with a larger standard error is left out, unless it is the first.
MAX_INFORMATIVE_ERROR = 0.5


@dataclass(frozen=True)
class CandidateFit:
    """One fit, at one order and share.

    psi [n] or [runs]: the influence ψ of each value of the sample, or of each run, on the exponent.
    """

    order: int
    share: float
    window: Window
    maximum: Maximum
    psi: Array

    @property
    def exponent(self) -> float:
        return float(self.maximum.eta[0])

    @property
    def error(self) -> float:
        """The standard error of the exponent, from Cov[T] or from the scatter of ψ, whichever is larger."""
        return max(self.maximum.error / math.sqrt(self.window.n), influence_error(self.psi))


@dataclass(frozen=True)
class Choice:
    """The index of the chosen fit, its reach below and above, and whether there were later fits (settled)."""

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
    """The fits to the sorted values `x` [n] at all shares and orders for which there are enough values.

    runs [n]: the run of each value, counted from 0, or None. Raises InputError if no fit is possible.
    """
    fits: list[CandidateFit] = []
    refusals: list[InputError] = []
    for share in shares:
        try:
            window = select_window(x, share, lower_cut)
        except InputError as error:
            refusals.append(error)
            break  # a lower share holds even fewer values
        for order in orders:
            try:
                fits.append(_candidate(window, order, share, runs, x.size))
            except InputError as error:
                refusals.append(error)
    if not fits:
        raise refusals[0]
    return fits


def informative(fits: Sequence[CandidateFit]) -> list[CandidateFit]:
    """The fits without those with an error above MAX_INFORMATIVE_ERROR, but always with the first."""
    return [*fits[:1], *(fit for fit in fits[1:] if fit.error <= MAX_INFORMATIVE_ERROR)]


def _candidate(
    window: Window, order: int, share: float, runs: NDArray[np.intp] | None, n: int
) -> CandidateFit:
    """The fit to one window at one order; runs [n] of all n values."""
    maximum = fit_window(window, order)
    psi = np.zeros(n)
    psi[window.within] = influence(window, maximum)
    return CandidateFit(order, share, window, maximum, sum_by_run(psi, runs))


def choose_fit(fits: Sequence[CandidateFit]) -> Choice:
    """The first fit that no later fit contradicts, and the fit before it at the same share not grossly.

    The reach of the last fit is its distance from the fit before it.
    """
    for taken, fit in enumerate(fits):
        if 0 < taken < len(fits) - 1 and _is_grossly_contradicted(fits[taken - 1], fit):
            continue
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


def _is_grossly_contradicted(before: CandidateFit, fit: CandidateFit) -> bool:
    """Whether a fit differs grossly from the fit before it at the same share."""
    move, error = fit.exponent - before.exponent, influence_error(fit.psi - before.psi)
    return before.share == fit.share and abs(move) > GROSS_CONTRADICTION * error
