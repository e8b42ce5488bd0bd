"""P* of perceptrons of fixed norm, against the largest margin of a dataset by least squares.

    P*(κ) = max {P : κ_max(P) ≥ κ},      κ_max(P) = max over ‖W‖ = 1 of min_{µ ≤ P} y_µ W·x_µ

For κ > 0, κ_max = 1/min ‖W‖ over the W with y W·x ≥ 1, a least-distance problem: a non-negative least-squares problem (C. L.
Lawson and R. J. Hanson 1974, chapter 23). Its residual vanishes where no W separates the patterns, which decides κ = 0.
The mean of P*/N over datasets is the capacity (E. Gardner 1988); examples/capacity.sh measures it.
"""

from __future__ import annotations

import functools
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import nnls
from scipy.stats import norm

from jamtools.data.sphere import random_gaussian
from jamtools.protocols import with_options
from jamtools.transition.options import SearchOptions, TrialSpec
from jamtools.transition.scaling import fit_scaling
from jamtools.transition.search import search_transition
from tests.support.searches import QUICK

D, SEEDS = 16, range(3)


def largest_margin(rows):
    """κ_max of the rows y x [P, d], 0 where no W separates them."""
    P, d = rows.shape
    target = np.append(np.zeros(d), 1.0)
    multipliers, _ = nnls(np.vstack([rows.T, np.ones(P)]), target)
    residual = np.append(rows.T @ multipliers, multipliers.sum()) - target
    # a residual of round-off is that of an infeasible problem; the closest feasible one here is above 1e-4
    return 0.0 if residual @ residual < 1e-12 else -residual[d] / float(np.linalg.norm(residual[:d]))


def exact(data, kappa):
    """P* of the first patterns at κ ≥ 0."""
    rows = data.x * data.y[:, None]
    margins = (largest_margin(rows[:P]) for P in range(1, data.P + 1))
    fits = [margin > 0 and margin >= kappa for margin in margins]
    return fits.index(False)


@functools.cache
def searches(kappa):
    """For each dataset the record of its search at margin κ, and the exact P*."""
    settings = with_options(QUICK, epsilon=kappa, norm="1", steps=4000)
    spec = TrialSpec(0, "linear", settings, (0,), bias=False)
    found = []
    for seed in SEEDS:
        data = random_gaussian(5 * D, D, seed)
        (record,) = search_transition(data, spec, [D], "patterns", SearchOptions(precision=0.1))
        found.append((record, exact(data, kappa)))
    return found


@pytest.mark.parametrize("kappa", [0.0, 0.4])
def test_p_star_at_fixed_norm_is_that_of_the_largest_margin(kappa):
    """No trial above P* is satisfied. Some just below it may run out of steps; the interval holds the step at P*."""
    for record, p_star in searches(kappa):
        low, high = record["P_interval"]
        assert low <= p_star <= high and record["N"] == D - 1
        assert all(trial["P"] <= p_star for trial in record["trials"] if trial["outcome"] == "success")


@pytest.mark.parametrize("kappa", [0.0, 0.4])
def test_a_fit_of_several_datasets_is_the_mean_of_their_p_star_over_n(kappa):
    """Each median lies within half the precision of 0.1 of its P*, so their mean does as well."""
    found = searches(kappa)
    fit = fit_scaling([record for record, _ in found])
    mean = float(np.mean([math.log(p_star / (D - 1)) for _, p_star in found]))
    assert fit["n_points"] == len(SEEDS)
    assert math.log(fit["P_over_N"]) == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize("kappa", [-0.5, 0.0, 1.0])
def test_the_capacity_of_the_example_is_gardners_integral(kappa, monkeypatch):
    example = Path(__file__).resolve().parents[2] / "examples" / "capacity.py"
    monkeypatch.setattr("sys.argv", [str(example)])
    capacity = runpy.run_path(str(example))["capacity"]
    integral, error = quad(lambda t: norm.pdf(t) * (t + kappa) ** 2, -kappa, np.inf)
    assert capacity(kappa) == pytest.approx(1 / integral, rel=1e-6) and error < 1e-7
