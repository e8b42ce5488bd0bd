"""The outcome of a training: by both criteria of success, at its end and at earlier times; its JSON object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.transition.trial import Trial, TrialKey, keeping_dead, outcome_at_end, outcome_at_time
from tests.support import artefacts, oracle
from tests.support.searches import QUICK, separable, trial


def test_a_run_may_fail_as_satisfied_and_succeed_as_classified():
    run = train(separable(30), Architecture(3, 2, 1), with_options(QUICK, steps=60), seed=1)
    satisfied, classified = Trial.of(run, "satisfied"), Trial.of(run, "classified")
    assert run.info["n_misclassified"] == 0 < run.info["n_unsatisfied"], "the planted state"
    assert satisfied.outcome in ("undecided", "unsatisfied")
    assert classified.outcome == "success"
    assert satisfied.classified
    assert not satisfied.satisfied


@pytest.mark.parametrize(
    ("status", "certified", "outcome"),
    [
        ("stationary", True, "stationary"),
        ("stationary", False, "undecided"),
        ("budget", False, "undecided"),
        ("budget", None, "undecided"),
        ("diverged", False, "diverged"),
    ],
)
def test_only_certified_and_diverged_runs_fail_for_certain_if_few_patterns_are_unsatisfied(
    status, certified, outcome
):
    run = artefacts.run(status=status, certified=certified, n_effective_expected=100)
    decided = Trial.of(run, "satisfied")
    assert (decided.outcome, decided.certified) == (outcome, certified)


@pytest.mark.parametrize(
    ("count", "outcome"), [(1, "undecided"), (10, "undecided"), (11, "unsatisfied"), (40, "unsatisfied")]
)
@pytest.mark.parametrize(
    ("success", "name"), [("satisfied", "n_unsatisfied"), ("classified", "n_misclassified")]
)
def test_a_trial_is_undecided_with_at_most_a_tenth_of_n_patterns_left(count, outcome, success, name):
    """N = 100."""
    counts = {"n_unsatisfied": 40, "n_misclassified": 40, name: count}
    run = artefacts.run(n_effective_expected=100, **counts)
    assert Trial.of(run, success).outcome == outcome


@pytest.mark.parametrize("status", ["satisfied", "budget", "stationary", "dead", "diverged"])
def test_a_trial_is_a_success_where_its_run_is_satisfied_and_nowhere_else(status):
    run = artefacts.run(status=status, n_unsatisfied=0 if status == "satisfied" else 3)
    assert (Trial.of(run, "satisfied").outcome == "success") is (status == "satisfied")


@pytest.mark.parametrize("certified", [None, True])
def test_a_dead_run_has_an_outcome_of_its_own_also_at_a_certified_minimum(certified):
    run = artefacts.run(status="dead", certified=certified, n_unsatisfied=3, n_dead=3)
    trial = Trial.of(run, "satisfied")
    assert (trial.outcome, trial.n_dead) == ("dead", 3)


@pytest.mark.parametrize(
    ("n_left", "certified", "outcome"),
    [(10, None, "undecided"), (11, None, "unsatisfied"), (10, True, "stationary")],
)
@pytest.mark.parametrize("success", ["satisfied", "classified"])
def test_a_kept_dead_trial_is_judged_by_what_it_did_not_fit(n_left, certified, outcome, success):
    """N = 100."""
    left = {"satisfied": {"n_unsatisfied": n_left}, "classified": {"n_misclassified": n_left}}[success]
    dead = trial("dead", N=100, certified=certified, **{"n_unsatisfied": 40, "n_misclassified": 40, **left})
    assert keeping_dead(outcome_at_end, success)(dead) == outcome


def test_keeping_dead_trials_leaves_all_other_outcomes():
    for outcome in ("success", "undecided", "unsatisfied", "stationary", "diverged"):
        assert keeping_dead(outcome_at_end, "satisfied")(trial(outcome)) == outcome


def test_the_outcome_at_a_time_is_that_of_a_training_of_so_many_steps():
    data, times = oracle.dataset(20, 3), (30, 100, 1000)
    settings = with_options(TrainingOptions(), lr=1e-2, steps=1000, measurements=2, measure_at=times)
    seen = set()
    for seed in range(6):
        for success in ("satisfied", "classified"):
            run = train(data, Architecture(3, 4, 1), settings, seed)
            for time, fitted in zip(times, Trial.of(run, success, times).fitted_at):
                shorter = with_options(settings, steps=time, measure_at=())
                alone = train(data, Architecture(3, 4, 1), shorter, seed)
                assert fitted is getattr(Trial.of(alone, success), success)
                seen.add(fitted)
    assert seen == {True, False}


def test_outcomes_are_read_at_the_end_and_at_each_time():
    undecided = trial("undecided", fitted_at=(False, True))
    outcomes = [
        outcome_of(undecided) for outcome_of in (outcome_at_end, outcome_at_time(0), outcome_at_time(1))
    ]
    assert outcomes == ["undecided", "unsatisfied", "success"]


@pytest.mark.parametrize("times", [(), (10, 100)])
def test_a_trial_is_read_back_from_its_json_object(times):
    written = Trial.of(artefacts.run(), "satisfied", times)
    assert Trial.from_dict(json.loads(json.dumps(written.as_dict()))) == written


def test_the_json_object_of_a_trial_has_these_keys_in_this_order():
    keys = [
        "P", "width", "N", "seed", "outcome", "satisfied", "classified", "status", "certified", "steps", "final_loss",
        "n_unsatisfied", "n_contacts", "n_dead", "n_misclassified",
    ]  # fmt: skip
    assert list(Trial.of(artefacts.run(), "satisfied").as_dict()) == keys
    assert list(Trial.of(artefacts.run(), "satisfied", (10,)).as_dict()) == [*keys, "fitted_at"]


@pytest.mark.parametrize(
    "change", [{"P": 3.0}, {"N": None}, {"seed": True}, {"outcome": "won"}, {"outcome": None}], ids=str
)
def test_an_object_that_is_no_trial_is_refused(change: dict[str, Any]):
    with pytest.raises(ValueError, match="no trial"):
        Trial.from_dict({**trial("success").as_dict(), **change})


def test_a_trial_is_identified_by_its_patterns_width_and_seed():
    assert trial("success", P=9, width=4, seed=7).key == TrialKey(9, 4, 7)


@pytest.mark.parametrize(
    ("outcome", "is_final"),
    [
        ("success", True),
        ("stationary", True),
        ("diverged", True),
        ("dead", True),
        ("undecided", False),
        ("unsatisfied", False),
    ],
)
def test_more_steps_may_change_undecided_and_unsatisfied_trials_only(outcome, is_final):
    assert trial(outcome).is_final is is_final
