"""The exact facts of H0, Hp and H against the dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import jamtools.hessian.known_counts
from jamtools.hessian.assembly import hessian
from jamtools.hessian.known_counts import known_h, known_h0
from jamtools.hessian.products import Products
from jamtools.linalg.subspace import project_out
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem
from jamtools.network.sphere import norm_multiplier, tangent_block
from jamtools.network.symmetry import ScaleGenerators, scale_generators
from tests.support import oracle


def case(activation="relu", d=4, h=5, L=2, C=1, P=30, dead=False):
    """theta and a problem; dead: no pattern activates neuron 0 of the first hidden layer."""
    arch = Architecture(d, h, L, activation, C)
    x, y = oracle.sphere(P, d, outputs=C)
    theta = oracle.random_theta(arch)
    if dead:
        layers_of(theta, arch)[0][1][0] = -100.0
    return theta, Problem(x, y, arch, Loss("hinge", 0.5, P, C))


def n_zero(matrix: torch.Tensor) -> int:
    values = torch.linalg.eigvalsh(matrix).abs()
    return int((values <= len(values) * np.finfo(float).eps * values.max()).sum())


CASES = {
    "few patterns": {"P": 15},
    "many patterns": {"P": 300},
    "a dead neuron": {"P": 300, "dead": True},
    "tanh": {"activation": "tanh", "P": 300},
    "three classes": {"C": 3, "P": 25},
    "deep": {"L": 4, "P": 60},
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def network(request):
    return case(**request.param)


def test_the_zeros_of_h0_are_counted_exactly(network):
    known, exact = known_h0(Products(*network)), hessian(*network).H0
    assert known.exact and known.nonnegative
    assert known.kernel == n_zero(exact)
    assert known.trace == pytest.approx(float(exact.trace()))


def test_the_zeros_of_each_block_of_h0_are_counted_exactly(network):
    products, exact = Products(*network), hessian(*network).H0
    for layer in range(network[1].arch.depth + 1):
        part = products.part(layer)
        assert known_h0(products, layer).kernel == n_zero(exact[part, part])


def test_the_gram_matrix_has_the_eigenvalues_of_h0(network):
    gram, exact = Products(*network).gram_h0(), hessian(*network).H0
    ours, theirs = (torch.linalg.eigvalsh(a).flip(0) for a in (gram, exact))
    k = min(len(ours), len(theirs))
    assert torch.allclose(ours[:k], theirs[:k], rtol=1e-9, atol=1e-12 * float(theirs[0]))


def test_without_the_gram_matrix_the_zeros_of_h0_are_bounded_from_below(network, monkeypatch):
    monkeypatch.setattr(jamtools.hessian.known_counts, "MAX_GRAM_ROWS", 0)
    products, exact = Products(*network), hessian(*network).H0
    known = known_h0(products)
    assert not known.exact and known.kernel <= n_zero(exact)
    assert known.kernel >= len(exact) - products.n_unsatisfied
    assert known.kernel >= scale_generators(network[0], network[1].arch).shape[1]


def test_the_bound_counts_a_dead_neuron_and_the_scales_of_the_others_once(monkeypatch):
    """A dead neuron: d weights, a bias, and a weight out of it, its scale among them; h - 1 other scales."""
    network = case(L=1, P=300, dead=True)
    exact = known_h0(Products(*network)).kernel
    monkeypatch.setattr(jamtools.hessian.known_counts, "MAX_GRAM_ROWS", 0)
    assert known_h0(Products(*network)).kernel == exact == (4 + 1 + 1) + (5 - 1)


@pytest.mark.parametrize("part", ["Hp", "H"])
def test_zeros_of_h_and_hp_are_bounded_from_below(network, part):
    theta, problem = network
    known = known_h(Products(theta, problem), part, ScaleGenerators(theta, problem.arch))
    matrix = project_out(getattr(hessian(theta, problem), part), scale_generators(theta, problem.arch))
    assert known.kernel <= n_zero(matrix)
    assert known.kernel >= (problem.arch.outputs if part == "Hp" else 0), "the biases of the outputs"


def test_a_dead_neuron_adds_its_parameters_without_its_scale_to_the_zeros_of_h():
    theta, problem = case(L=1, P=300, dead=True)
    known = known_h(Products(theta, problem), "H", ScaleGenerators(theta, problem.arch))
    assert known.kernel == problem.arch.d + 1


def test_a_parameter_without_gradient_whose_row_is_not_zero_is_no_zero_of_h():
    """At W = 0 with biases 1 the weights of the first layer have no gradient, but Hp couples them with the outputs."""
    theta, problem = case(L=1, P=300)
    layers = layers_of(theta, problem.arch)
    layers[0][0].zero_()
    layers[0][1].fill_(1.0)
    layers[1][0].zero_()
    known = known_h(Products(theta, problem), "H", ScaleGenerators(theta, problem.arch))
    matrix = project_out(hessian(theta, problem).H, scale_generators(theta, problem.arch))
    assert known.kernel <= n_zero(matrix)


def test_the_diagonal_of_h0_is_that_of_the_matrix(network):
    got, exact = Products(*network).diagonal_h0(), hessian(*network).H0.diagonal()
    assert torch.allclose(got, exact, rtol=1e-12, atol=1e-14 * float(exact.max()))


def on_sphere(theta, problem):
    """The problem at fixed norm, and the matrices on the tangent space as the definition gives them."""
    fixed = replace(problem, arch=replace(problem.arch, norm=float(theta.norm())))
    parts = hessian(theta, problem)
    mu = norm_multiplier(theta, problem.evaluate(theta).gradient)
    H0, Hp = tangent_block(parts.H0, theta), tangent_block(parts.Hp, theta)
    Hp.diagonal().add_(mu)
    return fixed, {"H0": H0, "Hp": Hp, "H": H0 + Hp}


def test_the_zeros_and_the_trace_of_h0_at_fixed_norm_are_those_on_the_tangent_space(network):
    fixed, matrices = on_sphere(*network)
    known = known_h0(Products(network[0], fixed))
    assert known.exact and known.kernel == n_zero(matrices["H0"])
    assert known.trace == pytest.approx(float(matrices["H0"].trace()))


def test_without_the_gram_matrix_the_zeros_at_fixed_norm_are_bounded_from_below(network, monkeypatch):
    monkeypatch.setattr(jamtools.hessian.known_counts, "MAX_GRAM_ROWS", 0)
    fixed, matrices = on_sphere(*network)
    products = Products(network[0], fixed)
    known = known_h0(products)
    assert not known.exact and known.kernel <= n_zero(matrices["H0"])
    assert known.kernel >= len(matrices["H0"]) - products.n_unsatisfied


def test_the_trace_of_hp_at_fixed_norm_is_known_for_relu(network):
    fixed, matrices = on_sphere(*network)
    products = Products(network[0], fixed)
    known = known_h(products, "Hp", ScaleGenerators(network[0], fixed.arch))
    if fixed.arch.activation == "tanh":
        assert known.trace is None
    else:
        assert known.trace == pytest.approx(float(matrices["Hp"].trace()), abs=1e-12)
    assert known.kernel == 0 and known_h(products, "H", ScaleGenerators(network[0], fixed.arch)).trace is None


@pytest.mark.parametrize("part", ["H0", "Hp", "H"])
def test_operators_at_fixed_norm_have_the_spectrum_on_the_tangent_space(network, part):
    fixed, matrices = on_sphere(*network)
    operator = Products(network[0], fixed).operator(part)
    assert operator.dimension == operator.n - 1
    V = operator.draw(0, 0, operator.dimension)
    basis = torch.linalg.qr(V).Q
    assert (network[0] @ basis).abs().max() < 1e-12 * network[0].norm()
    got = torch.linalg.eigvalsh(basis.T @ operator(basis))
    want = torch.linalg.eigvalsh(matrices[part])
    assert (got - want).abs().max() < 1e-11 * want.abs().max()


def test_blocks_of_layers_at_fixed_norm_are_those_of_free_weights(network):
    theta, problem = network
    fixed = on_sphere(theta, problem)[0]
    for layer in range(problem.arch.depth + 1):
        free, same = (Products(theta, p).operator("Hp", layer) for p in (problem, fixed))
        V = free.draw(0, 0, 2)
        assert torch.allclose(free(V), same(V), rtol=1e-12, atol=1e-14)
        known = known_h0(Products(theta, problem), layer), known_h0(Products(theta, fixed), layer)
        assert (known[0].kernel, known[0].trace) == (known[1].kernel, known[1].trace)
