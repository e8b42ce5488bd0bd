"""Which searches make sense."""

from __future__ import annotations

import pytest

from jamtools.errors import InputError
from jamtools.protocols import TrainingOptions, with_options
from jamtools.transition.options import TrialSpec
from tests.support.searches import QUICK


def test_certificates_with_another_loss_than_the_hinge_are_refused():
    with pytest.raises(InputError, match="cross-entropy, expected hinge"):
        TrialSpec(1, "relu", with_options(QUICK, loss="cross-entropy"), (0,), certify=True)


def test_times_with_newton_are_refused():
    with pytest.raises(InputError, match="times with newton"):
        TrialSpec(1, "relu", with_options(TrainingOptions(), optimizer="newton"), (0,), times=(10,))


def test_times_beyond_the_end_of_the_trainings_are_refused():
    with pytest.raises(InputError, match="a time of 500 steps, the trainings have 100"):
        TrialSpec(1, "relu", with_options(TrainingOptions(), steps=100), (0,), times=(10, 500))
