"""The words of a run's state, and N_Δ/N without dead patterns."""

import pytest

from jamtools.states import alive_per_parameter, is_dead, is_jammed, is_satisfied, n_dead
from tests.support.artefacts import run_info

STATES = ("satisfied", "dead", "stationary", "escaping", "collapsed", "budget", "diverged")


@pytest.mark.parametrize("status", STATES)
def test_a_run_is_satisfied_jammed_or_dead_by_its_status_alone(status):
    info = run_info(status=status, n_unsatisfied=90)
    assert (is_satisfied(info), is_jammed(info), is_dead(info)) == tuple(
        status == word for word in ("satisfied", "stationary", "dead")
    )


def test_a_record_without_dead_patterns_has_none():
    assert n_dead(run_info()) == 0 and n_dead(run_info(n_dead=None)) == 0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, 0.3), ({"n_dead": 10}, 0.2), ({"n_dead": 10, "n_unsatisfied_dead": 25}, 0.05)],
    ids=["none dead", "one output", "several outputs"],
)
def test_dead_patterns_are_taken_off_the_unsatisfied_ones(fields, expected):
    info = run_info(n_unsatisfied=30, n_effective_expected=100, **fields)
    assert alive_per_parameter(info) == pytest.approx(expected)
