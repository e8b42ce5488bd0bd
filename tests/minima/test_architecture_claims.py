"""The claims of a run about its network: each is refused where it is not that of theta."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from jamtools.data.sphere import random_sphere
from jamtools.minima.verification import verify
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train


@functools.cache
def satisfied(norm):
    """A satisfied run, and its patterns."""
    options = with_options(TrainingOptions(), optimizer="newton", norm=norm)
    data = random_sphere(8, 3, 0)
    run = train(data, Architecture(3, 5, 1, "tanh"), options, 0)
    assert run.info["status"] == "satisfied" and verify(run, data).holds
    return run, data


@pytest.mark.parametrize("norm", [None, "3x", "6.5"])
@pytest.mark.parametrize(
    "change",
    [{"n_hidden": 4}, {"data": "random d=4"}, {"activation": "relu"}, {"norm": 6.0}],
)
def test_a_fake_of_a_field_of_the_network_is_refused(norm, change):
    run, data = satisfied(norm)
    assert not verify(replace(run, info=run.info | change), data).holds


@pytest.mark.parametrize("rule", ["free", "2x", "6", "much", 6.5, None, True])
def test_the_rule_of_the_settings_must_give_the_norm(rule):
    """Three times the norm at initialisation is neither two times it nor 6."""
    run, data = satisfied("3x")
    fake = replace(run, info=run.info | {"settings": run.info["settings"] | {"norm": rule}})
    # without a rule, a norm may come from the architecture itself
    assert verify(fake, data).holds == (rule in ("free", None))


def test_free_weights_have_no_rule():
    run, data = satisfied(None)
    fake = replace(run, info=run.info | {"settings": run.info["settings"] | {"norm": "3x"}})
    assert not verify(fake, data).holds


def test_a_theta_off_the_sphere_is_refused():
    run, data = satisfied("6.5")
    assert np.linalg.norm(run.theta) == pytest.approx(6.5, rel=1e-14)
    assert not verify(replace(run, theta=run.theta * (1 + 1e-9)), data).holds
