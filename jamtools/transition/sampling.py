"""Chooses the next trial: each seed brackets the transition, then samples around the running median make it precise.

    bisect     double or halve from a first guess to a bracket (one fails, one fits), then halve the bracket
    descend    from above in steps of one, until a trial fails beyond doubt (N_Δ > 0.1 N): the authors' method
    sample     m ± k w,  m ± 0.4 k w,     k = 1.2, with seeds never used before

m is the running median and w the mean of the posterior of the width of the logistic (logistic.py). The most likely width
cannot replace the mean: it is nearly zero if the first few trials happen to be separated. All further trials would then
have one size, and could not correct a wrong m.

A dead trial (trial.py) is left out. In a bracket, trials with other seeds replace it.

A trial has a *size*: its width, or its number of patterns. A `SizeAxis` knows x = log N or log P of each size. The
bracket of a seed does not depend on the other seeds; the brackets of all seeds advance together: each step trains one batch.

Source: arXiv:1809.09349, section III, for `descend`; none for the rest, whose coverage is measured in
benchmarks/transition.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jamtools.random_streams import FRESH_SEEDS, REPLACEMENT_SEEDS
from jamtools.transition.logistic import MedianEstimate, Side, Tally, fit_median
from jamtools.transition.options import SearchOptions, Vary
from jamtools.transition.trial import Outcome, OutcomeOf, Trial

#: (size, seed) of each trial of a batch -> the trials.
TrialRunner = Callable[[Sequence[tuple[int, int]]], Sequence[Trial]]

#: A generator that yields a size and is sent the outcome of the trial at that size.
Bracketing = Generator[int, Outcome, None]

#: Distances of the samples of a round from the median, in units of SAMPLE_REACH·w.
SAMPLE_OFFSETS = (-1.0, 1.0, -0.4, 0.4)
#: k: the distance of the outer samples from the median, in units of w.
SAMPLE_REACH = 1.2

#: How many other seeds a bracket tries at a size at which its trial died. After these the size counts as too hard.
MAX_REPLACEMENTS = 3

#: The number of decided trials before a median beyond the largest size may end a search.
MIN_DECIDED_TRIALS = 16


@dataclass(frozen=True)
class SizeAxis:
    """The sizes 1 … `largest` of the trials of a search, and the amount of each (N or P), which grows with size.

    vary: "width" (amount is N, large networks succeed) or "patterns" (amount is P, few patterns succeed).
    """

    amount: Callable[[int], float]
    largest: int
    vary: Vary = "width"

    @property
    def succeeds_above(self) -> bool:
        """Whether trials succeed at large sizes rather than at small ones."""
        return self.vary == "width"

    def size_of(self, trial: Trial) -> int:
        """The size of a trial: its width or its number of patterns."""
        return trial.width if self.vary == "width" else trial.P

    def x(self, size: int) -> float:
        """log N or log P of a size."""
        return math.log(self.amount(size))

    def smallest_from(self, x: float) -> int:
        """The smallest size whose amount is e^x or more."""
        high = 1
        while self.x(high) < x:
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.x(middle) < x else (low, middle)
        return high

    def largest_below(self, x: float) -> int:
        """The largest size whose amount is less than e^x, or 0."""
        return self.smallest_from(x) - 1

    def nearest(self, x: float) -> int:
        """The size whose log N or log P is nearest to x."""
        size = self.smallest_from(x)
        return size - 1 if size > 1 and x - self.x(size - 1) < self.x(size) - x else size

    def is_above(self, outcome: Outcome) -> bool:
        """Whether a trial is an upper end of a bracket: a success where widths vary, any other outcome where patterns do."""
        return (outcome == "success") is self.succeeds_above

    def side(self, outcome: Outcome) -> Side:
        """On which side of the transition a trial lies."""
        if outcome == "undecided":
            return "undecided"
        return "above" if self.is_above(outcome) else "below"

    def fit_median(
        self, trials: Collection[Trial], outcome_of: OutcomeOf, level: float = 0.95
    ) -> MedianEstimate:
        """The median of the transition in log N or log P, from all trials that are not dead."""
        outcomes = ((trial, outcome_of(trial)) for trial in trials)
        points = [
            (self.x(self.size_of(trial)), self.side(outcome))
            for trial, outcome in outcomes
            if outcome != "dead"
        ]
        return fit_median(Tally.of(points), level)


@dataclass
class TrialCache:
    """The trials made so far by (size, seed), in the order in which they were asked for."""

    run: TrialRunner
    by_size_and_seed: dict[tuple[int, int], Trial] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.by_size_and_seed)

    @property
    def trials(self) -> Collection[Trial]:
        """All trials made so far."""
        return self.by_size_and_seed.values()

    def get(self, wanted: Iterable[tuple[int, int]]) -> list[Trial]:
        """The trials (size, seed); those not made yet are made in one batch."""
        wanted = list(wanted)
        new = [key for key in dict.fromkeys(wanted) if key not in self.by_size_and_seed]
        self.by_size_and_seed.update(zip(new, self.run(new) if new else []))
        return [self.by_size_and_seed[key] for key in wanted]

    def n_sampled(self, seeds: Iterable[int]) -> int:
        """The number of trials whose fresh seed was drawn for one of these seeds."""
        search_seeds = set(seeds)
        return sum(
            FRESH_SEEDS <= seed < REPLACEMENT_SEEDS and seed % FRESH_SEEDS in search_seeds
            for _, seed in self.by_size_and_seed
        )

    def alive(self, wanted: Sequence[tuple[int, int]], outcome_of: OutcomeOf, limit: int) -> list[Outcome]:
        """The outcomes of the trials (size, seed). Others replace the dead ones, up to `limit` trials in all."""
        seeds = [seed for _, seed in wanted]
        outcomes = [outcome_of(trial) for trial in self.get(wanted)]
        for k in range(MAX_REPLACEMENTS):
            dead = [i for i, outcome in enumerate(outcomes) if outcome == "dead"]
            if not dead or len(self) + len(dead) > limit:
                break
            others = [(wanted[i][0], seeds[i] + REPLACEMENT_SEEDS + k * FRESH_SEEDS) for i in dead]
            for i, trial in zip(dead, self.get(others)):
                outcomes[i] = outcome_of(trial)
        return outcomes


def bisect(first: int, axis: SizeAxis) -> Bracketing:
    """Halves a bracket until its ends are neighbouring sizes; gives up at the largest size. No size is tried twice."""
    first = min(max(first, 1), axis.largest)
    if axis.is_above((yield first)):
        high, low = first, first // 2
        while low > 0 and axis.is_above((yield low)):
            high, low = low, low // 2
    else:
        low, high = first, min(2 * first, axis.largest)
        while low < axis.largest and not axis.is_above((yield high)):
            low, high = high, min(2 * high, axis.largest)
        if low == axis.largest:
            return
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if axis.is_above((yield middle)) else (middle, high)


def descend(first: int, axis: SizeAxis) -> Bracketing:
    """Doubles `first` until a trial succeeds, then descends in steps of one until a trial fails beyond doubt."""
    size = min(max(first, 1), axis.largest)
    while (yield size) != "success":
        if size == axis.largest:
            return
        size = min(2 * size, axis.largest)
    for lower in range(size - 1, 0, -1):
        if (yield lower) not in ("success", "undecided"):
            return


def find_failure(cache: TrialCache, axis: SizeAxis, outcome_of: OutcomeOf) -> Bracketing:
    """If all trials so far are successes or undecided, tries harder and harder sizes until a trial fails beyond doubt.

    Without a failure the interval of the median has no lower end (no upper end where patterns vary).
    """
    if {"success", "undecided"} != {outcome_of(trial) for trial in cache.trials} - {"dead"}:
        return
    size = (min if axis.succeeds_above else max)(size for size, _ in cache.by_size_and_seed)
    outcome: Outcome = "undecided"
    while outcome == "undecided" and (size > 1 if axis.succeeds_above else size < axis.largest):
        size = size // 2 if axis.succeeds_above else min(2 * size, axis.largest)
        outcome = yield size


METHODS: dict[str, Callable[[int, SizeAxis], Bracketing]] = {"bisect": bisect, "descend": descend}


def seek(
    cache: TrialCache,
    axis: SizeAxis,
    seeds: Sequence[int],
    first: int,
    options: SearchOptions,
    outcome_of: OutcomeOf,
) -> MedianEstimate:
    """Searches for the median: first a bracket for each seed, then samples around the running median.

    first: the size at which every bracket begins. The search makes at most `options.trials` trials more than `cache` holds.
    """
    limit = len(cache) + options.trials
    _advance_together(
        cache, {seed: METHODS[options.method](first, axis) for seed in seeds}, outcome_of, limit
    )
    _advance_together(cache, {seeds[0]: find_failure(cache, axis, outcome_of)}, outcome_of, limit)
    median = axis.fit_median(cache.trials, outcome_of, options.level)
    while (
        median.m is not None
        and len(cache) < limit
        and not is_enough(median, axis, cache, outcome_of, options)
    ):
        n, n_sampled = min(options.at_once, limit - len(cache)), cache.n_sampled(seeds)
        sizes = _sample_sizes(median, axis, range(n_sampled, n_sampled + n))
        cache.get(zip(sizes, _fresh_seeds(seeds, n_sampled, n)))
        median = axis.fit_median(cache.trials, outcome_of, options.level)
    return median


def _advance_together(
    cache: TrialCache, brackets: Mapping[int, Bracketing], outcome_of: OutcomeOf, limit: int
) -> None:
    """Advances the brackets of all seeds, one batch of trials in each step, until they end or `cache` has `limit` trials."""
    first_sizes = {seed: next(bracket, None) for seed, bracket in brackets.items()}
    sizes = {seed: size for seed, size in first_sizes.items() if size is not None}
    while sizes and len(cache) < limit:
        new = [(size, seed) for seed, size in sizes.items() if (size, seed) not in cache.by_size_and_seed]
        dropped = new[limit - len(cache) :]
        sizes = {seed: size for seed, size in sizes.items() if (size, seed) not in dropped}
        outcomes = cache.alive([(size, seed) for seed, size in sizes.items()], outcome_of, limit)
        sizes = _next_sizes(brackets, dict(zip(sizes, outcomes)))


def _next_sizes(brackets: Mapping[int, Bracketing], outcomes: Mapping[int, Outcome]) -> dict[int, int]:
    """The next size of each seed's bracket after these outcomes; brackets that have ended are left out."""
    sizes = {}
    for seed, outcome in outcomes.items():
        try:
            sizes[seed] = brackets[seed].send(outcome)
        except StopIteration:
            continue
    return sizes


