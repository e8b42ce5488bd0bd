"""Trainings of trials: alone or in a batch, stored and resumed, with either criterion of success."""

from __future__ import annotations

from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.job import Compute
from jamtools.transition.options import TrialSpec
from jamtools.transition.trainer import TrialTrainer
from jamtools.transition.trial import TrialKey
from tests.support import oracle
from tests.support.searches import QUICK, separable, trial


class Store(dict):
    """Keeps trials in memory."""

    def add(self, trial):
        self[trial.key] = trial


def test_every_trial_is_stored_when_it_ends():
    store, spec = Store(), TrialSpec(1, "relu", with_options(QUICK, steps=50), (0,))
    keys = [TrialKey(20, 3, 0), TrialKey(20, 3, 10_000), TrialKey(10, 4, 0)]
    trials = TrialTrainer(oracle.dataset(20, 3), spec, store=store).train(keys)
    assert [store[key] for key in keys] == trials


def test_a_stored_trial_is_not_trained_again():
    store, spec, seen = Store(), TrialSpec(1, "relu", with_options(QUICK, steps=50), (0,)), []
    trainer = TrialTrainer(oracle.dataset(20, 3), spec, store=store, watch=seen.append)
    keys = [TrialKey(20, 3, 0), TrialKey(20, 3, 10_000)]
    _, second = trainer.train(keys)
    store.add(trial("diverged", P=20, width=3, seed=0))
    assert trainer.train(keys) == [trial("diverged", P=20, width=3, seed=0), second]
    assert seen == keys


def test_trials_of_a_batch_equal_those_trained_alone():
    spec = TrialSpec(2, "relu", with_options(QUICK, steps=80), (0,))
    trainer = TrialTrainer(oracle.dataset(20, 3), spec)
    keys = [TrialKey(20, 3, 0), TrialKey(20, 4, 0), TrialKey(20, 3, 1), TrialKey(12, 3, 0)]
    assert trainer.train(keys) == [trainer.train([key])[0] for key in keys]


def test_a_trial_with_cross_entropy_succeeds_by_its_classes_and_records_both_criteria():
    settings = with_options(TrainingOptions(), loss="cross-entropy", lr=1e-2, steps=300, measurements=2)
    spec = TrialSpec(1, "relu", settings, (0,), success="classified")
    (trained,) = TrialTrainer(separable(20), spec).train([TrialKey(20, 4, 0)])
    assert trained.outcome == "success" and trained.classified and trained.satisfied is trained.classified


def test_a_certified_trial_may_be_trained_by_any_engine():
    """newton, which continues it to its minimum, has an engine of its own."""
    spec = TrialSpec(1, "relu", with_options(QUICK, steps=5), (0,), certify=True)
    key = TrialKey(20, 2, 0)
    for engine in ("auto", "torch", "batch"):
        (trained,) = TrialTrainer(oracle.dataset(20, 3), spec, Compute(engine=engine)).train([key])
        assert trained.certified
