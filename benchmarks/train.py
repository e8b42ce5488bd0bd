"""Steps per second of training, next to a plain reference in the same run.

    python benchmarks/train.py [--quick]

The reference is nn.Sequential, autograd and torch.optim.Adam in float64 over all patterns, with torch's own threads.
Ours is the engine jam-train takes. Regimes: the start of random labels (all patterns unsatisfied); late with these, in the
jammed phase; late with labels that follow a rule but for one in ten, where N_Δ < N; and the satisfied phase, with one in
fifty. "list": with --neighbour-list. For one run, and for 16 runs together against sixteen references one after the other.
"rate" is the share of the machine's own float64 matrix-multiply rate (all threads, 1500 x 1500), at 2 operations for each
of the 3 Ñ P multiplications a full step has: it passes 100% where patterns are left alone. Ratios are of interest:
absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import time
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

CASES = [(10, 3, 800), (15, 3, 2000), (30, 3, 8000), (25, 5, 6000)]
SECONDS = 2.0


def dataset(P: int, d: int, flips: float | None = None) -> Dataset:
    """Patterns on the sphere; labels at random, or by a rule with a share `flips` of them turned."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((P, d))
    y = rng.choice([-1.0, 1.0], P)
    if flips is not None:
        y = np.sign(x[:, 0] * x[:, 1]) * np.where(rng.random(P) < flips, -1, 1)
    return Dataset(x * np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True), y)


def matrix_rate() -> float:
    """Float64 operations a second in a large matrix product."""
    a = torch.rand(1500, 1500, dtype=torch.float64)
    return max(2 * 1500**3 / timed(lambda: a @ a) for _ in range(5))


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Reference:
    """What one writes first: modules, autograd, torch's own Adam, all patterns in every step."""

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
    """advance(n) of the reference."""
    return Reference(data, arch, theta).steps


def rate(make, seconds: float) -> float:
    """Steps per second of advance(n) where advance = make(): the best of three stretches, each from the same point.

    A stretch goes a quarter of its steps before it is timed: what is learned on the way counts as learned.
    """
    n, taken = 2, 0.0
    while taken < seconds / 10:
        n *= 2
        taken = timed(partial(make(), n))
    n = max(4, int(n * seconds / 3 / taken))
    return max(n / timed(partial(begun(make(), n // 4), n)) for _ in range(3))


def begun(advance, n: int):
    advance(n)
    return advance


def job_of(
    data: Dataset, arch: Architecture, options: TrainingOptions, compute: Compute | None = None
) -> Job:
    return Job(data, arch, 0, options.resolve(data.P), compute or Compute())


def ours_at(data: Dataset, arch: Architecture, theta: np.ndarray, threads: int, listed: bool = False):
    """advance(n) of one run of ours that stands at theta."""
    options = with_options(TrainingOptions(), steps=10**9, neighbour_list=listed)
    training = RunInProgress(job_of(data, arch, options), threads)
    training.theta.copy_(torch.from_numpy(theta))
    return lambda n: training.engine.advance(1, 1 + n, stop=False)


def late(data: Dataset, arch: Architecture, steps: int, threads: int) -> np.ndarray:
    """A point late in training: a fast rate, then the paper's."""
    options = with_options(TrainingOptions(), steps=steps, lr=1e-3, every=steps // 2, measurements=2)
    return train_many([job_of(data, arch, options, Compute(threads=threads))])[0].theta


def sixteen_at(data: Dataset, arch: Architecture, theta: np.ndarray, threads: int):
    """advance(n) of 16 runs that stand at theta, each of them a thread's own as in jam-train; counts their steps in n."""
    runs = [ours_at(data, arch, theta, 1) for _ in range(16)]

    def advance(n: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda one: one(max(1, n // 16)), runs))

    return advance


def n_unsatisfied(data: Dataset, arch: Architecture, theta: np.ndarray) -> int:
    reference = Reference(data, arch, theta)
    with torch.no_grad():
        return int((0.5 - reference.y * reference.net(reference.x)[:, 0] > 0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps of the two small cases")
    quick = parser.parse_args().quick
    seconds, threads = (0.3 if quick else SECONDS), available_cores()
    peak = matrix_rate()
    print(f"{threads} threads, float64 matrix product {peak / 1e9:.1f} GFLOP/s")
    print(f"{'steps/s':24} {'ours':>9} {'reference':>10} {'ratio':>6} {'rate':>6}")
    for d, L, P in CASES[: 2 if quick else None]:
        case(d, L, P, 1000 if quick else max(2000, 16_000_000 // P), seconds, threads, peak)


def case(d: int, L: int, P: int, steps: int, seconds: float, threads: int, peak: float) -> None:
    """All regimes of one size, the late points after so many steps."""
    arch, random = Architecture(d, d, L), dataset(P, d)
    start = RunInProgress(job_of(random, arch, TrainingOptions())).theta0
    regimes = [("start", random, start), ("jammed", random, late(random, arch, steps, threads))]
    for name, flips in (("late", 0.1), ("satisfied", 0.02)):
        data = dataset(P, d, flips)
        regimes.append((name, data, late(data, arch, steps, threads)))
    for name, data, theta in regimes:
        theirs = rate(partial(reference_at, data, arch, theta), seconds)
        print(f"d=h={d} L={L} P={P} {name}, N_Δ/N={n_unsatisfied(data, arch, theta) / arch.n_effective:.2f}")
        ways = [("one run", ours_at, {}), ("16 runs", sixteen_at, {})]
        if name in ("late", "satisfied"):
            ways.append(("one run, list", ours_at, {"listed": True}))
        for way, at, options in ways:
            line(
                way, rate(partial(at, data, arch, theta, threads, **options), seconds), theirs, arch, P, peak
            )


def line(way: str, ours: float, theirs: float, arch: Architecture, P: int, peak: float) -> None:
    share = ours * 6 * arch.n_parameters * P / peak
    print(f"    {way:20} {ours:9.0f} {theirs:10.0f} {ours / theirs:6.1f} {share:6.0%}", flush=True)


if __name__ == "__main__":
    main()
