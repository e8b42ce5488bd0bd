"""Which share of the values, and which order of the tilt: chosen by the data, at a price that the interval shows.

A ladder of fits, from the most precise to the least biased: shares 0.8, 0.4, 0.2, 0.1 of the values, orders 2 and 3
at each. A lower share shortens the way over which a polynomial must follow the crossover, a higher order follows it
further; either costs precision. A fit is taken if none of the next three moves its exponent by more than κ of what
chance moves it by,

    |t̂_k − t̂_j| ≤ κ σ_jk,        σ²_jk = Var(t̂_k − t̂_j),        k = j+1 … j+3,

or else the next one is tried (Lepski's method, doi:10.1137/1135065, with a κ small enough that a fit is given up on
the mere suspicion). What the three of them say is not thrown away: the interval of the taken fit reaches further by
as much as they lie above or below it. So bias that is too small to be seen, of the size of the error itself, is
covered, and a crossover that is easy (e^−x, e^−x², a Beta) costs an interval twice as wide as that of the known
model.

Fits whose standard error is above one half have no say. Where no other is left to compare with, the exponent is not
settled: it may go on moving where nobody sees.

κ and the reach were chosen on the planted densities of benchmarks/exponents.py, which gives the bias and the
coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError
from jamtools.exponents.tilted import Array, Maximum, Window, by_run, estimate, influence, select

SHARES = (0.8, 0.4, 0.2, 0.1)

ORDERS = (2, 3)

KAPPA = 1.4

AHEAD = 3

#: An exponent known no better says nothing, neither of another nor by itself.
VAGUE = 0.5


@dataclass(frozen=True)
class Rung:
    """One fit of the ladder."""

    order: int
    share: float
    window: Window
    top: Maximum
    psi: Array  # [n] or [runs]: the pull of each value, or run, on the exponent

    @property
    def exponent(self) -> float:
        return float(self.top.eta[0])

    @property
    def error(self) -> float:
        """The standard error that Cov[T] gives, or the one that the values' own scatter gives if larger."""
        return max(self.top.error / math.sqrt(self.window.n), spread(self.psi))


@dataclass(frozen=True)
class Choice:
    """The rung taken, how far those after it lie below and above, and whether there were any."""

    taken: int
    below: float
    above: float
    settled: bool


def spread(psi: Array) -> float:
    """√Σψ², corrected for the mean that is taken out."""
    m = psi.size
    return math.sqrt(float(psi @ psi) * m / (m - 1)) if m > 1 else math.inf


def ladder(
    x: Array,
    runs: NDArray[np.intp] | None,
    orders: Sequence[int],
    shares: Sequence[float],
    lower_cut: float,
) -> list[Rung]:
    """The fits to the sorted values `x` [n], with `runs` [n] counted from 0, that enough values are there for.

    Raises InputError if there are none.
    """
    rungs: list[Rung] = []
    refusals: list[InputError] = []
    for share in shares:
        try:
            window = select(x, share, lower_cut)
        except InputError as error:
            refusals.append(error)
            break  # a lower share holds fewer values still
        for order in orders:
            try:
                rung = _rung(window, order, share, runs, x.size)
            except InputError as error:
                refusals.append(error)
                continue
            if not rungs or rung.error <= VAGUE:
                rungs.append(rung)
    if not rungs:
        raise refusals[0]
    return rungs


def _rung(window: Window, order: int, share: float, runs: NDArray[np.intp] | None, n: int) -> Rung:
    top = estimate(window, order)
    psi = np.zeros(n)
    psi[window.within] = influence(window, top)
    return Rung(order, share, window, top, by_run(psi, runs))


def choose(rungs: Sequence[Rung]) -> Choice:
    """The first rung that those after it do not contradict; the last, if none is, reaches back to the one before."""
    for taken, rung in enumerate(rungs):
        later = rungs[taken + 1 : taken + 1 + AHEAD]
        moves = [(other.exponent - rung.exponent, spread(other.psi - rung.psi)) for other in later]
        if all(abs(move) <= KAPPA * error for move, error in moves):
            break
    seen = [move for move, _ in moves]
    if not seen and taken:
        seen = [rungs[taken - 1].exponent - rung.exponent]
    return Choice(taken, max([0.0, *(-move for move in seen)]), max([0.0, *seen]), bool(moves))
