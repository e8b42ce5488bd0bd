"""Certified minima against an adversary: how many stand, what a certificate costs, and in which state the other runs end.

    python -m benchmarks.certificates [--seeds 0:10] [--cells GLOB...] [--certified N] [--jobs N] [--journal FILE]

Each cell is one kind of network and of patterns; its runs are trained by newton, or by Adam and then finished. The adversary
of tests/support/adversary.py shares no code with the certificate. He starts up to `--radius` times the radius that it
states from the minimum, and descends. A minimum falls where he finds a loss that is lower by more than the stated error:
"inside", where the lower point lies within the radius, "over an edge", where the descent went further. He also measures the
loss, the counts and the state with code of his own ("false"). Each run is a line of the journal; a run that has its line is
not repeated.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from jamtools.data.sphere import random_sphere
from jamtools.minima.certificate import certify
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import CONTACT_TOLERANCE, Dataset, Run
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Job
from tests.support.adversary import Network, attack, states_apart

#: Relative decreases below this are round-off of the minimum itself.
SMALLEST_GAIN = 1e-14

#: The steps of Adam before a run is finished, and its rate.
ADAM_STEPS, ADAM_RATE = 3000, 3e-3

#: Seconds after which a run is given up.
RUN_SECONDS = 150


@dataclass(frozen=True)
class Cell:
    """One kind of run: activation, L, d, h, P; what is done to the patterns; ε; classes; how it was trained."""

    activation: str
    depth: int
    d: int
    width: int
    P: int
    change: str = "sphere"
    epsilon: float = 0.5
    way: str = "newton"

    def __str__(self) -> str:
        name = f"{self.activation} L={self.depth} d={self.d} h={self.width} P={self.P}"
        more = [self.change] * (self.change != "sphere") + [f"ε={self.epsilon:g}"] * (self.epsilon != 0.5)
        return " ".join([name, *more, *[self.way] * (self.way != "newton")])

    @property
    def arch(self) -> Architecture:
        outputs = 3 if self.change == "classes" else 1
        return Architecture(self.d, self.width, self.depth, self.activation, outputs)


CELLS = [
    *(Cell("relu", 1, 4, 4, P) for P in (60, 90, 150)),
    *(Cell("relu", 1, 3, 6, P) for P in (90, 150)),
    Cell("relu", 1, 6, 3, 110),
    *(Cell("relu", L, d, h, 20) for L, d, h in ((1, 1, 2), (1, 2, 2), (1, 2, 3), (2, 2, 2), (3, 2, 2))),
    *(Cell("relu", 1, 3, 3, 40, change) for change in ("offset", "zero component", "one point")),
    Cell("relu", 1, 6, 6, 150),
    *(Cell("relu", 1, 4, 4, 120, change) for change in ("doubled", "opposite", "small", "large", "mixed")),
    *(Cell("relu", 1, 4, 4, 120, change) for change in ("1e-6", "1e6", "correlated", "classes", "integers")),
    *(Cell("relu", 1, 4, 4, 120, epsilon=epsilon) for epsilon in (1e-3, 37.0)),
    *(
        Cell("relu", 1, 4, 4, 120, change, way="adam")
        for change in ("sphere", "opposite", "correlated", "large")
    ),
    *(Cell("relu", 2, 4, 4, P) for P in (30, 80)),
    *(Cell("relu", 2, 3, 3, 40, change) for change in ("sphere", "doubled", "correlated", "integers")),
    *(Cell("relu", 2, 4, 4, 60, change, way="adam") for change in ("sphere", "small", "correlated")),
    *(Cell("relu", 3, 4, 3, P) for P in (40, 80)),
    Cell("relu", 3, 3, 4, 60, "correlated"),
    Cell("relu", 3, 4, 3, 60, way="adam"),
    Cell("relu", 5, 4, 3, 60),
    Cell("relu", 5, 3, 4, 40, way="adam"),
    *(Cell("linear", L, 4, 3, 40) for L in (1, 2, 3)),
    *(Cell("linear", 2, 4, 3, 40, change) for change in ("correlated", "small", "opposite")),
    *(Cell("tanh", 1, 2, 2, P) for P in (10, 30)),
    *(Cell("tanh", 1, 4, 2, 60, change) for change in ("sphere", "1e-6", "correlated")),
    *(Cell("tanh", L, 4, 3, 12, "one pair") for L in (1, 2, 3)),
    Cell("tanh", 1, 4, 4, 25, "opposite", way="adam"),
    *(Cell("tanh", 2, 4, 3, P) for P in (40, 120)),
]


def patterns(cell: Cell, seed: int) -> Dataset:
    """The patterns of a cell, with random labels."""
    data, rng = random_sphere(cell.P, cell.d, seed), np.random.default_rng([seed, cell.P])
    half, power = data.first(cell.P // 2), 10.0 ** np.array([3, *[0] * (cell.d - 1)])
    both = lambda y: Dataset(np.r_[half.x, half.x], np.r_[half.y, y])
    signs = np.where(rng.random(half.P) < 0.3, -1.0, 1.0)
    made = {
        "sphere": lambda: data,
        "doubled": lambda: both(half.y),
        "opposite": lambda: both(half.y * signs),
        "one pair": lambda: Dataset(np.r_[data.x, data.x[:1]], np.r_[data.y, -data.y[:1]]),
        "small": lambda: replace(data, x=data.x / power),
        "large": lambda: replace(data, x=data.x * power),
        "mixed": lambda: replace(data, x=data.x * 10.0 ** rng.uniform(-3, 3, cell.d)),
        "1e-6": lambda: replace(data, x=data.x * 1e-6),
        "1e6": lambda: replace(data, x=data.x * 1e6),
        "offset": lambda: replace(data, x=data.x + 1e3),
        "zero component": lambda: replace(data, x=data.x * np.r_[0.0, np.ones(cell.d - 1)]),
        "one point": lambda: replace(data, x=np.repeat(data.x[:8], 5, 0)),
        "integers": lambda: replace(data, x=np.rint(data.x)),
        "correlated": lambda: correlated(cell, rng),
        "classes": lambda: replace(data, y=2.0 * np.eye(3)[rng.integers(0, 3, cell.P)] - 1),
    }
    return made[cell.change]()


def correlated(cell: Cell, rng: np.random.Generator) -> Dataset:
    """Patterns with a planted covariance, a mean, and labels that depend on them: as those of images."""
    mixing = np.linalg.qr(rng.standard_normal((cell.d, cell.d)))[0] / np.arange(1, cell.d + 1)
    x = rng.standard_normal((cell.P, cell.d)) @ mixing.T + 0.3
    noisy = np.sin(3 * x @ rng.standard_normal(cell.d)) + rng.standard_normal(cell.P)
    return Dataset(x, np.where(noisy > 0, 1.0, -1.0))


def trained(cell: Cell, data: Dataset, seed: int, steps: int) -> Run:
    """The run of a cell."""
    newton = with_options(TrainingOptions(), optimizer="newton", steps=steps, epsilon=cell.epsilon)
    if cell.way == "newton":
        return train(data, cell.arch, newton, seed)
    adam = with_options(TrainingOptions(), steps=ADAM_STEPS, lr=ADAM_RATE, epsilon=cell.epsilon)
    start = train(data, cell.arch, adam, seed)
    return train_many([Job(data, cell.arch, seed, newton.resolve(data.P), start=start)])[0]


def attacked(cell: Cell, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The line of one run in the journal."""
    signal.signal(signal.SIGALRM, _given_up)
    signal.alarm(RUN_SECONDS)
    line: dict[str, Any] = {"cell": str(cell), "seed": seed}
    try:
        data = patterns(cell, seed)
        run = trained(cell, data, seed, options.steps)
        line |= _examined(run, data, seed, options)
    except TimeoutError:
        line["status"] = "given up"
    except Exception as error:  # one run must not end them all
        line["status"] = f"error {error!r}"
    finally:
        signal.alarm(0)
    return line


