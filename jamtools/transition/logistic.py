"""Where a random verdict turns: the median of a logistic in x = log N, with the interval of its profile likelihood.

    p(x) = λ/2 + (1 - λ) / (1 + exp(-(x - m)/w))
    ℓ(m, w) = Σ_x [ a(x) log p(x) + b(x) log(1 - p(x)) ] - ½ (log(w/W₀)/S)²
    {m : 2 (max ℓ - max_w ℓ(m, w)) ≤ t²_ν n/(n - 4)},        ν = n/2 - 2

a and b count the verdicts above (a success, where x = log N) and below. An undecided verdict is one or the other: its
factor in ℓ is 1, and the interval runs from the lower end with all of them above to the upper end with all of them
below, which no mechanism of censoring can leave.

λ is a lapse: a run that is stuck, or fits by luck, far from the transition must not decide its width. The prior of w is
an e-fold wide either way. The fewer trials there are, the less is known of w; their x were chosen by those before, and
their number by how they came out. Student's quantile with half of them as its degrees of freedom, and the factor of n, are
what makes the intervals of simulated searches cover (benchmarks/transition.py); the normal quantile does not.

Source: arXiv:1809.09349, section III, for what is sought; the lapse is that of F. A. Wichmann and N. J. Hill, Perception &
Psychophysics 63, 1293 (2001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: λ: of a hundred trials one is on the wrong side for reasons of its own.
LAPSE = 0.02

#: W₀ and S of the prior of w. Measured: w = 0.09 to 0.16 at P = 200 and 0.02 to 0.06 at P = 2000
#: (docs/transition.md); on the large side of that, since too small a w is what makes an interval too short.
USUAL, FOLD = 0.15, 1.0

#: w is looked for on this grid, and m on one of so many points that reaches so far beyond the x tried; then on a finer one.
SPREADS = np.geomspace(3e-3, 1.0, 49)

POINTS, BEYOND = 201, 1.0

#: The top of the profile, flat where trials are separated: m is the middle of all that is as likely as this.
TOP = 0.01

#: w may be as large as the values of w that are within this of the best in 2ℓ: 1.64², the upper end of a 90% interval.
LARGEST_WITHIN = 2.7


@dataclass(frozen=True)
class Tally:
    """Verdicts at each of the K values x [K], ascending: how many above, below and undecided [K]."""

    x: Array
    above: Array
    below: Array
    undecided: Array

    @classmethod
    def of(cls, verdicts: Sequence[tuple[float, str]]) -> Tally:
        """From (x, "above" | "below" | "undecided") of each trial, in any order."""
        x = np.array(sorted({x for x, _ in verdicts}))
        counts = {
            name: np.array([sum(one == (at, name) for one in verdicts) for at in x], dtype=float)
            for name in ("above", "below", "undecided")
        }
        return cls(x, **counts)

    @property
    def n_decided(self) -> int:
        return int(self.above.sum() + self.below.sum())


@dataclass(frozen=True)
class Threshold:
    """m, its interval (None: open on that side), w, and how large w may be.

    m is None where all decided verdicts are of one kind: then nothing turns. turns: m with the undecided verdicts
    above, and with them below, as (lower, upper): the same where there are none.
    """

    m: float | None
    interval: tuple[float | None, float | None]
    w: float
    largest_w: float
    turns: tuple[float | None, float | None]

    @property
    def length(self) -> float:
        """Of the interval; infinite where it is open."""
        low, high = self.interval
        return np.inf if low is None or high is None else high - low


def locate(tally: Tally, level: float = 0.95) -> Threshold:
    """m of the decided verdicts, with an interval at `level` that allows for the undecided ones."""
    t2 = _quantile(tally.n_decided, level)
    middle = _Profile(tally.x, tally.above, tally.below, t2)
    if not tally.undecided.any():
        return Threshold(middle.m, middle.interval, middle.w, middle.largest_w, (middle.m, middle.m))
    lower = _Profile(tally.x, tally.above + tally.undecided, tally.below, t2)
    upper = _Profile(tally.x, tally.above, tally.below + tally.undecided, t2)
    ends = (
        _outermost(min, lower.interval[0], middle.interval[0]),
        _outermost(max, upper.interval[1], middle.interval[1]),
    )
    widest = max(one.largest_w for one in (lower, middle, upper))
    return Threshold(middle.m, ends, middle.w, widest, (lower.m, upper.m))


def _outermost(which: Callable[..., float], *ends: float | None) -> float | None:
    """The lowest or highest of two ends; None where one is open."""
    known = [end for end in ends if end is not None]
    return which(known) if len(known) == len(ends) else None


def _quantile(n: int, level: float) -> float:
    """t² n/(n - 4) of Student at n/2 - 2 degrees of freedom, of one at least."""
    from scipy.special import stdtrit

    return float(stdtrit(max(n / 2 - 2, 1.0), (1 + level) / 2)) ** 2 * n / max(n - 4, 1)


class _Profile:
    """max_w ℓ(m, w) on a grid of m that is fine where ℓ is within t²/2 of its largest, and what follows from it."""

    def __init__(self, x: Array, above: Array, below: Array, t2: float) -> None:
        self.turns, self.t2 = bool(above.any() and below.any()), t2
        coarse = np.linspace(x[0] - BEYOND, x[-1] + BEYOND, POINTS)
        values = _highest(_likelihood(x, above, below, coarse))
        likely = np.flatnonzero(2 * (values.max() - values) <= t2)
        self.open = (bool(likely[0] == 0), bool(likely[-1] == POINTS - 1))
        ends = coarse[max(likely[0] - 1, 0)], coarse[min(likely[-1] + 1, POINTS - 1)]
        self.grid = np.linspace(*ends, POINTS)
        likelihood = _likelihood(x, above, below, self.grid)  # [M, W]
        self.values, of_w = _highest(likelihood), likelihood.max(0)
        self.w = float(SPREADS[of_w.argmax()])
        self.largest_w = float(SPREADS[2 * (of_w.max() - of_w) <= LARGEST_WITHIN][-1])

    @property
    def m(self) -> float | None:
        """The middle of the top, where anything turns."""
        return sum(self._within(TOP)) / 2 if self.turns else None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """From the first to the last m that is likely enough; None at an open end."""
        low, high = self._within(self.t2)
        return None if self.open[0] else low, None if self.open[1] else high

    def _within(self, t2: float) -> tuple[float, float]:
        """The first and the last m where 2ℓ is within t² of its largest, interpolated."""
        excess = t2 - 2 * (self.values.max() - self.values)
        inside = np.flatnonzero(excess >= 0)
        return self._crossing(excess, inside[0], -1), self._crossing(excess, inside[-1], 1)

    def _crossing(self, excess: Array, i: int, step: int) -> float:
        j = i + step
        if not 0 <= j < len(excess):
            return float(self.grid[i])
        share = excess[i] / (excess[i] - excess[j])
        return float(self.grid[i] + share * (self.grid[j] - self.grid[i]))


def _highest(likelihood: Array) -> Array:
    """max_w ℓ(m, w) [M]: the top of the parabola in log w through the largest of [M, W] and its neighbours."""
    j = likelihood.argmax(1).clip(1, likelihood.shape[1] - 2)
    rows = np.arange(len(likelihood))
    before, here, after = (likelihood[rows, j + step] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    inside = (here >= before) & (here >= after) & (bend < 0)  # else the largest is at an end of the grid
    return np.where(
        inside, here - (after - before) ** 2 / (8 * np.where(inside, bend, -1.0)), likelihood.max(1)
    )


def _likelihood(x: Array, above: Array, below: Array, grid: Array) -> Array:
    """ℓ(m, w) [M, W] from the counts at each x [K]."""
    from scipy.special import expit

    total = np.tile(-0.5 * (np.log(SPREADS / USUAL) / FOLD) ** 2, (len(grid), 1))
    for at, a, b in zip(x, above, below):
        if a or b:
            p = LAPSE / 2 + (1 - LAPSE) * expit((at - grid[:, None]) / SPREADS)
            total += a * np.log(p) + b * np.log1p(-p)
    return total
