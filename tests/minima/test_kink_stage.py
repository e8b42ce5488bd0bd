"""The last stage of newton: where it arrives, where it ends, and for which networks it is made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.minima.escape import Escape, balanced_norm
from jamtools.minima.kink_stage import KINK_MAX_ITERATIONS, KinkStage, has_kink_stage
from jamtools.network.architecture import Architecture
from tests.support.jammed import ARCH, jammed, problem_of, small_problem


def run_to_end(stage, theta):
    while stage.iterate(theta):
        pass
    return stage.outcome


@pytest.mark.parametrize("kick", [1e-6, 1e-4])
def test_it_returns_to_a_certified_minimum_from_beside_it(kick):
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta.copy())
    theta += kick * torch.from_numpy(np.random.default_rng(1).standard_normal(len(theta)))
    stage = KinkStage(theta, problem, Escape(balanced_norm(theta, ARCH)))
    assert run_to_end(stage, theta) == "stationary" and stage.taken < KINK_MAX_ITERATIONS / 4
    assert problem.value(theta) <= run.info["final_loss"] * (1 + 1e-12)
    assert problem.value(theta) == pytest.approx(run.info["final_loss"], rel=1e-3)


def test_it_ends_where_all_patterns_are_satisfied():
    theta, problem = small_problem("tanh", 6, seed=1)
    stage = KinkStage(theta, problem)
    assert run_to_end(stage, theta) == "" and problem.largest_gap(theta) <= 0


def test_a_trace_that_shows_an_escape_ends_it():
    """The trace has grown by a decade before; the loss of the next step is below, but not by much."""
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta.copy())
    theta += 1e-3 * torch.from_numpy(np.random.default_rng(2).standard_normal(len(theta)))
    norm, value = balanced_norm(theta, ARCH), problem.value(theta)
    before = Escape(norm / 50).with_point(norm / 5, 1.001 * value)
    stage = KinkStage(theta, problem, before)
    assert run_to_end(stage, theta) == "escaping" and stage.escape.seen
    again = theta.clone()
    assert run_to_end(KinkStage(again, problem), again) != "escaping", "without a trace none is seen"


def test_it_is_made_for_one_output_and_not_too_many_parameters():
    assert has_kink_stage(Architecture(10, 15, 3))
    assert not has_kink_stage(Architecture(10, 15, 3, outputs=3))
    assert not has_kink_stage(Architecture(10, 60, 3))
