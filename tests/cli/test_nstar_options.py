"""Options of jam-nstar search that may not stand together."""

from __future__ import annotations

import pytest

from tests.support.commands import jam, refusal


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--width", "4"], "got --width with --vary width"),
        (["--vary", "patterns"], "expected --width LIST with it"),
        (["--vary", "patterns", "--width", "4", "--patterns", "9"], "got --patterns with --vary patterns"),
        (["--vary", "patterns", "--width", "4", "--method", "descend"], "expected bisect"),
        (["--optimizer", "newton", "--times", "10"], "got --times with --optimizer newton"),
        (["--seeds", "3,10000"], "got the seed 10000, expected less than 10000"),
        (["--precision", "0"], "expected a number above 0"),
        (["--trials", "0"], "expected at least 1"),
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
