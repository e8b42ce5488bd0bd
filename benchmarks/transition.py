"""The quality and the cost of a search for N*: the coverage of its intervals, and the gradient steps that it takes.

    coverage   the share of intervals that hold N*, of simulated searches with known N* and w, at a nominal 95%
    lengths    the same share and the length of the interval after given numbers of trials
    steps      gradient steps and seconds of bisect and of descend, for an interval of the same length

    python benchmarks/transition.py coverage [--samples 1000] [--processes 2]
    python benchmarks/transition.py lengths [--trials 12,16,20,24] [--samples 400]
    python benchmarks/transition.py steps [--patterns 200,500] [--precision 0.2]

Prints one table for each part, with a row for each case.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.job import Compute
from jamtools.transition.logistic import MedianEstimate
from jamtools.transition.options import Method, SearchOptions, TrialSpec
from jamtools.transition.sampling import MIN_DECIDED_TRIALS, SizeAxis, TrialCache, descend, seek
from jamtools.transition.trainer import TrialTrainer
from jamtools.transition.trial import Outcome, Trial, TrialKey, outcome_at_end

#: How simulated trials behave: by the logistic; one in fifty independently of N; some undecided, most often just below N*.
Kind = Literal["plain", "lapse", "undecided"]

#: N* of the simulated networks (d = 10, L = 3).
SIMULATED_N_STAR = (300, 3000)
#: Widths w of the logistic in log N.
SIMULATED_W = (0.03, 0.05, 0.1, 0.2, 0.3)
#: Widths w of the searches whose intervals are compared after given numbers of trials.
COMPARED_W = (0.02, 0.05, 0.1, 0.2, 0.3)
#: Lengths of the interval of log N* that the searches aim for.
SIMULATED_PRECISIONS = (0.1, 0.2)


def size_axis(depth: int) -> SizeAxis:
    """Widths up to 200 of networks with d = 10."""
    return SizeAxis(lambda width: Architecture(10, width, depth).n_effective, 200)


@dataclass(frozen=True)
class Case:
    """Simulated searches that differ in their seed only."""

    kind: Kind
    N: float
    w: float
    options: SearchOptions
    samples: int


class Interval(NamedTuple):
    """The interval of one simulated search: whether it holds N*, its length in log N, and the number of trials."""

    is_covered: bool
    length: float
    n_trials: int


@dataclass(frozen=True)
class Simulation:
    """One simulated search, and log N* of its networks."""

    axis: SizeAxis
    cache: TrialCache
    true: float

    def interval(self, n_trials: int | None = None) -> Interval:
        """The interval from the first n_trials trials, or from all of them."""
        trials = list(self.cache.trials)[:n_trials]
        ends = self.axis.fit_median(trials, outcome_at_end).interval
        low, high = (end if end is not None else sign * math.inf for end, sign in zip(ends, (-1, 1)))
        return Interval(low <= self.true <= high, high - low, len(trials))


def simulated(case: Case, seed: int) -> Simulation:
    """A search with simulated trials, whose log N* is random within 0.2 of that of the case."""
    rng = np.random.default_rng(seed)
    true = math.log(case.N) + rng.uniform(-0.2, 0.2)
    axis = size_axis(depth=3)

    def run(wanted: Sequence[tuple[int, int]]) -> list[Trial]:
        return [
            Trial(
                P=1, width=width, N=int(axis.amount(width)), seed=seed, steps=0,
                outcome=outcome(case.kind, (axis.x(width) - true) / case.w, rng),
            )
            for width, seed in wanted
        ]  # fmt: skip

    cache = TrialCache(run)
    first = axis.nearest(true + 0.3 * rng.standard_normal())
    seek(cache, axis, [0, 1], first, case.options, outcome_at_end)
    return Simulation(axis, cache, true)


def outcome(kind: Kind, z: float, rng: np.random.Generator) -> Outcome:
    """The outcome of a trial at z = (log N - log N*)/w. Undecided are most of those near N* that would succeed later."""
    p = 1 / (1 + math.exp(-min(max(z, -500), 500)))
    succeeds = rng.random() < (0.01 + 0.98 * p if kind == "lapse" else p)
    if kind == "undecided" and succeeds and rng.random() < 0.6 * math.exp(-((z / 2) ** 2)):
        return "undecided"
    return "success" if succeeds else "unsatisfied"


def intervals(case: Case, n_trials: Sequence[int | None] = (None,)) -> list[list[Interval]]:
    """For each search of a case, its interval after each of these numbers of trials, None for all."""
    simulations = (simulated(case, seed) for seed in range(case.samples))
    return [[simulation.interval(n) for n in n_trials] for simulation in simulations]


def coverage(samples: int, processes: int, kinds: list[Kind]) -> None:
    """Prints a row for each kind of trials, N*, w and precision."""
    print(f"{'trials':10} {'N*':>5} {'w':>5} {'asked':>6} {'covered':>8} {'length':>7} {'trials':>7}")
    cases = [
        Case(kind, N, w, SearchOptions(precision=precision, trials=100), samples)
        for kind in kinds
        for N in SIMULATED_N_STAR
        for w in SIMULATED_W
        for precision in SIMULATED_PRECISIONS
    ]
    with ProcessPoolExecutor(processes) as pool:
        for case, results in zip(cases, pool.map(intervals, cases)):
            covered, length, n_trials = np.array(results)[:, 0].T
            print(
                f"{case.kind:10} {case.N:5} {case.w:5} {case.options.precision:6} {covered.mean():8.3f} "
                f"{np.median(length):7.3f} {n_trials.mean():7.1f}",
                flush=True,
            )


def lengths(samples: int, processes: int, kinds: list[Kind], n_trials: list[int]) -> None:
    """Prints a row for each kind of trials, N* and w: for each number of trials the share covered, and the median length."""
    print(f"{'trials':10} {'N*':>5} {'w':>5}" + "".join(f"   {f'after {n}':>12}" for n in n_trials))
    cases = [
        Case(kind, N, w, SearchOptions(precision=0, trials=max(n_trials)), samples)
        for kind in kinds
        for N in SIMULATED_N_STAR
        for w in COMPARED_W
    ]
    with ProcessPoolExecutor(processes) as pool:
        for case, results in zip(cases, pool.map(intervals, cases, [n_trials] * len(cases))):
            covered, length, _ = np.array(results).transpose(2, 1, 0)
            cells = "".join(f"   {c:6.3f} {v:5.3f}" for c, v in zip(covered.mean(1), np.median(length, 1)))
            print(f"{case.kind:10} {case.N:5} {case.w:5}{cells}", flush=True)


def by_bisection(cache: TrialCache, axis: SizeAxis, P: int, options: SearchOptions) -> MedianEstimate:
    """A search from N = 0.5 P with one seed."""
    return seek(cache, axis, [0], axis.smallest_from(math.log(0.5 * P)), options, outcome_at_end)


def by_descents(cache: TrialCache, axis: SizeAxis, P: int, options: SearchOptions) -> MedianEstimate:
    """The authors' method: descents from N = P, one seed after the other, until all together are as precise."""
    for seed in range(options.trials):
        descent = descend(axis.smallest_from(math.log(P)), axis)
        size = next(descent)
        while size:
            (trial,) = cache.get([(size, seed)])
            try:
                size = descent.send(trial.outcome)
            except StopIteration:
                size = 0
        median = axis.fit_median(cache.trials, outcome_at_end, options.level)
        if median.length <= options.precision and len(cache) >= MIN_DECIDED_TRIALS:
            break
    return median


