"""The torch engine: when it stops, and how often it evaluates all patterns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.engines.optimizers import SGD
from jamtools.engines.torch_engine import TorchEngine
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from tests.support import oracle

P = 40


def engine(epsilon=0.5, **options):
    """Gradient descent on P patterns; a negative ε makes all of them satisfied."""
    arch = Architecture(5, 6, 2)
    x, y = oracle.sphere(P, 5)
    settings = with_options(TrainingOptions(), optimizer="sgd", lr=1e-3, **options).resolve(P)
    theta = oracle.random_theta(arch)
    problem = Problem(x, y, arch, Loss("hinge", epsilon, P))
    return TorchEngine(problem, theta, SGD(theta), settings, np.random.default_rng(0))


@pytest.mark.parametrize("batch", [0, 8])
def test_the_torch_engine_stops_before_a_step_where_all_patterns_are_satisfied(batch):
    satisfied = engine(epsilon=-100.0, batch=batch)
    before = satisfied.theta.clone()
    assert satisfied.advance(0, 10, stop=True) == (0, "satisfied")
    assert torch.equal(satisfied.theta, before)


def test_the_torch_engine_continues_past_satisfied_patterns_if_the_run_may_not_stop():
    assert engine(epsilon=-100.0, batch=0).advance(0, 10, stop=False) == (10, "")


def test_nan_in_theta_is_a_divergence():
    diverged = engine(batch=0)
    diverged.theta[0] = float("nan")
    assert diverged.advance(3, 10) == (3, "diverged")


def test_mini_batches_evaluate_all_patterns_once_per_pass(monkeypatch):
    """40 patterns in batches of 8 are five steps per pass."""
    evaluated, largest_gap = [], Problem.largest_gap
    monkeypatch.setattr(Problem, "largest_gap", lambda *args: evaluated.append(1) or largest_gap(*args))
    engine(batch=8).advance(0, 20)
    assert len(evaluated) == 4


def test_a_step_of_a_mini_batch_moves_against_the_gradient_of_its_patterns():
    mini_batch_engine = engine(batch=8)
    before = mini_batch_engine.theta.clone()
    chosen = np.random.default_rng(0).choice(P, 8, replace=False, shuffle=False)
    expected = before - 1e-3 * mini_batch_engine.problem.batch_gradient(before, torch.from_numpy(chosen))
    mini_batch_engine.advance(0, 1)
    assert torch.allclose(mini_batch_engine.theta, expected, rtol=0, atol=1e-15)
