"""Runs of several files together: their common data, repeated runs, and runs without arrays that are not needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamtools.ensembles import DistinctRuns, checked_names, common_dataset, lighter, without_test_set
from jamtools.errors import InputError
from jamtools.exponents.distributions import fit_distributions
from jamtools.records import Dataset, Run
from tests.support import artefacts

WHOLE = artefacts.dataset(P=8, test=5)
PLAIN = without_test_set(WHOLE)


def with_history(steps: list[int], **fields) -> Run:
    """A run with these measured steps, its columns all different, and snapshots."""
    run = artefacts.run(**fields)
    n = len(steps)
    columns = {name: np.arange(n) + 10.0 * i for i, name in enumerate(run.history)}
    snapshots = np.random.default_rng(0).normal(size=(n, len(run.theta)))
    return replace(run, history={**columns, "step": np.array(steps), "theta": snapshots})


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_the_longest_of_datasets_that_begin_alike_is_common_to_all(order):
    named = [("a", PLAIN.first(3)), ("b", PLAIN), ("c", PLAIN.first(5))]
    common = common_dataset([named[i] for i in order])
    assert artefacts.identical(common.x, WHOLE.x) and artefacts.identical(common.y, WHOLE.y)
    assert common.info == WHOLE.info and common.x_test is None


@pytest.mark.parametrize("order", [1, -1])
def test_the_test_set_of_any_file_is_kept(order):
    common = common_dataset([("a", WHOLE.first(3)), ("b", PLAIN)][::order])
    assert common.P == 8 and artefacts.identical(common.x_test, WHOLE.x_test)


def flipped(dataset: Dataset, pattern: int) -> Dataset:
    y = dataset.y.copy()
    y[pattern] *= -1
    return replace(dataset, y=y)


def moved(dataset: Dataset, pattern: int) -> Dataset:
    x = dataset.x.copy()
    x[pattern, 1] = np.nextafter(x[pattern, 1], 9)
    return replace(dataset, x=x)


@pytest.mark.parametrize("change", [flipped, moved])
def test_data_that_differ_in_one_bit_are_refused_with_both_files_and_the_pattern(change):
    with pytest.raises(InputError, match="^b and a: pattern 2 of their training sets differs"):
        common_dataset([("a", change(PLAIN.first(3), 2)), ("b", PLAIN)])
    assert common_dataset([("a", change(PLAIN, 7).first(7)), ("b", PLAIN)]).P == 8


def test_data_of_another_dimension_are_refused():
    with pytest.raises(InputError, match="^a and b: d = 3 and 2"):
        common_dataset([("a", PLAIN), ("b", artefacts.dataset(P=4, d=2))])


def test_different_test_sets_are_refused():
    other = replace(WHOLE, x_test=WHOLE.x_test[:3], y_test=WHOLE.y_test[:3])
    with pytest.raises(InputError, match="^a and c: their test sets differ"):
        common_dataset([("a", WHOLE), ("b", PLAIN), ("c", other)])


def test_a_run_is_new_once():
    distinct, run = DistinctRuns(), artefacts.run(seed=1)
    again = artefacts.run(seed=1)
    others = [
        artefacts.run(seed=2),
        artefacts.run(seed=1, steps=7),
        replace(run, theta=run.theta + 1e-15),
        replace(run, gaps=-run.gaps),
    ]
    assert [distinct.is_new(member) for member in (run, again, *others, again)] == [
        True, False, True, True, True, True, False,
    ]  # fmt: skip


def test_a_run_that_diverged_is_recognised_too():
    run = artefacts.run()
    nan = replace(run, theta=np.full_like(run.theta, np.nan))
    distinct = DistinctRuns()
    assert [distinct.is_new(nan), distinct.is_new(nan), distinct.is_new(run)] == [True, False, True]


@pytest.mark.parametrize(
    ("steps", "kept"), [([0, 10, 40, 60, 100], [40, 100]), ([0, 100], [0, 100]), ([0], [0]), ([0, 50, 100], [50, 100])]
)  # fmt: skip
def test_a_dropped_history_keeps_the_rows_at_half_of_the_steps_and_at_the_end(steps, kept):
    run = with_history(steps)
    light = lighter(run, ["history"])
    assert light.history["step"].tolist() == kept
    rows = [steps.index(step) for step in kept]
    for name, column in light.history.items():
        assert artefacts.identical(column, run.history[name][rows])
    assert "theta" not in light.history


def test_dropped_snapshots_leave_the_other_columns():
    run = with_history([0, 10, 100])
    light = lighter(run, ["snapshots"])
    assert light.history.keys() == run.history.keys() - {"theta"}
    assert all(artefacts.identical(column, run.history[name]) for name, column in light.history.items())


def test_parameters_gaps_metadata_and_certificate_stay():
    run = replace(with_history([0, 10, 100]), certificate={"cusps": np.zeros((0, 3), dtype=np.int64)})
    light = lighter(run, ["history", "test"])
    assert light.info == run.info and light.certificate == run.certificate
    for name in ("theta", "theta0", "gaps"):
        assert artefacts.identical(getattr(light, name), getattr(run, name))


def test_exponents_do_not_change_when_the_history_is_dropped():
    """The lower cut of the overlaps follows from the loss at half of the steps."""
    rng = np.random.default_rng(3)
    runs = []
    for seed in range(4):
        run = artefacts.run(seed=seed, P=600, n_effective_expected=200, n_unsatisfied=300)
        gaps = np.where(np.arange(600) < 300, 1, -1) * rng.gamma(1.3, size=600)
        columns = {name: np.linspace(1, 2, 5) for name in run.history}
        loss = np.array([0.9, 0.2, 0.012, 0.011, 0.01])
        history = {**columns, "step": np.array([0, 10, 50, 70, 100]), "loss": loss}
        runs.append(replace(run, gaps=gaps, history=history))
    light = [lighter(run, ["history"]) for run in runs]
    before, after = (fit_distributions(members).as_dict() for members in (runs, light))
    assert before["overlaps"]["range"][0] > 0
    assert after == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("theta0", "cannot leave out 'theta0', every run has it; expected some of snapshots, history, test"),
        ("certificate", "a certified run is verified with it"),
        ("x", "cannot leave out 'x'; expected some of"),
    ],
)
def test_arrays_that_a_run_needs_cannot_be_left_out(name, message):
    with pytest.raises(InputError, match=message):
        checked_names(["test", name])
