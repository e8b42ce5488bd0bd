"""Newton's method with the kinks in its model, on losses whose minima are known by other means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from jamtools.data.sphere import random_sphere
from jamtools.minima.kink_model import Kinks
from jamtools.minima.kink_newton import KinkNewton, Outlook
from jamtools.minima.kkt_newton import stationary_point
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support.jammed import ARCH, jammed, problem_of


def problem_and_start(activation, depth, P, seed, d=4, h=4):
    data, arch = random_sphere(P, d, seed), Architecture(d, h, depth, activation)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    theta = torch.from_numpy(initial_parameters(arch, "orthogonal", seed))
    return Problem(x, y, arch, Loss("hinge", 0.5, P)), theta


def descend(newton, steps=60):
    """Steps until they predict nothing, or fail twice; the losses on the way."""
    values = [newton.problem.value(newton.theta)]
    for _ in range(steps):
        newton.iterate()
        values.append(newton.problem.value(newton.theta))
        if newton.predicted < 1e-9 or newton.failures > 2 or values[-1] == 0:
            break
    return values


def at_norm(problem, norm):
    """The problem on the sphere ‖W‖ = norm."""
    return replace(problem, arch=replace(problem.arch, norm=norm))


def active(problem, theta):
    return problem.loss.gaps(problem.forward(theta).f, problem.y)[:, 0] > 0


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("norm", [None, 4.0])
def test_no_step_raises_the_loss_and_the_norm_is_kept(activation, norm):
    problem, theta = problem_and_start(activation, 2, 120, 0)
    newton = KinkNewton(theta, at_norm(problem, norm))
    values = descend(newton, 25)
    assert (np.diff(values) <= 0).all() and values[-1] < 0.9 * values[0]
    if norm:
        assert float(newton.theta.norm()) == pytest.approx(norm, rel=1e-12)


def test_a_certified_minimum_is_found_again_from_a_point_beside_it():
    """The kinks and the patterns at the minimum are found, and Newton's method on them returns to it."""
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta.copy())
    kick = torch.from_numpy(np.random.default_rng(0).standard_normal(len(theta)))
    newton = KinkNewton(theta + 1e-5 * kick, problem)
    descend(newton)
    found = stationary_point(newton.theta, problem, newton.held, active(problem, newton.theta))
    assert found is not None and found.admissible and found.curvature >= 0
    assert problem.value(found.theta) == pytest.approx(run.info["final_loss"], rel=1e-12)
    assert len(found.held.at) == run.info["certificate"]["n_cusps"]
    cusps = run.certificate["cusps"]  # pattern, layer from 1, neuron
    assert {(p, j - 1, n) for p, j, n in cusps.tolist()} == {(p, j, n) for j, p, n in found.held.at.tolist()}


@pytest.mark.parametrize(("activation", "P"), [("tanh", 120), ("relu", 110)])
def test_the_end_at_fixed_norm_is_a_stationary_point_of_the_sphere(activation, P):
    """No point of 300 near it on the sphere has a lower loss."""
    for seed in range(4):
        problem, theta = problem_and_start(activation, 2, P, seed)
        problem = at_norm(problem, 5.0)
        newton = KinkNewton(theta, problem)
        descend(newton, 150)
        found = stationary_point(newton.theta, problem, newton.held, active(problem, newton.theta))
        if found is not None and found.admissible and found.curvature >= 0 and problem.value(found.theta) > 0:
            break
    else:
        raise AssertionError("no seed of four ended at a minimum")
    rng, lowest = np.random.default_rng(1), problem.value(found.theta)
    for size in (1e-6, 1e-5, 1e-4):
        for _ in range(100):
            kick = torch.from_numpy(rng.standard_normal(len(theta)))
            point = found.theta + size * kick
            assert problem.value(point * (5.0 / point.norm())) >= lowest * (1 - 1e-12)


