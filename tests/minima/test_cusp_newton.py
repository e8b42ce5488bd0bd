"""Newton's method on the cusps: it returns to a minimum or a saddle, and does not arrive from far away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.minima.cusp_newton import polish
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support.jammed import ARCH, jammed, problem_of


@pytest.mark.parametrize("size", [1e-7, 1e-6])
def test_polish_returns_to_the_minimum_from_a_displaced_theta(size):
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta)
    kick = torch.from_numpy(np.random.default_rng(1).standard_normal(len(theta)))
    polished = polish(theta + size * kick, problem)
    assert polished is not None and polished.downward is None
    value, before = (problem.value_and_gradient(t)[0] for t in (polished.theta, theta))
    assert value == pytest.approx(before, rel=1e-12)


def test_polish_gives_the_downward_direction_of_a_smooth_saddle():
    """At W = 0 one tanh neuron is constant. This is a saddle: weights fit labels of mean zero better."""
    arch = Architecture(1, 1, 1, "tanh")
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    y = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    theta = torch.zeros(4, dtype=torch.float64)
    polished = polish(theta, Problem(x, y, arch, Loss("hinge", 0.5, 2)))
    assert polished is not None and polished.downward is not None
    w, b, a, c = polished.downward.tolist()  # L = ⅛(1 - 2 a tanh w)² to this order: lower where a w > 0
    assert w * a > 0 and abs(b) < 1e-12 and abs(c) < 1e-12


def test_polish_returns_none_far_from_any_minimum():
    data = random_sphere(170, 4, 0)
    theta = torch.from_numpy(initial_parameters(ARCH, "torch", 0))
    assert polish(theta, problem_of(data, ARCH)) is None
