"""What a search for N* is worth: the coverage of its intervals, and the gradient steps that it takes.

    coverage   intervals of simulated searches, whose N* and spread are known, at a nominal 95%
    steps      gradient steps and seconds of bisect against descend, for an interval of the same length

    python benchmarks/transition.py coverage [--samples 1000] [--processes 2]
    python benchmarks/transition.py steps [--patterns 200,500] [--precision 0.2]

Prints a table a part; each row is one run of it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.job import Compute
from jamtools.transition.estimate import final
from jamtools.transition.logistic import Threshold
from jamtools.transition.sampling import LEAST, Goal, Pool, Scale, descend, located, seek
from jamtools.transition.trial import Question, Trials

#: N* of the simulated networks (d = 10, L = 3), spreads w of log N, and the lengths that are asked for.
N_STAR, SPREADS, PRECISIONS = (300, 3000), (0.03, 0.05, 0.1, 0.2, 0.3), (0.1, 0.2)
#: What is simulated: trials that follow the logistic; one in fifty that does not; undecided ones, near N* or anywhere.
KINDS = ("plain", "lapse", "undecided")


def simulated(kind: str, N: float, w: float, goal: Goal, seed: int) -> tuple[bool, float, int]:
    """Whether the interval of one simulated search holds the true N*, its length, and the number of trials."""
    rng = np.random.default_rng(seed)
    true = math.log(N) + rng.uniform(-0.2, 0.2)
    scale = Scale(lambda width: Architecture(10, width, 3).n_effective, 200)

    def run(wanted: Any) -> list[dict[str, Any]]:
        return [{"outcome": outcome(kind, (scale.x(size) - true) / w, rng)} for size, _ in wanted]

    pool = Pool(run)
    first = scale.nearest(true + 0.3 * rng.standard_normal())
    found = seek(pool, scale, [0, 1], first, goal, lambda record: record["outcome"])
    low, high = (end if end is not None else sign * math.inf for end, sign in zip(found.interval, (-1, 1)))
    return low <= true <= high, high - low, len(pool.trials)


def outcome(kind: str, z: float, rng: np.random.Generator) -> str:
    """Of a trial at z = (log N - log N*)/w. Undecided: most of those that would fit in the end, near N* from below."""
    p = 1 / (1 + math.exp(-min(max(z, -500), 500)))
    fits = rng.random() < (0.01 + 0.98 * p if kind == "lapse" else p)
    if kind == "undecided" and fits and rng.random() < 0.6 * math.exp(-((z / 2) ** 2)):
        return "undecided"
    return "success" if fits else "unsatisfied"


def cell(task: tuple[str, float, float, Goal, int]) -> tuple[str, float, float, Goal, np.ndarray]:
    kind, N, w, goal, samples = task
    return kind, N, w, goal, np.array([simulated(kind, N, w, goal, seed) for seed in range(samples)])


def coverage(samples: int, processes: int, kinds: list[str]) -> None:
    """A row for each kind, N*, w and precision."""
    print(f"{'trials':10} {'N*':>5} {'w':>5} {'asked':>6} {'covered':>8} {'length':>7} {'trials':>7}")
    tasks = [
        (kind, N, w, Goal(precision=precision, trials=100), samples)
        for kind in kinds
        for N in N_STAR
        for w in SPREADS
        for precision in PRECISIONS
    ]
    with ProcessPoolExecutor(processes) as pool:
        for kind, N, w, goal, found in pool.map(cell, tasks):
            hit, length, trials = found[:, 0].mean(), np.median(found[:, 1]), found[:, 2].mean()
            print(
                f"{kind:10} {N:5} {w:5} {goal.precision:6} {hit:8.3f} {length:7.3f} {trials:7.1f}", flush=True
            )


def by_bisection(pool: Pool, scale: Scale, P: int, goal: Goal) -> Threshold:
    return seek(pool, scale, [0], scale.at_least(math.log(0.5 * P)), goal, final)


def by_descents(pool: Pool, scale: Scale, P: int, goal: Goal) -> Threshold:
    """The paper's way: from N = P down, seed after seed, until all descents together are as precise."""
    for seed in range(goal.trials):
        walk = descend(scale.at_least(math.log(P)), scale)
        size = next(walk)
        while size:
            (record,) = pool.ask([(size, seed)])
            try:
                size = walk.send(final(record))
            except StopIteration:
                size = 0
        found = located(
            scale, [(size, final(record)) for (size, _), record in pool.trials.items()], goal.level
        )
        if found.length <= goal.precision and len(pool.trials) >= LEAST:
            break
    return found


def steps(patterns: list[int], precisions: list[float], depth: int, budget: int) -> None:
    """A row for each P, precision and way; the ratio is that of bisect to descend."""
    names = ("P", "asked", "way", "N*", "length", "trials", "steps", "s", "of steps", "of s")
    print("{:>5} {:>6} {:8} {:>7} {:>7} {:>7} {:>10} {:>7} {:>8} {:>6}".format(*names))
    data = random_sphere(max(patterns), 10, seed=0)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=budget, measurements=2)
    trials = Trials(data, Question(depth, "relu", settings, (0,)), Compute(threads=2))
    trials.make([(20, 2, 0), (20, 2, 1)])  # compiled before anything is timed
    ways: dict[str, Callable[..., Threshold]] = {"descend": by_descents, "bisect": by_bisection}
    for P in patterns:
        scale = Scale(lambda width: Architecture(10, width, depth).n_effective, 200)
        for precision in precisions:
            spent = {}
            for name, way in ways.items():
                pool = Pool(lambda wanted, P=P: trials.make([(P, width, seed) for width, seed in wanted]))
                start = time.perf_counter()
                found = way(pool, scale, P, Goal(precision=precision, trials=400))
                n = sum(record["steps"] for record in pool.trials.values())
                spent[name] = n, time.perf_counter() - start
                ratios = [a / b for a, b in zip(spent[name], spent["descend"])]
                print(
                    f"{P:5} {precision:6} {name:8} {math.exp(found.m):7.1f} {found.length:7.3f} {len(pool.trials):7} {n:10} "
                    f"{spent[name][1]:7.1f} {ratios[0]:8.2f} {ratios[1]:6.2f}",
                    flush=True,
                )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("coverage", "steps"))
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--patterns", default="200,500")
    parser.add_argument("--precision", default="0.2,0.3")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--budget", type=int, default=30_000)
    options = parser.parse_args()
    start = time.perf_counter()
    if options.part == "coverage":
        coverage(options.samples, options.processes, options.kinds.split(","))
    else:
        patterns, precisions = (text.split(",") for text in (options.patterns, options.precision))
        steps([int(P) for P in patterns], [float(one) for one in precisions], options.depth, options.budget)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
