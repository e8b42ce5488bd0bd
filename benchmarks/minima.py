"""Three ways to the end of a training: newton, Adam, and Adam then finished; a markdown table of each.

    python benchmarks/minima.py [--quick] [--cells PATTERN...]

Patterns on the sphere with random labels, hinge loss; the seed is that of the patterns and of the initialisation. Adam:
40 000 steps at rate 1e-3 in the compiled engine, fewer where it gets satisfied. Finished: from there on. N_c: cusps at
patterns with gradient, for Adam by the tolerance that tells them best. Clarke: the norm of the smallest subgradient over
the scale of its terms. Seconds: of one run on all cores, certificate included; those of "finished" are the finish alone.

"to Adam's loss": the seconds newton takes, without a certificate, until its exact loss is at most Adam's last. "x ours":
Adam's own seconds over these. "x plain": those of nn.Sequential, autograd and torch.optim.Adam in float64, timed for
REFERENCE steps and multiplied up to as many as ours took. newton's step is found in a run that measures at every step,
and the way there is taken again to be timed. Then, cell by cell, medians over seeds. Absolute times are this machine's.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from statistics import median

import torch
from torch import nn

from jamtools.cusps.counting import count
from jamtools.cusps.subgradient import CuspGradient, smallest_subgradient
from jamtools.data.sphere import random_sphere
from jamtools.machine import available_cores
from jamtools.minima.certificate import certify
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset, Run
from jamtools.training.job import Compute, Job
from jamtools.training.record import record_of
from jamtools.training.run import RunInProgress

STEPS, LR = 40_000, 1e-3
#: Steps of the reference that are timed.
REFERENCE = 300
SEEDS = (0, 1, 2)
RATIOS = (2.0, 2.4, 2.8, 3.2)


@dataclass(frozen=True)
class Cell:
    """P/Ñ patterns for a network of d = h."""

    activation: str
    d: int
    depth: int
    ratio: float

    @property
    def name(self) -> str:
        return f"{self.activation}-{self.d}-{self.depth}-{self.ratio}"

    @property
    def arch(self) -> Architecture:
        return Architecture(self.d, self.d, self.depth, self.activation)

    @property
    def P(self) -> int:
        return round(self.ratio * self.arch.n_parameters)


CELLS = [
    Cell(activation, d, depth, ratio)
    for d in (10, 15)
    for depth, ratios in ((3, RATIOS), (2, RATIOS[:1]), (5, RATIOS[:1]))
    for activation in ("relu", "tanh")
    for ratio in ratios
]
QUICK = [Cell(activation, 5, 1, ratio) for activation in ("relu", "tanh") for ratio in (2.0, 3.2)]


def newton(**options) -> TrainingOptions:
    return with_options(TrainingOptions(), optimizer="newton", **options)


def adam(steps: int) -> TrainingOptions:
    return with_options(TrainingOptions(), lr=LR, steps=steps, measurements=2)


# --- runs -------------------------------------------------------------------------------------------


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def job_of(data: Dataset, arch: Architecture, seed: int, start: Run | None = None) -> Job:
    compute = Compute(threads=available_cores())
    return Job(data, arch, seed, TrainingOptions().resolve(data.P), compute, start)


def under_way(job: Job, options: TrainingOptions) -> RunInProgress:
    return RunInProgress(replace(job, settings=options.resolve(job.data.P)), available_cores())


def to_the_end(training: RunInProgress) -> None:
    while training.advance():
        pass


def run(job: Job, options: TrainingOptions) -> tuple[Run, float]:
    """The record of a job, and the seconds it took."""
    start = time.perf_counter()
    training = under_way(job, options)
    to_the_end(training)
    record = record_of(training)
    return record, time.perf_counter() - start


def seconds_to(job: Job, loss: float, taken: int) -> float | None:
    """What newton takes until its exact loss is at most `loss`; None where it never was, in the steps it took."""
    watched = under_way(job, newton(steps=taken, measure_at=tuple(range(taken + 1))))
    while watched.advance() and watched.progress.loss > loss:
        pass
    steps = [row["step"] for row in watched.history.rows if row["loss"] <= loss]
    if not steps:
        return None
    return timed(lambda: to_the_end(under_way(job, newton(steps=max(steps[0], 1), measurements=2))))


def reference_seconds(job: Job, steps: int) -> float:
    """So many steps of what one writes first."""
    layers: list[nn.Module] = []
    for out, fan_in in job.arch.shapes:
        layers += [
            nn.Linear(fan_in, out, dtype=torch.float64),
            nn.ReLU() if job.arch.activation == "relu" else nn.Tanh(),
        ]
    net = nn.Sequential(*layers[:-1])
    theta = initial_parameters(job.arch, "orthogonal", job.seed)
    nn.utils.vector_to_parameters(torch.from_numpy(theta), net.parameters())
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    x, y = torch.from_numpy(job.data.x), torch.from_numpy(job.data.y)

    def go(n: int) -> None:
        for _ in range(n):
            optimizer.zero_grad()
            (0.5 * (0.5 - y * net(x)[:, 0]).clamp(min=0).square().mean()).backward()
            optimizer.step()

    go(REFERENCE // 10)
    return timed(lambda: go(REFERENCE)) * steps / REFERENCE


# --- what became of them ----------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """A line of the table."""

    loss: float
    n_unsatisfied: float  # over N, and so is n_cusps
    n_cusps: float
    clarke: float | None
    seconds: float
    status: str
    verdict: str


def end_of(record: Run, data: Dataset, seconds: float) -> End:
    info, N = record.info, record.info["n_effective_expected"]
    n_cusps, ratio, verdict = (
        _certified(record) if info["certified"] is not None else _looked_at(record, data)
    )
    shares = info["n_unsatisfied"] / N, n_cusps / N
    return End(info["final_loss"], *shares, ratio, seconds, info["status"], verdict)


def _certified(record: Run) -> tuple[int, float | None, str]:
    """N_c, Clarke and the verdict as the run has them."""
    its = record.info["certificate"]
    ratio = its["gradient"] / its["scale"] if its["scale"] else None
    return its["n_cusps"] or 0, ratio, "certified" if its["certified"] else its["obstacle"]


def _looked_at(record: Run, data: Dataset) -> tuple[int, float | None, str]:
    """The same of a first-order run, which claims nothing; the scale of the terms is a certificate's."""
    problem = Problem.of(record, data)
    theta = problem.tensor(record.theta)
    found = certify(theta, problem)
    if found.kind != "jammed" or not found.scale:
        return 0, None, "-"
    cusps = count(theta, problem)
    smallest = smallest_subgradient(CuspGradient(theta, problem, cusps))
    return cusps.n_with_gradient, smallest.norm / found.scale, "-"


