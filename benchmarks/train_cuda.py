"""Steps per second of training on a card, next to a plain reference on the same card in the same run.

    python benchmarks/train_cuda.py [--device cuda|cpu] [--quick]

The reference is that of train.py: nn.Sequential, autograd and torch.optim.Adam, float64, all patterns, kernel by kernel.
Ours is the batch engine: one run, and as many as there are slots. "rate" is the share of the device's own float64
matrix-multiply rate, at 2 operations for each of 3 Ñ P multiplications a full step has and for every run that moves;
"bandwidth" is the share of the device's own copy rate, at what a step must read and write of the activations and β if
nothing stays in a cache: what bounds a step is the larger of the two. Without CUDA it says so; --device cpu takes a
small case through the same code.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from train import Reference, dataset, rate, timed

from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.training.job import Compute, Job, batch_engine
from jamtools.training.run import RunInProgress

CASES = {"cuda": [(15, 15, 3, 2000), (51, 51, 3, 23_000)], "cpu": [(15, 15, 3, 2000)]}


class OnDevice(Reference):
    """The reference, with its network and its patterns on the device."""

    def __init__(self, data: Dataset, arch: Architecture, theta: np.ndarray, device: str) -> None:
        super().__init__(data, arch, theta)
        self.device = torch.device(device)
        self.net.to(self.device)
        self.x, self.y = self.x.to(self.device), self.y.to(self.device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-4)

    def steps(self, n: int) -> None:
        super().steps(n)
        wait_for(self.device)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Ours:
    """`runs` runs in the slots of one engine, measured nowhere."""

    def __init__(self, data: Dataset, arch: Architecture, device: str, runs: int | None) -> None:
        options, compute = (
            with_options(TrainingOptions(), steps=10**9, stop=False),
            Compute(device, engine="batch"),
        )
        job = Job(data, arch, 0, options.resolve(data.P), compute)
        self.engine = batch_engine(job)
        self.runs = runs or self.engine.layout.slots
        self.trainings = [
            RunInProgress(replace(job, seed=seed), batch=self.engine) for seed in range(self.runs)
        ]

    def steps(self, n: int) -> None:
        for training in self.trainings:
            training.step = training.slot.reached()[0]
            training.slot.set_target(training.step, training.step + n)
        self.engine.run(n)  # reads the clock at its end, and so waits for the device


def best(work, device: torch.device, times: int = 5) -> float:
    """Seconds of the fastest of some calls."""

    def once() -> None:
        work()
        wait_for(device)

    once()
    return min(timed(once) for _ in range(times))


def device_rates(device: torch.device) -> tuple[float, float]:
    """Float64 operations a second of a large matrix product, and bytes a second of a large copy."""
    n, bytes_each = (8192, 2**31) if device.type == "cuda" else (1500, 2**27)
    a = torch.rand(n, n, dtype=torch.float64, device=device)
    source = torch.zeros(bytes_each // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    product = best(lambda: torch.mm(a, a), device)
    copy = best(lambda: target.copy_(source), device)
    return 2 * n**3 / product, 2 * bytes_each / copy


def traffic(arch: Architecture, P: int) -> int:
    """Bytes a step of one run reads and writes: of each hidden layer the bias, product and ρ forward, the product, slope,
    weight and bias backward (thirteen times a layer in all), of the first layer its patterns twice.
    """
    return 8 * P * (13 * arch.n_hidden + 2 * arch.d)


def share(steps: float, arch: Architecture, P: int, peaks: tuple[float, float]) -> str:
    product, copy = steps * 6 * arch.n_parameters * P / peaks[0], steps * traffic(arch, P) / peaks[1]
    return f"{product:6.1%} {copy:10.1%}"


def compare(
    data: Dataset, arch: Architecture, device: str, seconds: float, peaks: tuple[float, float]
) -> None:
    """A line for the reference, for one run and for all slots."""
    case = f"d=h={arch.d} L={arch.depth} P={data.P} N={arch.n_effective}"
    theta = initial_parameters(arch, "orthogonal", 0)
    theirs = rate(OnDevice(data, arch, theta, device).steps, seconds)
    print(
        f"{case:32} {'reference':10} {theirs:10.0f} {1:7.1f} {share(theirs, arch, data.P, peaks)}", flush=True
    )
    for runs in (1, None):
        ours = Ours(data, arch, device, runs)
        if runs is None and ours.runs == 1:
            continue
        found = ours.runs * rate(ours.steps, seconds)
        name = f"{ours.runs} of {ours.engine.layout.slots}"
        print(
            f"{'':32} {name:10} {found:10.0f} {found / theirs:7.1f} {share(found, arch, data.P, peaks)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="a fraction of a second for each figure")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "no CUDA device here: nothing is measured; --device cpu takes a small case through the same code"
        )
        return
    device = torch.device(options.device)
    peaks = device_rates(device)
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{name}: float64 product {peaks[0] / 1e12:.3g} TFLOP/s, copy {peaks[1] / 1e9:.3g} GB/s")
    print(f"{'case':32} {'runs':10} {'run-steps/s':>11} {'ratio':>6} {'rate':>6} {'bandwidth':>10}")
    for d, h, L, P in CASES[options.device]:
        compare(dataset(P, d), Architecture(d, h, L), options.device, 0.3 if options.quick else 2.0, peaks)


if __name__ == "__main__":
    main()
