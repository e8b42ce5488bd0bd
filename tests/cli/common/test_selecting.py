"""--where: what is kept of several inputs, what near(…) means for each sweep, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jamtools.cli.common.groups import Streams
from jamtools.cli.common.selecting import select
from jamtools.cli.common.session import Session
from jamtools.errors import InputError
from jamtools.grouping import with_data
from tests.support import artefacts

SEARCHES = [{"kind": "nstar", "P": P, "n_star": P / 3, "depth": 2} for P in (50, 100)]


def opened(*infos: dict[str, Any], kind: str = "runs", **dataset: Any) -> Any:
    """An artefact as `select` sees it: its kind and its metadata."""
    named = [with_data(info, dataset) for info in infos]
    return SimpleNamespace(kind=kind, infos=named, metadata={"dataset": dataset or None})


def sweep(at: float, n: int = 40, **fields: Any) -> list[dict[str, Any]]:
    """Certified runs with N = 1000 at P/N from at/1.5 to 1.5 at: satisfied below `at`, jammed above."""
    runs = []
    for ratio in np.geomspace(at / 1.5, at * 1.5, n):
        above = ratio > at
        state = {"status": "stationary" if above else "satisfied", "certified": True}
        count = {"n_unsatisfied": 600 if above else 0, "final_loss": 0.01 if above else 0.0}
        size = {"P": round(1000 * ratio), "n_effective_expected": 1000}
        runs.append(artefacts.run_info(**size, **state, **count, **fields))
    return runs


def chosen(where: str | None, *inputs: Any, files: list[str] | None = None) -> list[list[int]]:
    return select(Session("jam-x", Streams()), where, inputs, files)


def test_without_a_condition_everything_is_kept_in_silence(capsys):
    inputs = [opened(*sweep(2.0, 3)), SEARCHES]
    assert chosen(None, *inputs) == [[0, 1, 2], [0, 1]]
    assert capsys.readouterr().err == ""


def test_a_condition_keeps_numbers_within_each_input_and_says_how_many(capsys):
    runs = [artefacts.run_info(depth=depth) for depth in (2, 3, 2)]
    assert chosen("depth == 2", opened(*runs), opened(*runs[1:])) == [[0, 2], [1]]
    assert capsys.readouterr().err == "jam-x: 3 of 5 runs kept by 'depth == 2'\n"


def test_a_condition_may_ask_for_the_data_of_a_run():
    one, other = (opened(*sweep(2.0, 2), source=source) for source in ("random", "images"))
    assert chosen("dataset.source == 'images'", one, other) == [[], [0, 1]]


def test_a_kind_without_the_fields_of_a_condition_is_kept_whole_and_said_so(capsys):
    runs = opened(*sweep(2.0, 4))
    assert chosen("jammed", SEARCHES, runs) == [[0, 1], [2, 3]]
    assert "'jammed' says nothing about searches: all 2 are kept" in capsys.readouterr().err
    assert chosen("P > 60 and depth == 2", SEARCHES, opened(*sweep(2.0, 4, depth=2)))[0] == [1]


def test_near_keeps_runs_at_the_transition_of_their_own_sweep(capsys):
    """Two sweeps that jump at 2 and at 4; a run of the first at P/N = 2.9 is near neither, though 4 / 1.5 < 2.9 < 4."""
    sweeps = [sweep(2.0), sweep(4.0, depth=3)]
    inputs = [opened(*runs) for runs in sweeps]
    kept = chosen("near(0.1)", *inputs)
    for runs, numbers, at in zip(sweeps, kept, (2.0, 4.0)):
        ratios = np.array([run["P"] / 1000 for run in runs])
        clear = abs(abs(ratios / at - 1) - 0.1) > 0.03  # a grid of 40 places the jump to 2 %
        near = np.isin(np.arange(len(runs)), numbers)
        assert (near == (abs(ratios / at - 1) <= 0.1))[clear].all() and near.any()
    assert capsys.readouterr().err.count("the transition of 40 runs") == 2


@pytest.mark.parametrize("data", [{"source": "random"}, {"source": "a", "preprocessing": {"pca": 5}}])
def test_near_does_not_mix_runs_of_different_data(data):
    """Together, the two sweeps would have one transition between 2 and 4."""
    inputs = opened(*sweep(2.0), source="a", preprocessing={}), opened(*sweep(4.0), **data)
    for numbers, runs, at in zip(chosen("near(0.05)", *inputs), (sweep(2.0), sweep(4.0)), (2.0, 4.0)):
        assert numbers and all(abs(runs[i]["P"] / 1000 / at - 1) < 0.08 for i in numbers)


def test_near_does_not_mix_up_seeds_and_sizes_of_the_same_kind_of_data():
    """Each file alone lies on one side of the transition."""
    runs = sweep(2.0)
    below = opened(*runs[:20], source="random", seed=1, preprocessing={"P_test": 0})
    above = opened(*runs[20:], source="random", seed=2, preprocessing={"P_test": 9})
    assert all(chosen("near(0.1)", below, above))


def test_runs_of_a_sweep_without_a_transition_are_not_near_it(capsys):
    satisfied = [run for run in sweep(4.0, depth=3) if run["status"] == "satisfied"]
    assert chosen("near(0.2)", opened(*satisfied), opened(*sweep(2.0)))[0] == []
    note = capsys.readouterr().err.splitlines()[1]
    assert "no transition among the runs of depth 3, relu, adam: 20 runs at P/N = 2.67 to 3.96" in note


def test_near_without_any_transition_is_refused_with_the_reason():
    satisfied = [run for run in sweep(2.0) if run["status"] == "satisfied"]
    with pytest.raises(
        InputError, match=r"a: near.* no transition .*20 runs at P/N = 1\.33 .* status satisfied"
    ):
        chosen("near(0.1)", opened(*satisfied), files=["a"])
    with pytest.raises(InputError, match="got runs of cross-entropy"):
        chosen("near(0.1)", opened(*sweep(2.0, loss="cross-entropy")))


def test_near_is_for_runs():
    with pytest.raises(InputError, match=r"got 'near\(0.1\)' for searches, expected runs or spectra"):
        chosen("near(0.1)", SEARCHES)


@pytest.mark.parametrize(
    ("files", "prefix"),
    [
        (None, ""),
        (["a"], "a: "),
        (["a", "b", "c"], "a, b, c: "),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more: "),
    ],
)
def test_a_selection_without_any_run_is_refused_with_files_condition_and_values(files, prefix):
    inputs = [opened(artefacts.run_info(depth=2), artefacts.run_info(depth=3)) for _ in files or [None]]
    with pytest.raises(InputError) as error:
        chosen("depth == 7", *inputs, files=files)
    n = 2 * len(inputs)
    assert str(error.value) == f"{prefix}none of {n} runs fulfils 'depth == 7'; depth is 2 or 3"


def test_an_unknown_field_is_refused_with_the_files_and_the_nearest_field():
    with pytest.raises(InputError, match="^a: no field 'dept'; did you mean depth"):
        chosen("dept == 7", opened(artefacts.run_info()), files=["a"])
