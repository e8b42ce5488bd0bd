"""Eigenvalues and counts by sign against scipy and planted spectra."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from jamtools.errors import CheckError
from jamtools.linalg.eigenvalues import symmetric_eigenvalues
from tests.support.spectra import planted

EPS = np.finfo(float).eps


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-200])
def test_planted_eigenvalues_and_their_counts_are_found_at_any_scale(scale):
    values = scale * np.concatenate([-np.geomspace(1e-6, 1, 7), np.zeros(20), np.geomspace(1e-6, 2, 13)])
    result = symmetric_eigenvalues(planted(values))
    assert np.abs(result.values.numpy() - np.sort(values)).max() <= len(values) * EPS * 2 * scale
    assert (result.n_negative, result.n_zero) == (7, 20)
    assert result.smallest_positive == pytest.approx(1e-6 * scale, rel=1e-8)


def test_eigenvalues_equal_those_of_scipy():
    matrix = torch.randn(60, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = matrix + matrix.T
    exact = scipy.linalg.eigh(matrix.numpy(), eigvals_only=True, driver="evd")
    assert (
        np.abs(symmetric_eigenvalues(matrix).values.numpy() - exact).max() <= 60 * EPS * np.abs(exact).max()
    )


def test_the_zero_matrix_has_zero_eigenvalues_only():
    result = symmetric_eigenvalues(torch.zeros(5, 5, dtype=torch.float64))
    assert (result.n_negative, result.n_zero, result.smallest_positive) == (0, 5, None)


def test_the_smallest_positive_eigenvalue_may_be_degenerate():
    assert symmetric_eigenvalues(3 * torch.eye(5, dtype=torch.float64)).smallest_positive == 3


def test_the_vectors_are_those_of_the_lowest_and_the_highest_eigenvalues():
    matrix = planted(np.arange(10.0))
    result = symmetric_eigenvalues(matrix, vectors=2)
    assert result.vectors.shape == (4, 10)
    expected = torch.tensor([0.0, 1.0, 8.0, 9.0], dtype=torch.float64)[:, None] * result.vectors
    assert torch.allclose(result.vectors @ matrix, expected, atol=1e-13)
    assert symmetric_eigenvalues(matrix, vectors=7).vectors.shape == (10, 10)


@pytest.mark.parametrize(
    "change",
    [lambda v: v * (1 + 1e-6), lambda v: v + 1e-6, lambda v: v * float("nan")],
    ids=["scaled", "shifted", "nan"],
)
def test_one_incorrect_eigenvalue_fails_the_checks(monkeypatch, change):
    matrix = planted(np.linspace(-1, 1, 30))
    solver = torch.linalg.eigvalsh

    def incorrect(m):
        values = solver(m)
        values[7] = change(values[7])
        return values

    monkeypatch.setattr(torch.linalg, "eigvalsh", incorrect)
    with pytest.raises(CheckError, match="fail the check"):
        symmetric_eigenvalues(matrix)
