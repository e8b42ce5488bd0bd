"""The interior-point minimum against scipy on the same problem as a quadratic programme, and against its own conditions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize

from jamtools.linalg.nested_maximum import Minimiser, NestedMaximum, minimise


def random_function(n: int, m: int, k: int, seed: int) -> NestedMaximum:
    """Every other inner maximum has a linear cost as well."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    E = np.zeros((m, k))
    E[rng.integers(0, m, k), np.arange(k)] = rng.uniform(0.1, 1, k)
    arrays = (
        0.1 * root @ root.T / n + 1e-3 * np.eye(n),
        0.3 * rng.standard_normal(n),
        rng.standard_normal(m) + 0.3,
        rng.standard_normal((m, n)) / n**0.5,
        E,
        0.1 * rng.standard_normal(k),
        rng.standard_normal((k, n)) / n**0.5,
        np.where(np.arange(k) % 2, rng.uniform(0, 0.5, k), 0.0),
    )
    return NestedMaximum(*(torch.from_numpy(array) for array in arrays))


def found(function: NestedMaximum) -> Minimiser:
    minimiser = minimise(function)
    assert minimiser is not None
    return minimiser


@pytest.mark.parametrize(("n", "m", "k"), [(4, 6, 3), (8, 5, 0), (6, 10, 8)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_minimum_is_that_of_scipy_with_slack_variables(n, m, k, seed):
    """The variables d, s, t with s ≥ D + J d + E t, t ≥ z + N d and t ≥ 0 make the problem smooth."""
    function = random_function(n, m, k, seed)
    G, g, D, J, E, z, N, c = (array.numpy() for array in vars(function).values())

    def value(v):
        d, s = v[:n], v[n : n + m]
        return 0.5 * d @ G @ d + g @ d + 0.5 * s @ s + c @ v[n + m :]

    def slope(v):
        return np.concatenate([G @ v[:n] + g, v[n : n + m], c])

    rows = [
        np.hstack([-J, np.eye(m), -E]),
        np.hstack([-N, np.zeros((k, m)), np.eye(k)]),
        np.hstack([np.zeros((k, n + m)), np.eye(k)]),
    ]
    A, b = np.vstack(rows), np.concatenate([D, z, np.zeros(k)])
    start = np.concatenate([np.zeros(n), np.abs(D) + E.sum(1) + 1, np.abs(z) + 1])
    constraint = {"type": "ineq", "fun": lambda v: A @ v - b, "jac": lambda v: A}
    options = {"ftol": 1e-14, "maxiter": 2000}
    best = scipy_minimize(value, start, jac=slope, constraints=constraint, method="SLSQP", options=options)
    assert function.value(found(function).d) == pytest.approx(best.fun, abs=1e-7 * abs(best.fun) + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_multipliers_prove_the_minimum(seed):
    """G d + g + Jᵀv + Nᵀu = 0 with v = max(0, …), 0 ≤ u ≤ c + Eᵀv, which is 0 or the limit off z + N d = 0."""
    function = random_function(12, 20, 9, seed)
    end = found(function)
    t = function.z + function.N @ end.d
    inner = function.D + function.J @ end.d + function.E @ t.clamp(min=0)
    force = function.c + function.E.T @ end.v
    zero = function.G @ end.d + function.g + function.J.T @ end.v + function.N.T @ end.u
    assert zero.abs().max() < 1e-8
    product = 1e-10 * 10  # v w at the end, for functions of order 10
    assert (end.v - inner.clamp(min=0)).abs().max() < product**0.5
    assert (end.u >= 0).all() and (end.u <= force + 1e-9).all()
    assert (t[end.at_kink].abs() < 1e-6).all()
    off = ~end.at_kink & (force > 1e-6)
    above, below = off & (t > 1e-4), off & (t < -1e-4)
    assert (end.u[above] - force[above]).abs().sum() < 1e-4
    assert end.u[below].abs().sum() < 1e-4


def test_a_matrix_that_is_not_positive_definite_has_no_minimum():
    function = random_function(5, 4, 2, 0)
    assert minimise(NestedMaximum(**{**vars(function), "G": -torch.eye(5, dtype=torch.float64)})) is None
