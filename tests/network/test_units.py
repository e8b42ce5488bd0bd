"""Units of a problem: its loss and its gaps in them, and the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.network.units import Units
from tests.support.jammed import small_problem


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("scale", "epsilon"), [(1.0, 0.5), (1e10, 1e-30), (3e-7, 1e30), (1e-150, 2.0)])
def test_the_loss_and_the_gaps_are_those_of_the_problem_in_its_units(activation, scale, epsilon):
    theta, problem = small_problem(activation, 12)
    problem = replace(problem, x=problem.x * scale, loss=replace(problem.loss, epsilon=epsilon))
    units = Units.of(problem)
    inside = units.problem(problem)
    assert inside.loss.epsilon == 0.5
    assert float(inside.x.square().mean()) == pytest.approx(1.0, rel=1e-5)
    outside = units.outside(theta)
    assert problem.value(outside) == pytest.approx(units.margin_scale**2 * inside.value(theta), rel=1e-12)
    f, f_inside = problem.forward(outside).f, inside.forward(theta).f
    assert torch.allclose(f / units.margin_scale, f_inside, rtol=1e-12, atol=1e-14)
    assert torch.allclose(units.inside(outside), theta, rtol=1e-15)


def test_patterns_on_the_unit_sphere_with_the_default_margin_keep_every_bit():
    theta, problem = small_problem("relu", 12)
    units = Units.of(problem)
    assert units.problem(problem).x is not problem.x
    assert torch.equal(units.problem(problem).x, problem.x)
    assert torch.equal(units.inside(theta), theta) and torch.equal(units.outside(theta), theta)


def test_inputs_that_are_all_zero_keep_their_scale():
    _, problem = small_problem("relu", 12)
    assert Units.of(replace(problem, x=torch.zeros_like(problem.x))).input_scale == 1.0
    assert np.isfinite(Units.of(replace(problem, x=torch.full_like(problem.x, 1e200))).input_scale)
