"""Steps at fixed norm: every engine takes those of a plain loop, and stays on the sphere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from tests.support import oracle

NORM, STEPS = 5.0, 200
ARCH = Architecture(4, 4, 2, "relu", norm=NORM)

#: Networks of fixed norm without biases, and the perceptron with and without.
BARE = [
    replace(ARCH, bias=False),
    Architecture(4, 5, 1, "tanh", norm=NORM, bias=False),
    Architecture(4, 4, 0, norm=NORM, bias=False),
    Architecture(4, 4, 0, norm=NORM),
]


def loss(theta, data, arch, epsilon):
    """L of free weights, with torch's own layers."""
    f, y = oracle.f(arch, theta, torch.from_numpy(data.x)), torch.from_numpy(data.y)[:, None]
    return oracle.hinge(f, y, epsilon)


def plain_steps(data, make, arch, epsilon):
    """The theta [Ñ] after STEPS steps of torch's own optimiser on the tangent gradient, each with a retraction."""
    theta = torch.from_numpy(initial_parameters(arch, "orthogonal", 0)).requires_grad_()
    optimizer = make([theta])
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(theta, data, arch, epsilon).backward()
        with torch.no_grad():
            unit = theta / theta.norm()
            theta.grad -= (theta.grad @ unit) * unit
            optimizer.step()
            theta *= NORM / theta.norm()
    return theta.detach().numpy()


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.5),
}


def assert_plain_steps(arch, optimizer, engine, epsilon):
    data = random_sphere(60, 4, 0)
    momentum = 0.5 if optimizer == "sgd" else None
    settings = with_options(
        TrainingOptions(),
        optimizer=optimizer,
        steps=STEPS,
        lr=1e-2,
        batch=0,
        momentum=momentum,
        epsilon=epsilon,
    )
    run = train(data, arch, settings, 0, Compute(engine=engine))
    # each of 200 steps adds a round-off of some 1e-16, which grows little in a smooth descent
    expected = plain_steps(data, OPTIMIZERS[optimizer], arch, epsilon)
    np.testing.assert_allclose(run.theta, expected, rtol=0, atol=1e-11)
    assert (run.info["norm"], run.info["bias"], run.info["epsilon"]) == (NORM, arch.bias, epsilon)
    return run


@pytest.mark.parametrize("engine", ["compiled", "torch", "batch"])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_an_engine_takes_the_steps_of_a_plain_loop(optimizer, engine):
    run = assert_plain_steps(ARCH, optimizer, engine, 0.5)
    assert ARCH.n_parameters - 8 - 1 == run.N


@pytest.mark.parametrize("engine", ["compiled", "torch", "batch"])
@pytest.mark.parametrize("epsilon", [0.5, 0.0, -0.5])
@pytest.mark.parametrize("arch", BARE, ids=str)
def test_an_engine_takes_the_steps_of_a_plain_loop_at_any_margin_without_biases(arch, epsilon, engine):
    assert_plain_steps(arch, "adam", engine, epsilon)


@pytest.mark.parametrize("settings", [{"optimizer": "fire"}, {"optimizer": "sgd", "batch": 16}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fire_and_mini_batches_stay_on_the_sphere(settings, dtype):
    options = with_options(TrainingOptions(), steps=100, **settings)
    run = train(random_sphere(60, 4, 0), ARCH, options, 0, Compute(dtype=dtype))
    assert np.linalg.norm(run.theta) == pytest.approx(NORM, rel=4 * torch.finfo(dtype).eps)
    assert run.history["loss"][-1] < run.history["loss"][0]
