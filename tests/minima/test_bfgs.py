"""BFGS against closed forms: a quadratic, Lewis and Overton's non-smooth Rosenbrock function, a sum of moduli."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.minima.bfgs import BFGS_LONGEST_STEP, WOLFE_CURVATURE, WOLFE_DECREASE, Bfgs


def quadratic(A, b):
    return lambda w: (float(0.5 * w @ A @ w - b @ w), A @ w - b)


def test_bfgs_minimises_a_quadratic_to_round_off_and_finds_its_inverse_hessian():
    rng = np.random.default_rng(0)
    Q = torch.linalg.qr(torch.from_numpy(rng.standard_normal((12, 12))))[0]
    A = Q @ torch.diag(torch.logspace(0, 3, 12, dtype=torch.float64)) @ Q.T
    b = torch.from_numpy(rng.standard_normal(12))
    w = torch.ones(12, dtype=torch.float64)
    bfgs = Bfgs(w, quadratic(A, b))
    while bfgs.iterate():
        if bfgs.gradient.norm() < 1e-13:
            break
    exact = torch.linalg.solve(A, b)
    # an error of 1e-13 in the gradient gives one of 1e-13/λ_min = 1e-13 in w; the round-off of `exact` is κ·eps
    assert (w - exact).norm() < 1e-11 * exact.norm()
    assert torch.allclose(bfgs.inverse, bfgs.inverse.T, atol=1e-12)


def test_bfgs_minimises_the_non_smooth_rosenbrock_function_at_its_cusp():
    """w|x₁² - x₂| + (1 - x₁)²: a curved valley with a kink along its floor; gradient descent stalls on it."""

    def function(x):
        inside = x[0] ** 2 - x[1]
        sign = 1.0 if inside > 0 else -1.0
        value = 8 * abs(inside) + (1 - x[0]) ** 2
        return float(value), torch.stack(
            [16 * sign * x[0] - 2 * (1 - x[0]), torch.tensor(-8.0 * sign).double()]
        )

    x = torch.tensor([-1.0, 1.3], dtype=torch.float64)
    bfgs = Bfgs(x, function)
    for _ in range(2000):
        if not bfgs.iterate():
            break
    assert bfgs.value < 1e-8
    assert (x - 1).abs().max() < 1e-4  # (1 - x₁)² ≤ 1e-8
    assert bfgs.gradient.norm() > 1  # the gradient does not vanish at the minimum


def test_bfgs_minimises_a_convex_function_whose_minimum_is_on_all_kinks():
    """½‖w‖² + Σ c_i |w_i - a_i| with c_i > |a_i|: the minimum is at a, on every kink."""
    rng = np.random.default_rng(3)
    a = torch.from_numpy(rng.uniform(-1, 1, 8))
    c = a.abs() + torch.from_numpy(rng.uniform(0.2, 1, 8))

    def function(w):
        return float(0.5 * w @ w + c @ (w - a).abs()), w + c * torch.where(w > a, 1.0, -1.0)

    w = torch.from_numpy(rng.standard_normal(8))
    bfgs = Bfgs(w, function)
    for _ in range(5000):
        if not bfgs.iterate():
            break
    assert (w - a).abs().max() < 1e-7


def test_every_step_of_bfgs_satisfies_the_weak_wolfe_conditions_or_is_the_longest():
    rng = np.random.default_rng(1)
    A = torch.diag(torch.from_numpy(rng.uniform(0.1, 50, 6)))
    w = torch.from_numpy(rng.standard_normal(6))
    bfgs = Bfgs(w, quadratic(A, torch.ones(6, dtype=torch.float64)))
    for _ in range(30):
        before, value, gradient = w.clone(), bfgs.value, bfgs.gradient.clone()
        if not bfgs.iterate() or bfgs.gradient.norm() < 1e-10:
            break
        step = w - before
        slope = float(gradient @ step)
        assert bfgs.value <= value + WOLFE_DECREASE * slope
        longest = step.norm() >= BFGS_LONGEST_STEP * before.norm() * (1 - 1e-12)
        assert longest or float(bfgs.gradient @ step) >= WOLFE_CURVATURE * slope


def test_bfgs_continues_from_a_copy_of_its_state_to_the_same_bytes():
    A = torch.diag(torch.linspace(1, 9, 5, dtype=torch.float64))
    function = quadratic(A, torch.ones(5, dtype=torch.float64))
    w = torch.zeros(5, dtype=torch.float64) + 0.3
    uninterrupted = Bfgs(w, function)
    for _ in range(4):
        uninterrupted.iterate()
    v = w.clone()
    resumed = Bfgs(v, function)
    resumed.restore(uninterrupted.state())
    for _ in range(3):
        uninterrupted.iterate()
        resumed.iterate()
    assert torch.equal(w, v) and torch.equal(uninterrupted.inverse, resumed.inverse)


@pytest.mark.parametrize("start", [0.0, 2.0])
def test_bfgs_takes_no_step_where_the_loss_is_zero(start):
    w = torch.full((3,), start, dtype=torch.float64)
    assert not Bfgs(w, lambda v: (0.0, torch.zeros(3, dtype=torch.float64))).iterate()
    assert torch.equal(w, torch.full((3,), start, dtype=torch.float64))
