"""The coverage and the length of the intervals of Lanczos counts, on spectra of networks.

    python benchmarks/lanczos.py [--samples 400] [--networks 12] [--larger 3]

Networks with random labels are trained by Adam to a random P/N above the transition, and H and Hp are diagonalised. Then
Gaussian probes in the eigenbasis, which have the same law in every basis, give quadratures of K probes and M steps. A row is
one kind of network, one matrix, one (K, M), over all its networks and samples:

    zero         share of the 95% intervals of the number of zero eigenvalues that contain the exact number, where the
                 steps resolve it (in brackets the share of such samples), and the mean length
    negative     share of the 95% intervals of the number of negative ones that contain the exact number
    length       their mean length, and that of the worst-case bounds
    of one       the standard error of an estimate and the rms of its deviation from the exact number
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from jamtools.data.sphere import random_sphere
from jamtools.hessian.assembly import hessian
from jamtools.hessian.known_counts import known_h
from jamtools.hessian.products import Products
from jamtools.linalg.lanczos import probe
from jamtools.linalg.negative_count import LowEnd, negative_count
from jamtools.linalg.operator import Operator
from jamtools.linalg.quadrature import Quadrature
from jamtools.linalg.spectral_mass import zero_mass
from jamtools.linalg.subspace import project_out
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.network.symmetry import ScaleGenerators, scale_generators
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train

#: (d = h, L, gradient steps) of the networks, and of the larger ones.
SIZES = [(6, 1, 4000), (8, 2, 6000), (10, 3, 5000)]
LARGER = (16, 3, 2500)
#: The range of P/N, above the transition.
P_OVER_N = {"relu": (2.6, 5.0), "tanh": (3.3, 6.0)}
#: (probes, steps) of the quadratures.
COSTS = [(4, 30), (8, 60)]


@dataclass(frozen=True)
class Known:
    """The eigenvalues of one matrix [n], ascending, and the lower bound of the number of zero ones."""

    values: np.ndarray
    kernel: int

    @property
    def signs(self) -> tuple[int, int]:
        """The exact numbers of negative and of zero eigenvalues."""
        cut = len(self.values) * np.finfo(float).eps * np.abs(self.values).max()
        return int((self.values < -cut).sum()), int((np.abs(self.values) <= cut).sum())


def spectra(activation: str, size: tuple[int, int, int], seed: int) -> dict[str, Known]:
    """H and Hp of one trained network; empty if it fits all patterns."""
    d, depth, steps = size
    arch = Architecture(d, d, depth, activation)
    P = int(np.random.default_rng(seed).uniform(*P_OVER_N[activation]) * arch.n_effective)
    data = random_sphere(P, d, seed=seed)
    settings = with_options(TrainingOptions(), steps=steps, lr=3e-3, measurements=3)
    run = train(data, arch, settings, seed=seed)
    if run.info["n_unsatisfied"] == 0:
        return {}
    problem = Problem.of(run, data, "cpu", torch.float64)
    theta = problem.tensor(run.theta)
    products, generators = Products(theta, problem), ScaleGenerators(theta, arch)
    matrices, directions = hessian(theta, problem), scale_generators(theta, arch)
    return {
        part: Known(
            torch.linalg.eigvalsh(project_out(getattr(matrices, part), directions)).numpy(),
            known_h(products, part, generators).kernel,
        )
        for part in ("Hp", "H")
    }


def quadratures(values: np.ndarray, probes: int, steps: int, samples: int, seed: int) -> Iterator[Quadrature]:
    """Quadratures with independent probes of a diagonal matrix with these eigenvalues [n]."""
    column = torch.from_numpy(values)[:, None]
    operator = Operator(lambda V: column * V, len(values))
    for first in range(0, samples, 25):
        count = min(25, samples - first)
        q = probe(operator, probes * count, steps, seed + first, at_once=probes * count)
        for i in range(count):
            part = slice(i * probes, (i + 1) * probes)
            yield Quadrature(
                q.alpha[part], q.beta[part], q.exhausted[part], q.squares[part], q.dimension, q.unit, q.eps
            )


def measured(known: Known, quadrature: Quadrature) -> list[float]:
    """The numbers of one sample, in the order of `print_row`."""
    n_negative, n_zero = known.signs
    low_end = LowEnd(float(known.values[0]), int(n_negative > 0), n_negative == 0)
    zero = zero_mass(quadrature, at_least=known.kernel)
    count = negative_count(quadrature, zero, low_end, known.kernel)
    return [
        zero.resolved, zero.low <= n_zero <= zero.high, zero.high - zero.low,
        count.low <= n_negative <= count.high, count.high - count.low, count.bounds[1] - count.bounds[0],
        count.error, count.value - n_negative, n_negative,
    ]  # fmt: skip


def print_row(name: str, rows: list[list[float]]) -> None:
    """Prints the means of one cell; samples whose λ_min shows that no eigenvalue is negative are left out."""
    table = np.array(rows)
    resolved = table[table[:, 0] > 0]
    zero = f"{resolved[:, 1].mean():5.3f} {resolved[:, 2].mean():6.1f}" if len(resolved) else "    -      -"
    open_ones = table[table[:, 8] > 0]
    _, _, _, covered, length, bounds, error, _, number = open_ones.mean(0)
    rms = np.sqrt((open_ones[:, 7] ** 2).mean())
    print(
        f"{name} {len(open_ones):5} {number:6.1f} {zero} ({len(resolved) / len(table):4.2f}) {covered:8.3f} "
        f"{length:7.1f} {bounds:7.1f} {error:7.1f} {rms:6.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=400, help="of each cell")
    parser.add_argument("--networks", type=int, default=12, help="of each kind")
    parser.add_argument("--larger", type=int, default=3, help="networks of the larger kind")
    options = parser.parse_args()
    start = time.perf_counter()
    print(
        f"{'':19} {'K':>2} {'M':>3} {'n':>5} {'number':>6} {'zero':>5} {'length':>6} {'':6} {'negative':>8} "
        f"{'length':>7} {'bounds':>7} {'of one':>7} {'rms':>6}"
    )
    for size, number in [*((size, options.networks) for size in SIZES), (LARGER, options.larger)]:
        for activation in ("relu", "tanh"):
            found = [spectra(activation, size, 100 + seed) for seed in range(number)]
            cases = [(seed, known) for seed, known in enumerate(found) if known]
            for part in ("Hp", "H"):
                for probes, steps in COSTS:
                    rows = [
                        measured(known[part], quadrature)
                        for seed, known in cases
                        for quadrature in quadratures(
                            known[part].values, probes, steps, -(-options.samples // len(cases)), 1000 * seed
                        )
                    ]
                    name = f"{activation} d=h={size[0]:2} L={size[1]} {part:2} {probes:2} {steps:3}"
                    if rows:
                        print_row(name, rows)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
