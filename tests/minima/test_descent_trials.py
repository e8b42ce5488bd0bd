"""Descent trials find no lower loss near a minimum, and a lower loss near a saddle."""

from __future__ import annotations

import pytest
import torch

from jamtools.minima.cusp_manifold import CuspManifold
from jamtools.minima.descent_trials import LONGEST_KICK, SHORTEST_KICK, DescentTrials, try_to_descend
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from tests.support.curvature import cusps_of
from tests.support.one_neuron import minimum, saddle


def trials(theta: torch.Tensor, problem: Problem, kicks: int = 10, seed: int = 0) -> DescentTrials | None:
    """Trials from theta, whose cusp has the multiplier ½; round-off is the only slack."""
    cusps = cusps_of(theta, problem)
    half = torch.full_like(cusps.signs, 0.5)
    manifold = CuspManifold(cusps, half, torch.ones(len(half), dtype=torch.bool))
    return try_to_descend(problem, manifold, 1e-14, kicks, seed)


@pytest.mark.parametrize("seed", range(3))
def test_no_trial_finds_a_lower_loss_at_a_minimum(seed):
    outcome = trials(*minimum(), seed=seed)
    assert not outcome.refuted and outcome.radius == LONGEST_KICK / 10


@pytest.mark.parametrize("seed", range(3))
def test_a_trial_finds_a_lower_loss_at_a_saddle(seed):
    outcome = trials(*saddle(), seed=seed)
    assert outcome.refuted and outcome.change < -outcome.error
    assert outcome.radius < SHORTEST_KICK


def test_trials_depend_on_the_seed_alone():
    assert trials(*saddle(), seed=1) == trials(*saddle(), seed=1)
    assert trials(*saddle(), seed=1) != trials(*saddle(), seed=2)


def test_no_lower_loss_is_found_without_kicks():
    assert trials(*saddle(), kicks=0) is None


def test_the_radius_ends_before_an_edge_of_the_basin():
    """The only neuron is off at both patterns, at one of them by a distance `edge`. L is constant up to there.

    The labels balance the bias of the output. Where the neuron is on at its pattern, L falls.
    """
    edge = 1e-4
    theta = torch.tensor([1.0, -1.0 - edge, 1.0, 0.0], dtype=torch.float64)
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    problem = Problem(x, x, Architecture(1, 1, 1), Loss("hinge", 0.5, 2))
    cusps = cusps_of(theta, problem)
    manifold = CuspManifold(
        cusps, torch.zeros_like(cusps.signs), torch.zeros_like(cusps.signs, dtype=torch.bool)
    )
    outcome = try_to_descend(problem, manifold, 1e-14, 10, 0)
    assert not outcome.refuted and SHORTEST_KICK / 10 < outcome.radius * manifold.size < edge / 2**0.5
