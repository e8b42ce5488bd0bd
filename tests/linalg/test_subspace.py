"""Ranks, projections and pseudo-inverses against numpy and planted spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.linalg.subspace import orthonormal_basis, project_out, pseudo_inverse, rank
from tests.support.spectra import planted


def test_projecting_eigenvectors_out_leaves_the_other_eigenvalues():
    values = np.array([-2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
    matrix = planted(values)
    _, vectors = np.linalg.eigh(matrix.numpy())
    directions = torch.from_numpy(vectors[:, :2]) @ torch.tensor(
        [[1.0, 2.0], [1.0, -1.0]], dtype=torch.float64
    )
    left = torch.linalg.eigvalsh(project_out(matrix, directions))
    assert np.abs(left.numpy() - values[2:]).max() < 1e-14 * 4 * 6


def test_null_and_dependent_directions_remove_no_more_dimensions_than_their_rank():
    matrix = planted(np.arange(1.0, 7.0))
    v = torch.randn(6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions = torch.cat([v, torch.zeros(6, 1, dtype=torch.float64), -3 * v], 1)
    assert project_out(matrix, directions).shape == (5, 5)
    assert project_out(matrix, directions[:, 1:2]).shape == (6, 6)


def test_an_orthonormal_basis_spans_columns_of_very_different_norms():
    rng = np.random.default_rng(3)
    columns = torch.from_numpy(rng.standard_normal((9, 3)) * np.array([1e-12, 1.0, 1e9]))
    basis = orthonormal_basis(torch.cat([columns, columns[:, :1] * 1e20], 1))
    assert basis.shape == (9, 3)
    assert torch.allclose(basis.T @ basis, torch.eye(3, dtype=torch.float64), atol=1e-14)
    units = columns / columns.norm(dim=0)
    assert torch.allclose(basis @ (basis.T @ units), units, atol=1e-13)


def test_the_pseudo_inverse_equals_that_of_numpy_for_rows_of_very_different_norms():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 9)) * np.array([[1e-9], [1.0], [1e6], [1.0]])
    inverse = pseudo_inverse(torch.from_numpy(rows)).numpy()
    scaled = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(inverse * np.linalg.norm(rows, axis=1), np.linalg.pinv(scaled), atol=1e-13)


def test_the_pseudo_inverse_of_dependent_and_null_rows_gives_the_shortest_solution():
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.standard_normal((3, 6)))
    rows = torch.cat([rows, rows[:1] * 2, torch.zeros(1, 6, dtype=torch.float64)])
    v = torch.from_numpy(rng.standard_normal(6))
    shortest = pseudo_inverse(rows) @ (rows @ v)
    assert torch.allclose(rows @ shortest, rows @ v, atol=1e-13)
    assert shortest.norm() <= v.norm()


@pytest.mark.parametrize("shape", [(40, 9), (5, 9)])
def test_the_rank_of_rows_of_very_different_norms_equals_that_of_numpy(shape):
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((shape[0], 4)) @ rng.standard_normal((4, shape[1]))
    expected = np.linalg.matrix_rank(rows)
    rows *= 10.0 ** rng.uniform(-8, 8, (shape[0], 1))
    rows[0] = 0
    assert expected == 4 == rank(torch.from_numpy(rows))
