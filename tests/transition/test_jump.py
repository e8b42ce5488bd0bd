"""The jump of N_Δ/N on planted sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.transition.jump import SWEEP_FIELDS, jumps
from tests.support import artefacts


def sweep(
    at: float, height: float, n: int = 120, seed: int = 0, w: float = 0.03, **fields: Any
) -> list[dict[str, Any]]:
    """Runs with N = 1000, jammed with a logistic probability in log P/N: N_Δ/N = height + log(P/N / at) ± 0.02."""
    rng = np.random.default_rng(seed)
    runs = []
    for ratio in rng.uniform(at / 1.5, at * 1.5, n):
        jammed = rng.random() < 1 / (1 + np.exp(-np.log(ratio / at) / w))
        share = height + np.log(ratio / at) + 0.02 * rng.standard_normal() if jammed else 0.0
        runs.append(
            artefacts.run_info(
                n_effective_expected=1000,
                P=round(1000 * ratio),
                n_unsatisfied=round(1000 * share),
                final_loss=0.01 * jammed,
                status="budget" if jammed else "satisfied",
                **fields,
            )
        )
    return runs


def test_a_planted_jump_is_found_with_its_place_and_height():
    (jump,) = jumps(sweep(2.8, 0.6))
    low, high = jump.P_over_N_interval
    assert low < 2.8 < high and high / low < 1.1
    low, high = jump.unsatisfied_per_parameter_interval
    assert low < 0.6 < high < 1 and high - low < 0.12
    assert jump.n_satisfied + jump.n_jammed == 120 and jump.n_undecided == 0


@pytest.mark.statistical
def test_the_intervals_of_place_and_height_cover_at_their_level():
    """Of 100 planted sweeps 95 ± 2.2 at a nominal 95%; the interval of P/N may cover more often."""
    hits = np.zeros(2)
    for seed in range(100):
        (jump,) = jumps(sweep(2.8, 0.6, n=60, seed=seed))
        intervals = jump.P_over_N_interval, jump.unsatisfied_per_parameter_interval
        hits += [low <= true <= high for (low, high), true in zip(intervals, (2.8, 0.6))]
    assert (hits >= 95 - 4 * 2.2).all()


def test_the_height_is_that_of_a_line_by_numpy_through_the_jammed_runs():
    runs = sweep(2.8, 0.6)
    (jump,) = jumps(runs)
    m = np.log(jump.P_over_N)
    used = [r for r in runs if r["n_unsatisfied"] > 100 and np.log(r["P"] / 1000) <= m + np.log(1.5)]
    x = np.array([np.log(r["P"] / 1000) - m for r in used])
    line = np.polyfit(x, [r["n_unsatisfied"] / 1000 for r in used], 1)
    assert jump.unsatisfied_per_parameter == pytest.approx(line[1], rel=1e-9)


def test_each_sweep_has_its_own_jump():
    found = jumps([*sweep(2.8, 0.6, depth=3), *sweep(2.0, 0.4, depth=5)])
    assert [jump.sweep["depth"] for jump in found] == [3, 5]
    assert [jump.P_over_N for jump in found] == pytest.approx([2.8, 2.0], rel=0.05)


def test_the_json_object_of_a_jump_names_its_sweep_first():
    (jump,) = jumps(sweep(2.8, 0.6))
    record = jump.as_dict()
    assert list(record) == [
        *SWEEP_FIELDS, "steps", "P_over_N", "P_over_N_interval", "spread", "unsatisfied_per_parameter",
        "unsatisfied_per_parameter_interval", "n_satisfied", "n_jammed", "n_undecided",
    ]  # fmt: skip
    assert record["P_over_N_interval"] == list(jump.P_over_N_interval)


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"n_unsatisfied": 4, "final_loss": 1e-3}, "undecided"),
        ({"n_unsatisfied": 4, "final_loss": 1e-30}, "satisfied"),
        ({"n_unsatisfied": 4, "final_loss": 1e-3, "status": "stationary", "certified": True}, "jammed"),
        ({"n_unsatisfied": 0, "final_loss": 0.0, "status": "satisfied"}, "satisfied"),
        ({"n_unsatisfied": 80}, "jammed"),
    ],
    ids=["few unsatisfied", "contacts", "certified minimum", "satisfied", "many unsatisfied"],
)
def test_a_run_counts_as_satisfied_jammed_or_undecided(fields: dict[str, Any], counts: str):
    (jump,) = jumps([artefacts.run_info(n_effective_expected=100, P=250, **fields)])
    expected = [counts == name for name in ("satisfied", "jammed", "undecided")]
    assert [jump.n_satisfied, jump.n_jammed, jump.n_undecided] == expected


def test_a_sweep_of_jammed_runs_gives_only_an_upper_end_of_the_jump():
    (jump,) = jumps([run for run in sweep(2.8, 0.6) if run["n_unsatisfied"]])
    assert jump.P_over_N is None and jump.unsatisfied_per_parameter is None
    assert jump.P_over_N_interval[0] is None and jump.P_over_N_interval[1] is not None


def test_runs_with_another_loss_are_refused():
    with pytest.raises(InputError, match="got runs of cross-entropy, expected hinge"):
        jumps([artefacts.run_info(loss="cross-entropy")])
