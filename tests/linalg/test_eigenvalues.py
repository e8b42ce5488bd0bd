"""Eigenvalues, counts and projections against scipy and planted spectra."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from jamtools.errors import CheckError
from jamtools.linalg.eigenvalues import eigenvalues
from jamtools.linalg.subspace import project_out, pseudo_inverse, rank

EPS = np.finfo(float).eps


def planted(values, seed: int = 0) -> torch.Tensor:
    """A symmetric matrix with the given eigenvalues in a random orthonormal basis."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((len(values), len(values))))
    matrix = (q * np.asarray(values)) @ q.T
    return torch.from_numpy((matrix + matrix.T) / 2)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-200])
def test_planted_eigenvalues_and_counts_at_any_scale(scale):
    values = scale * np.concatenate([-np.geomspace(1e-6, 1, 7), np.zeros(20), np.geomspace(1e-6, 2, 13)])
    found = eigenvalues(planted(values))
    assert np.abs(found.values.numpy() - np.sort(values)).max() <= len(values) * EPS * 2 * scale
    assert (found.n_negative, found.n_zero) == (7, 20)
    assert found.smallest_positive == pytest.approx(1e-6 * scale, rel=1e-8)


def test_eigenvalues_equal_scipy_s():
    matrix = torch.randn(60, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = matrix + matrix.T
    exact = scipy.linalg.eigh(matrix.numpy(), eigvals_only=True, driver="evd")
    assert np.abs(eigenvalues(matrix).values.numpy() - exact).max() <= 60 * EPS * np.abs(exact).max()


def test_degenerate_and_zero_matrices():
    found = eigenvalues(torch.zeros(5, 5, dtype=torch.float64))
    assert (found.n_negative, found.n_zero, found.smallest_positive) == (0, 5, None)
    assert eigenvalues(3 * torch.eye(5, dtype=torch.float64)).smallest_positive == 3


@pytest.mark.parametrize(
    "spoil",
    [lambda v: v * (1 + 1e-6), lambda v: v + 1e-6, lambda v: v * float("nan")],
    ids=["scaled", "shifted", "nan"],
)
def test_a_wrong_eigenvalue_is_caught(monkeypatch, spoil):
    matrix = planted(np.linspace(-1, 1, 30))
    solver = torch.linalg.eigvalsh

    def wrong(m):
        values = solver(m)
        values[7] = spoil(values[7])
        return values

    monkeypatch.setattr(torch.linalg, "eigvalsh", wrong)
    with pytest.raises(CheckError, match="fail the check"):
        eigenvalues(matrix)


def test_projecting_directions_out_leaves_the_rest_of_the_spectrum():
    values = np.array([-2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
    matrix = planted(values)
    _, vectors = np.linalg.eigh(matrix.numpy())
    directions = torch.from_numpy(vectors[:, :2]) @ torch.tensor(
        [[1.0, 2.0], [1.0, -1.0]], dtype=torch.float64
    )
    left = torch.linalg.eigvalsh(project_out(matrix, directions))
    assert np.abs(left.numpy() - values[2:]).max() < 1e-14 * 4 * 6


def test_null_and_dependent_directions_project_out_no_more_than_their_rank():
    matrix = planted(np.arange(1.0, 7.0))
    v = torch.randn(6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions = torch.cat([v, torch.zeros(6, 1, dtype=torch.float64), -3 * v], 1)
    assert project_out(matrix, directions).shape == (5, 5)
    assert project_out(matrix, directions[:, 1:2]).shape == (6, 6)


def test_the_pseudo_inverse_is_numpy_s_whatever_the_norms_of_the_rows():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 9)) * np.array([[1e-9], [1.0], [1e6], [1.0]])
    found = pseudo_inverse(torch.from_numpy(rows)).numpy()
    scaled = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(found * np.linalg.norm(rows, axis=1), np.linalg.pinv(scaled), atol=1e-13)


def test_the_pseudo_inverse_of_dependent_and_null_rows_solves_what_can_be_solved():
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.standard_normal((3, 6)))
    rows = torch.cat([rows, rows[:1] * 2, torch.zeros(1, 6, dtype=torch.float64)])
    v = torch.from_numpy(rng.standard_normal(6))
    shortest = pseudo_inverse(rows) @ (rows @ v)
    assert torch.allclose(rows @ shortest, rows @ v, atol=1e-13)
    assert shortest.norm() <= v.norm()


@pytest.mark.parametrize("shape", [(40, 9), (5, 9)])
def test_the_rank_of_rows_is_numpy_s_whatever_their_norms(shape):
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((shape[0], 4)) @ rng.standard_normal((4, shape[1]))
    expected = np.linalg.matrix_rank(rows)
    rows *= 10.0 ** rng.uniform(-8, 8, (shape[0], 1))
    rows[0] = 0
    assert expected == 4 == rank(torch.from_numpy(rows))
