"""The network against torch.nn and torch.func on a module built from theta."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.passes import backward, forward, gradient, gradient_rows, layers_of
from jamtools.network.symmetry import scale_generators
from tests.support import oracle

SHAPES = [(3, 4, 1, 1), (5, 4, 2, 1), (4, 6, 3, 1), (2, 3, 5, 1), (4, 5, 3, 3), (4, 5, 1, 2)]
#: Sums of tens of terms of order one: a few dozen units in the last place.
ROUNDING = 1e-13


@pytest.fixture(params=[(s, a) for s in SHAPES for a in ("relu", "tanh", "linear")], ids=str)
def case(request):
    (d, h, L, C), activation = request.param
    arch = Architecture(d, h, L, activation, C)
    x, y = oracle.sphere(9, d, outputs=C)
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
        rows = gradient_rows(backward(layers_of(theta, arch), state, signal, arch), state)
        assert torch.allclose(rows, jacobian[:, c], rtol=ROUNDING, atol=ROUNDING)


def test_gradient_of_the_loss_equals_autograd(case):
    arch, theta, x, y = case
    exact = torch.func.grad(lambda t: oracle.hinge(oracle.f(arch, t, x), y))(theta)
    state = forward(layers_of(theta, arch), x, arch)
    signal = torch.func.grad(lambda out: oracle.hinge(out, y))(state.f)
    ours = gradient(backward(layers_of(theta, arch), state, signal, arch), state)
    assert torch.allclose(ours, exact, rtol=ROUNDING, atol=ROUNDING)


def test_theta_is_ordered_as_torch_orders_parameters(case):
    arch, theta, _, _ = case
    net = oracle.module(arch, theta)
    assert torch.equal(torch.nn.utils.parameters_to_vector(net.parameters()), theta)
    assert arch.n_parameters == sum(p.numel() for p in net.parameters())


def test_the_paper_s_example_has_8008_parameters_and_7855_effective_ones():
    arch = Architecture(51, 51, 3)
    assert (arch.n_parameters, arch.n_hidden, arch.n_effective) == (8008, 153, 7855)
    assert Architecture(51, 51, 3, "tanh").n_effective == 8008


def test_the_slope_of_relu_at_zero_is_zero():
    arch = Architecture(1, 1, 1)
    theta = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)  # z = x, f = ρ(z)
    layers = layers_of(theta, arch)
    state = forward(layers, torch.zeros(1, 1, dtype=torch.float64), arch)
    beta = backward(layers, state, torch.ones(1, 1, dtype=torch.float64), arch)
    assert beta[0].item() == 0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_f_does_not_change_along_the_scale_generators(shape):
    d, h, L, C = shape
    arch = Architecture(d, h, L, "relu", C)
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(9, d)
    generators = scale_generators(theta, arch)
    assert generators.shape == (arch.n_parameters, arch.n_hidden)
    jacobian = torch.func.jacrev(lambda t: oracle.f(arch, t, x))(theta)
    assert (jacobian @ generators).abs().max() < ROUNDING * jacobian.abs().max() * arch.n_parameters
    # finite: the neuron's incoming weights × s, its outgoing ones / s
    scaled = theta + 0.0
    layers_of(scaled, arch)[0][0][0] *= 3
    layers_of(scaled, arch)[0][1][0] *= 3
    layers_of(scaled, arch)[1][0][:, 0] /= 3
    assert torch.allclose(oracle.f(arch, scaled, x), oracle.f(arch, theta, x), rtol=1e-12, atol=1e-12)


def test_smooth_activations_have_no_scale_generators():
    arch = Architecture(3, 4, 2, "tanh")
    assert scale_generators(oracle.random_theta(arch), arch).shape == (arch.n_parameters, 0)


@pytest.mark.parametrize(("out", "fan_in"), [(10, 10), (4, 9), (25, 10)])
def test_orthogonal_weights_are_haar_blocks(out, fan_in):
    arch = Architecture(fan_in, out, 1)
    weight, bias = layers_of(torch.from_numpy(initial_parameters(arch, "orthogonal", 3)), arch)[0]
    for block in weight.split(fan_in):
        assert torch.allclose(block @ block.T, torch.eye(len(block), dtype=torch.float64), atol=1e-14)
    assert (bias == 0).all()


def test_torch_initialisation_has_torch_s_bounds():
    arch = Architecture(16, 400, 1)
    ours = layers_of(torch.from_numpy(initial_parameters(arch, "torch", 0)), arch)[0]
    theirs = torch.nn.Linear(16, 400)
    for mine, reference in zip(ours, theirs.parameters()):
        assert mine.abs().max() <= 0.25  # 1/√16
        # the largest of n uniform draws is within 10/n of the bound but once in e^10
        assert abs(mine.abs().max() - reference.abs().max()) < 2.5 / min(mine.numel(), reference.numel())
    # variance of U(-σ, σ) is σ²/3; its standard error over n draws is below σ²/√n
    assert abs(ours[0].var().item() - 1 / 48) < 4 / 16 / np.sqrt(6400)


def test_initial_parameters_depend_on_the_seed_alone():
    arch = Architecture(4, 5, 2)
    for init in ("orthogonal", "torch", "normal"):
        assert np.array_equal(initial_parameters(arch, init, 1), initial_parameters(arch, init, 1))
        assert not np.array_equal(initial_parameters(arch, init, 1), initial_parameters(arch, init, 2))


@pytest.mark.parametrize("wrong", [{"width": 0}, {"depth": 0}, {"d": 0}, {"activation": "gelu"}], ids=str)
def test_impossible_architectures_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Architecture(**{"d": 2, "width": 2, "depth": 1, **wrong})
