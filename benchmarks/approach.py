"""Seconds and iterations of each stage of an approach to jamming, beside a plain BFGS on the same stages.

    python -m benchmarks.approach [--seeds N] [--until L/N] [--plain N] [--limit S] [--journal FILE] [--stages] [CELL...]

Each cell is one kind of network at fixed norm; a cell is named by a pattern such as 'tanh-*', and without one all are run. A
run starts where a short training of Adam ends. Each stage is then descended twice, from the same theta at the same margin:
by the approach, and by BFGS of scipy on the loss of R u/‖u‖, in units of its value at the start, until it has the loss of
the approach to 1e-6, or fails, or has made --plain iterations (0: no reference). An approach is given up between two stages
after --limit seconds of its own.

A row is a cell, a seed and a range of L/N: the stages, the median and the largest seconds and iterations of a stage, and
those of BFGS; "same": the share of the stages in which BFGS has the loss; "excess": the median of its loss over ours, less
one; "ratio": its seconds over ours, all stages of the row together, a lower bound where BFGS gave up. BFGS stops at the
loss, while a stage goes on until its gradient is round-off. Seconds are those of the processor; ours include the tries that
unjammed and were taken back, and the descent of the start, whose iterations are not counted. --stages prints every stage
instead. Each run is a line of the journal, and a run that has its line is not repeated.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from jamtools.data.sphere import random_gaussian, random_sphere
from jamtools.minima.approach import Approach, advance, begin
from jamtools.minima.approach_knobs import MarginKnob
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Array, Dataset
from jamtools.training.ensemble import train

#: BFGS has the loss of the approach when it is no higher than this factor.
SAME_LOSS = 1 + 1e-6

#: The rows of a run: stages by the decades of their L/N. Stage 0 has a row of its own.
RANGES = {"start": (0, 0), "> 1e-7": (1e-7, np.inf), "1e-7 to 1e-10": (1e-10, 1e-7), "< 1e-10": (0.0, 1e-10)}


@dataclass(frozen=True)
class Cell:
    """A network of fixed norm R, its P/N, its first margin, and the steps of Adam before the approach."""

    activation: str
    depth: int
    width: int
    norm: float
    ratio: float
    epsilon: float = 0.5
    steps: int = 20_000

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"{self.activation}-L{self.depth}-h{self.width}" if self.depth else f"perceptron-d{self.width}"

    @property
    def arch(self) -> Architecture:
        """d = h; without biases where there is no hidden layer."""
        bias = self.depth > 0
        return Architecture(self.width, self.width, self.depth, self.activation, norm=self.norm, bias=bias)

    def data(self, seed: int) -> Dataset:
        """Patterns on the sphere, or Gaussian ones of a perceptron."""
        P = round(self.ratio * self.arch.n_effective)
        return (random_sphere if self.depth else random_gaussian)(P, self.width, seed)


CELLS = [
    *(Cell("linear", 0, d, 1.0, 6.0, -0.5, 3000) for d in (50, 100, 200)),
    Cell("tanh", 2, 4, 6.0, 2.0),
    Cell("tanh", 3, 5, 9.0, 2.0),
    Cell("tanh", 3, 10, 25.0, 3.5),
    Cell("relu", 2, 4, 6.0, 1.4),
    Cell("relu", 3, 5, 9.0, 1.6),
    Cell("relu", 3, 8, 14.0, 2.2),
    Cell("relu", 3, 10, 18.0, 2.5),
]


class Plain:
    """BFGS on the loss of R u/‖u‖ from theta [Ñ], until it is at most `target`, for at most `limit` iterations."""

    def __init__(self, problem: Problem, target: float, limit: int) -> None:
        self.problem, self.target, self.limit = problem, SAME_LOSS * target, limit
        self.iterations, self.loss, self.unit = 0, np.inf, 1.0

    def descend(self, theta: Array) -> dict[str, float]:
        """Its seconds, its iterations and its loss."""
        start = time.process_time()
        self.unit = max(self._value(theta)[0], np.finfo(float).tiny)
        self.loss = self.unit
        if self.loss > self.target:
            minimize(
                self._value,
                theta,
                jac=True,
                method="BFGS",
                callback=self._note,
                options={"gtol": 0, "maxiter": self.limit},
            )
        return {
            "seconds": time.process_time() - start,
            "iterations": self.iterations,
            "loss": self.loss,
        }

    def _value(self, u: Array) -> tuple[float, Array]:
        """The loss of R u/‖u‖ in its unit, and its gradient in u [Ñ]."""
        R, size = float(self.problem.arch.norm or 0), float(np.linalg.norm(u))
        value, slope = self.problem.value_and_gradient(torch.from_numpy(R * u / size))
        g, radial = slope.numpy(), u / size
        return value / self.unit, (R / size) * (g - (g @ radial) * radial) / self.unit

    def _note(self, intermediate_result: Any) -> None:
        self.iterations += 1
        self.loss = min(self.loss, float(intermediate_result.fun) * self.unit)
        if self.loss <= self.target:
            raise StopIteration


def run(cell: Cell, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The line of one run in the journal: its stages, and how it ended; "limit" where it was given up."""
    data = cell.data(seed)
    settings = with_options(
        TrainingOptions(), steps=cell.steps, lr=1e-3, norm=str(cell.norm), epsilon=cell.epsilon
    )
    adam = train(data, cell.arch, settings, seed)
    problem, theta = Problem.of(adam, data), torch.from_numpy(adam.theta.copy())
    knob, stages, spent = MarginKnob(problem), [], 0.0
    approach: Approach | None = None
    while not (approach and approach.end) and spent <= options.limit:
        start = time.process_time()
        after = advance(approach, knob, options.until) if approach else begin(theta, knob, options.until)
        seconds = time.process_time() - start
        spent += seconds
        stages.append(_stage(after, seconds, theta, knob, options.plain))
        approach, theta = after, after.stage.theta
    assert approach
    cell_of = {"cell": cell.name, **asdict(cell), "N": cell.arch.n_effective, "P": data.P, "seed": seed}
    return {**cell_of, "end": approach.end or "limit", "stages": stages, "until": options.until}


