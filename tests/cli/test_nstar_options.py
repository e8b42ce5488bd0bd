"""Options of jam-nstar search that may not stand together."""

from __future__ import annotations

import pytest

from tests.support.commands import jam, refusal
from tests.support.contract import objects


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--width", "4"], "got --width with --vary width"),
        (["--vary", "patterns"], "expected --width LIST with it"),
        (["--vary", "patterns", "--width", "4", "--patterns", "9"], "got --patterns with --vary patterns"),
        (["--vary", "patterns", "--width", "4", "--method", "descend"], "expected bisect"),
        (["--optimizer", "newton", "--times", "10"], "got --times with --optimizer newton"),
        (["--optimizer", "newton", "--engine", "torch"], "got --engine with --optimizer newton"),
        (["--optimizer", "newton", "--lr-floor", "1e-3"], "got --lr-floor with --optimizer newton"),
        (["--seeds", "3,10000"], "got the seed 10000, expected less than 10000"),
        (["--precision", "0"], "expected a number above 0"),
        (["--batch-norm", "--norm", "5"], "got --norm 5 with batch normalisation"),
        (["--trials", "0"], "expected at least 1"),
        (["--depth", "0"], "expected --vary patterns with it"),
        (["--depth", "0", "--vary", "patterns", "--width", "4"], "got --width with --depth 0"),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(args, message, tmp_path):
    """No file is needed: the options are compared before anything is read."""
    assert message in refusal(jam("nstar", "search", "data.st", *args, cwd=tmp_path), 2)


def test_a_search_with_newton_refuses_certify_and_a_learning_rate(tmp_path):
    line = ["search", "data", "--optimizer", "newton"]
    assert "got --certify with --optimizer newton" in refusal(
        jam("nstar", *line, "--certify", cwd=tmp_path), 2
    )
    assert "got --lr with --optimizer newton" in refusal(jam("nstar", *line, "--lr", 1, cwd=tmp_path), 2)


SEARCH = (
    "search",
    "data",
    "--patterns",
    20,
    "--depth",
    1,
    "--steps",
    "1e3",
    "--trials",
    4,
    "--seeds",
    0,
    "-q",
)
DYNAMICS = {"--epsilon": "0.3", "--lr": "1e-2", "--lr-schedule": "500:2", "--lr-floor": "1e-3"}


def test_a_search_records_its_margin_and_rate_and_its_journal_refuses_others(tmp_path):
    jam("data", "random", "-P", 20, "-d", 3, "-o", "data", cwd=tmp_path, check=True)
    journal = ("--journal", "journal", "--resume", "--engine", "torch")
    given = [word for option in DYNAMICS.items() for word in option]
    done = jam("nstar", *SEARCH, *given, *journal, cwd=tmp_path, check=True)
    (record,) = objects(done.stdout)
    assert record["settings"] == {"epsilon": 0.3, "lr": 1e-2, "every": 500, "factor": 2.0, "floor": 1e-3}
    assert jam("nstar", *SEARCH, *given, *journal, cwd=tmp_path, check=True).stdout == done.stdout
    others = [("--epsilon", "0.4"), ("--lr", "2e-2"), ("--lr-schedule", "400:2"), ("--lr-floor", "1e-4")]
    for option in [*others, ("--engine", "compiled")]:
        done = jam("nstar", *SEARCH, *given, *journal, *option, cwd=tmp_path)
        assert refusal(done).startswith("jam-nstar: journal: the journal is of ")


def test_an_engine_that_cannot_take_the_steps_is_refused(tmp_path):
    jam("data", "random", "-P", 20, "-d", 3, "-o", "data", cwd=tmp_path, check=True)
    done = jam("nstar", *SEARCH, "--engine", "compiled", "--batch", 5, cwd=tmp_path)
    assert "the compiled engine takes full batches" in refusal(done)


def test_the_largest_p_of_a_perceptron_needs_no_width(tmp_path):
    """A perceptron of six dimensions without bias fits six patterns, which are independent, and more by chance."""
    jam("data", "random", "-P", 12, "-d", 6, "-o", "data.st", cwd=tmp_path, check=True)
    fast = ["--seeds", "0", "--trials", "3", "--steps", "2000", "--lr", "1e-2", "--no-bias"]
    done = jam(
        "nstar", "search", "data.st", "--depth", 0, "--vary", "patterns", *fast, cwd=tmp_path, check=True
    )
    (record,) = objects(done.stdout)
    assert (record["depth"], record["width"], record["N"], record["bias"]) == (0, 6, 6, False)
    assert record["activation"] == "linear" and record["P"] >= 6
