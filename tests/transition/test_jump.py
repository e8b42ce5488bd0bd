"""The jump of N_Δ/N on planted sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.transition.jump import jumps
from tests.support import artefacts


def sweep(
    at: float, height: float, n: int = 120, seed: int = 0, w: float = 0.03, **fields: Any
) -> list[dict[str, Any]]:
    """Runs of N = 1000 whose jammed share is a logistic in log P/N, with N_Δ/N = height + log(P/N / at) ± 0.02."""
    rng = np.random.default_rng(seed)
    runs = []
    for ratio in rng.uniform(at / 1.5, at * 1.5, n):
        jammed = rng.random() < 1 / (1 + np.exp(-np.log(ratio / at) / w))
        share = height + np.log(ratio / at) + 0.02 * rng.standard_normal() if jammed else 0.0
        told = {"n_effective_expected": 1000, "P": round(1000 * ratio), "n_unsatisfied": round(1000 * share)}
        runs.append(
            artefacts.run_info(
                **told, final_loss=0.01 * jammed, status="budget" if jammed else "satisfied", **fields
            )
        )
    return runs


def test_a_planted_jump_is_found_where_it_is_and_as_high_as_it_is():
    (found,) = jumps(sweep(2.8, 0.6))
    low, high = found["P_over_N_interval"]
    assert low < 2.8 < high and high / low < 1.1
    low, high = found["unsatisfied_per_parameter_interval"]
    assert low < 0.6 < high < 1 and high - low < 0.12
    assert found["n_satisfied"] + found["n_jammed"] == 120 and found["n_undecided"] == 0


def test_the_intervals_cover():
    """Of 100 planted sweeps 95 ± 2.2 at a nominal 95%; the interval of P/N may cover more where it is prudent."""
    hits = np.zeros(2)
    for seed in range(100):
        (found,) = jumps(sweep(2.8, 0.6, n=60, seed=seed))
        for i, (name, true) in enumerate({"P_over_N": 2.8, "unsatisfied_per_parameter": 0.6}.items()):
            low, high = found[f"{name}_interval"]
            hits[i] += low <= true <= high
    assert (hits >= 95 - 4 * 2.2).all()


def test_the_height_is_that_of_numpy_s_line_through_the_jammed_runs():
    runs = sweep(2.8, 0.6)
    (found,) = jumps(runs)
    m = np.log(found["P_over_N"])
    near = [r for r in runs if r["n_unsatisfied"] > 100 and np.log(r["P"] / 1000) <= m + np.log(1.5)]
    x = np.array([np.log(r["P"] / 1000) - m for r in near])
    line = np.polyfit(x, [r["n_unsatisfied"] / 1000 for r in near], 1)
    assert found["unsatisfied_per_parameter"] == pytest.approx(line[1], rel=1e-9)


def test_each_sweep_has_its_own_jump():
    found = jumps([*sweep(2.8, 0.6, depth=3), *sweep(2.0, 0.4, depth=5)])
    assert [one["depth"] for one in found] == [3, 5]
    assert [one["P_over_N"] for one in found] == pytest.approx([2.8, 2.0], rel=0.05)


def test_few_unsatisfied_patterns_are_undecided_contacts_are_satisfied_and_a_certificate_decides():
    N = {"n_effective_expected": 100, "P": 250}
    told = [
        artefacts.run_info(**N, n_unsatisfied=4, final_loss=1e-3),
        artefacts.run_info(**N, n_unsatisfied=4, final_loss=1e-30),
        artefacts.run_info(**N, n_unsatisfied=4, final_loss=1e-3, status="stationary", certified=True),
        artefacts.run_info(**N, n_unsatisfied=0, final_loss=0.0, status="satisfied"),
        artefacts.run_info(**N, n_unsatisfied=80),
    ]
    (found,) = jumps(told)
    assert (found["n_undecided"], found["n_satisfied"], found["n_jammed"]) == (1, 2, 2)


def test_a_sweep_on_one_side_has_no_jump():
    jammed = [run for run in sweep(2.8, 0.6) if run["n_unsatisfied"]]
    (found,) = jumps(jammed)
    assert found["P_over_N"] is None and found["unsatisfied_per_parameter"] is None
    assert found["P_over_N_interval"][0] is None and found["P_over_N_interval"][1] is not None


def test_runs_of_another_loss_are_refused():
    with pytest.raises(InputError, match="got runs of cross-entropy, expected hinge"):
        jumps([artefacts.run_info(loss="cross-entropy")])
