"""Median of a logistic in x = log N, from outcomes above and below it, with the interval of its posterior.

    p(x) = λ/2 + (1 - λ) / (1 + exp(-(x - m)/w))
    L(m, w) = Π_x p(x)^a(x) (1 - p(x))^b(x)
    ρ(m) ~ ∫ L(m, w) exp(-½ (log(w/W₀)/S)²) d log w,         m uniform up to a distance R beyond all x
    interval: from the quantile (1 - c)/2 of ρ to its quantile (1 + c)/2 at the level c; the median is its quantile ½

m is the median and w the width of the logistic. a(x) and b(x) count the trials above (successes, where x = log N)
and below. An undecided trial is above or below with the probabilities p and 1 - p, so that its factor in L is 1. The lower
end of the interval comes from a fit with all undecided trials above, the upper end from a fit with all of them below. So
the interval is valid whatever the reason why trials stay undecided.

λ is the probability of a lapse. With it, one run far from the transition that is stuck, or that fits by luck, does not
decide w. The integral over w counts every width that the trials allow, so that no correction for few trials is needed,
and a search may look at its interval as often as it likes. Intervals of simulated searches hold the true median as often
as their level says (benchmarks/transition.py).

An end is open where ρ at the limit of m is still above exp(-½ t²) of its largest value, with the normal quantile t of the
level: nothing measured excludes values beyond it. The quantiles of ρ then depend on R, and the other end is where ρ falls
to exp(-½ t²) of its largest value.

Source: arXiv:1809.09349, section III, for the transition; F. A. Wichmann and N. J. Hill, Perception & Psychophysics 63,
1293 (2001), for the lapse; M. Kuss, F. Jäkel and F. A. Wichmann, Journal of Vision 5, 478 (2005), for the posterior.
"""

from __future__ import annotations

import math
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
#: (docs/transition.md).
PRIOR_W = 0.12
#: S, the standard deviation of log w in the prior: a factor of 4.5 up or down. With a narrow prior around a large w the
#: intervals are too long where w is small, and too short where it is larger still.
PRIOR_LOG_W_STD = 1.5

#: The values of w over which ρ is summed, in log N.
W_GRID = np.geomspace(5e-3, 1.0, 33)

#: The smallest number of decided trials that bounds m: a single one may be a lapse.
MIN_TRIALS_OF_A_BOUND = 2

#: R: how far m may lie beyond the smallest and the largest x tried, in log N. Brackets double and halve, a distance of 0.7
#: to 1.4.
M_MARGIN = 1.0
#: Number of equally spaced values of m at which ρ is evaluated first.
M_GRID_POINTS = 101
#: Number of values of m at which ρ is evaluated then: between two neighbours lies an equal share of the first ρ.
M_QUANTILE_POINTS = 201


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


@dataclass(frozen=True)
class MedianEstimate:
    """Median m of the logistic, its interval and its width w, all in the unit of x (log N or log P).

    m: None where all decided trials are on one side;
    interval: (lower, upper), None for an open end;
    w: the mean of the posterior of the width; widest_w: the largest such mean that undecided trials could give;
    m_range: m with all undecided trials above, and m with all of them below (equal without undecided trials).
    """

    m: float | None
    interval: tuple[float | None, float | None]
    w: float
    widest_w: float
    m_range: tuple[float | None, float | None]

    @property
    def length(self) -> float:
        """The length of the interval; infinite where an end is open."""
        low, high = self.interval
        return np.inf if low is None or high is None else high - low


#: What no trial at all says.
NOTHING_KNOWN = MedianEstimate(None, (None, None), PRIOR_W, PRIOR_W, (None, None))


def fit_median(tally: Tally, level: float = 0.95) -> MedianEstimate:
    """Median of the decided trials, with an interval at confidence `level` that allows for the undecided ones."""
    if not len(tally.x):
        return NOTHING_KNOWN
    decided = _Posterior(tally.x, tally.above, tally.below, level)
    if not tally.undecided.any():
        return MedianEstimate(decided.m, decided.interval, decided.w, decided.w, (decided.m, decided.m))
    all_above = _Posterior(tally.x, tally.above + tally.undecided, tally.below, level)
    all_below = _Posterior(tally.x, tally.above, tally.below + tally.undecided, level)
    interval = (
        _outermost(min, all_above.interval[0], decided.interval[0]),
        _outermost(max, all_below.interval[1], decided.interval[1]),
    )
    widest_w = max(posterior.w for posterior in (all_above, decided, all_below))
    return MedianEstimate(decided.m, interval, decided.w, widest_w, (all_above.m, all_below.m))


