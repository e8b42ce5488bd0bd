"""Where newton ends, with free weights or at fixed norm, in every cell of activation, depth, width and P/N, and how long
it takes.

    python -m benchmarks.arrival [--seeds N] [--steps N] [--norm R|Nx] [--ratios P/N,...] [CELL...]

A cell is a name such as relu-L2-h6; without one all of CELLS are run. Each row is one P/N, with d = h and random labels.
It has the number of runs in each state, and the median and the largest processor time of a run. Stationary runs without a
certificate have a column of their own; unproved are all others.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import Counter
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train

#: Activation, L, and the widths.
CELLS = [
    ("relu", 1, (4, 6, 8)),
    ("relu", 2, (4, 6, 8)),
    ("relu", 3, (4, 6, 8)),
    ("relu", 5, (6, 8)),
    ("tanh", 1, (4, 6)),
    ("tanh", 2, (4, 6)),
    ("tanh", 3, (4, 6)),
]

#: P/N of the rows, without others.
RATIOS = "1,2,3,4,6,10"

#: The columns of states; the last counts all other runs.
STATES = ("satisfied", "certified", "stationary", "escaping", "dead", "unproved")


def state(info: dict[str, object]) -> str:
    """The column of a run."""
    status = str(info["status"])
    if status == "stationary" and info["certified"]:
        return "certified"
    return status if status in STATES else "unproved"


def row(arch: Architecture, ratio: float, seeds: int, steps: int, norm: str | None = None) -> str:
    """One row of the table."""
    fixed = replace(arch, norm=None if norm is None else 1.0)
    P, states, times = round(ratio * fixed.n_effective), Counter[str](), []
    for seed in range(seeds):
        data = random_sphere(P, arch.d, seed)
        start = time.process_time()
        settings = with_options(TrainingOptions(), optimizer="newton", steps=steps, norm=norm)
        states[state(dict(train(data, arch, settings, seed).info))] += 1
        times.append(time.process_time() - start)
    counts = " ".join(f"{states[name]:>10}" for name in STATES)
    name = f"{arch.activation}-L{arch.depth}-h{arch.width}"
    return f"{name:12} {fixed.n_effective:>4} {ratio:>4g} {counts} {statistics.median(times):>7.1f} {max(times):>7.1f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--norm")
    parser.add_argument("--ratios", default=RATIOS)
    options = parser.parse_args()
    arch = Architecture(2, 2, 1)
    train(random_sphere(4, 2, 0), arch, with_options(TrainingOptions(), optimizer="newton", steps=2), 0)
    header = " ".join(f"{name:>10}" for name in STATES)
    print(f"{'cell':12} {'N':>4} {'P/N':>4} {header} {'s':>7} {'most s':>7}", flush=True)
    named = [f"{activation}-L{depth}-h{width}" for activation, depth, widths in CELLS for width in widths]
    for name in options.cells or named:
        activation, depth, width = name.split("-")
        arch = Architecture(int(width[1:]), int(width[1:]), int(depth[1:]), activation)
        for ratio in options.ratios.split(","):
            print(row(arch, float(ratio), options.seeds, options.steps, options.norm), flush=True)


if __name__ == "__main__":
    main()
