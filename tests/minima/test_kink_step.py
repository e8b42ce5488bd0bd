"""The convex problem of a step against the loss itself: the same slope, and the patterns and kinks that a step changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.minima.kink_model import KinkModel, Kinks, Surface
from jamtools.minima.kink_step import StepProblem
from tests.support.jammed import small_problem


def step_problem(activation, depth, norm, dead=False, reach=1e-3, damping=1.0):
    theta, problem = small_problem(activation, 30, depth=depth, seed=depth)
    problem = replace(problem, arch=replace(problem.arch, norm=norm))
    if dead:  # three patterns that the first layer does not pass on, of both labels
        weight = KinkModel(theta, problem, Kinks.none(theta)).layers[0][0]
        x, y = problem.x.clone(), problem.y.clone()
        for n, mu in enumerate((2, 5, 11)):
            x[mu], y[mu] = -(8.0 + n) * torch.linalg.pinv(weight).sum(1), (-1.0) ** n
        problem = replace(problem, x=x, y=y)
    theta = Surface(norm).onto(theta, problem)
    model = KinkModel(theta, problem, Kinks.none(theta))
    return StepProblem(model, model.gaps.clamp(min=0), damping, reach, 1.0)


@pytest.mark.parametrize(
    ("activation", "depth", "dead"),
    [("tanh", 2, False), ("relu", 1, False), ("relu", 3, False), ("relu", 2, True)],
)
@pytest.mark.parametrize("norm", [None, 3.0])
def test_the_slope_of_the_problem_is_that_of_the_loss(activation, depth, dead, norm):
    """Also where patterns that a layer does not pass on share their kinks: the reach takes many kinks into the problem."""
    step = step_problem(activation, depth, norm, dead, reach=3.0 if dead else 0.3)
    model, solved = step.model, step.solve()
    assert solved is not None
    if dead:
        assert bool(model.common(solved.at).any()), "no common kink is in the problem: choose another seed"
    rng = np.random.default_rng(0)
    for _ in range(4):
        v = model.project(torch.from_numpy(rng.standard_normal((1, len(model.theta)))))[0]
        h = 1e-7
        points = [model.surface.onto(model.theta + sign * h * v, model.problem) for sign in (1, -1)]
        slope = (model.value(points[0]) - model.value(points[1])) / (2 * h)
        values = [solved.function.value(sign * h * v / step.unit) for sign in (1, -1)]
        assert step.unit**2 * (values[0] - values[1]) / (2 * h) == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("activation", "depth"), [("tanh", 2), ("relu", 2), ("relu", 3)])
def test_a_step_changes_no_pattern_and_no_convex_kink_outside_its_problem(activation, depth):
    """To first order. The problem has as many rounds as it needs."""
    step = step_problem(activation, depth, 3.0, damping=0.1)
    model, solved = step.model, step.solve()
    assert solved is not None and solved.predicted > 0
    changes = model.tangent(solved.step)
    flips = (model.gaps - model.problem.y[:, 0] * changes[-1][:, 0] > 0) != model.active
    assert set(flips.nonzero()[:, 0].tolist()) <= set(solved.patterns.tolist())
    inside = {tuple(kink) for kink in solved.at.tolist()}
    for j, (z, change, e) in enumerate(zip(model.z, changes, model.forces, strict=False)):
        crossed = ((z + change > 0) != (z > 0)) & (e > 0) & (model.active | flips)[:, None]
        if activation == "relu":
            assert {(j, *place) for place in crossed.nonzero().tolist()} <= inside


def test_a_corrected_step_brings_its_kinks_nearer_to_zero():
    """In the second layer z is bilinear: zero to first order after the step, and to second order after its correction."""
    step = step_problem("relu", 2, 3.0, reach=0.3, damping=3.0)
    model, solved = step.model, step.solve()
    assert solved is not None
    reached = model.surface.onto(model.theta + solved.step, model.problem)
    corrected = step.corrected(solved, reached)
    assert corrected is not None
    both = solved.minimiser.at_kink & corrected.minimiser.at_kink
    at = solved.at[both]
    at = at[at[:, 0] == 1]
    assert len(at), "no kink of the second layer is held: choose another seed"
    sizes = []
    for one in (solved, corrected):
        z = model.problem.forward(model.surface.onto(model.theta + one.step, model.problem)).z[:-1]
        sizes.append(float(model.pick(z, at).abs().max()))
    assert sizes[1] < 0.5 * sizes[0]


def test_dead_patterns_alone_have_no_step():
    """Without biases a pattern that a layer does not pass on has no gradient at all."""
    theta, problem = small_problem("relu", 6, depth=1, seed=0)
    arch = replace(problem.arch, bias=False)
    x = -torch.ones(6, arch.d, dtype=theta.dtype)
    problem = replace(problem, x=x, arch=arch)
    theta = torch.ones(arch.n_parameters, dtype=theta.dtype)
    model = KinkModel(theta, problem, Kinks.none(theta))
    assert StepProblem(model, model.gaps.clamp(min=0), 1.0, 1e-3, 1.0).solve() is None
