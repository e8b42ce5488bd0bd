"""Steps per second of training, beside a plain reference that is timed in the same run.

    python benchmarks/train.py [--quick]

The reference is nn.Sequential, autograd and torch.optim.Adam in float64 over all patterns, with the threads of torch. "ours"
is the engine that jam-train chooses: one run, or 16 runs together, compared with 16 references one after the other. "list"
is with --neighbour-list. The regimes are

    start       random labels at the first step: all patterns are unsatisfied
    jammed      random labels late in the training
    late        labels that follow a rule with 10% exceptions, late in the training: N_Δ < N
    satisfied   the same with 2% exceptions: the satisfied phase

"rate" is a share of the rate of this machine at float64 matrix products (all threads, 1500 x 1500), with 2 operations for
each of the 3 Ñ P multiplications of a full step. It exceeds 100% where a step leaves satisfied patterns out. The ratios are
comparable between machines, the absolute numbers are not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import nn

from jamtools.machine import available_cores
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.training.ensemble import train_many
from jamtools.training.job import Compute, Job
from jamtools.training.run import RunInProgress

#: d = h, L and P of the networks.
TRAINING_CASES = [(10, 3, 800), (15, 3, 2000), (30, 3, 8000), (25, 5, 6000)]

#: Seconds for one number of the table.
SECONDS_PER_RATE = 2.0

#: Rows and columns of the matrices whose product gives the rate of the machine.
PRODUCT_SIZE = 1500


#: A function that takes n steps.
Steps = Callable[[int], None]


def dataset(P: int, d: int, flips: float | None = None) -> Dataset:
    """P patterns on the sphere of radius √d; labels at random, or by a rule with the share `flips` of exceptions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((P, d))
    y = rng.choice([-1.0, 1.0], P)
    if flips is not None:
        y = np.sign(x[:, 0] * x[:, 1]) * np.where(rng.random(P) < flips, -1, 1)
    return Dataset(x * np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True), y)


def matrix_rate() -> float:
    """Float64 operations per second of a large matrix product."""
    a = torch.rand(PRODUCT_SIZE, PRODUCT_SIZE, dtype=torch.float64)
    return max(2 * PRODUCT_SIZE**3 / timed(lambda: a @ a) for _ in range(5))


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Reference:
    """The usual program: modules, autograd, the Adam of torch, all patterns in every step."""

    def __init__(self, data: Dataset, arch: Architecture, theta: np.ndarray) -> None:
        layers: list[nn.Module] = []
        for out, fan_in in arch.shapes:
            layers += [nn.Linear(fan_in, out, dtype=torch.float64), nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])
        nn.utils.vector_to_parameters(torch.from_numpy(theta.copy()), self.net.parameters())
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-4)
        self.x, self.y = torch.from_numpy(data.x), torch.from_numpy(data.y)

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.optimizer.zero_grad()
            loss = 0.5 * (0.5 - self.y * self.net(self.x)[:, 0]).clamp(min=0).square().mean()
            loss.backward()
            self.optimizer.step()


def reference_at(data: Dataset, arch: Architecture, theta: np.ndarray):
    """The function that takes n steps of the reference from theta [Ñ]."""
    return Reference(data, arch, theta).steps


