"""Operators, and the Gaussian vectors that are drawn for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.errors import CheckError
from jamtools.linalg.operator import Operator, dense, power_of_two
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from tests.support import oracle
from tests.support.spectra import planted


def test_a_dense_operator_multiplies_by_its_matrix():
    matrix, V = planted(np.arange(5.0)), torch.eye(5, dtype=torch.float64)[:, :3]
    operator = dense(matrix)
    assert torch.equal(operator(V), matrix[:, :3])
    assert (operator.n, operator.dimension, operator.eps) == (5, 5, np.finfo(float).eps)


def test_a_projector_keeps_products_and_drawn_vectors_in_its_range():
    mask = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)[:, None]
    operator = Operator(lambda V: V.flip(0), 3, project=lambda V: mask * V, removed=1)
    assert operator.dimension == 2
    assert torch.equal(operator(torch.ones(3, 1, dtype=torch.float64)), mask)
    assert (operator.draw(0, 0, 4)[2] == 0).all()


def test_a_product_that_is_not_finite_is_an_error():
    with pytest.raises(CheckError, match="not finite"):
        Operator(lambda V: V * torch.nan, 4)(torch.ones(4, 1, dtype=torch.float64))


def test_a_drawn_vector_depends_on_its_number_alone():
    operator = Operator(lambda V: V, 7)
    together = operator.draw(3, 0, 5)
    assert torch.equal(operator.draw(3, 2, 2), together[:, 2:4])
    assert not torch.equal(operator.draw(4, 0, 5), together)


def test_drawn_vectors_are_independent_of_the_network_and_its_data():
    """Two independent Gaussian vectors have a cosine of order 1/√n."""
    n, seed = 2000, 3
    arch = Architecture(10, 22, 5)
    others = [initial_parameters(arch, "normal", seed)[:n], oracle.sphere(200, 10, seed)[0].numpy().ravel()]
    others += [np.random.default_rng([seed, i]).standard_normal(n) for i in range(20)]
    drawn = Operator(lambda V: V, n).draw(seed, 0, 20).numpy()
    cosines = [other[:n] @ drawn / np.linalg.norm(other[:n]) / np.sqrt(n) for other in others]
    assert np.abs(cosines).max() < 6 / np.sqrt(n)


@pytest.mark.parametrize(
    ("entries", "expected"), [([3.0, -5.0], 4.0), ([0.3], 0.25), ([0.0], 1.0), ([], 1.0)]
)
def test_the_unit_is_the_largest_power_of_two_below_the_largest_entry(entries, expected):
    assert power_of_two(torch.tensor(entries, dtype=torch.float64)) == expected
