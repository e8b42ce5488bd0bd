"""Median of a logistic in x = log N, from outcomes above and below it, with the interval of its profile likelihood.

    p(x) = λ/2 + (1 - λ) / (1 + exp(-(x - m)/w))
    ℓ(m, w) = Σ_x [ a(x) log p(x) + b(x) log(1 - p(x)) ] - ½ (log(w/W₀)/S)²
    {m : 2 (max ℓ - max_w ℓ(m, w)) ≤ t²_ν n/(n - 4)},        ν = n/2 - 2

m is the median and w the width of the logistic. a(x) and b(x) count the trials above (successes, where x = log N)
and below. An undecided trial is above or below with the probabilities p and 1 - p, so that its factor in ℓ is 1. The lower
end of the interval comes from a fit with all undecided trials above, the upper end from a fit with all of them below. So
the interval is valid whatever the reason why trials stay undecided.

λ is the probability of a lapse. With it, one run far from the transition that is stuck, or that fits by luck, does not
decide w. The prior of log w has the standard deviation S = 1: a factor of e up or down.

The normal quantile gives intervals that are too short. Few trials determine w badly. Besides, the trials are not
independent: earlier outcomes choose the x of later trials, and decide how many trials there are. With Student's quantile
t_ν, whose degrees of freedom are half of the number n of decided trials less 2, and with the factor n/(n - 4), intervals of
simulated searches hold the true median as often as their level says (benchmarks/transition.py).

Source: arXiv:1809.09349, section III, for the transition; F. A. Wichmann and N. J. Hill, Perception & Psychophysics 63,
1293 (2001), for the lapse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from jamtools.records import Array

#: On which side of the median a trial lies.
Side = Literal["above", "below", "undecided"]

#: λ: two trials in a hundred are lapses, one of them on the wrong side.
LAPSE_PROBABILITY = 0.02

#: W₀ of the prior of w, in log N. Measured: w = 0.09 to 0.16 at P = 200 and 0.02 to 0.06 at P = 2000
#: (docs/transition.md). W₀ is one of the larger values, since too small a w makes the interval too short.
PRIOR_W = 0.15
#: S, the standard deviation of log w in the prior.
PRIOR_LOG_W_STD = 1.0

#: The values of w at which ℓ is evaluated, in log N.
W_GRID = np.geomspace(3e-3, 1.0, 49)

#: Number of values of m at which ℓ is evaluated, on the coarse grid and again on the fine one.
M_GRID_POINTS = 201
#: How far the coarse grid of m reaches beyond the smallest and the largest x tried, in log N.
M_GRID_MARGIN = 1.0

#: m is the middle of all values whose 2ℓ is less than this below the maximum. The top of ℓ is flat where all trials above
#: the median have a larger x than all trials below it.
FLAT_TOP_DROP = 0.01

#: `largest_w` is the largest w whose 2ℓ is less than this below the maximum: 1.64², the upper end of a 90% interval.
LARGEST_W_DROP = 2.7


@dataclass(frozen=True)
class Tally:
    """Counts of trials at each of K values x [K], ascending: above [K], below [K] and undecided [K]."""

    x: Array
    above: Array
    below: Array
    undecided: Array

    @classmethod
    def of(cls, trials: Sequence[tuple[float, Side]]) -> Tally:
        """Counts (x, side) pairs, one for each trial, in any order."""
        x = np.array(sorted({x for x, _ in trials}))
        counts = {
            side: np.array([sum(trial == (value, side) for trial in trials) for value in x], dtype=float)
            for side in get_args(Side)
        }
        return cls(x, **counts)

    @property
    def n_decided(self) -> int:
        """The number of trials that are above or below."""
        return int(self.above.sum() + self.below.sum())


@dataclass(frozen=True)
class MedianEstimate:
    """Median m of the logistic, its interval and its width w, all in the unit of x (log N or log P).

    m: None where all decided trials are on one side;
    interval: (lower, upper), None for an open end;
    w: the most likely width; largest_w: the largest width that the trials allow;
    m_range: m with all undecided trials above, and m with all of them below (equal without undecided trials).
    """

    m: float | None
    interval: tuple[float | None, float | None]
    w: float
    largest_w: float
    m_range: tuple[float | None, float | None]

    @property
    def length(self) -> float:
        """The length of the interval; infinite where an end is open."""
        low, high = self.interval
        return np.inf if low is None or high is None else high - low


def fit_median(tally: Tally, level: float = 0.95) -> MedianEstimate:
    """Median of the decided trials, with an interval at confidence `level` that allows for the undecided ones."""
    t2 = _squared_quantile(tally.n_decided, level)
    decided = _Profile(tally.x, tally.above, tally.below, t2)
    if not tally.undecided.any():
        return MedianEstimate(
            decided.m, decided.interval, decided.w, decided.largest_w, (decided.m, decided.m)
        )
    all_above = _Profile(tally.x, tally.above + tally.undecided, tally.below, t2)
    all_below = _Profile(tally.x, tally.above, tally.below + tally.undecided, t2)
    interval = (
        _outermost(min, all_above.interval[0], decided.interval[0]),
        _outermost(max, all_below.interval[1], decided.interval[1]),
    )
    largest_w = max(profile.largest_w for profile in (all_above, decided, all_below))
    return MedianEstimate(decided.m, interval, decided.w, largest_w, (all_above.m, all_below.m))


def _outermost(choose: Callable[..., float], *ends: float | None) -> float | None:
    """The lowest or the highest of two ends; None where one of them is open."""
    closed = [end for end in ends if end is not None]
    return choose(closed) if len(closed) == len(ends) else None


def _squared_quantile(n: int, level: float) -> float:
    """t² n/(n - 4), with Student's t at ν = n/2 - 2 degrees of freedom; ν and n - 4 are at least 1."""
    from scipy.special import stdtrit

    return float(stdtrit(max(n / 2 - 2, 1.0), (1 + level) / 2)) ** 2 * n / max(n - 4, 1)


