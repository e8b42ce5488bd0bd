"""The Lanczos recurrences: exhausted spaces, seeds, precision, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.errors import CheckError, InputError
from jamtools.linalg.lanczos import probe
from jamtools.linalg.operator import Operator, dense
from jamtools.linalg.spectral_density import smeared_density
from jamtools.linalg.spectral_mass import zero_mass
from tests.support.spectra import diagonal, planted


def test_the_nodes_are_the_eigenvalues_when_the_krylov_space_is_exhausted():
    values = np.repeat([0.0, 1.0, 3.0], 10)
    quadrature = probe(dense(planted(values)), 3, 3)
    assert np.allclose(np.sort(quadrature.nodes), np.repeat([0, 1, 3], 3), atol=1e-14)


def test_a_recurrence_takes_no_more_steps_than_the_matrix_has_dimensions():
    assert probe(diagonal([0.0, 1.0, 1.0, 2.0]), 3, 50).steps <= 4


def test_a_multiple_of_the_unit_matrix_is_exhausted_after_one_step():
    quadrature = probe(Operator(lambda V: 7 * V, 5), 2, 5)
    assert (quadrature.steps, quadrature.exhausted) == (1, (True, True))
    assert zero_mass(quadrature).value == 0
    assert smeared_density(quadrature, 11).width == pytest.approx(7)


def test_a_probe_does_not_depend_on_how_many_share_its_products():
    operator = dense(planted(np.linspace(-1, 1, 80)))
    together, apart = probe(operator, 5, 20, seed=3), probe(operator, 5, 20, seed=3, at_once=2)
    assert np.allclose(together.nodes, apart.nodes) and np.allclose(together.weights, apart.weights)


def test_one_seed_gives_one_quadrature_and_another_seed_another():
    operator = dense(planted(np.linspace(-1, 1, 80)))
    first, again = probe(operator, 5, 20, seed=3), probe(operator, 5, 20, seed=3)
    assert (again.nodes == first.nodes).all() and (again.weights == first.weights).all()
    assert not np.allclose(probe(operator, 5, 20, seed=4).nodes, first.nodes)


def test_a_scale_that_is_a_power_of_two_changes_no_bit_of_the_coefficients():
    matrix = planted(np.linspace(-1, 2, 100))
    plain, scaled = (probe(dense(a), 2, 30) for a in (matrix, matrix * 2.0**-700))
    assert scaled.unit == plain.unit * 2.0**-700
    for a, b in zip(plain.alpha + plain.beta, scaled.alpha + scaled.beta):
        assert (a == b).all()


def test_products_in_float32_give_coefficients_in_float64():
    matrix = planted(np.linspace(-1, 1, 100))
    quadrature, exact = probe(dense(matrix.float()), 3, 20), probe(dense(matrix), 3, 20)
    assert all(a.dtype == np.float64 for a in quadrature.alpha)
    assert quadrature.trace(np.square)[0] == pytest.approx(exact.trace(np.square)[0], rel=1e-4)


@pytest.mark.parametrize("numbers", [(0, 5), (5, 0)])
def test_fewer_than_one_probe_or_step_is_refused(numbers):
    with pytest.raises(InputError, match="at least one of each"):
        probe(dense(planted(np.ones(4))), *numbers)


def test_a_product_that_is_not_finite_ends_the_recurrence():
    with pytest.raises(CheckError, match="not finite"):
        probe(Operator(lambda V: V * torch.nan, 4), 1, 2)
