"""Levenberg–Marquardt against torch.func's matrices and the normal equations solved densely."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jamtools.minima.levenberg_marquardt import DualModel, LevenbergMarquardt, PrimalModel
from jamtools.minima.softplus_path import softened
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from tests.support.jammed import small_problem


def outputs(theta, x, arch, rho):
    return forward(layers_of(theta, arch), x, arch, rho).f[:, 0]


def model_at(theta, problem, rho):
    levenberg = LevenbergMarquardt(problem)
    levenberg.rho = rho
    return levenberg.model(theta, forward(layers_of(theta, problem.arch), problem.x, problem.arch, rho))


@pytest.mark.parametrize("P", [6, 80])  # fewer and more patterns than parameters
def test_a_damped_step_solves_the_normal_equations_of_autograd(P):
    theta, problem = small_problem("tanh", P)
    x, y, arch = problem.x, problem.y, problem.arch
    model = model_at(theta, problem, None)
    assert isinstance(model, DualModel if P == 6 else PrimalModel)
    gaps = 0.5 - y[:, 0] * outputs(theta, x, arch, None)
    J = torch.func.jacrev(lambda t: 0.5 - y[:, 0] * outputs(t, x, arch, None))(theta)[gaps > 0]
    H0, g = J.T @ J / P, J.T @ gaps[gaps > 0] / P
    damping = 0.01 * float(H0.diagonal().mean())
    assert model.mean == pytest.approx(float(H0.diagonal().mean()), rel=1e-12)
    exact = torch.linalg.solve(H0 + damping * torch.eye(len(theta), dtype=torch.float64), -g)
    condition = float(torch.linalg.eigvalsh(H0)[-1]) / damping
    assert (model.step(damping) - exact).norm() < 100 * condition * 2.2e-16 * exact.norm()
    assert torch.allclose(model.times(exact), H0 @ exact, rtol=1e-10, atol=1e-14)


def test_the_model_of_a_smoothed_network_adds_the_positive_curvature_of_its_kinks():
    theta, problem = small_problem("relu", 40)
    x, y, arch, loss = problem.x, problem.y, problem.arch, problem.loss
    rho = [softened(3.0), softened(5.0)]
    model = model_at(theta, problem, rho)
    value = lambda t: loss.value(forward(layers_of(t, arch), x, arch, rho).f, y)
    g = torch.func.grad(value)(theta)
    assert torch.allclose(model.gradient, g, rtol=1e-10, atol=1e-13)
    gaps = 0.5 - y[:, 0] * outputs(theta, x, arch, rho)
    J = torch.func.jacrev(lambda t: outputs(t, x, arch, rho))(theta)[gaps > 0]
    B = J.T @ J / len(x)
    for j in range(arch.depth):  # w = ρ''(z) ∂L/∂ρ of each pair of pattern and neuron
        state = forward(layers_of(theta, arch), x, arch, rho)
        dz = torch.func.jacrev(lambda t, j=j: forward(layers_of(t, arch), x, arch, rho).z[j])(theta)

        def above(a, j=j):
            for (weight, bias), one in zip(
                layers_of(theta, arch)[j + 1 :], [*rho[j + 1 :], None], strict=True
            ):
                z = a @ weight.T + bias
                a = z if one is None else one.value(z)
            return loss.value(a, y)

        force = torch.func.grad(above)(rho[j].value(state.z[j]))
        w = (force * rho[j].curvature(state.z[j])).clamp(min=0)
        B += torch.einsum("pn,pni,pnk->ik", w, dz, dz)
    assert torch.allclose(model.B, B, rtol=1e-9, atol=1e-13)
    assert torch.linalg.eigvalsh(model.B)[0] > -1e-12 * torch.linalg.eigvalsh(model.B)[-1]


@pytest.mark.parametrize("P", [6, 80])
def test_at_fixed_norm_the_model_and_the_steps_are_those_of_the_sphere(P):
    """g and J without their components along W, and max(mu, 0) in B; the step is tangent, and the end is on the sphere."""
    theta, problem = small_problem("tanh", P)
    R = float(theta.norm())
    problem = replace(problem, arch=replace(problem.arch, norm=R))
    x, y, arch = problem.x, problem.y, problem.arch
    model = model_at(theta, problem, None)
    gaps = 0.5 - y[:, 0] * outputs(theta, x, arch, None)
    J = torch.func.jacrev(lambda t: 0.5 - y[:, 0] * outputs(t, x, arch, None))(theta)[gaps > 0]
    projector = torch.eye(len(theta), dtype=theta.dtype) - torch.outer(theta, theta) / R**2
    g, J = J.T @ gaps[gaps > 0] / P, J @ projector
    mu = max(-float(theta @ g) / R**2, 0.0) if P == 80 else 0.0
    assert torch.allclose(model.gradient, projector @ g, atol=1e-13)
    B = J.T @ J / P + mu * projector
    v = projector @ torch.linspace(-1, 1, len(theta), dtype=theta.dtype)
    assert torch.allclose(model.times(v), B @ v, atol=1e-13)
    assert abs(float(model.step(0.1 * model.mean) @ theta)) < 1e-13
    levenberg = LevenbergMarquardt(problem)
    values = [problem.value(theta)] + [levenberg.iterate(theta) for _ in range(10)]
    assert values == sorted(values, reverse=True) and values[-1] < values[0]
    assert float(theta.norm()) == pytest.approx(R, rel=1e-15)


def test_damped_steps_never_raise_the_loss_and_fit_the_labels_of_a_teacher_to_round_off():
    theta, problem = small_problem("tanh", 60, seed=1)
    x, arch = problem.x, problem.arch
    teacher = torch.from_numpy(initial_parameters(arch, "orthogonal", 9))
    f = outputs(teacher, x, arch, None)
    x, y = (
        x[f.abs() > 0.05],
        f[f.abs() > 0.05].sign()[:, None],
    )  # the teacher has a margin, so that a multiple of it is a solution
    levenberg, values = LevenbergMarquardt(Problem(x, y, arch, Loss("hinge", 0.5, len(x)))), []
    for _ in range(300):
        value = levenberg.iterate(theta)
        if value is None:
            break
        values.append(value)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-25