def steps(patterns: list[int], precisions: list[float], depth: int, budget: int) -> None:
    """Prints a row for each P, precision and method; the ratios are to descend."""
    names = ("P", "asked", "method", "N*", "length", "trials", "steps", "s", "of steps", "of s")
    print("{:>5} {:>6} {:8} {:>7} {:>7} {:>7} {:>10} {:>7} {:>8} {:>6}".format(*names))
    data = random_sphere(max(patterns), 10, seed=0)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=budget, measurements=2)
    trainer = TrialTrainer(data, TrialSpec(depth, "relu", settings, (0,)), Compute(threads=2))
    trainer.train([TrialKey(20, 2, 0), TrialKey(20, 2, 1)])  # compiles the kernel before anything is timed
    for P in patterns:
        for precision in precisions:
            compare_methods(trainer, P, SearchOptions(precision=precision, trials=400))


def compare_methods(trainer: TrialTrainer, P: int, options: SearchOptions) -> None:
    """Prints a row for each method, at one P and precision."""
    axis = size_axis(trainer.spec.depth)
    methods: dict[Method, Callable[..., MedianEstimate]] = {"descend": by_descents, "bisect": by_bisection}
    costs: dict[Method, tuple[int, float]] = {}
    for name, method in methods.items():
        cache = TrialCache(lambda wanted: trainer.train([TrialKey(P, width, seed) for width, seed in wanted]))
        start = time.perf_counter()
        median = method(cache, axis, P, options)
        costs[name] = sum(trial.steps for trial in cache.trials), time.perf_counter() - start
        ratios = [cost / reference for cost, reference in zip(costs[name], costs["descend"])]
        print(
            f"{P:5} {options.precision:6} {name:8} {math.exp(median.m):7.1f} {median.length:7.3f} {len(cache):7} "
            f"{costs[name][0]:10} {costs[name][1]:7.1f} {ratios[0]:8.2f} {ratios[1]:6.2f}",
            flush=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("coverage", "lengths", "steps"))
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--trials", default="12,16,20,24")
    parser.add_argument("--kinds", default=",".join(get_args(Kind)))
    parser.add_argument("--patterns", default="200,500")
    parser.add_argument("--precision", default="0.2,0.3")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--budget", type=int, default=30_000)
    options = parser.parse_args()
    start = time.perf_counter()
    if options.part == "coverage":
        coverage(options.samples, options.processes, options.kinds.split(","))
    elif options.part == "lengths":
        n_trials = [int(n) for n in options.trials.split(",")]
        lengths(options.samples, options.processes, options.kinds.split(","), n_trials)
    else:
        patterns, precisions = (text.split(",") for text in (options.patterns, options.precision))
        steps(
            [int(P) for P in patterns],
            [float(precision) for precision in precisions],
            options.depth,
            options.budget,
        )
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
