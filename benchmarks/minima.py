"""Three methods to train to the end: newton, Adam, and Adam followed by newton; as two markdown tables.

    python benchmarks/minima.py [--quick] [--cells PATTERN...]

The patterns are on the sphere with random labels; the loss is the hinge loss; one seed gives the patterns and the
initialisation. "adam" takes 40 000 steps at the rate 1e-3 in the compiled engine, or fewer if all patterns are satisfied.
"finished" continues from there with newton. The first table has a line for each method, network and seed:

    N_c              cusps at patterns with a gradient; for Adam with the tolerance that separates them best
    Clarke           the norm of the smallest subgradient over the scale of its terms
    seconds          of one run on all cores, with the certificate; for "finished" without the run of Adam
    to Adam's loss   seconds of newton, without a certificate, until its loss is at most the final one of Adam
    x ours           seconds of Adam over these
    x plain          seconds of nn.Sequential, autograd and torch.optim.Adam in float64 over these, timed for
                     REFERENCE_STEPS steps and extrapolated to the steps of Adam

The step at which newton reaches the loss is found in a run that measures at every step; a second run up to that step is
timed. The second table has medians over seeds. Absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from statistics import median
from typing import NamedTuple

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

#: The steps of Adam, and its learning rate.
ADAM_STEPS, ADAM_RATE = 40_000, 1e-3

#: Steps of the reference that are timed.
REFERENCE_STEPS = 300

#: Seeds of each cell.
SEEDS = (0, 1, 2)

#: Values of P/Ñ.
PATTERNS_PER_PARAMETER = (2.0, 2.4, 2.8, 3.2)


@dataclass(frozen=True)
class Cell:
    """A network with d = h, and the ratio P/Ñ of its patterns."""

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
    for depth, ratios in ((3, PATTERNS_PER_PARAMETER), (2, (2.0,)), (5, (2.0,)))
    for activation in ("relu", "tanh")
    for ratio in ratios
]
QUICK_CELLS = [Cell(activation, 5, 1, ratio) for activation in ("relu", "tanh") for ratio in (2.0, 3.2)]


def newton(**options) -> TrainingOptions:
    return with_options(TrainingOptions(), optimizer="newton", **options)


def adam(steps: int) -> TrainingOptions:
    return with_options(TrainingOptions(), lr=ADAM_RATE, steps=steps, measurements=2)


# --- runs -------------------------------------------------------------------------------------------


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def job_of(data: Dataset, arch: Architecture, seed: int, start: Run | None = None) -> Job:
    compute = Compute(threads=available_cores())
    return Job(data, arch, seed, TrainingOptions().resolve(data.P), compute, start)


def started(job: Job, options: TrainingOptions) -> RunInProgress:
    """The run of a job with other options, before its first step."""
    return RunInProgress(replace(job, settings=options.resolve(job.data.P)), available_cores())


def run_to_end(training: RunInProgress) -> None:
    """Advances a run until it stops."""
    while training.advance():
        pass


def run(job: Job, options: TrainingOptions) -> tuple[Run, float]:
    """The record of a job, and the seconds it took."""
    start = time.perf_counter()
    training = started(job, options)
    run_to_end(training)
    record = record_of(training)
    return record, time.perf_counter() - start


def newton_seconds_to_loss(job: Job, loss: float, max_steps: int) -> float | None:
    """Seconds of newton until its loss is at most `loss`; None if it is not within `max_steps`."""
    watched = started(job, newton(steps=max_steps, measure_at=tuple(range(max_steps + 1))))
    while watched.advance() and watched.progress.loss > loss:
        pass
    steps = [row["step"] for row in watched.history.rows if row["loss"] <= loss]
    if not steps:
        return None
    return timed(lambda: run_to_end(started(job, newton(steps=max(steps[0], 1), measurements=2))))


def reference_seconds(job: Job, steps: int) -> float:
    """Seconds of so many steps of the usual program: modules, autograd, the Adam of torch, all patterns."""
    layers: list[nn.Module] = []
    for out, fan_in in job.arch.shapes:
        layers += [
            nn.Linear(fan_in, out, dtype=torch.float64),
            nn.ReLU() if job.arch.activation == "relu" else nn.Tanh(),
        ]
    net = nn.Sequential(*layers[:-1])
    theta = initial_parameters(job.arch, "orthogonal", job.seed)
    nn.utils.vector_to_parameters(torch.from_numpy(theta), net.parameters())
    optimizer = torch.optim.Adam(net.parameters(), lr=ADAM_RATE)
    x, y = torch.from_numpy(job.data.x), torch.from_numpy(job.data.y)

    def take_steps(n: int) -> None:
        for _ in range(n):
            optimizer.zero_grad()
            (0.5 * (0.5 - y * net(x)[:, 0]).clamp(min=0).square().mean()).backward()
            optimizer.step()

    take_steps(REFERENCE_STEPS // 10)
    return timed(lambda: take_steps(REFERENCE_STEPS)) * steps / REFERENCE_STEPS


# --- the ends of the runs ---------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """The end of a run, as a line of the table shows it: N_Δ and N_c in units of N, Clarke, seconds, certificate."""

    loss: float
    n_unsatisfied: float
    n_cusps: float
    clarke: float | None
    seconds: float
    status: str
    verdict: str


class CuspSummary(NamedTuple):
    """N_c, Clarke, and "certified", the obstacle to a certificate, or "-"."""

    n_cusps: int
    clarke: float | None
    verdict: str


def end_of(record: Run, data: Dataset, seconds: float) -> End:
    """The line of a run that took so many seconds; `data` holds its patterns."""
    info = record.info
    cusps = cusps_of_certificate(record) if info["certified"] is not None else cusps_of_point(record, data)
    shares = record.n_unsatisfied / record.N, cusps.n_cusps / record.N
    return End(info["final_loss"], *shares, cusps.clarke, seconds, info["status"], cusps.verdict)


def cusps_of_certificate(record: Run) -> CuspSummary:
    """From the certificate that newton wrote."""
    certificate = record.info["certificate"]
    clarke = certificate["gradient"] / certificate["scale"] if certificate["scale"] else None
    verdict = "certified" if certificate["certified"] else certificate["obstacle"]
    return CuspSummary(certificate["n_cusps"] or 0, clarke, verdict)


def cusps_of_point(record: Run, data: Dataset) -> CuspSummary:
    """Computed at the end of a run of Adam, which has no certificate; the scale of the terms is that of a certificate."""
    problem = Problem.of(record, data)
    theta = problem.tensor(record.theta)
    certificate = certify(theta, problem)
    if certificate.kind != "jammed" or not certificate.scale:
        return CuspSummary(0, None, "-")
    cusps = count(theta, problem)
    smallest = smallest_subgradient(CuspGradient(theta, problem, cusps))
    return CuspSummary(cusps.n_cusps, smallest.norm / certificate.scale, "-")


# --- the tables -------------------------------------------------------------------------------------

METHODS = ("newton", "adam", "finished")
RUN_HEADING = (
    "| ρ | L | Ñ | P/Ñ | P/N | seed | way | loss | N_Δ/N | N_c/N | Clarke | seconds | status | certificate "
    "| to Adam's loss | x ours | x plain |"
)
SUMMARY_HEADING = (
    "| ρ | L | Ñ | P/Ñ | P/N | loss: newton | Adam | finished | N_Δ/N: newton | Adam | finished | N_c/N: newton | finished "
    "| seconds: newton | Adam | finish | x ours | x plain | satisfied (newton, Adam, finished) "
    "| certified (newton, finished) |"
)


def print_heading(text: str) -> None:
    """Prints the heading of a markdown table."""
    print(text)
    print("|" + "---|" * (text.count("|") - 1), flush=True)


def print_row(*cells: object) -> None:
    """Prints a row of a markdown table."""
    print(f"| {' | '.join(map(cell_text, cells))} |", flush=True)


def cell_text(value: object) -> str:
    """A value with two digits, "-" for None."""
    if value is None:
        return "-"
    return f"{value:.2g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def columns_of(cell: Cell) -> tuple[object, ...]:
    """The first columns of both tables: ρ, L, Ñ, P/Ñ, P/N."""
    arch = cell.arch
    return cell.activation, cell.depth, arch.n_parameters, str(cell.ratio), f"{cell.P / arch.n_effective:.2f}"


class Case(NamedTuple):
    """The ends of the three methods, and the times of Adam and of the reference over that of newton to the loss of Adam."""

    ends: dict[str, End]
    ratios: list[float | None]


def run_case(cell: Cell, seed: int, steps: int) -> Case:
    """Runs the three methods for one cell and seed, and prints their lines; steps: of Adam."""
    job = job_of(random_sphere(cell.P, cell.d, seed), cell.arch, seed)
    solved, seconds = run(job, newton())
    ends = {"newton": end_of(solved, job.data, seconds)}
    stepped, seconds = run(job, adam(steps))
    ends["adam"] = end_of(stepped, job.data, seconds)
    finished, finish_seconds = run(job_of(job.data, job.arch, seed, stepped), newton())
    ends["finished"] = end_of(finished, job.data, finish_seconds)
    newton_seconds = newton_seconds_to_loss(job, stepped.info["final_loss"], solved.info["steps"])
    plain = reference_seconds(job, stepped.info["steps"])
    ratios = [seconds / newton_seconds, plain / newton_seconds] if newton_seconds else [None, None]
    for name, end in ends.items():
        last = (newton_seconds, *ratios) if name == "newton" else (None, None, None)
        print_row(*columns_of(cell), seed, name, end.loss, end.n_unsatisfied, end.n_cusps, end.clarke, end.seconds,
            end.status, end.verdict, *last)  # fmt: skip
    return Case(ends, ratios)


def print_summary(cell: Cell, cases: list[Case]) -> None:
    """Prints the line of a cell: medians over its cases, one per seed, and numbers of seeds."""

    def middle(method: str, name: str) -> float:
        return median(getattr(case.ends[method], name) for case in cases)

    def tally(name: str, value: str, methods: tuple[str, ...]) -> str:
        return ", ".join(
            f"{sum(getattr(case.ends[method], name) == value for case in cases)}" for method in methods
        )

    ratios = [[case.ratios[i] for case in cases if case.ratios[i] is not None] for i in (0, 1)]
    print_row(
        *columns_of(cell),
        *(middle(method, name) for name in ("loss", "n_unsatisfied") for method in METHODS),
        *(middle(method, "n_cusps") for method in ("newton", "finished")),
        *(middle(method, "seconds") for method in METHODS),
        *(median(values) if values else None for values in ratios),
        f"{tally('status', 'satisfied', METHODS)} of {len(cases)}",
        f"{tally('verdict', 'certified', ('newton', 'finished'))} of {len(cases)}",
    )


def warm_up() -> None:
    """Compiles the kernels and loads the libraries, so that the first timed run does not."""
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
        help="only cells whose name ρ-d-L-ratio fits: relu-10-* tanh-15-3-2.8",
    )
    given = parser.parse_args()
    cells, seeds, steps = (QUICK_CELLS, SEEDS[:1], 2000) if given.quick else (CELLS, SEEDS, ADAM_STEPS)
    cells = [cell for cell in cells if any(fnmatch(cell.name, pattern) for pattern in given.cells)]
    if not cells:
        parser.error(f"no cell fits {' '.join(given.cells)}, expected names such as {CELLS[0].name}")
    torch.set_num_threads(available_cores())
    warm_up()
    print(f"{available_cores()} threads; Adam: at most {steps} steps at {ADAM_RATE:g}\n")
    print_heading(RUN_HEADING)
    cases = {cell: [run_case(cell, seed, steps) for seed in seeds] for cell in cells}
    print()
    print_heading(SUMMARY_HEADING)
    for cell, cases_of_cell in cases.items():
        print_summary(cell, cases_of_cell)


if __name__ == "__main__":
    main()
