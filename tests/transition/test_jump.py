"""The jump of N_Δ/N on planted sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import t

from jamtools.errors import InputError
from jamtools.transition.jump import jumps
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
                status="stationary" if jammed else "satisfied",
                certified=True,
                **fields,
            )
        )
    return runs


def test_a_planted_jump_is_found_with_its_place_and_height():
    (jump,) = jumps(sweep(2.8, 0.6))
    low, high = jump.P_over_N_interval
    assert low < 2.8 < high and high / low < 1.1
    low, high = jump.unsatisfied_per_parameter_interval
    assert low < 0.6 + np.log(jump.P_over_N / 2.8) < high < 1 and high - low < 0.12
    assert jump.n_satisfied + jump.n_jammed == 120 and jump.n_other == 0
    assert jump.finding == "a jump"


@pytest.mark.statistical
def test_the_intervals_of_place_and_height_cover_at_their_level():
    """Of 100 planted sweeps 95 ± 2.2 at a nominal 95%. The true height at the reported P/N is 0.6 + log(P/N / 2.8)."""
    hits = np.zeros(2)
    for seed in range(100):
        (jump,) = jumps(sweep(2.8, 0.6, n=60, seed=seed))
        intervals = jump.P_over_N_interval, jump.unsatisfied_per_parameter_interval
        true = 2.8, 0.6 + np.log(jump.P_over_N / 2.8)
        hits += [low <= value <= high for (low, high), value in zip(intervals, true)]
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
        "data", "d", "depth", "activation", "batch_norm", "loss", "epsilon", "optimizer", "protocol", "steps",
        "finding", "P_over_N", "P_over_N_interval", "spread", "unsatisfied_per_parameter",
        "unsatisfied_per_parameter_interval", "n_satisfied", "n_jammed", "n_dead", "n_other",
    ]  # fmt: skip
    assert record["P_over_N_interval"] == list(jump.P_over_N_interval)


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        ("satisfied", "satisfied"),
        ("stationary", "jammed"),
        ("dead", "dead"),
        ("budget", "other"),
        ("escaping", "other"),
    ],
)
@pytest.mark.parametrize("n_unsatisfied", [4, 80])
def test_a_run_counts_by_its_state_whatever_its_number_of_unsatisfied_patterns(status, counts, n_unsatisfied):
    run = artefacts.run_info(n_effective_expected=100, P=250, status=status, n_unsatisfied=n_unsatisfied)
    (jump,) = jumps([run])
    names = ("satisfied", "jammed", "dead", "other")
    assert [getattr(jump, f"n_{name}") for name in names] == [name == counts for name in names]


def test_runs_on_their_way_and_dead_runs_change_neither_place_nor_height():
    runs = sweep(2.8, 0.6)
    rest = [
        artefacts.run_info(n_effective_expected=1000, P=P, n_unsatisfied=900, status=status)
        for P in (300, 2500, 4000)
        for status in ("budget", "dead", "diverged")
    ]
    (alone,), (mixed,) = jumps(runs), jumps([*runs, *rest])
    assert mixed.P_over_N_interval == alone.P_over_N_interval
    assert mixed.unsatisfied_per_parameter_interval == alone.unsatisfied_per_parameter_interval
    assert (mixed.n_dead, mixed.n_other) == (3, 6)


def test_dead_patterns_are_left_out_of_the_height_unless_they_are_kept():
    """All jammed runs have 100 dead patterns, a tenth of N."""
    runs = [{**run, "n_dead": 100 * (run["status"] == "stationary")} for run in sweep(2.8, 0.6)]
    (left_out,), (kept,) = jumps(runs), jumps(runs, keep_dead=True)
    assert kept.unsatisfied_per_parameter - left_out.unsatisfied_per_parameter == pytest.approx(0.1, abs=1e-9)


def test_the_jump_that_the_eye_sees_is_found():
    """Satisfied up to P/N = 3.2, jammed with N_Δ/N = 1.16 to 2.4 from 3.54 on."""
    satisfied, jammed = (
        (2.57, 2.57, 2.89, 2.89, 3.22),
        ((3.54, 1.16), (3.54, 1.3), (3.86, 1.6), (4.18, 2.1), (4.5, 2.4)),
    )
    states = [(ratio, 0.0, "satisfied") for ratio in satisfied] + [(*pair, "stationary") for pair in jammed]
    runs = [
        artefacts.run_info(
            n_effective_expected=1000, P=round(1000 * ratio), n_unsatisfied=round(1000 * share), status=status
        )
        for ratio, share, status in states
    ]
    (jump,) = jumps(runs)
    assert 3.22 <= jump.P_over_N <= 3.54
    low, high = jump.unsatisfied_per_parameter_interval
    assert 0.5 < low < jump.unsatisfied_per_parameter < high < 1.4
    assert 0.8 < jump.unsatisfied_per_parameter < 1.25
    assert jump.finding == "a jump"


def test_a_height_that_grows_from_zero_is_no_jump():
    (jump,) = jumps(sweep(2.8, 0.0, w=1e-3))
    assert jump.unsatisfied_per_parameter_interval[0] == 0
    assert jump.finding.startswith("no jump is shown")


@pytest.mark.parametrize(
    ("kept", "finding"),
    [
        (("satisfied",), "satisfied up to P/N = 2.9"),
        (("stationary",), "no run is satisfied, all are jammed"),
        ((), "no run is satisfied or jammed; 120 of 120 runs are at no minimum or dead"),
    ],
    ids=["all satisfied", "all jammed", "all on their way"],
)
def test_a_sweep_on_one_side_has_no_jump_in_its_range(kept, finding):
    runs = sweep(2.8, 0.6)
    chosen = [run for run in runs if run["status"] in kept] or [{**run, "status": "budget"} for run in runs]
    (jump,) = jumps(chosen)
    assert jump.finding.startswith("no jump in this range") and finding in jump.finding
    assert jump.P_over_N is None and jump.unsatisfied_per_parameter is None


def test_the_interval_of_the_height_is_that_of_the_f_statistic():
    """At each end the sum of squares, minimised over the slope by scipy, exceeds the smallest by t²/(n - 2) of it."""
    runs = sweep(2.8, 0.6, n=40, seed=3)
    (jump,) = jumps(runs)
    m = np.log(jump.P_over_N)
    points = [(np.log(r["P"] / 1000) - m, r["n_unsatisfied"] / 1000) for r in runs if r["n_unsatisfied"]]
    x, y = np.array([point for point in points if point[0] <= np.log(1.5)]).T

    def squares(line):
        return ((y - line[0] - line[1] * x) ** 2).sum()

    best = minimize(squares, (0.5, 0.5), bounds=((0, None), (0, None)), tol=1e-14)
    assert jump.unsatisfied_per_parameter == pytest.approx(best.x[0], abs=1e-6)
    for end in jump.unsatisfied_per_parameter_interval:
        misfit = minimize_scalar(
            lambda slope, end=end: squares((end, slope)), bounds=(0, 10), method="bounded"
        ).fun
        ratio = (misfit / best.fun - 1) * (len(x) - 2)
        assert ratio == pytest.approx(t.ppf(0.975, len(x) - 2) ** 2, rel=1e-3)


def test_two_jammed_runs_give_a_place_and_no_height():
    runs = sweep(2.8, 0.6)
    jammed = [run for run in runs if run["status"] == "stationary"]
    near = sorted(jammed, key=lambda run: run["P"])[:2]
    (jump,) = jumps([run for run in runs if run["status"] == "satisfied"] + near)
    assert jump.P_over_N is not None and jump.unsatisfied_per_parameter is None
    assert jump.finding.startswith("a jump of unknown height")


def test_a_sweep_of_jammed_runs_gives_only_an_upper_end_of_the_jump():
    (jump,) = jumps([run for run in sweep(2.8, 0.6) if run["n_unsatisfied"]])
    assert jump.P_over_N is None and jump.unsatisfied_per_parameter is None
    assert jump.P_over_N_interval[0] is None and jump.P_over_N_interval[1] is not None


def test_runs_with_another_loss_are_refused():
    with pytest.raises(InputError, match="got runs of cross-entropy, expected hinge"):
        jumps([artefacts.run_info(loss="cross-entropy")])


@pytest.mark.parametrize(
    "change",
    [{"data": "mnist parity pca 10"}, {"finish": {"steps": 1}}, {"settings": {"steps": 7}}, {"epsilon": 0.1}],
    ids=str,
)
def test_runs_of_other_data_or_dynamics_are_another_sweep(change):
    """Together, the two sweeps would have one jump between 2 and 2.8."""
    usual = {"data": "random d=10", "settings": {"steps": 9}}
    found = jumps([*sweep(2.8, 0.6, **usual), *sweep(2.0, 0.4, **(usual | change))])
    assert sorted(jump.P_over_N for jump in found) == pytest.approx([2.0, 2.8], rel=0.05)


def test_a_sweep_pools_what_the_fields_asked_for_do_not_divide():
    runs = [*sweep(2.8, 0.6, data="a"), *sweep(2.8, 0.6, data="b", seed=1)]
    assert [jump.sweep["data"] for jump in jumps(runs)] == ["a", "b"]
    (pooled,) = jumps(runs, by=("depth",))
    assert pooled.sweep["data"] is None and pooled.n_satisfied + pooled.n_jammed == 240