def rate(make: Callable[[], Steps], seconds: float) -> float:
    """Steps per second of the function steps(n) that make() returns: the best of three, each from the same point.

    Each is timed after a quarter of its steps, when it has adapted to the point.
    """
    n, duration = 2, 0.0
    while duration < seconds / 10:
        n *= 2
        duration = timed(partial(make(), n))
    n = max(4, int(n * seconds / 3 / duration))
    return max(n / timed(partial(after(make(), n // 4), n)) for _ in range(3))


def after(steps: Steps, n: int) -> Steps:
    """The same function, after n steps."""
    steps(n)
    return steps


def job_of(
    data: Dataset, arch: Architecture, options: TrainingOptions, compute: Compute | None = None
) -> Job:
    """The job of seed 0."""
    return Job(data, arch, 0, options.resolve(data.P), compute or Compute())


def ours_at(data: Dataset, arch: Architecture, theta: np.ndarray, threads: int, listed: bool = False):
    """The function that takes n steps of one run of jamtools from theta [Ñ]; listed: with a neighbour list."""
    options = with_options(TrainingOptions(), steps=10**9, neighbour_list=listed)
    training = RunInProgress(job_of(data, arch, options), threads)
    training.theta.copy_(torch.from_numpy(theta))
    return lambda n: training.engine.advance(1, 1 + n, stop=False)


def late(data: Dataset, arch: Architecture, steps: int, threads: int) -> np.ndarray:
    """theta [Ñ] late in a training: half of the steps at ten times the rate of the paper, the others at lower ones."""
    options = with_options(TrainingOptions(), steps=steps, lr=1e-3, every=steps // 2, measurements=2)
    return train_many([job_of(data, arch, options, Compute(threads=threads))])[0].theta


def sixteen_at(data: Dataset, arch: Architecture, theta: np.ndarray, threads: int):
    """The function that takes n steps of 16 runs in all from theta [Ñ], each run in one thread as in jam-train."""
    runs = [ours_at(data, arch, theta, 1) for _ in range(16)]

    def steps(n: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda run_steps: run_steps(max(1, n // 16)), runs))

    return steps


def n_unsatisfied(data: Dataset, arch: Architecture, theta: np.ndarray) -> int:
    """N_Δ at theta [Ñ]."""
    reference = Reference(data, arch, theta)
    with torch.no_grad():
        return int((0.5 - reference.y * reference.net(reference.x)[:, 0] > 0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the two small cases, with fewer steps")
    quick = parser.parse_args().quick
    seconds, threads = (0.3 if quick else SECONDS_PER_RATE), available_cores()
    peak = matrix_rate()
    print(f"{threads} threads, float64 matrix product {peak / 1e9:.1f} GFLOP/s")
    print(f"{'steps/s':24} {'ours':>9} {'reference':>10} {'ratio':>6} {'rate':>6}")
    for d, L, P in TRAINING_CASES[: 2 if quick else None]:
        print_case(d, L, P, 1000 if quick else max(2000, 16_000_000 // P), seconds, threads, peak)


def print_case(d: int, L: int, P: int, steps: int, seconds: float, threads: int, peak: float) -> None:
    """Prints the rates of all regimes of one network; the late points come after `steps` steps."""
    arch, random = Architecture(d, d, L), dataset(P, d)
    start = RunInProgress(job_of(random, arch, TrainingOptions())).theta0
    regimes = [("start", random, start), ("jammed", random, late(random, arch, steps, threads))]
    for name, flips in (("late", 0.1), ("satisfied", 0.02)):
        data = dataset(P, d, flips)
        regimes.append((name, data, late(data, arch, steps, threads)))
    for name, data, theta in regimes:
        theirs = rate(partial(reference_at, data, arch, theta), seconds)
        print(f"d=h={d} L={L} P={P} {name}, N_Δ/N={n_unsatisfied(data, arch, theta) / arch.n_effective:.2f}")
        programs = [("one run", ours_at, {}), ("16 runs", sixteen_at, {})]
        if name in ("late", "satisfied"):
            programs.append(("one run, list", ours_at, {"listed": True}))
        for label, steps_at, options in programs:
            ours = rate(partial(steps_at, data, arch, theta, threads, **options), seconds)
            print_line(label, ours, theirs, arch, P, peak)


def print_line(label: str, ours: float, theirs: float, arch: Architecture, P: int, peak: float) -> None:
    share = ours * 6 * arch.n_parameters * P / peak
    print(f"    {label:20} {ours:9.0f} {theirs:10.0f} {ours / theirs:6.1f} {share:6.0%}", flush=True)


if __name__ == "__main__":
    main()
