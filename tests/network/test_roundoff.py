"""Bounds of the round-off against a calculation in twice the precision."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.network.roundoff import EXTENDED_EPS, extended_gaps, gap_errors, loss_error
from tests.support import oracle


def test_round_off_stays_within_its_bounds():
    """f in float32, with the bounds of float32, is compared with f in float64."""
    arch = Architecture(6, 8, 4)
    theta, (x, y) = oracle.random_theta(arch).float(), oracle.sphere(200, 6)
    x, loss = x.float(), Loss("hinge", 0.5, 200)
    rough, exact = (
        loss.gaps(forward(layers_of(t, arch), some, arch).f, y.to(t))
        for t, some in ((theta, x), (theta.double(), x.double()))
    )
    errors = gap_errors(theta, Problem(x, y.float(), arch, loss))
    assert (rough != exact).any() and ((rough - exact).abs() <= errors).all()
    values = [float(0.5 / 200 * gaps.clamp(min=0).square().sum()) for gaps in (rough, exact)]
    assert 0 < abs(values[0] - values[1]) <= loss_error(rough, errors, loss)


def exact_f(arch: Architecture, theta: torch.Tensor, x: torch.Tensor) -> Fraction:
    """f of one pattern [d] of a ReLU network, in fractions."""
    a = [Fraction(v) for v in x.tolist()]
    for j, (weight, bias) in enumerate(layers_of(theta, arch)):
        a = a if j == 0 else [max(v, Fraction(0)) for v in a]
        rows = zip(weight.tolist(), bias.tolist(), strict=True)
        a = [sum((Fraction(w) * v for w, v in zip(row, a)), Fraction(b)) for row, b in rows]
    return a[0]


@pytest.mark.skipif(EXTENDED_EPS > 1e-18, reason="numpy has no numbers longer than float64 here")
@pytest.mark.parametrize("bias", [True, False])
def test_small_gaps_have_the_digits_of_longer_numbers(bias):
    """Δ is 1e-13 of f: double precision leaves three digits, and longer numbers leave six."""
    arch = Architecture(4, 5, 3, bias=bias)
    theta, (x, y) = oracle.random_theta(arch), oracle.sphere(40, 4)
    f = [exact_f(arch, theta, pattern) for pattern in x]
    chosen = max(range(40), key=lambda i: abs(f[i]))
    label, margin = (1.0 if f[chosen] > 0 else -1.0), float(abs(f[chosen])) * (1 + 1e-13)
    problem = Problem(x[chosen : chosen + 1], y.new_full((1, 1), label), arch, Loss("hinge", margin, 1))
    exact = float(Fraction(margin) - abs(f[chosen]))
    found = float(extended_gaps(theta, problem))
    assert found == pytest.approx(exact, rel=1e-5)
    assert abs(found - exact) <= float(gap_errors(theta, problem, EXTENDED_EPS)) + 1e-16 * abs(exact)


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("depth", [0, 2])
def test_gaps_in_longer_numbers_are_the_gaps(activation, outputs, depth):
    arch = Architecture(4, 5, depth, activation, outputs)
    theta, (x, y) = oracle.random_theta(arch), oracle.sphere(30, 4, outputs=outputs)
    problem = Problem(x, y, arch, Loss("hinge", 0.5, 30, outputs))
    found, expected = extended_gaps(theta, problem), problem.loss.gaps(oracle.f(arch, theta, x), y)
    assert ((found - expected).abs() <= gap_errors(theta, problem)).all()
