"""Certified minima against an adversary: how many stand, what a certificate costs, and in which state the other runs end.

    python -m benchmarks.certificates [--seeds N] [--steps N] [--kicks N] [--radius FACTOR]

Each row has one kind of network and N seeds, trained by newton on random labels on the sphere. The adversary of
tests/support/adversary.py descends from kicks within FACTOR times the radius that the certificate states, and shares no code
with it. A minimum falls where the adversary finds a loss that is lower by more than the stated error.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jamtools.data.sphere import random_sphere
from jamtools.minima.certificate import certify
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset, Run
from jamtools.training.ensemble import train
from tests.support.adversary import Network, lowest_near

#: Activation, L, d, h and P.
CASES = [
    *(("relu", 1, 4, 4, P) for P in (60, 90, 150)),
    *(("relu", 1, 6, 6, P) for P in (130, 260)),
    ("relu", 1, 3, 8, 130),
    *(("relu", 2, 4, 4, P) for P in (80, 160)),
    ("relu", 3, 4, 4, 120),
    ("relu", 5, 4, 3, 120),
    ("tanh", 1, 2, 2, 30),
    ("tanh", 1, 4, 4, 90),
    ("tanh", 2, 4, 3, 120),
]


def falls(run: Run, data: Dataset, kicks: int, factor: float, seed: int) -> bool:
    """Whether the adversary finds a lower loss within `factor` times the radius of the certificate."""
    info, certificate = run.info, run.info["certificate"]
    network = Network(
        data.x, data.y.ravel(), info["width"], info["depth"], info["activation"], info["epsilon"]
    )
    theta = network.balanced(run.theta)
    lowest = lowest_near(network, theta, factor * certificate["radius"], kicks, seed)
    return lowest < network(theta)[0] * (1 - max(certificate["trial_error"], 1e-14))


def seconds_of_certificate(run: Run, data: Dataset) -> float:
    """The processor time of one certificate."""
    problem = Problem.of(run, data)
    theta, start = problem.tensor(run.theta), time.process_time()
    certify(theta, problem)
    return time.process_time() - start


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--kicks", type=int, default=20)
    parser.add_argument("--radius", type=float, default=1.0)
    options = parser.parse_args()
    settings = with_options(TrainingOptions(), optimizer="newton", steps=options.steps)
    print(f"{'network':24} {'P/N':>5} {'certified':>9} {'fallen':>6} {'s/certificate':>13}  other states")
    for activation, depth, d, width, P in CASES:
        arch, states, times, fallen = Architecture(d, width, depth, activation), Counter[str](), [], 0
        for seed in range(options.seeds):
            data = random_sphere(P, d, seed)
            run = train(data, arch, settings, seed)
            if not (run.info["certified"] and run.info["n_unsatisfied"]):
                states[run.info["status"]] += 1
                continue
            times.append(seconds_of_certificate(run, data))
            fallen += falls(run, data, options.kicks, options.radius, seed)
        cost = f"{sum(times) / len(times):.2f}" if times else "-"
        others = ", ".join(f"{n} {state}" for state, n in states.items())
        name = f"{activation} L={depth} d={d} h={width}"
        print(
            f"{name:24} {P / arch.n_effective:5.2f} {len(times):9} {fallen:6} {cost:>13}  {others}",
            flush=True,
        )


if __name__ == "__main__":
    main()
