"""Planted exponents: bias of the estimate and coverage of its 95% interval, beside two peers, as markdown tables.

    python benchmarks/exponents.py [--quick] [--cases PATTERN...] [--peers] [--replicas N] [--drift]

Densities x^t g(x) with t = -0.41 … 1. Light crossovers: e^−x, e^−x², (1−x)^b; heavy ones: (1+x)^−(t+2.4),
1/(1+x²)², mixtures of two Gamma densities; a noise floor, below which there are twice as many values as the
density has, and which is given as the lower cut; and e^−√x, which is not smooth at 0. "runs": 40 runs (20 of 10³ values),
each with a scale of its own, log-normal with σ = 0.5.

A cell is: bias / coverage / half the width of the interval, as means over the replicas whose power law can be told, and
the share of the others, whose exponent drifts. The error of a bias is its half width / √replicas, that of a coverage
√(0.05·0.95/replicas).

With --drift only the share of drifts is shown, for t = 0.42 and for log-normals. With --peers, two other estimators fit the
first samples of the same cells: that of Clauset, Shalizi and Newman (the package powerlaw) and Hill's with the lowest
tenth, both of 1/x, with the interval t ± 1.96 standard errors.
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
from typing import Any, NamedTuple

import numpy as np

from jamtools.exponents.powerlaw import fit_power_law

PLANTED_EXPONENTS = (-0.41, -0.2, 0.0, 0.2, 0.3, 0.42, 1.0)
SAMPLE_SIZES = (1_000, 10_000, 100_000)
NORMAL_QUANTILE_95 = 1.959964  # in standard errors
#: Replicas of the method of Clauset et al. at each size: its cost grows like n².
CSN_REPLICAS = {1_000: 12, 10_000: 10, 100_000: 0}
NOISE_FLOOR_SHARE = 0.02  # of the values lie below the noise floor

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
    """x^t e^−x, with half of the values multiplied by `scale`."""
    return lambda t, n, rng: rng.gamma(1 + t, size=n) * np.where(rng.random(n) < 0.5, scale, 1.0)


def noise_floor(t: float, n: int, rng: np.random.Generator) -> Any:
    """x^t e^−x, with as many values again, evenly spread, below the noise floor."""
    x = rng.gamma(1 + t, size=n)
    return np.concatenate([x, noise_floor_of(t) * rng.random(round(NOISE_FLOOR_SHARE * n))])


def noise_floor_of(t: float) -> float:
    """The quantile NOISE_FLOOR_SHARE of x^t e^−x."""
    from scipy.special import gammaincinv

    return float(gammaincinv(1 + t, NOISE_FLOOR_SHARE))


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


def early_crossover(t: float, n: int, rng: np.random.Generator) -> Any:
    """x^t / (1+(x/0.1)²)^0.96."""
    b = rng.beta((1 + t) / 2, 0.96 - (1 + t) / 2, size=n)
    return 0.1 * np.sqrt(b / np.maximum(1 - b, np.finfo(float).tiny))


def log_normal(sigma: float) -> Draw:
    """A log-normal, which has no exponent t."""
    return lambda t, n, rng: np.exp(sigma * rng.standard_normal(n))


#: The densities on which --drift tests how often an exponent drifts, their exponent, and the sizes of the samples.
DRIFT_DENSITIES: dict[str, Draw] = {
    "log-normal, σ = 1": log_normal(1),
    "log-normal, σ = 2": log_normal(2),
    "x^t on (0, 1)": lambda t, n, rng: rng.random(n) ** (1 / (1 + t)),
    **{name: draw for name, draw in DENSITIES.items() if name != "noise floor"},
    "(1+(x/0.1)²)^-0.96": early_crossover,
}
DRIFT_EXPONENT = 0.42
DRIFT_SIZES = (3_000, 30_000)


@dataclass(frozen=True)
class Case:
    """n values of a density of exponent t, independent or in runs with different scales."""

    density: str
    n: int
    clustered: bool
    t: float

    @property
    def name(self) -> str:
        return f"{self.density}-{self.n}-{'runs' if self.clustered else 'iid'}"

    def sample(self, replica: int) -> tuple[Any, Any, float]:
        """Values [n], their runs [n] or None, and the lower cut."""
        rng = np.random.default_rng([*self.name.encode(), round(1000 * (1 + self.t)), replica])
        x = DENSITIES[self.density](self.t, self.n, rng)
        cut = noise_floor_of(self.t) if self.density == "noise floor" else 0.0
        if not self.clustered:
            return x, None, cut
        runs = rng.integers(40 if self.n > 1000 else 20, size=len(x))
        scales = np.exp(0.5 * rng.standard_normal(runs.max() + 1))
        return x * scales[runs], runs, cut * scales.max()


# --- three estimators ----------------------------------------------------------------------


class Estimate(NamedTuple):
    """An exponent and the ends of its 95% interval."""

    exponent: float
    low: float
    high: float


class Cell(NamedTuple):
    """Means over the replicas with a finite interval: bias, coverage, half the width; and the share of the others."""

    bias: float
    coverage: float
    half_width: float
    not_told: float


def jam_gaps(case: Case, replica: int) -> Estimate:
    """The fit of jamtools.exponents."""
    x, runs, cut = case.sample(replica)
    fit = fit_power_law(x, clusters=runs, lower_cut=cut, n_gof=0, n_bootstrap=100)
    return Estimate(fit.exponent, *fit.interval)


def clauset(case: Case, replica: int) -> Estimate:
    """The package powerlaw: p(x) ~ x^t for small x is p(y) ~ y^−(t+2) for large y = 1/x."""
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
    return Estimate(t, t - NORMAL_QUANTILE_95 * error, t + NORMAL_QUANTILE_95 * error)


def hill(case: Case, replica: int) -> Estimate:
    """Hill's estimator with the lowest tenth of the values."""
    x, _, cut = case.sample(replica)
    x = np.sort(x[x > cut])
    k = len(x) // 10
    t = 1 / np.log(x[k] / x[:k]).mean() - 1
    error = (1 + t) / math.sqrt(k)
    return Estimate(t, t - NORMAL_QUANTILE_95 * error, t + NORMAL_QUANTILE_95 * error)


