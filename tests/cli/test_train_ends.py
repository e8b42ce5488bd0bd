"""The exit code of --require, and the notes on runs without a certificate."""

import pytest

from jamtools.cli.train_ends import UNMET_CODE, exit_code, print_dead, run_in_words
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


class Notes:
    """Keeps the notes of a session."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize(
    ("members", "begins"),
    [
        (
            [run(n_dead=3, status="dead"), run(n_dead=1), run()],
            "2 of 3 run(s) have dead patterns: in some layer",
        ),
        (
            [run(n_dead_at_start=2), run()],
            "1 of 2 run(s) began with dead patterns, the most 2 of 6 at width 2",
        ),
        ([run(), run()], None),
    ],
    ids=["dead at the end", "dead at the start", "alive"],
)
def test_dead_patterns_are_warned_of_once(members, begins):
    notes = Notes()
    print_dead(notes, members)
    assert len(notes.texts) == (begins is not None)
    assert begins is None or notes.texts[0].startswith(begins)
