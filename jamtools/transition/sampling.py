"""Where to try next: brackets of N*, then trials around the running median until its interval is short enough.

    bisect     double or halve from a first guess to a bracket (fails, fits), then halve that
    descend    from above, one at a time, until a trial fails beyond doubt (N_Δ > 0.1 N): the paper's way
    sample     m̂ ± k·min(ŵ₊, W₊),  m̂ ± 0.4 k·min(ŵ₊, W₊),     k = 1.2, with seeds never used before

A seed's walk is its own; those of all seeds go in step, a batch a step. ŵ₊ is the largest spread that the trials allow,
not the likeliest: where the first few happen to be separated the likeliest is nearly zero, and trials all at one place
would find neither m nor that it is wrong. For the same reason no interval is believed before LEAST trials.

What is tried is a *size* (a width, or a number of patterns) of a `Scale`, which knows its x = log N or log P.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jamtools.random_streams import FRESH_SEEDS
from jamtools.transition.logistic import Tally, Threshold, locate

Record = Mapping[str, Any]

#: (size, seed) of each trial of a batch -> their records.
Runner = Callable[[Sequence[tuple[int, int]]], list[Record]]

#: record -> its outcome: "success", "undecided", or how it failed.
Reading = Callable[[Record], str]

#: Yields a size, is sent the outcome there.
Walk = Generator[int, str, None]


#: Where a round samples, in units of k times the spread, and k.
OFFSETS, REACH = (-1.0, 1.0, -0.4, 0.4), 1.2

#: W₊: no trial is placed by a larger spread, however little is known of it.
LARGEST_SPREAD = 0.3

#: Decided trials before an interval is believed.
LEAST = 16


@dataclass(frozen=True)
class Scale:
    """The sizes 1 … `largest` and how much each amounts to (N, or P), growing with size.

    rising: trials succeed at large sizes (widths), rather than at small ones (patterns).
    """

    amount: Callable[[int], float]
    largest: int
    rising: bool = True

    def x(self, size: int) -> float:
        """log N or log P."""
        return math.log(self.amount(size))

    def at_least(self, x: float) -> int:
        """The smallest size that amounts to e^x."""
        high = 1
        while self.x(high) < x:
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.x(middle) < x else (low, middle)
        return high

    def below(self, x: float) -> int:
        """The largest size that amounts to less than e^x, or 0."""
        return self.at_least(x) - 1

    def nearest(self, x: float) -> int:
        """The size whose x is nearest."""
        size = self.at_least(x)
        return size - 1 if size > 1 and x - self.x(size - 1) < self.x(size) - x else size

    def beyond(self, outcome: str) -> bool:
        """Whether a bracket's upper end is there: at a success in width, at the lack of one in patterns."""
        return (outcome == "success") is self.rising

    def verdict(self, outcome: str) -> str:
        """Above or below the threshold."""
        return "undecided" if outcome == "undecided" else "above" if self.beyond(outcome) else "below"


@dataclass(frozen=True)
class Goal:
    """How N* is looked for, and when that is enough.

    precision: length of the interval of log N*; trials: at most so many for each N*; at_once: of a round of samples;
    cold: each seed by itself.
    """

    method: str = "bisect"
    precision: float = 0.2
    trials: int = 50
    at_once: int = 4
    level: float = 0.95
    cold: bool = False


@dataclass
class Pool:
    """The trials made so far by (size, seed), in the order in which they were asked for."""

    run: Runner
    trials: dict[tuple[int, int], Record] = field(default_factory=dict)

    def ask(self, wanted: Iterable[tuple[int, int]]) -> list[Record]:
        """The records of trials; those not made yet are made in one batch."""
        wanted = list(wanted)
        new = [one for one in dict.fromkeys(wanted) if one not in self.trials]
        self.trials.update(zip(new, self.run(new) if new else []))
        return [self.trials[one] for one in wanted]

    def locate(self, scale: Scale, reading: Reading, level: float) -> Threshold:
        """The threshold that the trials made so far say."""
        return located(scale, [(size, reading(record)) for (size, _), record in self.trials.items()], level)

    def among(self, seeds: Iterable[int]) -> int:
        """How many trials were sampled for these seeds."""
        own = set(seeds)
        return sum(seed >= FRESH_SEEDS and seed % FRESH_SEEDS in own for _, seed in self.trials)


def located(scale: Scale, outcomes: Sequence[tuple[int, str]], level: float) -> Threshold:
    """The threshold of (size, outcome) of some trials."""
    return locate(Tally.of([(scale.x(size), scale.verdict(outcome)) for size, outcome in outcomes]), level)


def bisect(first: int, scale: Scale) -> Walk:
    """To neighbouring sizes on either side of the threshold; gives up beyond the largest. No size is tried twice."""
    first = min(max(first, 1), scale.largest)
    if scale.beyond((yield first)):
        high, low = first, first // 2
        while low > 0 and scale.beyond((yield low)):
            high, low = low, low // 2
    else:
        low, high = first, min(2 * first, scale.largest)
        while low < scale.largest and not scale.beyond((yield high)):
            low, high = high, min(2 * high, scale.largest)
        if low == scale.largest:
            return
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if scale.beyond((yield middle)) else (middle, high)


