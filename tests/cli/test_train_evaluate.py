"""jam-train --evaluate: runs measured on another dataset, and what they were measured on."""

from __future__ import annotations

import pytest

from tests.support.commands import jam, refusal
from tests.support.contract import header, objects
from tests.support.small_runs import NETWORK, P_JAMMED, P_SATISFIED


def evaluated(folder, *arguments):
    """The records of jam-train --evaluate, and its messages."""
    done = jam("train", *arguments, cwd=folder, check=True)
    return objects(done.stdout), done.stderr.splitlines()


def infos(path):
    return header(path.read_bytes())["runs"]


def test_a_run_evaluated_on_its_own_patterns_has_the_n_unsatisfied_of_its_record(minima):
    records, messages = evaluated(minima.folder, "data", "--evaluate", "adam")
    assert [(record["kind"], record["run"]) for record in records] == [
        ("evaluation", f"r{i:04d}") for i in range(4)
    ]
    for record, run in zip(records, infos(minima.folder / "adam")):
        assert record["n_trained_on"] == run["P"]
        if run["P"] == P_JAMMED:  # all patterns of the dataset
            assert record["measured_on"] == "training set"
            assert record["n_unsatisfied"] == run["n_unsatisfied"]
            assert record["loss"] == pytest.approx(run["final_loss"], rel=1e-12)
        else:
            assert record["measured_on"] == "data"
    assert messages == [
        f"jam-train: 2 runs measured on data ({P_JAMMED} patterns, {P_SATISFIED} of them in the training)",
        f"jam-train: 2 runs measured on the training set ({P_JAMMED} patterns)",
    ]


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A folder with `data`, which has a test set, `runs`, and `fresh` patterns from another seed."""
    folder = tmp_path_factory.mktemp("tested")
    jam("data", "random", "-P", 60, "-d", 4, "--test", 40, "-o", "data", cwd=folder, check=True)
    jam("data", "random", "-P", 80, "-d", 4, "--seed", 1, "-o", "fresh", cwd=folder, check=True)
    line = ["data", *NETWORK, "--steps", 400, "--lr", "1e-2", "-o", "runs"]
    done = jam("train", *line, cwd=folder, check=True)
    assert "test error" in done.stderr.splitlines()[1]
    return folder


def test_a_test_set_is_measured_by_default_and_agrees_with_the_record(tested):
    ((record,), messages), (run,) = evaluated(tested, "data", "--evaluate", "runs"), infos(tested / "runs")
    assert (record["measured_on"], record["P"], record["n_trained_on"]) == ("test set", 40, 0)
    assert record["error"] == run["test_error"]
    assert record["loss"] == pytest.approx(run["test_loss"], rel=1e-12)
    assert messages == ["jam-train: 1 run measured on the test set of data (40 patterns)"]


def test_the_training_set_is_measured_where_it_is_asked_for(tested):
    line = ["data", "--evaluate", "runs", "--evaluate-on", "training"]
    ((record,), _), (run,) = evaluated(tested, *line), infos(tested / "runs")
    assert (record["measured_on"], record["P"], record["n_trained_on"]) == ("training set", 60, 60)
    assert record["error"] == run["n_misclassified"] / 60


def test_other_patterns_are_named_by_their_file_without_its_folder(tested):
    (record,), _ = evaluated(tested.parent, f"{tested.name}/fresh", "--evaluate", f"{tested.name}/runs")
    assert (record["measured_on"], record["P"], record["n_trained_on"]) == ("fresh", 80, 0)


def test_a_test_set_that_a_dataset_lacks_is_refused(tested):
    done = jam("train", "fresh", "--evaluate", "runs", "--evaluate-on", "test", cwd=tested)
    assert "a dataset without a test set" in refusal(done)


def test_evaluate_refuses_a_dataset_in_place_of_runs(minima):
    assert "got a dataset, expected runs" in refusal(
        jam("train", "data", "--evaluate", "data", cwd=minima.folder)
    )
