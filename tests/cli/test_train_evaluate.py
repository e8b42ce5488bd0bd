"""jam-train --evaluate: runs measured on another dataset."""

from __future__ import annotations

import pytest

from tests.support.commands import jam, refusal
from tests.support.contract import header, objects
from tests.support.small_runs import P_JAMMED


def test_a_run_evaluated_on_its_own_patterns_has_the_n_unsatisfied_of_its_record(minima):
    done = jam("train", "data", "--evaluate", "adam", cwd=minima.folder, check=True)
    records = objects(done.stdout)
    assert [(record["kind"], record["run"]) for record in records] == [
        ("evaluation", f"r{i:04d}") for i in range(4)
    ]
    for record, run in zip(records, header((minima.folder / "adam").read_bytes())["runs"]):
        if run["P"] == P_JAMMED:  # all patterns of the dataset
            assert record["n_unsatisfied"] == run["n_unsatisfied"]
            assert record["loss"] == pytest.approx(run["final_loss"], rel=1e-12)


def test_evaluate_refuses_a_dataset_in_place_of_runs(minima):
    assert "got a dataset, expected runs" in refusal(
        jam("train", "data", "--evaluate", "data", cwd=minima.folder)
    )
