"""Options of jam-train that may not stand together are usage errors."""

from __future__ import annotations

import pytest

from tests.support.commands import jam, refusal


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data --finish adam", "got a dataset with --finish"),
        ("--finish adam --width 3", "got --width with --finish"),
        ("--finish adam --seeds 0", "got --seeds with --finish"),
        ("--finish adam --lr 1e-3", "got --lr with --finish"),
        ("--finish adam --no-stop", "got --stop with --finish"),
        ("--finish adam --verify adam", "got --verify with --finish"),
        ("--finish adam --evaluate adam", "got --evaluate with --finish"),
        ("--verify adam --steps 9", "got --steps with --verify"),
        ("--verify adam --require satisfied", "expected --require certified"),
        ("data --evaluate-on test", "got --evaluate-on without runs"),
        ("data --from adam --width 3", "got --width with --from"),
        ("data --from adam --depth 3", "got --depth with --from"),
        ("data --from adam --activation tanh", "got --activation with --from"),
        ("data --from adam --no-bias", "got --bias with --from"),
        ("data --from adam --no-batch-norm", "got --batch-norm with --from"),
        ("data --from adam --init torch", "got --init with --from"),
        ("data --from adam --seeds 0:2", "got --seeds with --from"),
        ("data --from adam --evaluate adam", "got --evaluate with --from"),
        ("--from adam --finish adam", "got --from with --finish"),
        ("--from adam --verify adam", "got --from with --verify"),
        ("data --from adam --optimizer newton --lr 1e-3", "got --lr with --optimizer newton"),
        ("--from -", "got standard input for the dataset and for --from"),
        ("data --where satisfied", "expected --from, --finish, --verify or --evaluate with it"),
        ("data --batch-norm --norm 5", "got --norm 5 with batch normalisation, expected one of them"),
        ("data --protocol paper-cross-entropy --norm 3x", "got --norm 3x with batch normalisation"),
        ("data --optimizer newton --lr 1e-3", "got --lr with --optimizer newton"),
        ("data --optimizer newton --lr-schedule 1k:10", "got --lr-schedule with --optimizer newton"),
        ("data --optimizer newton --lr-floor 1e-9", "got --lr-floor with --optimizer newton"),
        ("data --optimizer newton --momentum 0.5", "got --momentum with --optimizer newton"),
        ("data --optimizer newton --neighbour-list", "got --neighbour-list with --optimizer newton"),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(line, message, tmp_path):
    """No file is needed: the options are compared before anything is read."""
    assert message in refusal(jam("train", *line.split(), cwd=tmp_path), 2)
