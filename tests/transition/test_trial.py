"""What a training says of its width: in both readings, at its end and before."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.transition.trial import Question, Trials, describe
from tests.support import artefacts, oracle
from tests.support.searches import QUICK, separable


def test_a_trial_on_its_budget_is_undecided_and_classified_is_the_weaker_verdict():
    run = train(separable(30), Architecture(3, 2, 1), with_options(QUICK, steps=60), seed=1)
    strict, weak = describe(run, "satisfied"), describe(run, "classified")
    assert run.info["n_misclassified"] == 0 < run.info["n_unsatisfied"], "the planted state"
    assert strict["outcome"] in ("undecided", "unsatisfied")
    assert weak["outcome"] == "success"
    assert strict["classified"]
    assert not strict["satisfied"]


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
def test_only_a_certified_minimum_is_a_failure_for_certain(status, certified, outcome):
    trial = describe(artefacts.run(status=status, certified=certified, n_effective_expected=100), "satisfied")
    assert (trial["outcome"], trial["certified"]) == (outcome, certified)


@pytest.mark.parametrize(
    ("count", "outcome"), [(1, "undecided"), (10, "undecided"), (11, "unsatisfied"), (40, "unsatisfied")]
)
@pytest.mark.parametrize(
    ("success", "name"), [("satisfied", "n_unsatisfied"), ("classified", "n_misclassified")]
)
def test_a_trial_with_few_patterns_left_is_undecided_and_with_many_it_has_failed(
    count, outcome, success, name
):
    """Few: a tenth of N = 100."""
    run = artefacts.run(
        **{"n_effective_expected": 100, "n_unsatisfied": 40, "n_misclassified": 40, name: count}
    )
    assert describe(run, success)["outcome"] == outcome


def test_contacts_at_zero_are_satisfied():
    """Δ of 10⁻¹² where nothing else is left: fitted, though N_Δ counts it."""
    run = artefacts.run(n_unsatisfied=2, final_loss=1e-25)
    run.gaps[:] = -0.3
    run.gaps[:2] = 1e-12
    assert describe(run, "satisfied")["outcome"] == "success"
    run.gaps[0] = 1e-9
    assert describe(run, "satisfied")["outcome"] != "success"


def test_the_outcome_at_a_time_is_that_of_a_training_of_so_many_steps():
    data, times = oracle.dataset(20, 3), (30, 100, 1000)
    settings = with_options(TrainingOptions(), lr=1e-2, steps=1000, measurements=2, measure_at=times)
    seen = set()
    for seed in range(6):
        for success in ("satisfied", "classified"):
            run = train(data, Architecture(3, 4, 1), settings, seed)
            fitted = describe(run, success, times)["fitted_at"]
            for time, told in zip(times, fitted):
                alone = train(
                    data, Architecture(3, 4, 1), with_options(settings, steps=time, measure_at=()), seed
                )
                assert told is describe(alone, success)[success]
                seen.add(told)
    assert seen == {True, False}


def test_what_is_remembered_is_not_trained_again_and_is_told_as_soon_as_it_ends():
    class Memory(dict):
        def get(self, *key):
            return super().get(key)

        def add(self, P, record):
            self[P, record["width"], record["seed"]] = record

    memory, question = Memory(), Question(1, "relu", with_options(QUICK, steps=50), (0,))
    trials = Trials(oracle.dataset(20, 3), question, memory=memory)
    wanted = [(20, 3, 0), (20, 3, 10_000), (10, 4, 0)]
    first = trials.make(wanted)
    assert [memory[one] for one in wanted] == first
    memory[20, 3, 0] = {"told": "from memory"}
    assert trials.make(wanted[:2]) == [{"told": "from memory"}, first[1]]


def test_a_batch_of_trials_is_what_they_are_alone():
    question = Question(2, "relu", with_options(QUICK, steps=80), (0,))
    trials = Trials(oracle.dataset(20, 3), question)
    wanted = [(20, 3, 0), (20, 4, 0), (20, 3, 1), (12, 3, 0)]
    assert trials.make(wanted) == [trials.make([one])[0] for one in wanted]


def test_cross_entropy_is_judged_by_its_classes_and_the_other_reading_is_kept():
    settings = with_options(TrainingOptions(), loss="cross-entropy", lr=1e-2, steps=300, measurements=2)
    question = Question(1, "relu", settings, (0,), success="classified")
    (trial,) = Trials(separable(20), question).make([(20, 4, 0)])
    assert trial["outcome"] == "success" and trial["classified"] and trial["satisfied"] is trial["classified"]


def test_times_are_refused_where_they_mean_nothing():
    with pytest.raises(InputError, match="times with newton"):
        Question(1, "relu", with_options(TrainingOptions(), optimizer="newton"), (0,), times=(10,))
    with pytest.raises(InputError, match="a time of 500 steps, the trainings have 100"):
        Question(1, "relu", with_options(TrainingOptions(), steps=100), (0,), times=(10, 500))


def test_the_gap_that_counts_is_the_largest():
    run = artefacts.run(n_unsatisfied=1)
    run.gaps[:] = np.linspace(-1, -0.1, len(run.gaps))
    assert describe(run, "satisfied")["satisfied"], "no Δ above zero"
