"""Steps per second of training on a GPU, beside a plain reference that is timed on the same GPU in the same run.

    python benchmarks/train_cuda.py [--device cuda|cpu] [--quick]

The reference is that of train.py: nn.Sequential, autograd and torch.optim.Adam in float64 over all patterns, one kernel
launch after the other. The other lines are the batch engine, with one run and with as many runs as it has slots.

"rate" is a share of the rate of the device at float64 matrix products, with 2 operations for each of the 3 Ñ P
multiplications of a full step of every run. "bandwidth" is a share of the rate of the device at copies, with the bytes of
the activations and their gradients that a step must read and write if nothing stays in a cache. The larger of the two limits
a step. Without CUDA nothing is measured; --device cpu runs a small case through the same code.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
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

#: d, h, L and P of the networks, by device.
CUDA_CASES = {"cuda": [(15, 15, 3, 2000), (51, 51, 3, 23_000)], "cpu": [(15, 15, 3, 2000)]}


#: How often a step reads or writes the activations of a hidden layer.
PASSES_PER_LAYER = 13


class OnDevice(Reference):
    """The reference with its network and its patterns on the device."""

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
    """Waits until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class BatchEngineRuns:
    """Runs in the slots of one batch engine, without measurements; runs=None fills all slots."""

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
        self.engine.run(n)  # waits for the device at its end


def shortest(work: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """Seconds of the fastest of some calls, each until the device has finished."""

    def once() -> None:
        work()
        wait_for(device)

    once()
    return min(timed(once) for _ in range(times))


def device_rates(device: torch.device) -> tuple[float, float]:
    """Float64 operations per second of a large matrix product, and bytes per second of a large copy."""
    n, bytes_each = (8192, 2**31) if device.type == "cuda" else (1500, 2**27)
    a = torch.rand(n, n, dtype=torch.float64, device=device)
    source = torch.zeros(bytes_each // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    product = shortest(lambda: torch.mm(a, a), device)
    copy = shortest(lambda: target.copy_(source), device)
    return 2 * n**3 / product, 2 * bytes_each / copy


def traffic(arch: Architecture, P: int) -> int:
    """Bytes that a step of one run reads and writes.

    Each hidden layer: bias, product and ρ forward, product, slope, weight and bias backward. The first layer: its patterns
    twice.
    """
    return 8 * P * (PASSES_PER_LAYER * arch.n_hidden + 2 * arch.d)


def share(steps: float, arch: Architecture, P: int, peaks: tuple[float, float]) -> str:
    """The shares of the two rates of the device, `peaks`, at `steps` run-steps per second."""
    product, copy = steps * 6 * arch.n_parameters * P / peaks[0], steps * traffic(arch, P) / peaks[1]
    return f"{product:6.1%} {copy:10.1%}"


def compare(
    data: Dataset, arch: Architecture, device: str, seconds: float, peaks: tuple[float, float]
) -> None:
    """Prints a line for the reference, for one run, and for as many runs as there are slots."""
    case = f"d=h={arch.d} L={arch.depth} P={data.P} N={arch.n_effective}"
    theta = initial_parameters(arch, "orthogonal", 0)
    theirs = rate(lambda: OnDevice(data, arch, theta, device).steps, seconds)
    print(
        f"{case:32} {'reference':10} {theirs:10.0f} {1:7.1f} {share(theirs, arch, data.P, peaks)}", flush=True
    )
    for runs in (1, None):
        ours = BatchEngineRuns(data, arch, device, runs)
        if runs is None and ours.runs == 1:
            continue
        run_steps = ours.runs * rate(lambda ours=ours: ours.steps, seconds)
        name = f"{ours.runs} of {ours.engine.layout.slots}"
        print(
            f"{'':32} {name:10} {run_steps:10.0f} {run_steps / theirs:7.1f} {share(run_steps, arch, data.P, peaks)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="a fraction of a second for each number")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing is measured; --device cpu runs a small case through the same code")
        return
    device = torch.device(options.device)
    peaks = device_rates(device)
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(f"{name}: float64 product {peaks[0] / 1e12:.3g} TFLOP/s, copy {peaks[1] / 1e9:.3g} GB/s")
    print(f"{'case':32} {'runs':10} {'run-steps/s':>11} {'ratio':>6} {'rate':>6} {'bandwidth':>10}")
    for d, h, L, P in CUDA_CASES[options.device]:
        compare(dataset(P, d), Architecture(d, h, L), options.device, 0.3 if options.quick else 2.0, peaks)


if __name__ == "__main__":
    main()
