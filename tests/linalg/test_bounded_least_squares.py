"""Least squares with bounds against closed forms and against the conditions of optimality."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.linalg import bounded_least_squares
from jamtools.linalg.bounded_least_squares import box_least_squares


def random_problem(n: int, m: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((n, m))), torch.from_numpy(rng.standard_normal(m))


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_a_solution_within_the_bounds_is_that_of_the_problem_without_bounds(scale):
    rows, _ = random_problem(5, 9)
    exact = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    solution = box_least_squares(rows * scale, rows.T @ exact * scale)
    assert torch.allclose(solution, exact, atol=1e-13)


@pytest.mark.parametrize("max_multipliers", [0, 1000], ids=["trust-region", "active-set"])
def test_at_a_bound_the_gradient_points_outwards_and_elsewhere_it_vanishes(monkeypatch, max_multipliers):
    monkeypatch.setattr(bounded_least_squares, "ACTIVE_SET_MAX_MULTIPLIERS", max_multipliers)
    rows, target = random_problem(8, 12)
    solution = box_least_squares(rows, 3 * target)
    gradient = rows @ (rows.T @ solution - 3 * target)
    at_0, at_1 = solution < 1e-6, solution > 1 - 1e-6
    assert ((solution >= 0) & (solution <= 1)).all()
    assert at_0.any() and at_1.any()
    assert (gradient[at_0] > -1e-6).all() and (gradient[at_1] < 1e-6).all()
    assert gradient[~(at_0 | at_1)].abs().max() < 1e-6


def test_multipliers_that_the_target_does_not_determine_are_one_half():
    rows, target = random_problem(2, 6)
    assert torch.equal(box_least_squares(0 * rows, target), torch.full((2,), 0.5, dtype=torch.float64))
    twice = torch.cat([rows[:1], rows[:1]])
    assert torch.allclose(box_least_squares(twice, rows[0]), torch.full((2,), 0.5, dtype=torch.float64))
