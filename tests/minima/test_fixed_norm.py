"""Minima on the sphere of fixed norm: what newton certifies is a minimum by other means, and tampering is seen."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.cusps.counting import ACTIVE_CUSP_TOLERANCE
from jamtools.cusps.subgradient import smallest_subgradient
from jamtools.data.sphere import random_gaussian, random_sphere
from jamtools.minima.certificate import certify
from jamtools.minima.first_order import BalancedPoint
from jamtools.minima.verification import verify
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Job

CASES = [("tanh", 1), ("tanh", 3), ("relu", 1), ("relu", 2)]


@functools.cache
def minimum(activation, depth):
    """A certified run with L > 0 at two times the initial norm, and its patterns."""
    for seed in range(6):
        arch = Architecture(3, 4, depth, activation)
        data = random_sphere(4 * arch.n_effective, 3, seed)
        run = train(data, arch, with_options(TrainingOptions(), optimizer="newton", norm="2x"), seed)
        if run.info["certified"] and run.info["final_loss"] > 0:
            return run, data
    raise AssertionError("no certified run of six seeds")


def loss(theta, problem):
    """L of free weights, as torch differentiates it."""
    return problem.loss.value(problem.forward(theta).f, problem.y)


@pytest.mark.parametrize(("activation", "depth"), CASES)
def test_no_point_of_the_sphere_nearby_has_a_lower_loss(activation, depth):
    run, data = minimum(activation, depth)
    problem, R = Problem.of(run, data), run.info["norm"]
    theta, rng = torch.from_numpy(run.theta), np.random.default_rng(0)
    assert pytest.approx(np.linalg.norm(run.theta0), rel=1e-12) == R
    assert float(theta.norm()) == pytest.approx(R, rel=1e-14)
    radius, lowest = run.info["certificate"]["radius"], run.info["final_loss"]
    for size in (0.01 * radius, 0.1 * radius, radius):
        for _ in range(200):
            kick = torch.from_numpy(rng.standard_normal(len(theta)))
            point = theta + size * R * kick / kick.norm()
            assert problem.value(point * (R / point.norm())) >= lowest * (1 - 1e-12)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_tanh_minimum_is_one_by_automatic_differentiation(depth):
    """∇L = -μ W, and every eigenvalue of the Hessian of L(R u/|u|) is positive but for that along W."""
    run, data = minimum("tanh", depth)
    problem, theta, R = Problem.of(run, data), torch.from_numpy(run.theta), run.info["norm"]
    g = torch.func.grad(loss)(theta, problem)
    mu = -float(theta @ g) / R**2
    assert run.info["certificate"]["norm_multiplier"] == pytest.approx(mu, rel=1e-9)
    assert float((g + mu * theta).norm()) <= 1e-12
    H = torch.func.hessian(lambda u: loss(u * (R / u.norm()), problem))(theta)
    values = torch.linalg.eigvalsh(H)
    assert abs(float(values[0])) < 1e-12 * float(values[-1]) < float(values[1])


@pytest.mark.parametrize("depth", [1, 2])
def test_neurons_are_balanced_at_a_minimum_of_relu(depth):
    """‖in‖ = ‖out‖ of each neuron, where μ > 0."""
    run, _ = minimum("relu", depth)
    arch, theta = Architecture.of(run.info), torch.from_numpy(run.theta)
    assert run.info["certificate"]["norm_multiplier"] > 1e-6
    start, weights = 0, []
    for out, fan_in in arch.shapes:
        both = theta[start : start + out * (fan_in + 1)]
        weights.append((both[: out * fan_in].view(out, fan_in), both[out * fan_in :]))
        start += len(both)
    for (weight, bias), (above, _) in itertools.pairwise(weights):
        into = weight.square().sum(1) + bias.square()
        out = above.square().sum(0)
        assert torch.allclose(into, out, rtol=1e-6, atol=1e-9)


def test_a_point_beside_a_minimum_and_a_saddle_are_refused():
    run, data = minimum("tanh", 3)
    problem, theta = Problem.of(run, data), torch.from_numpy(run.theta)
    kick = torch.from_numpy(np.random.default_rng(1).standard_normal(len(theta)))
    beside = problem.onto(theta + 1e-6 * kick)
    assert not certify(beside, problem).certified
    # the network whose weights vanish but for the output bias: f is constant, and any weight may lower L
    saddle = torch.zeros_like(theta)
    saddle[-1] = run.info["norm"]
    assert not certify(saddle, problem).certified


@pytest.mark.parametrize(("activation", "depth"), [("tanh", 3), ("relu", 2)])
def test_verify_accepts_the_run_and_refuses_a_tampered_one(activation, depth):
    run, data = minimum(activation, depth)
    assert verify(run, data).holds
    for change in (
        {"norm": run.info["norm"] * (1 + 1e-6)},
        {"norm": None},
        {"n_effective_expected": run.info["n_effective_expected"] + 1},
        {"settings": run.info["settings"] | {"norm": "3x"}},
        {"settings": run.info["settings"] | {"norm": "much"}},
        {
            "certificate": run.info["certificate"]
            | {"norm_multiplier": 2 * run.info["certificate"]["norm_multiplier"]}
        },
    ):
        assert not verify(replace(run, info=run.info | change), data).holds, change
    scaled = replace(run, theta=run.theta * (1 + 1e-9))
    assert not verify(scaled, data).holds


def test_kinks_of_patterns_that_are_dead_in_one_layer_are_one_kink():
    """Above the dead layer they have the same z. With both labels their forces have both signs: only the sum decides."""
    data = random_sphere(50, 3, 2)
    start = train(data, Architecture(3, 3, 2), with_options(TrainingOptions(), norm="4", steps=10), 2)
    settings = with_options(TrainingOptions(), optimizer="newton", norm="4").resolve(50)
    (run,) = train_many([Job(data, Architecture.of(start.info), 2, settings, start=start)])
    assert run.info["n_dead"] > 0 and run.info["certified"]
    problem, theta = Problem.of(run, data), torch.from_numpy(run.theta)
    point = BalancedPoint.of(theta, problem)
    cusps = point.cusps(ACTIVE_CUSP_TOLERANCE)
    own = cusps.own_forces(torch.from_numpy(smallest_subgradient(cusps).multipliers))
    assert bool((own < -1e-6).any()), "no force of a single pattern is concave: choose another run"
    rng, lowest, R = np.random.default_rng(0), run.info["final_loss"], run.info["norm"]
    for size in np.geomspace(1e-9, run.info["certificate"]["radius"], 4):
        for _ in range(300):
            kick = torch.from_numpy(rng.standard_normal(len(theta)))
            point = theta + size * R * kick / kick.norm()
            assert problem.value(point * (R / point.norm())) >= lowest * (1 - 1e-12)


def test_a_satisfied_run_stays_on_the_sphere():
    data = random_sphere(10, 3, 0)
    run = train(
        data, Architecture(3, 5, 2, "tanh"), with_options(TrainingOptions(), optimizer="newton", norm="3x"), 0
    )
    assert run.info["status"] == "satisfied" and run.info["certified"]
    assert np.linalg.norm(run.theta) == pytest.approx(run.info["norm"], rel=1e-14)
    assert verify(run, data).holds


@pytest.mark.parametrize("seed", range(3))
def test_patterns_that_only_a_larger_norm_satisfies_end_at_the_minimum_of_the_sphere(seed):
    """40 separable patterns in 30 dimensions, at a margin too large for ‖W‖ = 1. L is convex: with ∇L = -μ W, μ > 0, the
    minimum is that of the ball as well, and there is no other one.
    """
    data = random_gaussian(40, 30, 0)
    arch = Architecture(30, 30, 0, "linear", norm=1.0, bias=False)
    settings = with_options(TrainingOptions(), optimizer="newton", norm="1", epsilon=0.6)
    run = train(data, arch, settings, seed)
    rows = data.x * data.y[:, None]
    gradient = -np.clip(0.6 - rows @ run.theta, 0, None) @ rows / 40
    mu = -run.theta @ gradient
    assert run.info["certified"] and run.n_unsatisfied > 0
    assert mu > 0 and np.linalg.norm(gradient + mu * run.theta) < 1e-12
