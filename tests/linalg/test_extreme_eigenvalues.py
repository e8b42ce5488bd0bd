"""The lowest and the highest eigenvalues against those of dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.errors import InputError
from jamtools.hessian.assembly import hessian
from jamtools.hessian.products import Products
from jamtools.linalg.extreme_eigenvalues import KrylovSpace, extremes
from jamtools.linalg.operator import dense
from jamtools.network.symmetry import ScaleGenerators
from tests.support.spectra import diagonal, network, planted


@pytest.mark.parametrize("name", ["Hp", "H"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_both_ends_of_the_spectrum_of_a_network_agree_with_its_eigenvalues(activation, name):
    case, exact = network(activation)
    result = extremes(Products(*case).operator(name), 4, 3)
    assert result.lowest.converged.all() and result.highest.converged.all()
    for ritz, expected in ((result.lowest, exact[name][:4]), (result.highest, exact[name][-3:])):
        assert (np.abs(ritz.values - expected) <= ritz.residuals + 1e-13 * result.norm).all()
        assert (ritz.residuals <= 1e-8 * result.norm).all()
    assert result.norm == pytest.approx(np.abs(exact[name]).max())


def test_the_residuals_are_those_of_the_matrix_and_the_returned_vectors():
    case, _ = network("relu")
    result, H = extremes(Products(*case).operator("H"), 3, 3), hessian(*case).H
    for ritz in (result.lowest, result.highest):
        V, theta = ritz.vectors, torch.from_numpy(ritz.values)
        residuals = torch.linalg.vector_norm(H @ V - V * theta, dim=0).numpy()
        assert np.allclose(residuals, ritz.residuals, atol=1e-13 * result.norm)
        assert (V.T @ V - torch.eye(3)).abs().max() < 1e-13
        moved = V + 1e-3 * torch.randn(V.shape, dtype=V.dtype, generator=torch.Generator().manual_seed(0))
        moved = moved / torch.linalg.vector_norm(moved, dim=0)
        assert (torch.linalg.vector_norm(H @ moved - moved * theta, dim=0).numpy() > 10 * residuals).all()


def test_a_search_that_uses_up_its_products_reports_no_convergence_and_residuals_that_bound_the_errors():
    values = np.linspace(0, 1, 400) ** 3
    result = extremes(diagonal(values), 3, 3, budget=40)
    assert result.products < 60
    assert not result.lowest.converged.any()
    nearest = np.abs(values[:, None] - result.lowest.values).min(0)
    assert (nearest <= result.lowest.residuals).all() and (result.lowest.residuals > 1e-8).all()


def test_degenerate_eigenvalues_at_an_end_are_found_as_often_as_they_occur():
    values = np.concatenate([[-2.0] * 3, np.linspace(-1, 1, 200), [3.0] * 4])
    result = extremes(dense(planted(values)), 4, 5)
    assert np.allclose(result.lowest.values, [-2, -2, -2, -1]) and np.allclose(
        result.highest.values, [1, 3, 3, 3, 3]
    )
    assert result.lowest.converged.all() and result.highest.converged.all()


@pytest.mark.parametrize("scale", [1e-12, 1e-200, 1e200])
def test_a_scaled_matrix_has_scaled_extreme_eigenvalues(scale):
    matrix = planted(np.linspace(-1, 2, 120) ** 3)
    plain, scaled = extremes(dense(matrix), 2, 2), extremes(dense(matrix * scale), 2, 2)
    assert np.allclose(scaled.lowest.values, plain.lowest.values * scale, rtol=1e-10, atol=0)
    assert scaled.lowest.converged.all() and scaled.highest.converged.all()
    assert scaled.products == plain.products


def test_restarts_keep_the_basis_small_and_orthonormal():
    space = KrylovSpace(diagonal(np.linspace(-1, 1, 500)), block=3, basis=21, seed=0)
    for _ in range(30):
        space.fill()
        _, vectors = space.ritz_pairs()
        assert space.Q.shape[1] <= 21
        assert (space.Q.T @ space.Q - torch.eye(space.Q.shape[1])).abs().max() < 1e-13
        space.restart(vectors[:, [0, 1, 2, 3, 4, -5, -4, -3, -2, -1]])
        assert (space.Q.T @ space.next).abs().max() < 1e-13


def test_all_eigenvalues_of_a_small_matrix_are_found_from_both_ends():
    values = np.array([-1.0, 0.0, 0.0, 5.0])
    result = extremes(diagonal(values), 4, 4)
    assert np.allclose(result.lowest.values, values, atol=1e-14) and result.lowest.converged.all()
    assert np.allclose(result.highest.values, values, atol=1e-14)
    assert extremes(diagonal([7.0]), 1, 0).lowest.values == pytest.approx([7])


def test_the_extreme_eigenvalues_of_the_zero_matrix_are_zero():
    result = extremes(diagonal(np.zeros(30)), 2, 1)
    assert (result.lowest.values == 0).all() and result.highest.converged.all()


def test_an_end_of_which_no_eigenvalue_is_requested_is_empty():
    assert len(extremes(diagonal(np.arange(50.0)), 0, 2).lowest.values) == 0


def test_vectors_without_the_scale_generators_stay_in_their_complement():
    case, _ = network("relu")
    generators = ScaleGenerators(case[0], case[1].arch)
    result = extremes(Products(*case).operator("Hp", generators=generators), 2, 2)
    V = result.lowest.vectors
    assert (generators.project(V) - V).abs().max() < 1e-12
    assert result.lowest.converged.all()


@pytest.mark.parametrize(("lowest", "highest"), [(0, 0), (-1, 2), (9, 0)])
def test_numbers_of_eigenvalues_out_of_range_are_refused(lowest, highest):
    with pytest.raises(InputError, match="expected 0 to 8"):
        extremes(diagonal(np.arange(8.0)), lowest, highest)


def test_a_basis_that_is_too_small_is_refused():
    with pytest.raises(InputError, match="basis of 5"):
        extremes(diagonal(np.arange(50.0)), 3, 3, basis=5)