def _outermost(choose: Callable[..., float], *ends: float | None) -> float | None:
    """The lowest or the highest of two ends; None where one of them is open."""
    closed = [end for end in ends if end is not None]
    return choose(closed) if len(closed) == len(ends) else None


class _Posterior:
    """ρ(m) on a grid of M values of m, dense where ρ is large.

    x, above, below [K]: the counts; level: that of the interval.
    """

    def __init__(self, x: Array, above: Array, below: Array, level: float) -> None:
        self.has_both_sides, self.level = bool(above.any() and below.any()), level
        self.bounds_m = (above + below).sum() >= MIN_TRIALS_OF_A_BOUND
        coarse = np.linspace(x[0] - M_MARGIN, x[-1] + M_MARGIN, M_GRID_POINTS)
        first = _cumulative(coarse, _density(x, above, below, coarse).sum(1))
        dense = np.interp(np.linspace(0, 1, M_QUANTILE_POINTS), first, coarse)
        self.grid = np.unique(np.concatenate([coarse, dense]))
        density = _density(x, above, below, self.grid)  # [M, W]
        self.density = density.sum(1)
        self.cumulative = _cumulative(self.grid, self.density)
        self.w = float(np.trapezoid(density @ W_GRID, self.grid) / np.trapezoid(self.density, self.grid))

    @property
    def m(self) -> float | None:
        """The median of ρ; None where all trials are on one side."""
        return self._quantile(0.5) if self.has_both_sides else None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The two quantiles of ρ, or, where an end is open, None and the other end by the height of ρ."""
        if not self.bounds_m:
            return None, None
        inside = np.flatnonzero(self.density >= self._threshold())
        is_open = inside[0] == 0, inside[-1] == len(self.grid) - 1
        if not any(is_open):
            return self._quantile((1 - self.level) / 2), self._quantile((1 + self.level) / 2)
        low, high = self._crossing(inside[0], -1), self._crossing(inside[-1], 1)
        return None if is_open[0] else low, None if is_open[1] else high

    def _quantile(self, share: float) -> float:
        return float(np.interp(share, self.cumulative, self.grid))

    def _threshold(self) -> float:
        """exp(-½ t²) of the largest ρ."""
        from scipy.special import ndtri

        return float(self.density.max()) * math.exp(-0.5 * float(ndtri((1 + self.level) / 2)) ** 2)

    def _crossing(self, i: int, step: int) -> float:
        """Where ρ crosses the threshold between the points i and i + step of the grid."""
        j = i + step
        if not 0 <= j < len(self.grid):
            return float(self.grid[i])
        excess = self.density[[i, j]] - self._threshold()
        return float(self.grid[i] + excess[0] / (excess[0] - excess[1]) * (self.grid[j] - self.grid[i]))


def _cumulative(grid: Array, density: Array) -> Array:
    """The integral [M] of a density [M] over grid [M] from its start, by trapezia; 1 at its end."""
    steps = np.diff(grid) * (density[1:] + density[:-1]) / 2
    total = np.concatenate([[0.0], np.cumsum(steps)])
    return total / total[-1]


def _density(x: Array, above: Array, below: Array, grid: Array) -> Array:
    """L times the prior [M, W] at each m of grid [M] and each w of W_GRID [W], times any constant.

    x, above, below [K]: the counts.
    """
    from scipy.special import expit

    total = np.tile(-0.5 * (np.log(W_GRID / PRIOR_W) / PRIOR_LOG_W_STD) ** 2, (len(grid), 1))
    for at, a, b in zip(x, above, below):
        if a or b:
            p = LAPSE_PROBABILITY / 2 + (1 - LAPSE_PROBABILITY) * expit((at - grid[:, None]) / W_GRID)
            total += (a * np.log(p) if a else 0.0) + (b * np.log1p(-p) if b else 0.0)
    density = np.exp(total - total.max())
    density[:, [0, -1]] /= 2  # the trapezia of the integral over log w
    return density