class _Profile:
    """The profile max_w ℓ(m, w) on a grid of M values of m, refined where 2ℓ is within t² of its largest value.

    x, above, below [K]: the counts; t2: the squared quantile of the interval.
    """

    def __init__(self, x: Array, above: Array, below: Array, t2: float) -> None:
        self.has_both_sides, self.t2 = bool(above.any() and below.any()), t2
        coarse = np.linspace(x[0] - M_GRID_MARGIN, x[-1] + M_GRID_MARGIN, M_GRID_POINTS)
        values = _maximum_over_w(_log_likelihood(x, above, below, coarse))
        likely = np.flatnonzero(2 * (values.max() - values) <= t2)
        self.is_open = (bool(likely[0] == 0), bool(likely[-1] == M_GRID_POINTS - 1))
        ends = coarse[max(likely[0] - 1, 0)], coarse[min(likely[-1] + 1, M_GRID_POINTS - 1)]
        self.grid = np.linspace(*ends, M_GRID_POINTS)
        likelihood = _log_likelihood(x, above, below, self.grid)  # [M, W]
        self.values, values_of_w = _maximum_over_w(likelihood), likelihood.max(0)
        self.w = float(W_GRID[values_of_w.argmax()])
        self.largest_w = float(W_GRID[2 * (values_of_w.max() - values_of_w) <= LARGEST_W_DROP][-1])

    @property
    def m(self) -> float | None:
        """The middle of the flat top of the profile; None where all trials are on one side."""
        return sum(self._range_within(FLAT_TOP_DROP)) / 2 if self.has_both_sides else None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The first and the last m whose 2ℓ is within t² of the largest; None at an open end."""
        low, high = self._range_within(self.t2)
        return None if self.is_open[0] else low, None if self.is_open[1] else high

    def _range_within(self, drop: float) -> tuple[float, float]:
        """The first and the last m where 2ℓ is within `drop` of its largest value, interpolated."""
        excess = drop - 2 * (self.values.max() - self.values)
        inside = np.flatnonzero(excess >= 0)
        return self._zero_crossing(excess, inside[0], -1), self._zero_crossing(excess, inside[-1], 1)

    def _zero_crossing(self, excess: Array, i: int, step: int) -> float:
        """Where excess [M] crosses zero between the points i and i + step of the grid."""
        j = i + step
        if not 0 <= j < len(excess):
            return float(self.grid[i])
        share = excess[i] / (excess[i] - excess[j])
        return float(self.grid[i] + share * (self.grid[j] - self.grid[i]))


def _maximum_over_w(likelihood: Array) -> Array:
    """max_w ℓ(m, w) [M] from ℓ [M, W]: the top of the parabola in log w through the largest value and its neighbours."""
    j = likelihood.argmax(1).clip(1, likelihood.shape[1] - 2)
    rows = np.arange(len(likelihood))
    before, centre, after = (likelihood[rows, j + step] for step in (-1, 0, 1))
    bend = before - 2 * centre + after
    inside = (centre >= before) & (centre >= after) & (bend < 0)  # else the largest is at an end of the grid
    return np.where(
        inside, centre - (after - before) ** 2 / (8 * np.where(inside, bend, -1.0)), likelihood.max(1)
    )


def _log_likelihood(x: Array, above: Array, below: Array, grid: Array) -> Array:
    """ℓ(m, w) [M, W] at each m of grid [M] and each w of W_GRID [W], from the counts above [K] and below [K] at x [K]."""
    from scipy.special import expit

    total = np.tile(-0.5 * (np.log(W_GRID / PRIOR_W) / PRIOR_LOG_W_STD) ** 2, (len(grid), 1))
    for at, a, b in zip(x, above, below):
        if a or b:
            p = LAPSE_PROBABILITY / 2 + (1 - LAPSE_PROBABILITY) * expit((at - grid[:, None]) / W_GRID)
            total += a * np.log(p) + b * np.log1p(-p)
    return total
