"""Certified minima against an adversary, who descends with code of his own (tests/support/adversary.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset, Run
from jamtools.training.ensemble import train
from tests.support.adversary import Network, attack, lowest_near

#: Activation, L, d, h, P, and what is done to the patterns.
CASES = [
    ("relu", 1, 4, 4, 120, "nothing"),
    ("relu", 1, 3, 6, 150, "nothing"),
    ("relu", 1, 6, 3, 110, "scaled"),
    ("relu", 1, 4, 4, 120, "doubled"),
    ("relu", 1, 4, 4, 120, "tiny"),
    ("relu", 1, 4, 4, 120, "mixed"),
    ("relu", 2, 4, 4, 30, "nothing"),
    ("relu", 3, 4, 3, 60, "nothing"),
    ("tanh", 1, 4, 2, 60, "nothing"),
    ("tanh", 2, 3, 2, 40, "nothing"),
]

#: The number of kicks of the adversary, two of each kind.
KICKS = 18


def patterns(d: int, P: int, seed: int, change: str) -> Dataset:
    """Random patterns; scaled, mixed: with components of unlike size; tiny: all of them small; doubled: each twice, with
    equal or opposite labels.
    """
    data = random_sphere(P, d, seed)
    if change == "scaled":
        return replace(data, x=data.x * 10.0 ** -np.arange(d))
    if change == "tiny":
        return replace(data, x=data.x * 1e-6)
    if change == "mixed":
        return replace(data, x=data.x * 10.0 ** np.random.default_rng(seed).uniform(-3, 3, d))
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
    certificate, network = run.info["certificate"], Network.of(run, data)
    theta = network.balanced(run.theta)
    assert network(theta)[0] == pytest.approx(run.info["final_loss"], rel=1e-12)
    error = max(certificate["trial_error"], 1e-14)
    assert attack(network, theta, certificate["radius"], KICKS, seed, error) is None


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_loss_of_the_adversary_is_that_of_torch_and_its_gradient_that_of_autograd(activation, outputs):
    rng = np.random.default_rng(outputs)
    x, y = rng.standard_normal((20, 3)), rng.choice([-1.0, 1.0], (20, outputs))
    network = Network(x, y, 4, 2, activation, 0.7)
    theta = rng.standard_normal(4 * 4 + 5 * 4 + 5 * outputs)
    rho = {"relu": torch.relu, "tanh": torch.tanh, "linear": lambda z: z}[activation]

    def loss(t: torch.Tensor) -> torch.Tensor:
        a, start = torch.from_numpy(x), 0
        for out, into in [(4, 3), (4, 4), (outputs, 4)]:
            end = start + out * into
            z = a @ t[start:end].view(out, into).T + t[end : end + out]
            a, start = rho(z), end + out
        gaps = torch.relu(0.7 - torch.from_numpy(y) * z)
        return (gaps**2).sum() / (2 * 20 if outputs == 1 else 20 * outputs)

    value, gradient = network(theta)
    assert value == pytest.approx(float(loss(torch.from_numpy(theta))), rel=1e-13)
    assert np.allclose(gradient, torch.func.grad(loss)(torch.from_numpy(theta)).numpy(), atol=1e-13)
    assert float(network.exact(theta)) == pytest.approx(value, rel=1e-13)
    for layer, neuron in ((0, 1), (1, 3), (2, 0)):
        normal, kick = network.normal(theta, layer, 5, neuron), 1e-6 * rng.standard_normal(len(theta))
        ahead, back = (network.forward(theta + side * kick)[1][layer][5, neuron] for side in (1, -1))
        assert (ahead - back) / 2 == pytest.approx(normal @ kick, abs=1e-13)


def test_the_adversary_finds_a_lower_loss_where_there_is_one():
    """A point on the way to a minimum, and a saddle: the network whose weights all vanish."""
    data = random_sphere(60, 3, 0)
    network = Network(data.x, data.y, 4, 2, "tanh", 0.5)
    theta = np.random.default_rng(0).standard_normal(4 * 4 + 5 * 4 + 5)
    assert lowest_near(network, theta, 1e-4, 9, 0) < 0.9 * network(theta)[0]
    zero = np.zeros(len(theta))
    zero[-1] = 0.5 * data.y.mean()
    assert lowest_near(network, zero + 1e-3, 1e-2, 9, 0) < network(zero)[0]
