"""The activations and their derivatives."""

from __future__ import annotations

import pytest
import torch

from jamtools.network.activations import ACTIVATIONS
from jamtools.network.architecture import ACTIVATION_NAMES, Architecture
from jamtools.network.passes import backward, forward, layers_of


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_slope_and_curvature_of_an_activation_equal_those_of_autograd(name):
    rho, z = ACTIVATIONS[name], torch.linspace(-3, 3, 20, dtype=torch.float64)  # not at 0
    slope = torch.func.grad(lambda v: rho.value(v).sum())
    assert torch.allclose(rho.slope(z), slope(z), atol=1e-15)
    assert torch.allclose(rho.curvature(z), torch.func.grad(lambda v: slope(v).sum())(z), atol=1e-14)


def test_every_name_of_an_activation_has_its_functions():
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES)


def test_the_slope_of_relu_at_zero_is_zero():
    arch = Architecture(1, 1, 1)
    theta = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)  # z = x, f = ρ(z)
    layers = layers_of(theta, arch)
    state = forward(layers, torch.zeros(1, 1, dtype=torch.float64), arch)
    beta = backward(layers, state, torch.ones(1, 1, dtype=torch.float64), arch)
    assert beta[0].item() == 0
