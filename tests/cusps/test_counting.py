"""Counts of cusps against a plain loop, and for planted cusps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import jamtools.cusps.counting
import jamtools.cusps.preactivations
import jamtools.cusps.subgradient
import jamtools.linalg.bounded_least_squares
from jamtools.cusps.counting import BACKGROUND_TOLERANCES, count
from jamtools.cusps.preactivations import profile
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem
from tests.support import oracle
from tests.support.cusps import network, plant


def counts_by_loop(arch, theta, x, y, loss, tolerance) -> list[tuple[int, int, int, float]]:
    """(N_c, with gradient, convex, background) of each layer, by the definitions; ∂L/∂ρ by autograd."""
    z, rho = [], [x]
    for weight, bias in layers_of(theta, arch):
        z.append(torch.nn.functional.linear(rho[-1], weight, bias))
        rho.append(torch.relu(z[-1]).detach().requires_grad_())
    counted = []
    for j in range(arch.depth):
        out = rho[j + 1]
        for weight, bias in layers_of(theta, arch)[j + 1 :]:
            out = torch.nn.functional.linear(out if out is rho[j + 1] else torch.relu(out), weight, bias)
        (force,) = torch.autograd.grad(oracle.hinge(out, y), rho[j + 1])
        limit = tolerance * float(np.sqrt(np.mean(z[j].detach().numpy() ** 2)))
        n, n_gradient, n_convex, outside = 0, 0, 0, 0
        for pattern in range(len(x)):
            for neuron in range(arch.width):
                size = abs(float(z[j][pattern, neuron].detach()))
                outside += BACKGROUND_TOLERANCES[0] * limit < size <= BACKGROUND_TOLERANCES[1] * limit
                if size <= limit:
                    n += 1
                    unsatisfied = bool((0.5 - y[pattern] * z[-1][pattern].detach() > 0).any())
                    n_gradient += unsatisfied
                    n_convex += unsatisfied and float(force[pattern, neuron]) >= 0
        counted.append(
            (n, n_gradient, n_convex, outside / (BACKGROUND_TOLERANCES[1] - BACKGROUND_TOLERANCES[0]))
        )
    return counted


@pytest.mark.parametrize("tolerance", [0.02, 0.3])
@pytest.mark.parametrize(("depth", "outputs"), [(1, 1), (2, 1), (4, 1), (2, 3)])
def test_counts_equal_a_plain_loop_layer_by_layer(depth, outputs, tolerance):
    arch, theta, x, y, loss = network(depth, outputs=outputs)
    counted = count(theta, Problem(x, y, arch, loss), tolerance)
    layers = [(c.n_cusps, c.n_with_gradient, c.n_convex, c.background) for c in counted.per_layer]
    assert np.array(layers) == pytest.approx(np.array(counts_by_loop(arch, theta, x, y, loss, tolerance)))
    assert [c.layer for c in counted.per_layer] == list(range(1, depth + 1))
    assert counted.n_cusps == sum(layer[0] for layer in layers) > 0
    assert counted.n_convex < counted.n_with_gradient <= counted.n_cusps


def test_counts_and_densities_do_not_depend_on_the_blocks_of_patterns(monkeypatch):
    arch, theta, x, y, loss = network()
    whole = count(theta, Problem(x, y, arch, loss))
    both = profile(theta, x, arch, whole)
    monkeypatch.setattr(jamtools.cusps.counting, "CUSP_BLOCK_PATTERNS", 7)
    monkeypatch.setattr(jamtools.cusps.preactivations, "CUSP_BLOCK_PATTERNS", 7)
    parts = count(theta, Problem(x, y[:, 0], arch, loss))
    assert parts.per_layer == tuple(
        replace(a, scale=pytest.approx(a.scale), limit=pytest.approx(a.limit)) for a in whole.per_layer
    )
    assert (profile(theta, x, arch, parts).density == both.density).all()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_planted_zero_is_found_in_its_layer(layer):
    arch, theta, x, y, loss = network(3)
    plant(theta, arch, x, layer, 7, 2)
    counted = count(theta, Problem(x, y, arch, loss), 1e-12)
    assert [c.n_cusps for c in counted.per_layer] == [int(j == layer) for j in (1, 2, 3)]
    assert profile(theta, x, arch, counted).mass.tolist() == [(j == layer) / 300 for j in (1, 2, 3)]


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_counts_do_not_depend_on_the_scale_of_a_layer(factor):
    arch, theta, x, y, loss = network(2)
    plant(theta, arch, x, 1, 3, 1)
    before = count(theta, Problem(x, y, arch, loss))
    layers = layers_of(theta, arch)
    for tensor in layers[0]:
        tensor *= factor
    layers[1][0].div_(factor)
    after = count(theta, Problem(x, y, arch, loss))
    assert after.tolerance == before.tolerance
    assert after.per_layer[0].limit == pytest.approx(factor * before.per_layer[0].limit, rel=1e-9)
    assert [(c.n_cusps, c.n_convex) for c in after.per_layer] == [
        (c.n_cusps, c.n_convex) for c in before.per_layer
    ]


def test_a_smooth_activation_has_no_cusps_but_keeps_its_zeros():
    arch, theta, x, y, loss = network(2, "tanh")
    plant(theta, arch, x, 2, 7, 2)
    counted = count(theta, Problem(x, y, arch, loss), 1e-12)
    assert (counted.n_cusps, counted.n_with_gradient, counted.n_convex, counted.background) == (0, 0, 0, 0)
    assert [c.n_at_zero for c in counted.per_layer] == [0, 1]


@pytest.mark.parametrize("width", [0.0, 1e-13, 1e-6, 2e-4])
def test_the_default_tolerance_separates_planted_cusps_from_a_smooth_density(width):
    """Of 20 000 pre-activations z = x, 5% are within `width` of zero; the others have a uniform density."""
    arch, rng = Architecture(10, 10, 1), np.random.default_rng(0)
    z = rng.uniform(-1, 1, (2000, 10))
    planted = rng.random(z.shape) < 0.05
    z[planted] = width * rng.uniform(-1, 1, planted.sum())
    theta = torch.cat([torch.eye(10).flatten(), torch.zeros(10), torch.ones(11)]).double()
    counted = count(
        theta, Problem(torch.from_numpy(z), torch.ones(2000).double(), arch, Loss("hinge", 0.5, 2000))
    )
    assert width < counted.per_layer[0].limit
    smooth = counted.per_layer[0].limit * (~planted).sum()
    assert smooth < 0.02 * planted.sum()
    assert counted.background == pytest.approx(smooth, abs=3 * np.sqrt(smooth + 1))
    assert counted.n_cusps - counted.background == pytest.approx(planted.sum(), abs=4 * np.sqrt(smooth + 1))
