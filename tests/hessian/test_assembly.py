"""H0, Hp and H against torch.func on an independent network, and the exact facts about them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import jamtools.hessian.assembly
from jamtools.errors import InputError
from jamtools.hessian.assembly import hessian
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.network.symmetry import scale_generators
from tests.support import oracle
from tests.support.commands import ROOT

CASES = [
    Architecture(d, h, L, activation, C)
    for d, h, L, C in [(3, 4, 1, 1), (5, 4, 2, 1), (4, 5, 3, 1), (3, 3, 5, 1), (4, 4, 2, 3), (3, 5, 1, 2)]
    for activation in ("relu", "tanh", "linear")
]
#: The round-off of entries that are sums over P = 40 patterns of products of up to 2L + 2 factors of order one.
ROUNDING = 1e-13


@pytest.fixture(params=CASES + oracle.BARE, ids=str)
def case(request):
    arch = request.param
    x, y = oracle.sphere(40, arch.d, outputs=arch.outputs)
    return arch, oracle.random_theta(arch), x, y, Loss("hinge", 0.5, 40, arch.outputs)


def test_h_equals_torch_func_hessian(case):
    arch, theta, x, y, loss = case
    exact = torch.func.hessian(lambda t: oracle.hinge(oracle.f(arch, t, x), y))(theta)
    assert (hessian(theta, Problem(x, y, arch, loss)).H - exact).abs().max() < ROUNDING * exact.abs().max()


def test_h0_and_hp_equal_their_definitions_by_autograd(case):
    arch, theta, x, y, loss = case
    delta = torch.relu(0.5 - y * oracle.f(arch, theta, x))
    factor = 1 / 40 if arch.outputs == 1 else 2 / (40 * arch.outputs)
    J = torch.func.jacrev(lambda t: torch.relu(0.5 - y * oracle.f(arch, t, x)).flatten())(theta)
    Hp = torch.func.hessian(lambda t: factor * (delta * (0.5 - y * oracle.f(arch, t, x))).sum())(theta)
    ours = hessian(theta, Problem(x, y, arch, loss))
    assert (ours.H0 - factor * J.T @ J).abs().max() < ROUNDING * J.square().max()
    assert (ours.Hp - Hp).abs().max() < ROUNDING * max(1, Hp.abs().max().item())


def test_blocks_of_patterns_and_panels_change_nothing_but_round_off(case, monkeypatch):
    arch, theta, x, y, loss = case
    whole = hessian(theta, Problem(x, y, arch, loss))
    monkeypatch.setattr(jamtools.hessian.assembly, "ASSEMBLY_BLOCK_PATTERNS", 7)
    monkeypatch.setattr(jamtools.hessian.assembly, "H0_PANEL_ROWS", 5)
    parts = hessian(theta, Problem(x, y, arch, loss))
    for name in ("H0", "Hp"):
        a, b = getattr(whole, name), getattr(parts, name)
        assert (a - b).abs().max() <= ROUNDING * max(1, a.abs().max().item())


#: A program that prints the growth of the peak memory from a small Hessian, which loads the libraries, to a large one, and
#: the memory that bytes_needed announces.
PEAK = """
import sys
from pathlib import Path
from jamtools.hessian.assembly import hessian, bytes_needed
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support import oracle
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
def assemble(arch, P):
    hessian(oracle.random_theta(arch), Problem(*oracle.sphere(P, arch.d), arch, Loss("hinge", 0.5, P)))
