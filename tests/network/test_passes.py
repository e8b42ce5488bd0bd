"""The network against torch.nn and torch.func on a module built from theta."""

from __future__ import annotations

import pytest
import torch

from jamtools.network.architecture import Architecture
from jamtools.network.passes import backward, forward, gradient, gradient_rows, layers_of
from tests.support import oracle

SHAPES = [(3, 4, 1, 1), (5, 4, 2, 1), (4, 6, 3, 1), (2, 3, 5, 1), (4, 5, 3, 3), (4, 5, 1, 2)]
#: The round-off of sums of tens of terms of order one: a few dozen units in the last place.
ROUNDING = 1e-13


CASES = [Architecture(d, h, L, rho, C) for d, h, L, C in SHAPES for rho in ("relu", "tanh", "linear")]


@pytest.fixture(params=CASES + oracle.BARE, ids=str)
def case(request):
    arch = request.param
    x, y = oracle.sphere(9, arch.d, outputs=arch.outputs)
    return arch, oracle.random_theta(arch), x, y


def test_forward_equals_torch_sequential(case):
    arch, theta, x, _ = case
    ours = forward(layers_of(theta, arch), x, arch).f
    assert torch.allclose(ours, oracle.module(arch, theta)(x), rtol=ROUNDING, atol=ROUNDING)


def test_gradient_rows_equal_torch_jacobian(case):
    arch, theta, x, _ = case
    jacobian = torch.func.jacrev(lambda t: oracle.f(arch, t, x))(theta)  # [P, C, Ñ]
    state = forward(layers_of(theta, arch), x, arch)
    for c in range(arch.outputs):
        signal = torch.zeros_like(state.f)
        signal[:, c] = 1
        rows = gradient_rows(backward(layers_of(theta, arch), state, signal, arch), state, arch)
        assert torch.allclose(rows, jacobian[:, c], rtol=ROUNDING, atol=ROUNDING)


def test_gradient_of_the_loss_equals_autograd(case):
    arch, theta, x, y = case
    exact = torch.func.grad(lambda t: oracle.hinge(oracle.f(arch, t, x), y))(theta)
    state = forward(layers_of(theta, arch), x, arch)
    signal = torch.func.grad(lambda out: oracle.hinge(out, y))(state.f)
    ours = gradient(backward(layers_of(theta, arch), state, signal, arch), state, arch)
    assert torch.allclose(ours, exact, rtol=ROUNDING, atol=ROUNDING)


def test_theta_is_ordered_as_torch_orders_parameters(case):
    arch, theta, _, _ = case
    net = oracle.module(arch, theta)
    assert torch.equal(torch.nn.utils.parameters_to_vector(net.parameters()), theta)
    assert arch.n_parameters == sum(p.numel() for p in net.parameters())
