"""The smallest subgradient against a calculation by hand, planted multipliers and brute force."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.func import jacrev

import jamtools.cusps.counting
import jamtools.cusps.preactivations
import jamtools.cusps.subgradient
import jamtools.linalg.bounded_least_squares
from jamtools.cusps.counting import CuspCount, count
from jamtools.cusps.subgradient import CuspGradient, SmallestSubgradient, smallest_subgradient
from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from tests.support import oracle
from tests.support.curvature import cusps_of, planted
from tests.support.cusps import network, plant


@dataclass(frozen=True)
class Given:
    """A loss with ∂L/∂f = y, so that a test can choose the gradients."""

    def slope(self, f: Tensor, y: Tensor) -> Tensor:
        return y


def smallest(theta: Tensor, problem: Problem, counted: CuspCount) -> SmallestSubgradient:
    return smallest_subgradient(CuspGradient(theta, problem, counted))


def gradient_by_autograd(arch, theta, x, slopes, kinks, multipliers) -> Tensor:
    """Σ_µ s_µ ∇f(x_µ) with ρ(z) = λ z at the cusps `kinks` [L][P, h], filled layer after layer."""

    def f(t: Tensor) -> Tensor:
        a, start = x, 0
        for j, (weight, bias) in enumerate(layers_of(t, arch)):
            a = torch.nn.functional.linear(a, weight, bias)
            if j < arch.depth:
                n = int(kinks[j].sum())
                sigma = (a > 0).double().masked_scatter(kinks[j], multipliers[start : start + n])
                a, start = sigma * a, start + n
        return (slopes * a).sum()

    return torch.func.grad(f)(theta)


def kinks_of(theta, x, arch, cusp_count) -> list[Tensor]:
    z = forward(layers_of(theta, arch), x, arch).z[:-1]
    scales = [theta.new_tensor(layer.scales) for layer in cusp_count.per_layer]
    return [layer.abs() <= cusp_count.tolerance * s for layer, s in zip(z, scales, strict=True)]


def test_the_smallest_subgradient_of_one_neuron_is_zero_at_the_multiplier_found_by_hand():
    """f = ρ(x) at x = 0, 1, 2, -1 and slopes -1, ½, -¼, ¾: g = 0 needs ½ - ¼ - λ = 0."""
    arch = Architecture(1, 1, 1)
    theta = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    x = torch.tensor([[0.0], [1.0], [2.0], [-1.0]], dtype=torch.float64)
    slopes = torch.tensor([[-1.0], [0.5], [-0.25], [0.75]], dtype=torch.float64)
    end = smallest(
        theta, Problem(x, slopes, arch, Given()), count(theta, Problem(x, slopes, arch, Given()), 1e-9)
    )
    assert end.multipliers == pytest.approx([0.25])
    assert end.norm == pytest.approx(0, abs=1e-15) and end.gradient_norm == pytest.approx(0.25)
    assert end.n_inside == 1 and end.converged


def test_the_smallest_subgradient_recovers_planted_multipliers():
    """Slopes from the null space of ∂g/∂s at known multipliers, so that g vanishes there."""
    arch, theta, x, _, _ = network(2, P=80)
    for layer, pattern, neuron in [(1, 3, 0), (1, 8, 1), (1, 8, 2), (2, 20, 0), (2, 21, 3)]:
        plant(theta, arch, x, layer, pattern, neuron)
    cusp_count = count(theta, Problem(x, torch.ones(80, 1).double(), arch, Given()), 1e-9)
    planted = torch.tensor([0.3, 0.6, 0.0, 0.9, 0.45], dtype=torch.float64)
    kinks = kinks_of(theta, x, arch, cusp_count)
    rows = jacrev(lambda s: gradient_by_autograd(arch, theta, x, s, kinks, planted))(x.new_ones(80, 1))[
        ..., 0
    ]
    slopes = torch.linalg.svd(rows).Vh[-1:].T  # [P, 1]
    end = smallest(theta, Problem(x, slopes, arch, Given()), cusp_count)
    assert end.norm < 1e-13 < 1e-4 < end.gradient_norm
    assert end.multipliers == pytest.approx(planted.numpy(), abs=1e-10)
    assert end.n_inside == 4 and end.converged


@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_subgradient_with_cusps_in_several_layers_equals_brute_force(seed):
    """Three patterns with cusps in both layers. g is multilinear there, with local minima 10⁻⁴ apart."""
    arch = Architecture(3, 4, 2)
    theta, x = oracle.random_theta(arch, seed), oracle.sphere(6, 3, seed)[0]
    slopes = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 1)))
    for layer, pattern in itertools.product((1, 2), range(3)):
        plant(theta, arch, x, layer, pattern, pattern)
    cusp_count = count(theta, Problem(x, slopes, arch, Given()), 1e-9)
    kinks = kinks_of(theta, x, arch, cusp_count)
    n = sum(int(k.sum()) for k in kinks)
    assert all(k.any(1)[:3].all() for k in kinks)

    def square(values: np.ndarray) -> tuple[float, np.ndarray]:
        multipliers = torch.from_numpy(values).requires_grad_()
        value = gradient_by_autograd(arch, theta, x, slopes, kinks, multipliers).square().sum()
        return float(value.detach()), torch.autograd.grad(value, multipliers)[0].numpy()

    def descended(start: np.ndarray) -> float:
        options = {"ftol": 1e-15, "gtol": 1e-12}
        end = minimize(square, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * n, options=options)
        return end.fun**0.5

    rng = np.random.default_rng(seed)
    got = smallest(theta, Problem(x, slopes, arch, Given()), cusp_count)
    assert got.norm == pytest.approx(min(descended(rng.random(n)) for _ in range(12)), rel=1e-4)
    assert got.norm == pytest.approx(descended(got.multipliers), rel=1e-5)
    assert square(got.multipliers)[0] ** 0.5 == pytest.approx(got.norm, rel=1e-9)
    assert got.norm < got.gradient_norm


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_smallest_subgradient_without_cusps_is_the_gradient(activation):
    arch, theta, x, y, loss = network(2, activation, outputs=3)
    end = smallest(theta, Problem(x, y, arch, loss), count(theta, Problem(x, y, arch, loss), 1e-12))
    exact = torch.func.grad(lambda t: oracle.hinge(oracle.f(arch, t, x), y))(theta).norm()
    assert end.norm == end.gradient_norm == pytest.approx(float(exact), rel=1e-12)


def test_the_smallest_subgradient_scales_with_the_loss_by_either_solver(monkeypatch):
    """The solvers below and above ACTIVE_SET_MAX_MULTIPLIERS have no absolute tolerance."""
    arch, theta, x, y, loss = network(1, P=200, width=6)
    cusp_count = count(theta, Problem(x, y, arch, loss), 0.1)
    end = smallest(theta, Problem(x, y, arch, loss), cusp_count)
    assert len(end.multipliers) == cusp_count.n_with_gradient > 10
    slopes = loss.slope(oracle.f(arch, theta, x), y)
    for active_set in (0, 1000):
        monkeypatch.setattr(jamtools.linalg.bounded_least_squares, "ACTIVE_SET_MAX_MULTIPLIERS", active_set)
        for scale in (1e-20, 1e20):
            scaled = smallest(theta, Problem(x, scale * slopes, arch, Given()), cusp_count)
            assert scaled.norm == pytest.approx(scale * end.norm, rel=1e-7)


def test_a_least_squares_problem_that_is_too_large_is_refused(monkeypatch):
    arch, theta, x, y, loss = network()
    monkeypatch.setattr(jamtools.cusps.subgradient, "LEAST_SQUARES_MAX_NUMBERS", 100)
    with pytest.raises(InputError, match=r"cusps times 61 parameters, expected at most"):
        smallest(theta, Problem(x, y, arch, loss), count(theta, Problem(x, y, arch, loss), 0.3))


def test_cusps_in_another_gauge_are_those_that_are_counted_there():
    theta, problem = planted(2)
    cusps, scaled = cusps_of(theta, problem), theta.clone()
    factors = torch.ones(2, 5, dtype=torch.float64)
    factors[0, 1] = factors[0, 3] = 8.0
    for j, part in ((0, 1), (0, 3)):
        layers_of(scaled, problem.arch)[j][0][part] *= 8
        layers_of(scaled, problem.arch)[j][1][part] *= 8
        layers_of(scaled, problem.arch)[j + 1][0][:, part] /= 8
    moved, counted = cusps.in_gauge(scaled, problem, factors), cusps_of(scaled, problem)
    half = torch.full_like(cusps.signs, 0.5)
    assert all((a == b).all() for a, b in zip(moved.scales, counted.scales))
    assert (moved.z == counted.z).all() and (moved.gradient(half) == counted.gradient(half)).all()


def test_the_cusps_next_to_zero_are_added_to_those_that_there_are():
    theta, problem = planted(2)
    cusps = cusps_of(theta, problem)
    wider = cusps.wider(7)
    assert len(wider.signs) == len(cusps.signs) + 7
    own = wider.is_in(cusps)
    assert int(own.sum()) == len(cusps.signs)
    assert (wider.z[own] == cusps.z).all() and (wider.signs == (wider.z > 0)).all()
    others = torch.cat(
        [(z.abs() / s).flatten() for z, s in zip(cusps.forward_pass.z[:-1], cusps.scales)]
    ).sort()
    added = torch.cat(
        [z[at].abs() / s[at[1]] for z, s, at in zip(wider.forward_pass.z, wider.scales, wider.at)]
    )
    assert added[~own].max() <= others.values[len(wider.signs)]
