"""Signs of H with Δ down to 1e-10 ε, against factorisations of H in longer floating-point numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.hessian.assembly import Hessian, hessian
from jamtools.hessian.exact import ExactOptions, exact_spectrum
from jamtools.hessian.products import Products
from jamtools.hessian.soft_modes import are_hidden, signs_of_H
from jamtools.hessian.spaces import Space
from jamtools.linalg.inertia import inertia_of
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.training.ensemble import train
from tests.support.fixed_norm import at

D, H, P, UNSATISFIED, EPSILON = 4, 8, 20, 12, 0.5
#: Of the weights out of the hidden layer: ‖H0‖ grows with its square, ‖Hp‖ with itself.
OUTPUT_SCALE = 30.0

needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 1e-18, reason="numpy has no numbers longer than float64 here"
)


def planted(seed: int, delta: float) -> tuple[torch.Tensor, Problem]:
    """f = w·tanh(W x + b) + c with twelve of twenty patterns at Δ = δ to 2 δ, the others satisfied."""
    rng = np.random.default_rng(seed)
    arch = Architecture(D, H, 1, "tanh")
    W, b = rng.standard_normal((H, D)), rng.standard_normal(H)
    w = OUTPUT_SCALE * rng.standard_normal(H)
    x, y = rng.standard_normal((P, D)), rng.choice([-1.0, 1.0], P)
    gaps = np.where(np.arange(P) < UNSATISFIED, delta * rng.uniform(1, 2, P), -0.3)
    for _ in range(300):  # Newton on x, along the gradient of f
        t = np.tanh(x @ W.T + b)
        slope = ((1 - t**2) * w) @ W
        off = (y * (EPSILON - gaps) - t @ w) / (slope**2).sum(1)
        x = x + np.clip(off * np.linalg.norm(slope, axis=1), -0.05, 0.05)[:, None] * (
            slope / np.linalg.norm(slope, axis=1)[:, None]
        )
    assert np.abs(off).max() < 1e-12
    theta = torch.from_numpy(np.concatenate([W.ravel(), b, w, [0.0]]))
    arch = Architecture(D, H, 1, "tanh", norm=float(theta.norm()))
    return theta, Problem(torch.from_numpy(x), torch.from_numpy(y), arch, Loss("hinge", EPSILON, P))


def long_hessian(theta: torch.Tensor, problem: Problem) -> np.ndarray:
    """P (H0 + Hp + μ) P + Ŵ Ŵᵀ [Ñ, Ñ] in longer numbers, from the formulas of one hidden layer of tanh."""
    long = np.longdouble
    theta, x, y = (a.astype(long) for a in (theta.numpy(), problem.x.numpy(), problem.y.numpy()[:, 0]))
    W, b, w = theta[: D * H].reshape(H, D), theta[D * H : D * H + H], theta[D * H + H : -1]
    n = len(theta)
    matrix, gradient = np.zeros((n, n), long), np.zeros(n, long)
    for pattern, label in zip(x, y):
        t = np.tanh(W @ pattern + b)
        gap = long(EPSILON) - label * (t @ w + theta[-1])
        if gap <= 1e-10 * EPSILON:
            continue
        inputs = np.append(pattern, long(1))
        slope, bend = 1 - t**2, -2 * t * (1 - t**2)
        # rows of z: ∂z_k/∂(W, b, w, c)
        Z = np.zeros((H, n), long)
        for k in range(H):
            Z[k, k * D : (k + 1) * D] = pattern
            Z[k, D * H + k] = inputs[-1]
        of_f = (w * slope) @ Z
        of_f[D * H + H : -1] = t
        of_f[-1] = 1
        second = Z.T @ ((w * bend)[:, None] * Z)
        mixed = slope[:, None] * Z
        second[D * H + H : -1] += mixed
        second[:, D * H + H : -1] += mixed.T
        matrix += (np.outer(of_f, of_f) - label * gap * second) / P
        gradient -= label * gap * of_f / P
    unit = theta / np.sqrt(theta @ theta)
    matrix += np.eye(n, dtype=long) * (-(theta @ gradient) / (theta @ theta))
    projector = np.eye(n, dtype=long) - np.outer(unit, unit)
    return projector @ matrix @ projector + np.outer(unit, unit)


def n_negative(matrix: np.ndarray) -> int:
    """The number of negative eigenvalues, by elimination with the largest diagonal entry as pivot, in the same numbers."""
    A, count = matrix.copy(), 0
    while len(A):
        k = int(np.argmax(np.abs(np.diag(A))))
        order = [k, *(i for i in range(len(A)) if i != k)]
        A = A[np.ix_(order, order)]
        count += bool(A[0, 0] < 0)
        A = A[1:, 1:] - np.outer(A[1:, 0], A[1:, 0]) / A[0, 0]
    return count


def parts(theta: torch.Tensor, problem: Problem) -> tuple[Hessian, Space, Products]:
    products = Products(theta, problem)
    space = Space.of(products)
    pair = space.restrict(hessian(theta, problem, signal=products.signal))
    return Hessian(space.block(pair.H0), space.block(pair.Hp)), space, products


@needs_long_double
@pytest.mark.parametrize("delta", [1e-4, 1e-7, 6e-11])
@pytest.mark.parametrize("seed", range(3))
def test_signs_on_soft_modes_are_those_of_longer_numbers(seed, delta):
    theta, problem = planted(seed, delta)
    found = signs_of_H(*parts(theta, problem))
    assert found.n_negative == n_negative(long_hessian(theta, problem))
    assert found.n_negative > 0 and found.n_zero == 0
    n = len(theta) - 1
    assert found.n_positive >= UNSATISFIED and found.n_negative + found.n_positive == n


@needs_long_double
@pytest.mark.parametrize("signs_only", [False, True])
def test_the_spectrum_of_a_run_has_the_signs_on_soft_modes(signs_only):
    theta, problem = planted(0, 6e-11)
    data = Dataset(problem.x.numpy(), problem.y.numpy()[:, 0], info={"source": "planted"})
    run = train(data, problem.arch, with_options(TrainingOptions(), steps=1), seed=0)
    options = ExactOptions(signs_only=signs_only)
    info = exact_spectrum(at(run, data, theta, EPSILON), data, options=options).info
    assert info["n_negative_H"] == n_negative(long_hessian(theta, problem))
    if signs_only:
        assert info["n_zero_H"] == 0
        assert info["n_positive_H"] == len(theta) - 1 - info["n_negative_H"]


@needs_long_double
def test_close_to_jamming_the_signs_of_the_matrix_itself_are_lost():
    theta, problem = planted(0, 6e-11)
    pair, space, products = parts(theta, problem)
    assert are_hidden(pair, products)
    assert inertia_of(pair.H).n_negative < n_negative(long_hessian(theta, problem))


def test_away_from_jamming_nothing_is_hidden():
    pair, _, products = parts(*planted(0, 1e-4))
    assert not are_hidden(pair, products)
    assert signs_of_H(pair, *parts(*planted(0, 1e-4))[1:]).n_negative == inertia_of(pair.H).n_negative


def test_where_all_modes_are_soft_the_signs_are_those_of_h():
    """With Δ of order one Hp is larger than H0."""
    theta, problem = planted(1, 0.1)
    theta = theta.clone()
    theta[D * H + H : -1] /= OUTPUT_SCALE
    pair, space, products = parts(theta, problem)
    assert signs_of_H(pair, space, products).n_negative == inertia_of(pair.H).n_negative


def test_where_no_mode_is_soft_all_are_positive():
    """A perceptron with N + 1 unsatisfied patterns: H0 has full rank, and Hp = μ, however small, changes no sign."""
    rng = np.random.default_rng(0)
    d, theta = 6, torch.from_numpy(np.full(6, 6**-0.5))
    x = rng.standard_normal((d, d))
    x += np.outer(0.5 - 1e-9 * rng.uniform(1, 2, d) - x @ theta.numpy(), theta.numpy())
    arch = Architecture(d, 1, 0, "linear", norm=1.0, bias=False)
    problem = Problem(torch.from_numpy(x), torch.ones(d).double(), arch, Loss("hinge", 0.5, d))
    pair, space, products = parts(theta, problem)
    assert products.median_gap == pytest.approx(1.5e-9, rel=0.4)
    found = signs_of_H(pair, space, products)
    assert (found.n_negative, found.n_zero, found.n_positive) == (0, 0, d - 1)
