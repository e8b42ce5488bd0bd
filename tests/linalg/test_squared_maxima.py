"""The semismooth Newton method against scipy, against its own conditions, and where it cannot succeed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from jamtools.linalg.squared_maxima import SquaredMaxima


def random_function(n: int, m: int, seed: int, least: float = 1e-3) -> SquaredMaxima:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    arrays = (
        0.1 * root @ root.T / n + least * np.eye(n),
        0.3 * rng.standard_normal(n),
        rng.standard_normal(m) + 0.3,
        rng.standard_normal((m, n)) / n**0.5,
    )
    return SquaredMaxima(*(torch.from_numpy(array) for array in arrays))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 20), (20, 5), (8, 0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_minimum_is_that_of_scipy(n, m, seed):
    function = random_function(n, m, seed)
    G, g, D, J = (array.numpy() for array in vars(function).values())

    def value(d):
        gaps = np.maximum(D + J @ d, 0)
        return 0.5 * d @ G @ d + g @ d + 0.5 * gaps @ gaps, G @ d + g + J.T @ gaps

    best = minimize(value, np.zeros(n), jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000})
    found = function.minimiser()
    assert found is not None
    assert value(found.numpy())[0] <= best.fun + 1e-12 * abs(best.fun)
    assert np.abs(found.numpy() - best.x).max() < 1e-5 * (1 + np.abs(best.x).max())


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_vanishes_at_the_minimum_of_an_ill_conditioned_function(seed):
    """Curvatures from 10⁻⁸ to 1, and patterns that begin and end on the way."""
    function = random_function(60, 80, seed, least=1e-8)
    d = function.minimiser()
    assert d is not None
    gaps = (function.D + function.J @ d).clamp(min=0)
    terms = function.G @ d, function.g, function.J.T @ gaps
    size = sum(float(term.norm()) for term in terms)
    assert float(sum(terms).norm()) < 1e-9 * size


def test_a_matrix_that_is_not_positive_definite_has_no_minimum():
    function = random_function(4, 3, 0)
    assert SquaredMaxima(-function.G, function.g, function.D - 10, 0 * function.J).minimiser() is None