def is_enough(
    median: MedianEstimate, axis: SizeAxis, cache: TrialCache, outcome_of: OutcomeOf, options: SearchOptions
) -> bool:
    """Whether a search may end: the median is precise, or enough decided trials show that it is out of reach."""
    if is_precise(median, axis, options.precision):
        return True
    n_decided = sum(outcome_of(trial) not in ("undecided", "dead") for trial in cache.trials)
    return n_decided >= MIN_DECIDED_TRIALS and is_out_of_reach(median, axis)


def is_out_of_reach(median: MedianEstimate, axis: SizeAxis) -> bool:
    """Whether the median lies beyond the largest size that may be tried, so that no trial shows how far beyond."""
    return median.m is not None and median.m > axis.x(axis.largest)


def is_precise(median: MedianEstimate, axis: SizeAxis, precision: float) -> bool:
    """Whether the interval is no longer than `precision`, or lies between neighbouring sizes."""
    low, high = median.interval
    if low is None or high is None:
        return False
    return median.length <= precision or axis.smallest_from(low) == axis.smallest_from(high)


def _sample_sizes(median: MedianEstimate, axis: SizeAxis, numbers: Iterable[int]) -> list[int]:
    """The sizes of the samples with these numbers, on both sides of the median; the outer ones are rounded outwards."""
    low, high = (median.m if m is None else m for m in median.m_range)
    assert low is not None and high is not None
    reach = SAMPLE_REACH * median.widest_w
    sizes = []
    for i in numbers:
        offset = SAMPLE_OFFSETS[i % len(SAMPLE_OFFSETS)]
        x = (low if offset < 0 else high) + offset * reach
        if abs(offset) < 1:
            size = axis.nearest(x)
        else:
            size = axis.largest_below(x) if offset < 0 else axis.smallest_from(x)
        sizes.append(min(max(size, 1), axis.largest))
    return sizes


def _fresh_seeds(seeds: Sequence[int], n_sampled: int, n: int) -> list[int]:
    """n seeds that no trial has used, drawn for each of `seeds` in turn; n_sampled of them were drawn before."""
    return [
        seeds[k % len(seeds)] + FRESH_SEEDS * (1 + k // len(seeds)) for k in range(n_sampled, n_sampled + n)
    ]
