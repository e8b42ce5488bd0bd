"""Steps at fixed norm: every engine takes those of a plain loop, and stays on the sphere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.job import Compute

NORM, STEPS = 5.0, 200
ARCH = Architecture(4, 4, 2, "relu", norm=NORM)


def loss(theta, data):
    """L of free weights, with torch's own layers."""
    a, start = torch.from_numpy(data.x), 0
    for j, (out, fan_in) in enumerate(ARCH.shapes):
        weight = theta[start : start + out * fan_in].view(out, fan_in)
        bias = theta[start + out * fan_in : start + out * (fan_in + 1)]
        a = torch.nn.functional.linear(a, weight, bias)
        a = a if j == ARCH.depth else torch.relu(a)
        start += out * (fan_in + 1)
    gaps = 0.5 - torch.from_numpy(data.y) * a[:, 0]
    return 0.5 * gaps.clamp(min=0).square().mean()


def plain_steps(data, make):
    """The theta [Ñ] after STEPS steps of torch's own optimiser on the tangent gradient, each with a retraction."""
    theta = torch.from_numpy(initial_parameters(ARCH, "orthogonal", 0)).requires_grad_()
    optimizer = make([theta])
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(theta, data).backward()
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


@pytest.mark.parametrize("engine", ["compiled", "torch", "batch"])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_an_engine_takes_the_steps_of_a_plain_loop(optimizer, engine):
    data = random_sphere(60, 4, 0)
    momentum = 0.5 if optimizer == "sgd" else None
    settings = with_options(
        TrainingOptions(), optimizer=optimizer, steps=STEPS, lr=1e-2, batch=0, momentum=momentum
    )
    run = train(data, ARCH, settings, 0, Compute(engine=engine))
    # each of 200 steps adds a round-off of some 1e-16, which grows little in a smooth descent
    np.testing.assert_allclose(run.theta, plain_steps(data, OPTIMIZERS[optimizer]), rtol=0, atol=1e-11)
    assert run.info["norm"] == NORM and ARCH.n_parameters - 8 - 1 == run.N


@pytest.mark.parametrize("settings", [{"optimizer": "fire"}, {"optimizer": "sgd", "batch": 16}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fire_and_mini_batches_stay_on_the_sphere(settings, dtype):
    options = with_options(TrainingOptions(), steps=100, **settings)
    run = train(random_sphere(60, 4, 0), ARCH, options, 0, Compute(dtype=dtype))
    assert np.linalg.norm(run.theta) == pytest.approx(NORM, rel=4 * torch.finfo(dtype).eps)
    assert run.history["loss"][-1] < run.history["loss"][0]
