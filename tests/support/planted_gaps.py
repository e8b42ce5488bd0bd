"""Runs whose gaps Δ are given, so that the exponents of their distributions are known."""

from __future__ import annotations

import numpy as np

from jamtools.records import HISTORY_FIELDS, RUN_FIELDS, Run


def run_with_gaps(delta, final_loss=0.01, seed=0, relative_descent=0.0, dead=(), **fields) -> Run:
    """A run with gaps `delta` [P], of which the patterns `dead` are dead.

    Its loss at half of the steps is (1 + relative_descent) times its final loss.
    """
    dead = np.array(dead, np.int64)
    info = {
        **dict.fromkeys(RUN_FIELDS),
        "n_parameters": 3,
        "loss": "hinge",
        "epsilon": 0.5,
        "final_loss": final_loss,
        "n_effective_expected": 300,
        "depth": 3,
        "width": 10,
        "P": len(delta),
        "activation": "relu",
        "seed": seed,
        "d": 10,
        "status": "budget",
        "n_unsatisfied": int((np.asarray(delta) > 0).sum()),
        "n_dead": len(dead),
        **fields,
    }
    columns = dict.fromkeys(HISTORY_FIELDS, np.zeros(3))
    loss = np.array([1.0, (1 + relative_descent) * final_loss, final_loss])
    columns |= {"step": np.array([0, 40, 100]), "loss": loss}
    return Run(np.zeros(3), np.zeros(3), np.asarray(delta, float), columns, info, dead=dead)


def runs_near_jamming(theta=0.42, gamma=0.3, n_runs=12, n=800, N=3000, **fields) -> list[Run]:
    """Jammed runs with L near 10⁻⁴ ε²: n overlaps Δ/√L of density z^θ e^-z and n gaps of density x^-γ e^-x."""
    rng, runs = np.random.default_rng(N), []
    for seed in range(n_runs):
        loss = rng.uniform(0.5, 2) * 2.5e-5
        overlaps, gaps = rng.gamma(1 + theta, size=n) * np.sqrt(loss), rng.gamma(1 - gamma, size=n)
        own = {"final_loss": loss, "seed": seed, "status": "stationary", "n_effective_expected": N, **fields}
        runs.append(run_with_gaps(np.concatenate([overlaps, -gaps]), **own))
    return runs


def runs_of_sizes(sizes, n=1500, seeds=10) -> list[Run]:
    """`seeds` runs of each N in `sizes`: n gaps of density x^-γ(N) e^-x, γ(N) = 0.4 - 3/√N, and n overlaps z^0.4 e^-z."""
    rng, runs = np.random.default_rng(4), []
    for N in sizes:
        for seed in range(seeds):
            gaps, overlaps = rng.gamma(0.6 + 3 / np.sqrt(N), size=n), 0.1 * rng.gamma(1.4, size=n)
            delta = np.concatenate([overlaps, -gaps])
            runs.append(run_with_gaps(delta, n_effective_expected=N, width=N // 10, seed=seed))
    return runs