ESTIMATORS: dict[str, Callable[[Case, int], Estimate]] = {
    "jam-gaps": jam_gaps,
    "CSN": clauset,
    "Hill": hill,
}


def cell_of(name: str, case: Case, replicas: int) -> Cell:
    """The mean over replicas of one estimator on one case."""
    estimates = np.array([ESTIMATORS[name](case, replica) for replica in range(replicas)])
    told = np.isfinite(estimates).all(axis=1)
    t, low, high = estimates[told].T
    return Cell(
        float(t.mean() - case.t),
        float(((low <= case.t) & (case.t <= high)).mean()),
        float((high - low).mean() / 2),
        float(1 - told.mean()),
    )


# --- the tables -------------------------------------------------------------------------------------


def print_row(name: str, estimator: str, cells: list[Cell]) -> None:
    shown = " | ".join(
        f"{c.bias:+.3f} / {c.coverage:.2f} / {c.half_width:.3f} / {c.not_told:.2f}" for c in cells
    )
    print(f"| {name} | {estimator} | {shown} |", flush=True)


def print_summary(label: str, cells: list[Cell]) -> None:
    biases, coverages = [abs(cell.bias) for cell in cells], [cell.coverage for cell in cells]
    print(
        f"{label}: largest |bias| {max(biases):.3f}, coverage {min(coverages):.2f} to {max(coverages):.2f}, "
        f"mean {np.mean(coverages):.3f}",
        flush=True,
    )


def drifts(density: str, n: int, replica: int) -> bool:
    """Whether the exponent of one sample drifts."""
    rng = np.random.default_rng([*density.encode(), n, replica])
    return fit_power_law(DRIFT_DENSITIES[density](DRIFT_EXPONENT, n, rng), n_gof=0).drift is not None


def print_drifts(pool: ProcessPoolExecutor, replicas: int) -> None:
    print(f"{replicas} replicas\n\n| density | {' | '.join(f'n = {n}' for n in DRIFT_SIZES)} |")
    print("|" + "---|" * (1 + len(DRIFT_SIZES)), flush=True)
    for density in DRIFT_DENSITIES:
        found = [
            np.mean(list(pool.map(drifts, [density] * replicas, [n] * replicas, range(replicas))))
            for n in DRIFT_SIZES
        ]
        print(f"| {density} | {' | '.join(f'{share:.2f}' for share in found)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10³ values, 20 replicas")
    parser.add_argument("--peers", action="store_true", help="add the two peers")
    parser.add_argument("--drift", action="store_true", help="only how often an exponent drifts")
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument(
        "--cases",
        nargs="+",
        metavar="PATTERN",
        default=["*"],
        help="only cases whose name fits, as e^-x-10000-iid",
    )
    given = parser.parse_args()
    if given.drift:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            print_drifts(pool, given.replicas)
        return
    sizes, replicas = (SAMPLE_SIZES[:1], 20) if given.quick else (SAMPLE_SIZES, given.replicas)
    cases = [
        Case(d, n, c, t) for c in (False, True) for n in sizes for d in DENSITIES for t in PLANTED_EXPONENTS
    ]
    cases = [case for case in cases if any(fnmatch(case.name, pattern) for pattern in given.cases)]
    if not cases:
        parser.error(
            f"no case fits {' '.join(given.cases)}, expected names such as {Case('e^-x', 1000, True, 0).name}"
        )
    print(f"{replicas} replicas\n\n| density, n | | {' | '.join(f't = {t:g}' for t in PLANTED_EXPONENTS)} |")
    print("|" + "---|" * (2 + len(PLANTED_EXPONENTS)), flush=True)
    results: dict[str, list[Cell]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name in dict.fromkeys(case.name for case in cases):
            same = [case for case in cases if case.name == name]
            for estimator in ESTIMATORS if given.peers else ("jam-gaps",):
                times = replicas if estimator != "CSN" else min(replicas, CSN_REPLICAS[same[0].n])
                if times:
                    cells = list(pool.map(cell_of, [estimator] * len(same), same, [times] * len(same)))
                    results[f"{name} {estimator}"] = cells
                    print_row(name, estimator, cells)
    print()
    for kind, densities in (("light", LIGHT), ("heavy", HEAVY)):
        for n in sizes:
            for dependence in ("iid", "runs"):
                cells = [c for d in densities for c in results.get(f"{d}-{n}-{dependence} jam-gaps", [])]
                if cells:
                    print_summary(f"{kind}, n = {n}, {dependence}", cells)


if __name__ == "__main__":
    main()
