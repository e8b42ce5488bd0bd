"""Planted exponents: the bias of the estimate and the coverage of its 95% interval, beside two peers; markdown tables.

    python benchmarks/exponents.py [--quick] [--cases PATTERN...] [--peers] [--replicas N]

Densities x^t g(x) with t = -0.41 … 1. Light crossovers: e^−x, e^−x², (1−x)^b; heavy ones: (1+x)^−(t+2.4),
1/(1+x²)², mixtures of two Gamma densities; a noise floor below which there are twice as many values as there should
be, given as the lower cut; and e^−√x, which is not smooth at 0. "runs": 40 runs (20 of 10³ values), each with a
scale of its own, log-normal with σ = 0.5.

A cell is: bias / coverage / half the width of the interval, means over the replicas. Peers, with --peers, on the
first samples of the same cells: Clauset, Shalizi and Newman's fit (the package powerlaw) and Hill's estimator with
the lowest tenth, both of 1/x, with the interval t ± 1.96 of their standard errors. A bias is known to its half
width / √replicas, a coverage to √(0.05·0.95/replicas).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np

from jamtools.exponents.powerlaw import fit_power_law

EXPONENTS = (-0.41, -0.2, 0.0, 0.2, 0.3, 0.42, 1.0)
SIZES = (1_000, 10_000, 100_000)
Z = 1.959964
#: Replicas that the peers are given at each size: their cost grows like n².
PEER_REPLICAS = {1_000: 12, 10_000: 10, 100_000: 0}
FLOOR = 0.02

Draw = Callable[[float, int, np.random.Generator], Any]


def square(t: float, n: int, rng: np.random.Generator) -> Any:
    """x^t / (1+x²)²: x² is beta prime."""
    b = rng.beta((1 + t) / 2, (3 - t) / 2, size=n)
    return np.sqrt(b / (1 - b))


def heavy_power(t: float, n: int, rng: np.random.Generator) -> Any:
    """x^t (1+x)^−(t+2.4)."""
    b = rng.beta(1 + t, 1.4, size=n)
    return b / (1 - b)


def mixture(scale: float) -> Draw:
    """Half of the values with a scale of their own."""
    return lambda t, n, rng: rng.gamma(1 + t, size=n) * np.where(rng.random(n) < 0.5, scale, 1.0)


def noise_floor(t: float, n: int, rng: np.random.Generator) -> Any:
    """x^t e^−x, with as many values again, evenly spread, below the quantile FLOOR."""
    x = rng.gamma(1 + t, size=n)
    return np.concatenate([x, floor_of(t) * rng.random(round(FLOOR * n))])


def floor_of(t: float) -> float:
    from scipy.special import gammaincinv

    return float(gammaincinv(1 + t, FLOOR))


LIGHT: dict[str, Draw] = {
    "e^-x": lambda t, n, rng: rng.gamma(1 + t, size=n),
    "e^-x²": lambda t, n, rng: np.sqrt(rng.gamma((1 + t) / 2, size=n)),
    "(1-x)²": lambda t, n, rng: rng.beta(1 + t, 3.0, size=n),
    "(1-x)^½": lambda t, n, rng: rng.beta(1 + t, 1.5, size=n),
    "noise floor": noise_floor,
}
HEAVY: dict[str, Draw] = {
    "(1+x)^-k": heavy_power,
    "(1+x²)^-2": square,
    "scales 1, 0.3": mixture(0.3),
    "scales 1, 0.1": mixture(0.1),
}
BEYOND: dict[str, Draw] = {"e^-√x": lambda t, n, rng: rng.gamma(2 * (1 + t), size=n) ** 2}
DENSITIES = LIGHT | HEAVY | BEYOND


@dataclass(frozen=True)
class Case:
    """A density, a number of values, of runs with scales of their own or independent, and an exponent."""

    density: str
    n: int
    clustered: bool
    t: float

    @property
    def name(self) -> str:
        return f"{self.density}-{self.n}-{'runs' if self.clustered else 'iid'}"

    def sample(self, replica: int) -> tuple[Any, Any, float]:
        """Values, their runs or None, and the lower cut."""
        rng = np.random.default_rng([*self.name.encode(), round(1000 * (1 + self.t)), replica])
        x = DENSITIES[self.density](self.t, self.n, rng)
        cut = floor_of(self.t) if self.density == "noise floor" else 0.0
        if not self.clustered:
            return x, None, cut
        runs = rng.integers(40 if self.n > 1000 else 20, size=len(x))
        scales = np.exp(0.5 * rng.standard_normal(runs.max() + 1))
        return x * scales[runs], runs, cut * scales.max()


# --- three ways to an exponent ----------------------------------------------------------------------


def ours(case: Case, replica: int) -> tuple[float, float, float]:
    x, runs, cut = case.sample(replica)
    fit = fit_power_law(x, clusters=runs, lower_cut=cut, n_gof=0, n_bootstrap=100)
    return fit.exponent, *fit.interval


def clauset(case: Case, replica: int) -> tuple[float, float, float]:
    """p(x) ~ x^t for small x is p(y) ~ y^−(t+2) for large y = 1/x."""
    import powerlaw as package

    x, _, cut = case.sample(replica)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        fit = package.Fit(1 / x[x > cut], verbose=False)
    t, error = fit.power_law.alpha - 2, fit.power_law.sigma
    return t, t - Z * error, t + Z * error


def hill(case: Case, replica: int) -> tuple[float, float, float]:
    x, _, cut = case.sample(replica)
    x = np.sort(x[x > cut])
    k = len(x) // 10
    t = 1 / np.log(x[k] / x[:k]).mean() - 1
    error = (1 + t) / math.sqrt(k)
    return t, t - Z * error, t + Z * error


WAYS: dict[str, Callable[[Case, int], tuple[float, float, float]]] = {
    "jam-gaps": ours,
    "CSN": clauset,
    "Hill": hill,
}


def cell(way: str, case: Case, replicas: int) -> tuple[float, float, float]:
    """Bias, coverage, half width."""
    found = np.array([WAYS[way](case, replica) for replica in range(replicas)])
    t, low, high = found.T
    return (
        float(t.mean() - case.t),
        float(((low <= case.t) & (case.t <= high)).mean()),
        float((high - low).mean() / 2),
    )


# --- the tables -------------------------------------------------------------------------------------


def line(name: str, way: str, cells: list[tuple[float, float, float]]) -> None:
    shown = " | ".join(f"{bias:+.3f} / {coverage:.2f} / {half:.3f}" for bias, coverage, half in cells)
    print(f"| {name} | {way} | {shown} |", flush=True)


def worst(label: str, cells: list[tuple[float, float, float]]) -> None:
    biases, coverages = [abs(bias) for bias, _, _ in cells], [coverage for _, coverage, _ in cells]
    print(
        f"{label}: largest |bias| {max(biases):.3f}, coverage {min(coverages):.2f} to {max(coverages):.2f}, "
        f"mean {np.mean(coverages):.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10³ values, 20 replicas")
    parser.add_argument("--peers", action="store_true", help="the peers too")
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument(
        "--cases",
        nargs="+",
        metavar="PATTERN",
        default=["*"],
        help="those whose name fits, as e^-x-10000-iid",
    )
    given = parser.parse_args()
    sizes, replicas = (SIZES[:1], 20) if given.quick else (SIZES, given.replicas)
    cases = [Case(d, n, c, t) for c in (False, True) for n in sizes for d in DENSITIES for t in EXPONENTS]
    cases = [case for case in cases if any(fnmatch(case.name, pattern) for pattern in given.cases)]
    if not cases:
        parser.error(
            f"no case fits {' '.join(given.cases)}, expected names such as {Case('e^-x', 1000, True, 0).name}"
        )
    print(f"{replicas} replicas\n\n| density, n | | {' | '.join(f't = {t:g}' for t in EXPONENTS)} |")
    print("|" + "---|" * (2 + len(EXPONENTS)), flush=True)
    found: dict[str, list[tuple[float, float, float]]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name in dict.fromkeys(case.name for case in cases):
            its = [case for case in cases if case.name == name]
            for way in WAYS if given.peers else ("jam-gaps",):
                times = replicas if way != "CSN" else min(replicas, PEER_REPLICAS[its[0].n])
                if times:
                    cells = list(pool.map(cell, [way] * len(its), its, [times] * len(its)))
                    found[f"{name} {way}"] = cells
                    line(name, way, cells)
    print()
    for kind, densities in (("light", LIGHT), ("heavy", HEAVY)):
        for n in sizes:
            for company in ("iid", "runs"):
                cells = [c for d in densities for c in found.get(f"{d}-{n}-{company} jam-gaps", [])]
                if cells:
                    worst(f"{kind}, n = {n}, {company}", cells)


if __name__ == "__main__":
    main()