def _given_up(*_: Any) -> None:
    raise TimeoutError


def _examined(run: Run, data: Dataset, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What the run claims, what the adversary found, and the time of a certificate."""
    info, certificate, network = run.info, run.info["certificate"] or {}, Network.of(run, data)
    jammed = bool(info["certified"] and info["n_unsatisfied"])
    line = {
        "status": info["status"],
        "certified": info["certified"],
        "loss": info["final_loss"],
        "obstacle": certificate.get("obstacle"),
        "false fields": states_apart(network, run, CONTACT_TOLERANCE),
    }
    if not jammed and info["status"] != "stationary":
        return line
    radius = (certificate.get("radius") or 1e-6) * options.radius
    error = max(certificate.get("trial_error") or 0.0, SMALLEST_GAIN)
    theta = network.balanced(run.theta)
    fall = attack(network, theta, radius, options.kicks, seed, error)
    line |= {"jammed": jammed, "radius": radius, "error": error, "fall": fall and fall._asdict()}
    if fall:
        line["holds within"] = _holds_within(network, theta, radius, options.kicks, seed, error)
    if jammed and seed % 10 == 0:
        line["seconds"] = seconds_of_certificate(run, data)
    return line


def _holds_within(
    network: Network, theta: np.ndarray, radius: float, kicks: int, seed: int, error: float
) -> float:
    """The largest of the radii r/10, r/100, ... within which the adversary finds nothing lower; 0 where there is none."""
    for power in range(1, 8):
        if attack(network, theta, radius * 10.0**-power, kicks, seed, error) is None:
            return float(radius * 10.0**-power)
    return 0.0


def seconds_of_certificate(run: Run, data: Dataset) -> float:
    """The processor time of one certificate."""
    problem = Problem.of(run, data)
    theta, start = problem.tensor(run.theta), time.process_time()
    certify(theta, problem)
    return time.process_time() - start


def lines(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The lines of all runs, in the order in which they end; those of the journal first."""
    known = {}
    if options.journal and Path(options.journal).exists():
        texts = Path(options.journal).read_text().splitlines()
        known = {(line["cell"], line["seed"]): line for line in map(json.loads, texts)}
        yield from known.values()
    cells = [c for c in CELLS if any(fnmatch.fnmatch(str(c), glob) for glob in options.cells)]
    todo = [(c, s) for s in options.seeds for c in cells if (str(c), s) not in known]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        pending = [pool.submit(attacked, cell, seed, options) for cell, seed in todo]
        try:
            for future in as_completed(pending):
                line = future.result()
                if options.journal:
                    with Path(options.journal).open("a") as journal:
                        journal.write(json.dumps(line) + "\n")
                yield line
        finally:
            pool.shutdown(cancel_futures=True)


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each cell, and one for all."""
    yield f"{'cell':46} {'runs':>5} {'certified':>9} {'inside':>6} {'edge':>5} {'false':>5} {'s/cert':>6}  other states"
    for cell in [*dict.fromkeys(str(c) for c in CELLS), "all"]:
        rows = [line for line in found if cell in ("all", line["cell"])]
        jammed = [line for line in rows if line.get("jammed")]
        falls = [line for line in jammed if line["fall"]]
        inside = sum(line["fall"]["end"] <= line["radius"] for line in falls)
        seconds = [line["seconds"] for line in rows if "seconds" in line]
        states = Counter(line["status"] for line in rows if not line.get("jammed"))
        others = ", ".join(f"{n} {state}" for state, n in states.most_common())
        if rows:
            yield (
                f"{cell:46} {len(rows):5} {len(jammed):9} {inside:6} {len(falls) - inside:5} "
                f"{sum(bool(line.get('false fields')) for line in rows):5} "
                f"{np.median(seconds) if seconds else np.nan:6.2f}  {others}"
            )


def main() -> None:
    """Prints a line for each run that falls, and the table at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=lambda text: range(*map(int, text.split(":"))), default=range(2))
    parser.add_argument("--cells", nargs="+", default=["*"])
    parser.add_argument("--certified", type=int, default=10**9, help="end after this many certified minima")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--kicks", type=int, default=27)
    parser.add_argument("--radius", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--journal")
    options = parser.parse_args()
    found, n = [], 0
    for line in lines(options):
        found.append(line)
        n += bool(line.get("jammed"))
        if line.get("fall") or line.get("false fields") or not line.get("certified"):
            print({name: value for name, value in line.items() if value is not None}, flush=True)
        if n >= options.certified:
            break
    print(*table(found), sep="\n")


if __name__ == "__main__":
    main()
