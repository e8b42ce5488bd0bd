"""The scale symmetries of ReLU: the balanced gauge, the generators and their projector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.symmetry import (
    ScaleGenerators,
    balanced,
    even_inputs,
    gauge_factors,
    normalised,
    scale_generators,
    symmetry_directions,
    unmoved_directions,
)
from tests.support import oracle


def test_a_network_in_the_balanced_gauge_is_the_same_function_to_the_last_bit():
    arch = Architecture(4, 5, 3)
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(30, 4)
    for layer, factor in enumerate((1e-7, 3.0, 1e5)):
        layers_of(theta, arch)[layer][0].mul_(factor)
    same, scales = balanced(theta, arch)
    before, after = (forward(layers_of(t, arch), x, arch) for t in (theta, same))
    assert (before.f == after.f).all() and (scales != 1).any()
    for j in range(arch.depth):
        assert (after.z[j] == scales[j] * before.z[j]).all()
        (weight, bias), (above, _) = layers_of(same, arch)[j : j + 2]
        into = torch.cat([weight, bias[:, None]], 1).norm(dim=1)
        assert ((into / above.norm(dim=0)).log2().abs() <= 1 + 1e-12).all()
    smooth = replace(arch, activation="tanh")
    assert (balanced(theta, smooth)[0] == theta).all()


def test_a_network_on_even_inputs_is_the_same_function_to_the_last_bit():
    arch = Architecture(4, 5, 2)
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(30, 4)
    x = x * torch.tensor([1e-200, 1.0, 0.0, 3e150], dtype=torch.float64)
    same, even, factors = even_inputs(theta, arch, x)
    before, after = forward(layers_of(theta, arch), x, arch), forward(layers_of(same, arch), even, arch)
    assert (before.f == after.f).all() and factors[2] == 1
    rms = even.square().mean(0).sqrt()[[0, 1, 3]]
    assert ((rms > 0.5**0.51) & (rms < 2**0.51)).all()


def test_the_factors_of_a_gauge_are_those_that_the_gauge_applied():
    arch = Architecture(4, 5, 3)
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(30, 4)
    layers_of(theta, arch)[1][0].mul_(1e4)
    moved, _, unit = normalised(theta, arch, Loss("hinge", 37.0, 30))
    moved, _, inputs = even_inputs(moved, arch, x * 1e-3)
    moved, scales = balanced(moved, arch)
    assert (gauge_factors(arch, inputs, scales, unit) * theta == moved).all() and (scales != 1).any()


def vectors(n, k):
    return torch.randn(n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_dead_neurons_and_smooth_networks_have_no_scale_generators():
    arch = Architecture(4, 5, 2)
    theta = oracle.random_theta(arch)
    theta[: 4 * 5].view(5, 4)[2] = theta[20:25][2] = theta[25:50].view(5, 5)[:, 2] = 0
    assert ScaleGenerators(theta, arch).rank == 9
    V = vectors(arch.n_parameters, 3)
    overlap = scale_generators(theta, arch).T @ ScaleGenerators(theta, arch).project(V)
    assert overlap.abs().max() < 1e-13
    smooth = ScaleGenerators(theta, Architecture(4, 5, 2, "tanh"))
    assert smooth.rank == 0 and (smooth.project(V) == V).all()


SHAPES = [(3, 4, 1, 1), (5, 4, 2, 1), (4, 6, 3, 1), (2, 3, 5, 1), (4, 5, 3, 3), (4, 5, 1, 2)]


#: The round-off of sums of tens of terms of order one: a few dozen units in the last place.
ROUNDING = 1e-13


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_f_does_not_change_along_the_scale_generators(shape):
    d, h, L, C = shape
    arch = Architecture(d, h, L, "relu", C)
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(9, d)
    generators = scale_generators(theta, arch)
    assert generators.shape == (arch.n_parameters, arch.n_hidden)
    jacobian = torch.func.jacrev(lambda t: oracle.f(arch, t, x))(theta)
    assert (jacobian @ generators).abs().max() < ROUNDING * jacobian.abs().max() * arch.n_parameters
    # a finite step: the weights into the neuron × s, those out of it / s
    scaled = theta + 0.0
    layers_of(scaled, arch)[0][0][0] *= 3
    layers_of(scaled, arch)[0][1][0] *= 3
    layers_of(scaled, arch)[1][0][:, 0] /= 3
    assert torch.allclose(oracle.f(arch, scaled, x), oracle.f(arch, theta, x), rtol=1e-12, atol=1e-12)


def test_smooth_activations_have_no_scale_generators():
    arch = Architecture(3, 4, 2, "tanh")
    assert scale_generators(oracle.random_theta(arch), arch).shape == (arch.n_parameters, 0)


@pytest.mark.parametrize("arch", oracle.BARE, ids=str)
def test_without_biases_or_hidden_layers_f_keeps_along_the_generators_and_they_span_the_projector(arch):
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(9, arch.d)
    dense = scale_generators(theta, arch)
    assert dense.shape == (arch.n_parameters, arch.n_hidden if arch.activation == "relu" else 0)
    jacobian = torch.func.jacrev(lambda t: oracle.f(arch, t, x))(theta)
    if dense.shape[1]:
        assert (jacobian @ dense).abs().max() < ROUNDING * jacobian.abs().max() * arch.n_parameters
    generators, V = ScaleGenerators(theta, arch), vectors(arch.n_parameters, 3)
    assert generators.rank == dense.shape[1]
    # the projector by least squares on the dense generators
    expected = V - dense @ torch.linalg.pinv(dense) @ V if dense.shape[1] else V
    torch.testing.assert_close(generators.project(V), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("arch", oracle.BARE, ids=str)
def test_every_gauge_keeps_a_network_without_biases_or_hidden_layers(arch):
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(9, arch.d)
    for margin in (37.0, -0.3, 0.0):
        moved, loss, unit = normalised(theta, arch, Loss("hinge", margin, 9))
        assert loss.epsilon * unit == margin and (0.5 <= abs(loss.epsilon) < 1 or margin == 0)
        moved, even, inputs = even_inputs(moved, arch, x * 1e-3)
        moved, scales = balanced(moved, arch)
        f = unit * forward(layers_of(moved, arch), even, arch).f
        assert torch.allclose(f, forward(layers_of(theta, arch), x * 1e-3, arch).f, rtol=ROUNDING)
        assert (gauge_factors(arch, inputs, scales, unit) * theta == moved).all()


def test_at_fixed_norm_the_scalings_of_a_network_off_balance_that_keep_the_norm_are_symmetries():
    """Along such a direction f and the norm change at second order; W itself is unmoved too, and orthogonal to them."""
    arch = Architecture(3, 4, 2, norm=2.0)
    theta = torch.from_numpy(np.random.default_rng(0).standard_normal(arch.n_parameters))
    directions = unmoved_directions(theta, arch)
    assert directions.shape == (arch.n_parameters, arch.n_hidden)
    scalings = symmetry_directions(theta, arch)
    assert (theta @ scalings).abs().max() < 1e-13
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((7, 3)))
    slopes = torch.func.jacrev(lambda t: forward(layers_of(t, arch), x, arch).f[:, 0])(theta)
    assert (slopes @ scalings).abs().max() < 1e-12


def test_at_fixed_norm_a_balanced_network_has_no_scalings_that_keep_the_norm():
    """With the same weights into each neuron and out of it, and no bias, every scaling raises the norm at second order."""
    arch = Architecture(3, 3, 1, norm=2.0, bias=False)
    out = torch.tensor([0.3, -0.5, 1.2], dtype=torch.float64)
    theta = torch.cat([(out.abs()[:, None] / 3**0.5).expand(3, 3).flatten(), out])
    assert symmetry_directions(theta, arch).shape[1] == 0
    assert torch.equal(unmoved_directions(theta, arch), theta[:, None])