def descend(first: int, scale: Scale) -> Walk:
    """Down from `first`, or from twice that and so on where it does not fit, until a failure that is not undecided."""
    size = min(max(first, 1), scale.largest)
    while (yield size) != "success":
        if size == scale.largest:
            return
        size = min(2 * size, scale.largest)
    for lower in range(size - 1, 0, -1):
        if (yield lower) not in ("success", "undecided"):
            return


def fail(pool: Pool, scale: Scale, reading: Reading) -> Walk:
    """From undecided trials on to harder sizes until one fails: between successes and undecided trials nothing turns."""
    if {"success", "undecided"} != {reading(record) for record in pool.trials.values()}:
        return
    size = (min if scale.rising else max)(size for size, _ in pool.trials)
    outcome = "undecided"
    while outcome == "undecided" and (size > 1 if scale.rising else size < scale.largest):
        size = size // 2 if scale.rising else min(2 * size, scale.largest)
        outcome = yield size


WALKS: dict[str, Callable[[int, Scale], Walk]] = {"bisect": bisect, "descend": descend}


def seek(
    pool: Pool, scale: Scale, seeds: Sequence[int], first: int, goal: Goal, reading: Reading
) -> Threshold:
    """The threshold by a bracket for each seed and samples around the median, `goal.trials` more trials at most."""
    most = len(pool.trials) + goal.trials
    _in_step(pool, {seed: WALKS[goal.method](first, scale) for seed in seeds}, reading, most)
    _in_step(pool, {seeds[0]: fail(pool, scale, reading)}, reading, most)
    found = pool.locate(scale, reading, goal.level)
    while found.m is not None and len(pool.trials) < most and not enough(found, scale, pool, reading, goal):
        n, used = min(goal.at_once, most - len(pool.trials)), pool.among(seeds)
        pool.ask(zip(_places(found, scale, range(used, used + n)), _fresh(seeds, used, n)))
        found = pool.locate(scale, reading, goal.level)
    return found


def _in_step(pool: Pool, walks: Mapping[int, Walk], reading: Reading, most: int) -> None:
    """All walks a step at a time, each step a batch, while there are trials left."""
    begun = {seed: next(walk, None) for seed, walk in walks.items()}
    asked = {seed: size for seed, size in begun.items() if size is not None}
    while asked and len(pool.trials) < most:
        new = [(size, seed) for seed, size in asked.items() if (size, seed) not in pool.trials]
        dropped = new[most - len(pool.trials) :]
        asked = {seed: size for seed, size in asked.items() if (size, seed) not in dropped}
        records = pool.ask((size, seed) for seed, size in asked.items())
        asked = _sent(walks, {seed: reading(record) for seed, record in zip(asked, records)})


def _sent(walks: Mapping[int, Walk], outcomes: Mapping[int, str]) -> dict[int, int]:
    """Where the walks go next; those at their end are left out."""
    asked = {}
    for seed, outcome in outcomes.items():
        try:
            asked[seed] = walks[seed].send(outcome)
        except StopIteration:
            continue
    return asked


def enough(found: Threshold, scale: Scale, pool: Pool, reading: Reading, goal: Goal) -> bool:
    """Whether more trials are of no use: the interval is short enough, or between neighbours, or m is out of reach."""
    decided = sum(reading(record) != "undecided" for record in pool.trials.values())
    return decided >= LEAST and (beyond(found, scale) or precise(found, scale, goal.precision))


def beyond(found: Threshold, scale: Scale) -> bool:
    """Whether the median lies beyond the largest size that may be tried: how far, no trial can say."""
    return found.m is not None and found.m > scale.x(scale.largest)


def precise(found: Threshold, scale: Scale, precision: float) -> bool:
    """Whether the interval is as short as asked for, or within one step of size."""
    low, high = found.interval
    if low is None or high is None:
        return False
    return found.length <= precision or scale.at_least(low) == scale.at_least(high)


def _places(found: Threshold, scale: Scale, numbers: Iterable[int]) -> list[int]:
    """The sizes of samples around the median by their numbers; the outer ones are rounded outwards, to both sides of it."""
    lower, upper = (found.m if turn is None else turn for turn in found.turns)
    assert lower is not None and upper is not None
    spread = REACH * min(found.largest_w, LARGEST_SPREAD)
    places = []
    for i in numbers:
        offset = OFFSETS[i % len(OFFSETS)]
        x = (lower if offset < 0 else upper) + offset * spread
        size = scale.nearest(x) if abs(offset) < 1 else scale.below(x) if offset < 0 else scale.at_least(x)
        places.append(min(max(size, 1), scale.largest))
    return places


def _fresh(seeds: Sequence[int], used: int, n: int) -> list[int]:
    """n seeds never used before, in turn for each of `seeds`, of which so many have been used."""
    return [seeds[k % len(seeds)] + FRESH_SEEDS * (1 + k // len(seeds)) for k in range(used, used + n)]
