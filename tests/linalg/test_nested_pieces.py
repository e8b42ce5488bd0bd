"""The minimum from a guess of the pieces against that of the interior points, and against the conditions of a minimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.linalg.nested_maximum import NestedMaximum, minimise
from jamtools.linalg.nested_pieces import Pieces, minimum_from


def random_function(n: int, m: int, k: int, seed: int) -> NestedMaximum:
    """Of a strongly convex G; every third inner maximum has a linear cost and no part in a square."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    alone = np.arange(k) % 3 == 2
    E = np.zeros((m, k))
    E[rng.integers(0, m, k), np.arange(k)] = np.where(alone, 0.0, rng.uniform(0.1, 1, k))
    arrays = (
        root @ root.T / n + 0.1 * np.eye(n),
        0.3 * rng.standard_normal(n),
        rng.standard_normal(m) + 0.3,
        rng.standard_normal((m, n)) / n**0.5,
        E,
        0.1 * rng.standard_normal(k),
        rng.standard_normal((k, n)) / n**0.5,
        np.where(alone, rng.uniform(0.1, 0.5, k), 0.0),
    )
    return NestedMaximum(*(torch.from_numpy(array) for array in arrays))


def plain_guess(function: NestedMaximum) -> Pieces:
    none = torch.zeros(len(function.z), dtype=torch.bool)
    return Pieces.at(function, torch.zeros_like(function.g), none)


SIZES = [(5, 8, 6), (12, 20, 15), (40, 60, 50)]


@pytest.mark.parametrize(("n", "m", "k"), SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_minimum_of_the_interior_points_or_none(n, m, k, seed):
    function = random_function(n, m, k, seed)
    best, found = minimise(function), minimum_from(function, plain_guess(function))
    assert best is not None
    if found is not None:  # the curvature is at least 0.1
        excess = function.value(best.d) - function.value(found.d)
        assert -1e-14 <= excess < 1e-6
        assert (found.d - best.d).norm() <= (2 * max(excess, 0.0) / 0.1) ** 0.5 + 1e-7


@pytest.mark.parametrize(("n", "m", "k"), SIZES)
def test_most_guesses_lead_there(n, m, k):
    found = [minimum_from(f, plain_guess(f)) for f in (random_function(n, m, k, seed) for seed in range(20))]
    assert sum(one is not None for one in found) >= 15


@pytest.mark.parametrize("seed", range(6))
def test_from_the_pieces_of_the_minimum_the_conditions_hold_to_round_off(seed):
    """v = max(0, ...), z + N d = 0 at the held kinks, u within its limits, and the gradient is zero."""
    function = random_function(12, 20, 15, seed)
    best = minimise(function)
    assert best is not None
    found = minimum_from(function, Pieces.at(function, best.d, best.at_kink))
    assert found is not None
    s = function.z + function.N @ found.d
    inner = function.D + function.J @ found.d + function.E @ s.clamp(min=0)
    limit = function.c + function.E.T @ found.v
    assert (
        function.G @ found.d + function.g + function.J.T @ found.v + function.N.T @ found.u
    ).norm() < 1e-13
    assert (found.v - inner.clamp(min=0)).abs().max() < 1e-13
    assert bool(found.at_kink.any()), "no kink is held: choose other seeds"
    assert s[found.at_kink].abs().max() < 1e-13
    on, off = ~found.at_kink & (s > 0), ~found.at_kink & (s < 0)
    assert torch.equal(found.u[on], limit[on]) and not found.u[off].any()
    assert (found.u >= 0).all() and (found.u <= limit + 1e-13).all()


def test_kinks_that_depend_on_each_other_may_all_be_held():
    """Two equal kinks share their multiplier; the complement is singular."""
    function = random_function(12, 20, 15, 1)
    best = minimise(function)
    assert best is not None and bool(best.at_kink.any())
    k = int(best.at_kink.nonzero()[0, 0])
    again = NestedMaximum(
        function.G,
        function.g,
        function.D,
        function.J,
        torch.cat([function.E[:, :k], 0.5 * function.E[:, [k, k]], function.E[:, k + 1 :]], 1),
        *(torch.cat([a[:k], a[[k, k]], a[k + 1 :]]) for a in (function.z, function.N)),
        torch.cat([function.c[:k], 0.5 * function.c[[k, k]], function.c[k + 1 :]]),
    )
    held = torch.cat([best.at_kink[:k], best.at_kink[[k, k]], best.at_kink[k + 1 :]])
    found = minimum_from(again, Pieces.at(again, best.d, held))
    assert found is not None
    assert torch.allclose(found.d, best.d, atol=1e-8)


def test_a_matrix_that_is_not_positive_definite_has_no_minimum():
    function = random_function(5, 4, 2, 0)
    negative = NestedMaximum(**{**vars(function), "G": -10 * torch.eye(5, dtype=torch.float64)})
    assert minimum_from(negative, plain_guess(negative)) is None
