"""Signs without eigenvalues, against planted spectra and against eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.linalg.inertia import inertia, n_below, norm2
from jamtools.linalg.subspace import project_out


def planted(n_negative, n_zero, n_positive, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    n = n_negative + n_zero + n_positive
    values = np.concatenate(
        [-rng.uniform(0.01, 1, n_negative), np.zeros(n_zero), rng.uniform(0.01, 1, n_positive)]
    )
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    A = (q * values * scale) @ q.T
    return torch.from_numpy((A + A.T) / 2)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-200, 1e200])
@pytest.mark.parametrize(
    "signs", [(1, 0, 0), (0, 1, 0), (3, 0, 4), (20, 50, 30), (0, 60, 40), (100, 100, 100)]
)
def test_a_planted_inertia_is_found_at_any_scale(signs, scale):
    found = inertia(planted(*signs, scale))
    assert (found.n_negative, found.n_zero, found.n_positive) == signs


def test_degenerate_eigenvalues_are_all_counted():
    values = torch.tensor([-2.0] * 30 + [0.0] * 20 + [1.0] * 50, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).standard_normal((100, 100))))
    A = (q * values) @ q.T
    found = inertia((A + A.T) / 2)
    assert (found.n_negative, found.n_zero, found.n_positive) == (30, 20, 50)


@pytest.mark.parametrize("scale", [1.0, 1e-12])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_on_a_complement_the_signs_are_those_of_the_projected_matrix(k, scale):
    A = planted(30, 25, 45, scale)
    G = torch.from_numpy(np.random.default_rng(k).standard_normal((100, k)))
    G = torch.cat(
        [G, G[:, :1] * 3, torch.zeros(100, 1, dtype=torch.float64)], 1
    )  # dependent and null columns too
    values = torch.linalg.eigvalsh(project_out(A, G))
    found = inertia(A, constraints=G)
    tolerance = found.tolerance
    assert found.n_negative == (values < -tolerance).sum() == n_below(A, -tolerance, G)
    assert found.n_zero == (values.abs() <= tolerance).sum()
    assert found.n_negative + found.n_zero + found.n_positive == 100 - k


@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_the_norm_is_known_to_a_tenth(scale):
    A = planted(30, 10, 60, scale)
    exact = torch.linalg.eigvalsh(A).abs().max().item()
    assert 0.9 * exact < norm2(A) <= exact * (1 + 1e-12)


def test_a_start_in_the_kernel_does_not_make_the_norm_vanish():
    assert norm2(torch.zeros(3, 3, dtype=torch.float64)) == 0.0
    v = torch.from_numpy(np.random.default_rng(0).standard_normal(2))
    w = torch.stack([-v[1], v[0]])
    assert norm2(torch.outer(w, w)) > 0
