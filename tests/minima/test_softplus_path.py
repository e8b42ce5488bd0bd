"""The softplus and its derivatives, and the path along which it approaches ReLU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.minima.softplus_path import BETA_FIRST, BETA_LAST, SoftplusPath, layer_scales, softened
from jamtools.network.activations import Activation
from jamtools.network.passes import layers_of
from tests.support.jammed import small_problem


def test_the_softplus_agrees_with_autograd_and_is_within_its_bound_of_relu():
    z = torch.linspace(-4, 4, 81, dtype=torch.float64)
    for beta in (0.5, 3.0, 100.0):
        rho: Activation = softened(beta)
        plain = lambda v, beta=beta: torch.logaddexp(beta * v, torch.zeros_like(v)).sum() / beta
        slope = torch.func.grad(plain)
        assert torch.allclose(rho.slope(z), slope(z), atol=1e-14)
        assert torch.allclose(
            rho.curvature(z), torch.func.grad(lambda v, slope=slope: slope(v).sum())(z), atol=1e-12 * beta
        )
        assert (rho.value(z) - z.clamp(min=0)).abs().max() <= np.log(2) / beta + 1e-15


def test_the_path_ends_at_its_last_sharpness_with_a_lower_loss_of_relu():
    theta, problem = small_problem("relu", 120, width=5)
    start = problem.value(theta)
    path = SoftplusPath(theta, problem)
    assert path.beta == BETA_FIRST
    betas = [path.beta]
    while path.iterate(theta):
        betas.append(path.beta)
    assert betas == sorted(betas) and betas[-1] == BETA_LAST
    assert problem.value(theta) < 0.5 * start


def test_the_path_does_not_depend_on_the_scale_of_a_neuron():
    theta, problem = small_problem("relu", 50)
    bigger = theta.clone()
    layers = layers_of(bigger, problem.arch)
    layers[0][0].mul_(4)
    layers[0][1].mul_(4)
    layers[1][0].div_(4)
    one, two = layer_scales(theta, problem), layer_scales(bigger, problem)
    assert two[0] == pytest.approx(4 * one[0], rel=1e-14) and two[1] == pytest.approx(one[1], rel=1e-14)
    values = [SoftplusPath(t, problem).levenberg.value(t) for t in (theta, bigger)]
    assert values[1] == pytest.approx(values[0], rel=1e-13)
