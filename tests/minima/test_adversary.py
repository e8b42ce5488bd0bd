"""Certified minima against an adversary, who descends with code of his own (tests/support/adversary.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset, Run
from jamtools.training.ensemble import train
from tests.support.adversary import Network, lowest_near

#: Activation, L, d, h, P, and what is done to the patterns.
CASES = [
    ("relu", 1, 4, 4, 120, "nothing"),
    ("relu", 1, 3, 6, 150, "nothing"),
    ("relu", 1, 6, 3, 110, "scaled"),
    ("relu", 1, 4, 4, 120, "doubled"),
    ("relu", 2, 4, 4, 30, "nothing"),
    ("relu", 3, 4, 3, 60, "nothing"),
    ("tanh", 1, 4, 2, 60, "nothing"),
    ("tanh", 2, 3, 2, 40, "nothing"),
]

#: The number of kicks of the adversary, half of them along the weights of one neuron.
KICKS = 6


def patterns(d: int, P: int, seed: int, change: str) -> Dataset:
    """Random patterns; scaled: with components of unlike size; doubled: each twice, with equal or opposite labels."""
    data = random_sphere(P, d, seed)
    if change == "scaled":
        return replace(data, x=data.x * 10.0 ** -np.arange(d))
    if change == "doubled":
        half = data.first(P // 2)
        labels = half.y * np.where(np.arange(P // 2) % 3, 1.0, -1.0)
        return replace(half, x=np.concatenate([half.x, half.x]), y=np.concatenate([half.y, labels]))
    return data


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_nothing_lower_lies_within_the_radius_of_a_certified_minimum(case):
    activation, depth, d, width, P, change = case
    arch = Architecture(d, width, depth, activation)
    options = with_options(TrainingOptions(), optimizer="newton", steps=1500)
    n_certified = 0
    for seed in range(2):
        data = patterns(d, P, seed, change)
        run = train(data, arch, options, seed)
        if run.info["certified"] and run.info["n_unsatisfied"]:
            assert_lowest(run, data, seed)
            n_certified += 1
    assert n_certified or depth > 1 or activation != "relu"


def assert_lowest(run: Run, data: Dataset, seed: int) -> None:
    certificate, info = run.info["certificate"], run.info
    network = Network(
        data.x, data.y.ravel(), info["width"], info["depth"], info["activation"], info["epsilon"]
    )
    theta = network.balanced(run.theta)
    loss, _ = network(theta)
    assert loss == pytest.approx(info["final_loss"], rel=1e-12)
    lowest = lowest_near(network, theta, certificate["radius"], KICKS, seed)
    assert lowest >= loss * (1 - max(certificate["trial_error"], 1e-14))


def test_the_adversary_finds_a_lower_loss_where_there_is_one():
    """A point on the way to a minimum, and a saddle: the network whose weights all vanish."""
    data = random_sphere(60, 3, 0)
    network = Network(data.x, data.y, 4, 2, "tanh", 0.5)
    theta = np.random.default_rng(0).standard_normal(4 * 4 + 5 * 4 + 5)
    assert lowest_near(network, theta, 1e-4, 4, 0) < 0.9 * network(theta)[0]
    zero = np.zeros(len(theta))
    zero[-1] = 0.5 * data.y.mean()
    assert lowest_near(network, zero + 1e-3, 1e-2, 4, 0) < network(zero)[0]
