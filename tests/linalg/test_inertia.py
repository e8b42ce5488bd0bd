"""Numbers of negative, zero and positive eigenvalues against planted spectra and against eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.linalg.inertia import inertia_of, n_below, norm2
from jamtools.linalg.subspace import project_out
from tests.support.spectra import planted


def with_signs(n_negative, n_zero, n_positive, scale=1.0, seed=0) -> torch.Tensor:
    """A symmetric matrix with these numbers of eigenvalues, whose sizes are between 0.01 and 1 times the scale."""
    rng = np.random.default_rng(seed)
    sizes = [-rng.uniform(0.01, 1, n_negative), np.zeros(n_zero), rng.uniform(0.01, 1, n_positive)]
    A = planted(np.concatenate(sizes) * scale, seed)
    return (A + A.T) / 2


def signs(inertia) -> tuple[int, int, int]:
    return inertia.n_negative, inertia.n_zero, inertia.n_positive


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-200, 1e200])
@pytest.mark.parametrize(
    "numbers", [(1, 0, 0), (0, 1, 0), (3, 0, 4), (20, 50, 30), (0, 60, 40), (100, 100, 100)]
)
def test_a_planted_inertia_is_found_at_any_scale(numbers, scale):
    assert signs(inertia_of(with_signs(*numbers, scale))) == numbers


def test_degenerate_eigenvalues_are_all_counted():
    A = planted([-2.0] * 30 + [0.0] * 20 + [1.0] * 50, seed=1)
    assert signs(inertia_of((A + A.T) / 2)) == (30, 20, 50)


@pytest.mark.parametrize("scale", [1.0, 1e-12])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_on_a_complement_the_inertia_is_that_of_the_projected_matrix(k, scale):
    A = with_signs(30, 25, 45, scale)
    G = torch.from_numpy(np.random.default_rng(k).standard_normal((100, k)))
    dependent_and_null = G[:, :1] * 3, torch.zeros(100, 1, dtype=torch.float64)
    G = torch.cat([G, *dependent_and_null], 1)
    values = torch.linalg.eigvalsh(project_out(A, G))
    inertia = inertia_of(A, constraints=G)
    tolerance = inertia.tolerance
    assert inertia.n_negative == (values < -tolerance).sum() == n_below(A, -tolerance, G)
    assert inertia.n_zero == (values.abs() <= tolerance).sum()
    assert sum(signs(inertia)) == 100 - k


@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_the_norm_is_estimated_from_below_to_ten_per_cent(scale):
    A = with_signs(30, 10, 60, scale)
    exact = torch.linalg.eigvalsh(A).abs().max().item()
    assert 0.9 * exact < norm2(A) <= exact * (1 + 1e-12)


def test_the_norm_of_the_zero_matrix_is_zero():
    assert norm2(torch.zeros(3, 3, dtype=torch.float64)) == 0.0


def test_the_norm_is_positive_when_the_power_iteration_starts_in_the_kernel():
    start = torch.from_numpy(np.random.default_rng(0).standard_normal(2))
    w = torch.stack([-start[1], start[0]])
    assert norm2(torch.outer(w, w)) > 0