def test_the_minimum_of_one_hidden_layer_of_fixed_signs_is_that_of_its_convex_problem():
    """One ReLU that is on at all patterns, with its outgoing weight fixed by the sphere: f is affine there.

    The kinks of z are far away, so that steps are those on a convex function; scipy finds its minimum.
    """
    from scipy.optimize import minimize

    data = random_sphere(60, 3, 2)
    arch = Architecture(3, 1, 1)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    problem = Problem(x, y, arch, Loss("hinge", 0.5, 60))
    theta = torch.tensor([0.1, 0.0, 0.0, 9.0, 1.0, -9.0], dtype=torch.float64)
    newton = KinkNewton(theta.clone(), problem)
    descend(newton)

    def loss(v):
        gaps = np.maximum(0.5 - data.y * (data.x @ v[:3] + v[3]), 0)
        slope = -data.y * gaps / 60
        return 0.5 * np.mean(gaps**2), np.append(data.x.T @ slope, slope.sum())

    best = minimize(loss, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-12})
    assert problem.value(newton.theta) == pytest.approx(best.fun, rel=1e-9)


def test_an_outlook_takes_the_step_of_a_lower_margin_at_once():
    """After ε falls by half the mean Δ, one step with the old active patterns in it comes within 1% of the next minimum."""
    problem, theta = problem_and_start("tanh", 2, 120, 1)
    problem = at_norm(problem, 5.0)
    newton = KinkNewton(theta, problem)
    descend(newton, 150)
    found = stationary_point(newton.theta, problem, newton.held, active(problem, newton.theta))
    assert found is not None and found.admissible
    theta = found.theta
    gaps = problem.loss.gaps(problem.forward(theta).f, problem.y)[:, 0].clamp(min=0)
    shift = 0.02 * float(gaps.square().sum() / gaps.sum())
    lower = replace(problem, loss=replace(problem.loss, epsilon=problem.loss.epsilon - shift))
    newton = KinkNewton(theta.clone(), lower)
    newton.damping = 0.0
    newton.iterate(Outlook(0.98 * gaps))
    after = lower.value(newton.theta)
    descend(newton, 50)
    assert lower.value(newton.theta) <= after <= 1.01 * lower.value(newton.theta)


def test_the_state_continues_to_the_same_bytes():
    problem, theta = problem_and_start("relu", 2, 120, 4)
    problem = at_norm(problem, 5.0)
    newton = KinkNewton(theta, problem)
    for _ in range(6):
        newton.iterate()
    again = KinkNewton(newton.theta.clone(), problem)
    again.theta.copy_(newton.theta)
    again.restore(newton.state())
    for one in (newton, again):
        for _ in range(4):
            one.iterate()
    assert torch.equal(newton.theta, again.theta)


def test_kinks_that_are_not_there_lead_to_no_stationary_point():
    """A pre-activation far from zero is held: Newton's step to it is long, or its multiplier is not admissible."""
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta.copy())
    far = problem.forward(theta).z[0].abs().argmax()
    at = torch.tensor([[0, int(far) // 4, int(far) % 4]])
    held = Kinks(at, torch.full((1,), 0.5, dtype=torch.float64))
    found = stationary_point(theta, problem, held, active(problem, theta))
    assert found is None or not found.admissible


@pytest.mark.parametrize("bias", [True, False])
def test_a_network_without_hidden_layers_goes_to_the_minimum_of_its_convex_loss(bias):
    data, arch = random_sphere(60, 5, 1), Architecture(5, 5, 0, bias=bias)
    problem = Problem(torch.from_numpy(data.x), torch.from_numpy(data.y), arch, Loss("hinge", 0.5, 60))
    newton = KinkNewton(torch.from_numpy(initial_parameters(arch, "orthogonal", 0)), problem)
    descend(newton)
    rows = np.c_[data.x, np.ones(60)] if bias else data.x

    def loss(w):
        return 0.5 * np.mean(np.clip(0.5 - data.y * (rows @ w), 0, None) ** 2)

    # L is quadratic near its minimum, where BFGS ends within some 1e-8
    assert problem.value(newton.theta) == pytest.approx(minimize(loss, np.zeros(rows.shape[1])).fun, rel=1e-9)


def test_patterns_without_any_gradient_give_no_step():
    """f = ρ(w x) without biases: x = -1 is dead and unsatisfied, x = 1 is satisfied."""
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    arch = Architecture(1, 1, 1, bias=False)
    problem = Problem(x, torch.ones(2, 1, dtype=torch.float64), arch, Loss("hinge", 0.5, 2))
    newton = KinkNewton(torch.ones(2, dtype=torch.float64), problem)
    assert not newton.iterate() and newton.theta.tolist() == [1.0, 1.0]
