"""The exit code of --require, and the notes on runs without a certificate."""

import pytest

from jamtools.cli.train_ends import UNMET_CODE, exit_code, run_in_words
from tests.support.artefacts import run


@pytest.mark.parametrize(
    ("required", "status", "certified", "met"),
    [
        ("satisfied", "satisfied", None, True),
        ("satisfied", "stationary", None, False),
        ("stationary", "stationary", None, True),
        ("stationary", "satisfied", None, True),  # L = 0, where the gradient vanishes as well
        ("stationary", "budget", None, False),
        ("certified", "stationary", True, True),
        ("certified", "stationary", False, False),
        ("certified", "satisfied", None, False),
        (None, "diverged", None, True),
    ],
)
def test_a_run_meets_a_requirement_by_its_status_or_its_certificate(required, status, certified, met):
    assert exit_code([run(status=status, certified=certified)], required) == (0 if met else UNMET_CODE)


def test_one_run_that_fails_the_requirement_is_enough():
    assert exit_code([run(status="satisfied"), run(status="budget")], "satisfied") == UNMET_CODE


def test_a_run_is_named_by_width_patterns_and_seed():
    assert run_in_words(run(width=4, P=6, seed=2)) == "width 4, P 6, seed 2"
