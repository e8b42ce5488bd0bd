"""First order at a point on cusps: the balanced point, the conditions and the idle cusps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jamtools.minima.first_order import BalancedPoint, FirstOrder, cusp_places, gradient_scale, idle
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.network.symmetry import balanced
from tests.support import oracle
from tests.support.curvature import TIGHT, cusps_of, planted
from tests.support.one_neuron import column, minimum


def first_order(multiplier: float) -> FirstOrder:
    """The conditions at the minimum of one neuron, with a given multiplier; the right one is ½."""
    point = BalancedPoint.of(*minimum())
    return FirstOrder(point, point.cusps(TIGHT), torch.tensor([multiplier], dtype=torch.float64))


def test_a_balanced_point_has_the_loss_of_the_point_in_its_own_units():
    theta, problem = planted(2)
    for factor in (1.0, 1e-9):
        scaled = theta.clone()
        scaled[-6:] *= factor  # the output layer
        loss = replace(problem.loss, epsilon=factor * problem.loss.epsilon)
        point = BalancedPoint.of(scaled, replace(problem, loss=loss))
        assert 0.5 <= point.problem.loss.epsilon < 1
        assert point.value == pytest.approx(factor**2 * problem.value(theta), rel=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_displacement_of_the_given_network_is_stretched_by_no_more_than_the_point_says(activation):
    """The images of unit vectors along the parameters bound that of every displacement, since the map is diagonal."""
    arch = Architecture(3, 4, 2, activation)
    x, y = oracle.sphere(20, 3)
    theta, x = oracle.random_theta(arch), x * torch.tensor([1e-4, 1.0, 50.0], dtype=torch.float64)
    point = BalancedPoint.of(theta, Problem(x, y, arch, Loss("hinge", 37.0, 20)), even=True)
    given, _ = balanced(theta, arch)
    moved = (point.theta / given).abs()
    assert (theta != 0).all() and (moved.max() / moved.min()) > 1e3
    assert point.stretch == pytest.approx(float(moved.max() * given.norm() / point.theta.norm()), rel=1e-12)


def test_the_first_order_conditions_hold_only_with_the_multiplier_found_by_hand():
    assert first_order(0.5).obstacle is None
    assert "the smallest subgradient is" in (first_order(0.4).obstacle or "")


def test_a_negative_force_is_reported_as_a_concave_cusp():
    theta, problem = minimum()
    turned = replace(problem, y=torch.cat([-problem.y[:1], problem.y[1:]]))
    point = BalancedPoint.of(theta, turned)
    conditions = FirstOrder(point, point.cusps(TIGHT), column(0.5)[:, 0])
    assert (conditions.obstacle or "").startswith("1 concave cusp, the largest force -")


def test_places_of_cusps_are_patterns_layers_from_1_and_neurons():
    cusps = cusps_of(*planted(2))
    expected = {(0, 1, 0), (0, 2, 0), (1, 1, 2), (1, 1, 3), (3, 1, 1), (4, 2, 1)}
    assert set(map(tuple, cusp_places(cusps).tolist())) == expected


def test_a_cusp_below_a_layer_that_is_off_is_idle():
    theta = column(1, 0, 1, -0.5, 1, 0)[:, 0]
    problem = Problem(column(0, 1), column(1, 1), Architecture(1, 1, 2), Loss("hinge", 3.0, 2))
    assert idle(cusps_of(theta, problem)).tolist() == [True]
    assert not idle(cusps_of(*minimum())).any()


def test_the_scale_of_the_gradient_is_that_of_orthogonal_terms():
    theta, problem = planted(2)
    cusps = cusps_of(theta, problem)
    rows = [problem.take(torch.tensor([µ])).value_and_gradient(theta)[1] for µ in range(40)]
    expected = torch.stack(rows).square().sum().sqrt()
    assert gradient_scale(cusps, cusps.signs) == pytest.approx(float(expected), rel=1e-12)