# --- the tables -------------------------------------------------------------------------------------

WAYS = ("newton", "adam", "finished")
HEAD = (
    "| ρ | L | Ñ | P/Ñ | P/N | seed | way | loss | N_Δ/N | N_c/N | Clarke | seconds | status | certificate "
    "| to Adam's loss | x ours | x plain |"
)
SUMMARY = (
    "| ρ | L | Ñ | P/Ñ | P/N | loss: newton | Adam | finished | N_Δ/N: newton | Adam | finished | N_c/N: newton | finished "
    "| seconds: newton | Adam | finish | x ours | x plain | satisfied (newton, Adam, finished) "
    "| certified (newton, finished) |"
)


def heading(text: str) -> None:
    print(text)
    print("|" + "---|" * (text.count("|") - 1), flush=True)


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(shown, cells))} |", flush=True)


def shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def place_of(cell: Cell) -> tuple[object, ...]:
    arch = cell.arch
    return cell.activation, cell.depth, arch.n_parameters, str(cell.ratio), f"{cell.P / arch.n_effective:.2f}"


def case(cell: Cell, seed: int, steps: int) -> tuple[dict[str, End], list[float | None]]:
    """The three ends of a cell and a seed, and newton's time to Adam's loss with the two ratios."""
    job = job_of(random_sphere(cell.P, cell.d, seed), cell.arch, seed)
    solved, seconds = run(job, newton())
    ends = {"newton": end_of(solved, job.data, seconds)}
    stepped, seconds = run(job, adam(steps))
    ends["adam"] = end_of(stepped, job.data, seconds)
    finished, took = run(job_of(job.data, job.arch, seed, stepped), newton())
    ends["finished"] = end_of(finished, job.data, took)
    soon = seconds_to(job, stepped.info["final_loss"], solved.info["steps"])
    plain = reference_seconds(job, stepped.info["steps"])
    ratios = [seconds / soon, plain / soon] if soon else [None, None]
    for name, end in ends.items():
        last = (soon, *ratios) if name == "newton" else (None, None, None)
        row(*place_of(cell), seed, name, end.loss, end.n_unsatisfied, end.n_cusps, end.clarke, end.seconds,
            end.status, end.verdict, *last)  # fmt: skip
    return ends, ratios


def summary(cell: Cell, found: list[tuple[dict[str, End], list[float | None]]]) -> None:
    """Medians over seeds; counts of seeds."""

    def middle(way: str, name: str) -> float:
        return median(getattr(ends[way], name) for ends, _ in found)

    def tally(name: str, value: str, ways: tuple[str, ...]) -> str:
        return ", ".join(f"{sum(getattr(ends[way], name) == value for ends, _ in found)}" for way in ways)

    ratios = [[pair[i] for _, pair in found if pair[i] is not None] for i in (0, 1)]
    row(
        *place_of(cell),
        *(middle(way, name) for name in ("loss", "n_unsatisfied") for way in WAYS),
        *(middle(way, "n_cusps") for way in ("newton", "finished")),
        *(middle(way, "seconds") for way in WAYS),
        *(median(some) if some else None for some in ratios),
        f"{tally('status', 'satisfied', WAYS)} of {len(found)}",
        f"{tally('verdict', 'certified', ('newton', 'finished'))} of {len(found)}",
    )


def warm_up() -> None:
    """Compiles, loads and sets up what the first run would pay for."""
    job = job_of(random_sphere(20, 3, 0), Architecture(3, 3, 2), 0)
    for options in (adam(50), newton(steps=20)):
        run(job, options)
    reference_seconds(job, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four small cells, one seed, 2000 steps of Adam")
    parser.add_argument(
        "--cells",
        nargs="+",
        metavar="PATTERN",
        default=["*"],
        help="those whose name fits, ρ-d-L-ratio: relu-10-* tanh-15-3-2.8",
    )
    given = parser.parse_args()
    cells, seeds, steps = (QUICK, SEEDS[:1], 2000) if given.quick else (CELLS, SEEDS, STEPS)
    cells = [cell for cell in cells if any(fnmatch(cell.name, pattern) for pattern in given.cells)]
    if not cells:
        parser.error(f"no cell fits {' '.join(given.cells)}, expected names such as {CELLS[0].name}")
    torch.set_num_threads(available_cores())
    warm_up()
    print(f"{available_cores()} threads; Adam: at most {steps} steps at {LR:g}\n")
    heading(HEAD)
    found = {cell: [case(cell, seed, steps) for seed in seeds] for cell in cells}
    print()
    heading(SUMMARY)
    for cell, its in found.items():
        summary(cell, its)


if __name__ == "__main__":
    main()
