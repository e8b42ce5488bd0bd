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
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from jamtools.network import Architecture
from jamtools.sampling import Goal, Pool, Scale, seek

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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("coverage", "steps"))
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kinds", default=",".join(KINDS))
    options = parser.parse_args()
    start = time.perf_counter()
    if options.part == "coverage":
        coverage(options.samples, options.processes, options.kinds.split(","))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
