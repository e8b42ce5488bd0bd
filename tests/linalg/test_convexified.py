"""The convexified matrix on a space where it is convex already, and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.linalg.convexified import convexified


def symmetric(values: np.ndarray, seed: int) -> torch.Tensor:
    """A matrix with these eigenvalues and random eigenvectors."""
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values),) * 2))[0]
    return torch.from_numpy((q * values) @ q.T)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_it_is_positive_definite_with_at_least_the_floor_on_the_null_space(k):
    G = symmetric(np.array([-2.0, -0.1, 0.0, 0.5, 1.0, 3.0]), 0)
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((k, 6)))
    convex = convexified(G, rows, 0.01)
    assert torch.allclose(convex, convex.T, atol=1e-12)
    assert torch.linalg.eigvalsh(convex)[0] > 0
    Z = torch.linalg.svd(rows, full_matrices=True)[2][k:].T if k else torch.eye(6, dtype=torch.float64)
    assert torch.linalg.eigvalsh(Z.T @ convex @ Z)[0] >= 0.01 * (1 - 1e-10)


def test_without_rows_it_takes_the_modulus_of_each_eigenvalue():
    values = np.array([-2.0, -0.001, 0.5, 3.0])
    moduli = torch.linalg.eigvalsh(
        convexified(symmetric(values, 2), torch.zeros(0, 4, dtype=torch.float64), 0.01)
    )
    assert moduli.tolist() == pytest.approx([0.01, 0.5, 2.0, 3.0], abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 33.0])
def test_without_curvature_and_without_a_floor_it_is_finite_and_positive_definite(value):
    """Where all unsatisfied patterns are dead, only the bias of the output has a curvature."""
    G = torch.zeros(4, 4, dtype=torch.float64)
    G[3, 3] = value
    convex = convexified(G, torch.eye(4, dtype=torch.float64)[:1], 0.0)
    assert bool(convex.isfinite().all()) and torch.linalg.eigvalsh(convex)[0] > 0
    assert torch.allclose(convex, G, atol=1e-10)


def test_a_matrix_that_is_positive_definite_stays_as_it_is():
    G = symmetric(np.array([0.1, 0.5, 1.0, 3.0, 9.0]), 3)
    rows = torch.from_numpy(np.random.default_rng(4).standard_normal((2, 5)))
    assert torch.allclose(convexified(G, rows, 1e-6), G, atol=1e-12)


def test_steps_along_the_null_space_are_those_of_the_matrix_where_it_is_convex_there():
    """G is indefinite, but positive on the null space of the row: Newton's step within it is that of G."""
    G = symmetric(np.array([1.0, 2.0, 3.0, 4.0]), 5)
    row = torch.from_numpy(np.random.default_rng(6).standard_normal((1, 4)))
    G = G - 20 * row.T @ row / (row @ row.T)
    Z = torch.linalg.svd(row, full_matrices=True)[2][1:].T
    assert torch.linalg.eigvalsh(G)[0] < 0
    convex = convexified(G, row, 1e-6)
    assert torch.allclose(Z.T @ convex @ Z, Z.T @ G @ Z, atol=1e-11)