d, h, L = map(int, sys.argv[1:])
arch = Architecture(d, h, L, "tanh")
assemble(Architecture(4, 5, 2, "tanh"), 2000)
before = peak()
assemble(arch, 6000)
print(peak() - before, bytes_needed(arch))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux's")
@pytest.mark.parametrize("shape", [(20, 80, 1), (26, 26, 3), (300, 8, 2)], ids=str)
def test_the_peak_memory_of_the_hessian_is_three_matrices_and_a_block(shape):
    environment = (
        os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": "1000000",  # own pages for each array, since gaps in the heap vary between runs
        }
    )
    line = [sys.executable, "-c", PEAK, *map(str, shape)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, announced = map(int, done.stdout.split())
    assert announced / 3 < peak < announced


@pytest.mark.parametrize("L", [1, 2, 3])
def test_relu_hp_has_no_same_layer_block_and_no_trace(L):
    arch = Architecture(4, 5, L)
    x, y = oracle.sphere(50, 4)
    Hp = hessian(oracle.random_theta(arch), Problem(x, y, arch, Loss("hinge", 0.5, 50))).Hp
    start = 0
    for out, fan_in in arch.shapes:
        stop = start + out * (fan_in + 1)
        assert (Hp[start:stop, start:stop] == 0).all()
        start = stop
    assert Hp.trace() == 0
    assert Hp.abs().max() > 0


def test_one_hidden_relu_layer_has_a_symmetric_spectrum_with_at_most_h_negative_modes():
    arch = Architecture(5, 6, 1)
    x, y = oracle.sphere(80, 5)
    values = torch.linalg.eigvalsh(
        hessian(oracle.random_theta(arch), Problem(x, y, arch, Loss("hinge", 0.5, 80))).Hp
    )
    assert (values + values.flip(0)).abs().max() < arch.n_parameters * 1e-15 * values.abs().max()
    assert (values < -1e-12 * values.abs().max()).sum() == 6


def test_every_scale_generator_is_a_zero_mode_of_h0_everywhere():
    arch = Architecture(4, 5, 3)
    theta, (x, y) = oracle.random_theta(arch), oracle.sphere(60, 4)
    H0 = hessian(theta, Problem(x, y, arch, Loss("hinge", 0.5, 60))).H0
    moved = H0 @ scale_generators(theta, arch)
    assert moved.abs().max() < arch.n_parameters * 1e-15 * H0.abs().max() * theta.abs().max()


def test_hp_on_a_scale_generator_is_minus_the_transposed_generator_on_the_gradient():
    """Hp A W = -Aᵀ∇L, since along the symmetry the gradient changes by scales alone."""
    arch = Architecture(4, 5, 2)
    theta, (x, y) = oracle.random_theta(arch), oracle.sphere(60, 4)
    Hp = hessian(theta, Problem(x, y, arch, Loss("hinge", 0.5, 60))).Hp
    g = torch.func.grad(lambda t: oracle.hinge(oracle.f(arch, t, x), y))(theta)
    for column in scale_generators(theta, arch).T:
        A = torch.where(theta != 0, column / theta, torch.zeros_like(theta))  # diagonal, entries 0, ±1
        assert torch.allclose(Hp @ column, -A * g, atol=1e-13)


def test_nonzero_eigenvalues_of_h0_are_those_of_the_gram_matrix():
    arch = Architecture(6, 6, 2)
    theta, (x, y) = oracle.random_theta(arch), oracle.sphere(30, 6)
    H0 = hessian(theta, Problem(x, y, arch, Loss("hinge", 0.5, 30))).H0
    J = torch.func.jacrev(lambda t: torch.relu(0.5 - y * oracle.f(arch, t, x))[:, 0])(theta)
    gram = torch.linalg.eigvalsh(J @ J.T / 30)
    assert torch.allclose(
        torch.linalg.eigvalsh(H0)[-30:], gram, atol=1e-14 * arch.n_parameters * gram.max().item()
    )


def test_a_satisfied_network_has_a_vanishing_hessian():
    arch = Architecture(3, 4, 2)
    theta, (x, _) = oracle.random_theta(arch), oracle.sphere(10, 3)
    y = torch.sign(forward(layers_of(theta, arch), x, arch).f)
    parts = hessian(theta, Problem(x, y, arch, Loss("hinge", 1e-9, 10)))
    assert parts.H0.abs().max() == 0
    assert parts.Hp.abs().max() == 0


def test_the_hessian_of_cross_entropy_is_refused():
    arch = Architecture(3, 4, 1)
    x, y = oracle.sphere(10, 3)
    with pytest.raises(InputError, match="hinge loss"):
        hessian(oracle.random_theta(arch), Problem(x, y, arch, Loss("cross-entropy", 0.0, 10)))
