"""Descent trials find no lower loss near a minimum, and a lower loss near a saddle."""

from __future__ import annotations

import pytest
import torch

from jamtools.minima.cusp_manifold import CuspManifold
from jamtools.minima.descent_trials import DescentTrials, try_to_descend
from jamtools.network.problem import Problem
from tests.support.curvature import cusps_of
from tests.support.one_neuron import minimum, saddle


def trials(theta: torch.Tensor, problem: Problem, n: int = 12, seed: int = 0) -> DescentTrials:
    """n trials from theta, whose cusp has the multiplier ½; round-off is the only slack."""
    cusps = cusps_of(theta, problem)
    half = torch.full_like(cusps.signs, 0.5)
    manifold = CuspManifold(cusps, half, torch.ones(len(half), dtype=torch.bool))
    return try_to_descend(problem, manifold, (1e-14, 0.0), n, seed)


@pytest.mark.parametrize("seed", range(3))
def test_no_trial_finds_a_lower_loss_at_a_minimum(seed):
    assert not trials(*minimum(), seed=seed).found


@pytest.mark.parametrize("seed", range(3))
def test_a_trial_finds_a_lower_loss_at_a_saddle(seed):
    outcome = trials(*saddle(), seed=seed)
    assert outcome.found and outcome.change < -outcome.error


def test_trials_depend_on_the_seed_alone():
    assert trials(*saddle(), seed=1) == trials(*saddle(), seed=1)
    assert trials(*saddle(), seed=1) != trials(*saddle(), seed=2)


def test_no_lower_loss_is_found_without_trials():
    assert trials(*saddle(), n=0) == DescentTrials(0, 0.0, 0.0)
