"""The sphere of fixed norm against torch.func: tangent vectors, the multiplier of the norm, the Hessian on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.errors import InputError
from jamtools.hessian.assembly import hessian
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.network.sphere import norm_multiplier, onto_sphere, tangent, tangent_block, tangent_rows

NORM = 4.0


def point(activation="tanh", depth=2, norm=NORM, P=30, seed=0):
    data, arch = random_sphere(P, 3, seed), Architecture(3, 4, depth, activation, norm=norm)
    problem = Problem(torch.from_numpy(data.x), torch.from_numpy(data.y), arch, Loss("hinge", 0.5, P))
    return torch.from_numpy(initial_parameters(arch, "torch", seed)), problem


def free_loss(problem):
    """The loss of free weights, as torch differentiates it."""
    return lambda theta: problem.loss.value(problem.forward(theta).f, problem.y)


def test_the_gradient_of_a_problem_of_fixed_norm_is_that_of_the_loss_on_the_sphere():
    theta, problem = point()
    on_sphere = lambda u: free_loss(problem)(u * (NORM / u.norm()))
    expected = torch.func.grad(on_sphere)(theta)
    for g in (problem.evaluate(theta).gradient, problem.value_and_gradient(theta)[1]):
        torch.testing.assert_close(g, expected, rtol=0, atol=1e-14)
        assert abs(float(g @ theta)) < 1e-14


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_second_derivative_along_a_great_circle_is_that_of_h_with_the_multiplier(activation):
    theta, problem = point(activation)
    loss = free_loss(problem)
    mu = norm_multiplier(theta, torch.func.grad(loss)(theta))
    H = hessian(theta, problem).H
    rng = np.random.default_rng(0)
    for _ in range(5):
        v = tangent(torch.from_numpy(rng.standard_normal(len(theta))), theta)
        v = v * (NORM / v.norm())
        # W(t) = W cos t + v sin t, with |v| = R
        circle = lambda t, v=v: loss(theta * torch.cos(t) + v * torch.sin(t))
        second = torch.func.grad(torch.func.grad(circle))(torch.zeros((), dtype=torch.float64))
        assert float(v @ H @ v) + mu * NORM**2 == pytest.approx(float(second), rel=1e-10)


def test_the_block_on_the_tangent_space_has_the_eigenvalues_of_any_orthonormal_basis_of_it():
    rng = np.random.default_rng(1)
    for sign in (1.0, -1.0):
        theta = torch.from_numpy(rng.standard_normal(9))
        theta[-1] = sign * theta[-1].abs()
        A = torch.from_numpy(rng.standard_normal((9, 9)))
        A = A + A.T
        basis = torch.linalg.qr(theta[:, None], mode="complete")[0][:, 1:]
        expected = torch.linalg.eigvalsh(basis.T @ A @ basis)
        torch.testing.assert_close(torch.linalg.eigvalsh(tangent_block(A, theta)), expected)


def test_scalings_of_balanced_neurons_have_a_curvature_of_twice_the_multiplier():
    """At a point with ∇L = -μ W; made by hand: f = w2 ρ(w1 x), x = 1, y = 1, w1 = w2 = w, Δ = ε - w² > 0."""
    w, epsilon = 0.5, 1.0
    arch = Architecture(1, 1, 1, "relu", norm=w * 2**0.5)
    problem = Problem(torch.ones(1, 1).double(), torch.ones(1).double(), arch, Loss("hinge", epsilon, 1))
    theta = torch.tensor([w, 0.0, w, 0.0], dtype=torch.float64)
    signal = -(epsilon - w**2)
    gradient = torch.tensor([signal * w, signal * w, signal * w, signal], dtype=torch.float64)
    mu = norm_multiplier(theta, gradient)
    assert mu == pytest.approx(epsilon - w**2)
    scaling = torch.tensor([w, 0.0, -w, 0.0], dtype=torch.float64)
    parts = hessian(theta, problem)
    assert float(scaling @ parts.H0 @ scaling) == pytest.approx(0.0, abs=1e-15)
    along = float(scaling @ parts.Hp @ scaling) + mu * float(scaling @ scaling)
    assert along == pytest.approx(2 * mu * float(scaling @ scaling))


def test_rows_are_projected_each_on_its_own_tangent_space():
    rng = np.random.default_rng(2)
    theta, vectors = (torch.from_numpy(rng.standard_normal((3, 6))) for _ in range(2))
    expected = torch.stack([tangent(v, w) for v, w in zip(vectors, theta, strict=True)])
    torch.testing.assert_close(tangent_rows(vectors, theta), expected)


def test_free_weights_stay_where_they_are():
    theta, problem = point(norm=None)
    assert onto_sphere(theta, None) is theta
    expected = torch.func.grad(free_loss(problem))(theta)
    torch.testing.assert_close(problem.evaluate(theta).gradient, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("init", ["orthogonal", "torch", "normal"])
def test_initial_parameters_have_the_fixed_norm_and_their_direction(init):
    arch = Architecture(4, 5, 2)
    free = initial_parameters(arch, init, 3)
    scaled = initial_parameters(Architecture(4, 5, 2, norm=2.5), init, 3)
    assert np.linalg.norm(scaled) == pytest.approx(2.5, rel=1e-14)
    np.testing.assert_allclose(scaled, free * (2.5 / np.linalg.norm(free)), rtol=1e-14)


@pytest.mark.parametrize(
    ("activation", "expected"), [("relu", 5 * 4 + 6 * 5 + 6 - 10 - 1), ("tanh", 56 - 1), ("linear", 4)]
)
def test_the_radius_is_no_parameter(activation, expected):
    """ReLU: Ñ - hidden - 1; tanh: Ñ - 1; deep linear: still every affine map, since its layers can share the norm."""
    assert Architecture(3, 5, 2, activation, norm=1.0).n_effective == expected


def test_norms_that_are_none_are_refused():
    for norm in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="norm"):
            Architecture(3, 3, 1, norm=norm)
    with pytest.raises(InputError, match="batch normalisation"):
        Architecture(3, 3, 1, batch_norm=True, norm=1.0)
