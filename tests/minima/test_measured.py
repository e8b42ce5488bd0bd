"""Bounds of round-off: single precision stays within them, and they are not much wider."""

from __future__ import annotations

import pytest
import torch

from jamtools.minima.measured import Measured
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem

SINGLE = float(torch.finfo(torch.float32).eps)

#: A bound of the worst case over this many roundings is at most so many times what happens.
WIDEST = 1e4


def plain(theta, x, y, arch, epsilon):
    """Δ [P], L and ‖∇L‖ by autograd, in the precision of theta [Ñ]."""
    theta = theta.clone().requires_grad_()
    a, start = x, 0
    for j, (out, fan_in) in enumerate(arch.shapes):
        weight = theta[start : start + out * fan_in].view(out, fan_in)
        bias = theta[start + out * fan_in : start + out * (fan_in + 1)]
        start += out * (fan_in + 1)
        a = a @ weight.T + bias
        if j < arch.depth:
            a = torch.relu(a) if arch.activation == "relu" else torch.tanh(a)
    gaps = epsilon - y * a[:, 0]
    loss = 0.5 * gaps.clamp(min=0).square().mean()
    (gradient,) = torch.autograd.grad(loss, theta)
    return gaps.detach().double(), float(loss.detach()), float(gradient.double().norm())


def random_network(activation, depth, seed, P=60):
    generator = torch.Generator().manual_seed(seed)
    arch = Architecture(4, 5, depth, activation)
    theta = torch.randn(arch.n_parameters, generator=generator).double()  # a number of single precision
    x = torch.randn(P, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(P, generator=generator).sign().double()
    return theta, Problem(x, y, arch, Loss("hinge", 0.5, P))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_single_precision_stays_within_the_bounds_and_they_are_not_much_wider(activation, depth, seed):
    theta, problem = random_network(activation, depth, seed)
    measured = Measured(theta, problem, SINGLE)
    y = problem.y[:, 0]
    gaps, loss, norm = plain(theta.float(), problem.x.float(), y.float(), problem.arch, problem.loss.epsilon)
    off = (gaps - measured.evaluation.gaps[:, 0]).abs()
    assert bool((off <= measured.errors[:, 0]).all())
    assert float(measured.errors.max()) <= WIDEST * float(off.max())
    assert abs(loss - measured.evaluation.value) <= measured.loss_error <= WIDEST * SINGLE * loss
    assert abs(norm - measured.gradient_norm) <= measured.gradient_error
    assert measured.subgradient_error <= WIDEST * SINGLE * norm
    counts = measured.unsatisfied.number
    assert counts.low <= int((gaps > 1e-10 * 0.5).sum()) <= counts.high


def test_the_gradient_of_a_cusp_is_unknown_by_its_kink_and_its_pattern_may_be_dead():
    """f = ρ(0.1 x - 0.3) + 0 at x = 3, where 0.1 · 3 - 0.3 is 5e-17: the gradient is that of f = z, or of f = 0."""
    theta = torch.tensor([0.1, -0.3, 1.0, 0.0], dtype=torch.float64)
    x, y = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    measured = Measured(theta, Problem(x, y, Architecture(1, 1, 1), Loss("hinge", 0.5, 1)), 2**-52)
    on, off = 0.5 * (3**2 + 1 + 1) ** 0.5, 0.5  # |∂L/∂f| = ε = ½; the last entry is that of the output's bias
    assert measured.gradient_norm == pytest.approx(on)
    assert on - off <= measured.gradient_error < 2 * on
    assert measured.subgradient_error < 1e-14
    assert measured.silent.any(0).number == (0, 1)
    assert measured.dead_by_layer.any(0).number == (0, 1)


def test_a_pattern_far_from_every_sign_change_has_one_count():
    theta, problem = random_network("relu", 2, 0)
    measured = Measured(theta, problem, 2**-52)
    f = 0.5 - measured.evaluation.gaps[:, 0]
    assert float(f.abs().min()) > 1e-10
    wrong = int((f < 0).sum())
    assert measured.misclassified.number == (wrong, wrong)
    assert measured.contacts.number == (0, 0)


def test_a_contact_within_round_off_of_its_limit_may_be_one_or_not():
    """Δ = ½ - f with f = b, the bias of the output: |Δ| is 1e-10 ε up to the last bit of f."""
    contact = 1e-10 * 0.5
    for distance, expected in ((0.5, (1, 1)), (1.0, (0, 1)), (2.0, (0, 0))):
        theta = torch.tensor([0.0, 0.0, 0.0, 0.5 - distance * contact], dtype=torch.float64)
        x, y = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        measured = Measured(theta, Problem(x, y, Architecture(1, 1, 1), Loss("hinge", 0.5, 1)), 2**-52)
        assert measured.contacts.number == expected