def _stage(after: Approach, seconds: float, start: Tensor, knob: MarginKnob, plain: int) -> dict[str, Any]:
    """One stage of the approach, and BFGS from its start [Ñ] where it is on the branch of the stage before."""
    stage, N = after.stage, knob.problem.arch.n_effective
    fields = {
        "number": after.number,
        "epsilon": stage.epsilon,
        "loss_per_parameter": stage.loss / N,
        "n_unsatisfied": stage.n_unsatisfied,
        "status": stage.status,
        "seconds": seconds,
        "iterations": stage.steps,
    }
    if not plain or stage.avalanche or stage.status == "satisfied":
        return {**fields, "plain": None}
    reference = Plain(knob.at(stage), stage.loss, plain).descend(start.numpy().copy())
    return {**fields, "plain": {**reference, "loss": reference["loss"] / stage.loss}}


def lines(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The lines of all runs, those of the journal first."""
    journal = Path(options.journal) if options.journal else None
    known = (
        [json.loads(text) for text in journal.read_text().splitlines()]
        if journal and journal.exists()
        else []
    )
    yield from known
    done = {(line["cell"], line["seed"]) for line in known}
    for cell in CELLS:
        if options.cells and not any(fnmatch.fnmatch(cell.name, name) for name in options.cells):
            continue
        for seed in range(options.seeds):
            if (cell.name, seed) not in done:
                line = run(cell, seed, options)
                if journal:
                    with journal.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                yield line


HEADER = (
    f"{'cell':14} {'N':>4} {'seed':>4} {'L/N':14} {'stages':>6} {'s':>8} {'most s':>8} {'it.':>5} {'most':>5} "
    f"{'BFGS s':>8} {'it.':>6} {'same':>5} {'excess':>7} {'ratio':>6}"
)


def rows(line: dict[str, Any]) -> Iterator[str]:
    """The rows of a run, and its end."""
    head = f"{line['cell']:14} {line['N']:4} {line['seed']:4}"
    for name, (low, high) in RANGES.items():
        first = name == "start"
        stages = [
            stage
            for stage in line["stages"]
            if first == (stage["number"] == 0) and (first or low < stage["loss_per_parameter"] <= high)
        ]
        if stages:
            yield f"{head} {name:14} {_numbers(stages)}"
    last, total = line["stages"][-1], sum(stage["seconds"] for stage in line["stages"])
    end = f"{line['end']} after {len(line['stages'])} stages and {total:.3g} s"
    yield f"{head} {end}: L/N = {last['loss_per_parameter']:.1e}, N_Δ/N = {last['n_unsatisfied'] / line['N']:.3f}"


def _numbers(stages: Sequence[dict[str, Any]]) -> str:
    """The numbers of a row of several stages."""
    seconds, iterations = ([stage[name] for stage in stages] for name in ("seconds", "iterations"))
    ours = (
        f"{len(stages):6} {statistics.median(seconds):8.3f} {max(seconds):8.3f} "
        f"{statistics.median(iterations):5.0f} {max(iterations):5}"
    )
    pairs = [(stage["seconds"], stage["plain"]) for stage in stages if stage["plain"]]
    if not pairs:
        return ours
    plain = [reference for _, reference in pairs]
    same = statistics.mean(reference["loss"] <= SAME_LOSS for reference in plain)
    excess = statistics.median(reference["loss"] - 1 for reference in plain)
    ratio = sum(reference["seconds"] for reference in plain) / sum(mine for mine, _ in pairs)
    times, counts = ([reference[name] for reference in plain] for name in ("seconds", "iterations"))
    return f"{ours} {statistics.median(times):8.3f} {statistics.median(counts):6.0f} {same:5.2f} {excess:7.0e} {ratio:6.2g}"


def every_stage(line: dict[str, Any]) -> Iterator[str]:
    """A row for each stage of a run."""
    for stage in line["stages"]:
        plain = stage["plain"] or {"seconds": np.nan, "iterations": 0, "loss": np.nan}
        yield (
            f"{line['cell']:14} {line['seed']:4} {stage['number']:3} {stage['epsilon']:11.6f} "
            f"{stage['loss_per_parameter']:8.1e} {stage['n_unsatisfied']:4} {stage['status']:10} {stage['seconds']:8.3f} "
            f"{stage['iterations']:5} {plain['seconds']:8.3f} {plain['iterations']:6} {plain['loss']:10.3g}"
        )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--until", type=float, default=1e-12)
    parser.add_argument("--plain", type=int, default=2000)
    parser.add_argument("--limit", type=float, default=600)
    parser.add_argument("--journal")
    parser.add_argument("--stages", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        HEADER
        if not options.stages
        else "cell, seed, stage, ε, L/N, N_Δ, state, s, it.; BFGS: s, it., L over ours"
    )
    for line in lines(options):
        for row in every_stage(line) if options.stages else rows(line):
            print(row, flush=True)


if __name__ == "__main__":
    main()
