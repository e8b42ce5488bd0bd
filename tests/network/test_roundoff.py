"""Bounds of the round-off against a calculation in twice the precision."""

from __future__ import annotations

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.network.roundoff import gap_errors, loss_error
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
