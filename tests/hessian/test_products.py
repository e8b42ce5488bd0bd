"""Products with H0, Hp and H against the dense matrices, torch.func on an independent network, and curvlinops."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import jamtools.hessian.products
import jamtools.network.symmetry
from jamtools.errors import InputError
from jamtools.hessian.assembly import hessian
from jamtools.hessian.products import PRODUCT_NAMES, Products
from jamtools.linalg.eigenvalues import symmetric_eigenvalues
from jamtools.linalg.subspace import project_out
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.network.symmetry import ScaleGenerators, scale_generators
from tests.support import oracle

CASES = [
    Architecture(d, h, L, activation, C)
    for d, h, L, C in [(3, 4, 1, 1), (5, 4, 2, 1), (4, 5, 3, 1), (3, 3, 5, 1), (4, 4, 2, 3), (3, 5, 1, 2)]
    for activation in ("relu", "tanh", "linear")
]
#: The round-off of entries that are sums over P = 40 patterns of products of up to 2L + 2 factors of order one.
ROUNDING = 1e-13


@pytest.fixture(params=CASES + oracle.BARE, ids=str)
def case(request):
    return at_random(request.param)


def make(d, h, L, C=1, activation="relu", P=40):
    return at_random(Architecture(d, h, L, activation, C), P)


def at_random(arch, P=40):
    x, y = oracle.sphere(P, arch.d, outputs=arch.outputs)
    return oracle.random_theta(arch), Problem(x, y, arch, Loss("hinge", 0.5, P, arch.outputs))


def vectors(n, k):
    return torch.randn(n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_products_equal_those_of_the_dense_matrices(case):
    exact, V = hessian(*case), vectors(case[1].arch.n_parameters, 11)  # more than one group of vectors
    for name in PRODUCT_NAMES:
        want = getattr(exact, name) @ V
        got = Products(*case).product(name, V)
        assert (got - want).abs().max() <= ROUNDING * exact.H0.abs().max() * V.abs().sum(0).max()


def test_products_with_h_are_the_derivative_of_the_gradient(case):
    theta, (x, y, arch) = case[0], (case[1].x, case[1].y, case[1].arch)
    v = vectors(arch.n_parameters, 1)
    gradient = torch.func.grad(lambda t: oracle.hinge(oracle.f(arch, t, x), y))
    _, want = torch.func.jvp(gradient, (theta,), (v[:, 0],))
    got = Products(*case).product("H", v)[:, 0]
    assert (got - want).abs().max() < ROUNDING * arch.n_parameters * want.abs().max()


def test_blocks_of_patterns_change_nothing_but_round_off(case, monkeypatch):
    V = vectors(case[1].arch.n_parameters, 3)
    whole = {name: Products(*case).product(name, V) for name in PRODUCT_NAMES}
    per_pattern = (
        3
        * (jamtools.hessian.products.PRODUCT_GROUP_VECTORS + 1)
        * sum(out + fan_in for out, fan_in in case[1].arch.shapes)
    )
    monkeypatch.setattr(jamtools.hessian.products, "PRODUCT_BLOCK_NUMBERS", 7 * per_pattern)
    parts = Products(*case)
    theta, problem = case
    gaps = problem.loss.gaps(oracle.f(problem.arch, theta, problem.x), problem.y)
    assert parts.n_unsatisfied == int((gaps > 0).sum())
    for name in PRODUCT_NAMES:
        assert (parts.product(name, V) - whole[name]).abs().max() <= 1e-12 * whole["H"].abs().max()


def test_the_block_of_a_layer_is_the_diagonal_block_of_the_matrix(case):
    exact, products, start = hessian(*case), Products(*case), 0
    for layer, (out, fan_in) in enumerate(case[1].arch.shapes):
        layer_part = slice(start, start := start + out * (fan_in + case[1].arch.bias))
        for name in PRODUCT_NAMES:
            operator = products.operator(name, layer)
            got, want = (
                operator(torch.eye(operator.n, dtype=torch.float64)),
                getattr(exact, name)[layer_part, layer_part],
            )
            assert (got - want).abs().max() <= ROUNDING * exact.H.abs().max()
    with pytest.raises(InputError, match=r"expected 0 to \d"):
        products.operator("H", len(case[1].arch.shapes))


def test_the_trace_of_h0_is_exact_layer_by_layer(case):
    diagonal, traces = hessian(*case).H0.diagonal(), Products(*case).traces_h0()
    sizes = [out * (fan_in + case[1].arch.bias) for out, fan_in in case[1].arch.shapes]
    for part, trace in zip(diagonal.split(sizes), traces, strict=True):
        assert trace == pytest.approx(part.sum().item(), rel=ROUNDING)


def test_float32_products_stay_float32_and_agree():
    case = make(5, 6, 2)
    theta, problem = case
    single = replace(problem, x=problem.x.float(), y=problem.y.float())
    V = vectors(case[1].arch.n_parameters, 2)
    got = Products(theta.float(), single).operator("H")(V.float())
    want = Products(*case).product("H", V)
    assert got.dtype == torch.float32
    assert (got.double() - want).abs().max() < 1e-5 * want.abs().max()


def test_a_satisfied_network_has_vanishing_products():
    theta, problem = make(3, 4, 2)
    x, arch = problem.x, problem.arch
    y = torch.sign(oracle.f(arch, theta, x))
    products = Products(theta, Problem(x, y, arch, Loss("hinge", 1e-9, 40)))
    assert products.n_unsatisfied == 0 and sum(products.traces_h0()) == 0
    assert (products.product("H", vectors(arch.n_parameters, 2)) == 0).all()


@pytest.mark.parametrize("L", [1, 3])
def test_an_operator_without_the_scale_generators_has_the_spectrum_of_the_dense_projection(L):
    case = make(4, 5, L)
    theta, arch = case[0], case[1].arch
    generators = ScaleGenerators(theta, arch)
    operator = Products(*case).operator("Hp", generators=generators)
    assert operator.dimension == arch.n_parameters - arch.n_hidden
    identity = torch.eye(arch.n_parameters, dtype=torch.float64)
    Z = generators.project(identity)
    eigenvalues = torch.linalg.eigvalsh(operator(Z))
    want = symmetric_eigenvalues(project_out(hessian(*case).Hp, scale_generators(theta, arch))).values
    want = torch.cat([want, want.new_zeros(arch.n_hidden)]).sort().values
    assert (eigenvalues - want).abs().max() < 1e-13 * want.abs().max()


def test_products_of_another_loss_or_another_matrix_are_refused():
    theta, problem = make(3, 4, 1)
    with pytest.raises(InputError, match="hinge loss"):
        Products(theta, replace(problem, loss=Loss("cross-entropy", 0.0, 40)))
    products = Products(theta, problem)
    with pytest.raises(InputError, match="matrix 'H1'"):
        products.product("H1", theta[:, None])
    with pytest.raises(InputError, match="one layer"):
        products.operator("H", 0, ScaleGenerators(theta, problem.arch))


class Hinge(nn.Module):
    """The loss of the paper in the form that curvlinops needs."""

    reduction = "mean"

    def forward(self, out, y):
        return oracle.hinge(out, y)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_curvlinops_agrees_on_h_and_the_gauss_newton_matrix(activation, outputs):
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    case = make(5, 6, 3, outputs, activation)
    theta, (x, y, arch) = case[0], (case[1].x, case[1].y, case[1].arch)
    net = oracle.module(arch, theta)
    V = vectors(arch.n_parameters, 4)
    for name, theirs in (("H", HessianLinearOperator), ("H0", GGNLinearOperator)):
        want = theirs(net, Hinge(), list(net.parameters()), [(x, y)]) @ V
        got = Products(*case).product(name, V)
        assert (got - want).abs().max() < 1e-12 * want.abs().max()


#: A program that prints Ñ and the peak resident memory, in bytes, after a quadrature with two probes over few and over many
#: patterns; Ñ = 30 401.
MEMORY = """
from pathlib import Path
from jamtools.hessian.products import Products
from jamtools.linalg.lanczos import probe
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support import oracle
arch = Architecture(100, 100, 3)
theta = oracle.random_theta(arch)
def peak(P, steps):
    x, y = oracle.sphere(P, 100)
    probe(Products(theta, Problem(x, y, arch, Loss("hinge", 0.5, P))).operator("H"), 2, steps)
    lines = Path("/proc/self/status").read_text().splitlines()
    # VmHWM, since ru_maxrss starts at the peak of the parent process
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(arch.n_parameters, peak(500, 2), peak(5000, 2))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which is Linux's")
def test_memory_grows_neither_with_the_square_of_the_parameters_nor_with_patterns():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    n, few, many = map(int, done.stdout.split())
    assert many < 8 * n**2 / 10, "a tenth of one dense matrix, the interpreter and torch included"
    data = 8 * 5000 * 100 * 4  # x, and the copies made while it is built
    block = 8 * jamtools.hessian.products.PRODUCT_BLOCK_NUMBERS
    assert many - few < data + block
