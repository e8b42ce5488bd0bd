"""The model of the loss against the loss itself and against torch.func."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.minima.kink_model import KinkModel, Kinks, Surface
from tests.support.jammed import small_problem

CASES = [("relu", 1), ("relu", 2), ("relu", 3), ("tanh", 2)]
NORMS = [None, 3.0]


def model_of(activation, depth, norm=None, P=20):
    theta, problem = small_problem(activation, P, depth=depth, seed=depth)
    problem = replace(problem, arch=replace(problem.arch, norm=norm))
    theta = Surface(norm).onto(theta, problem)
    return theta, problem, KinkModel(theta, problem, Kinks.none(theta))


def total(problem, theta):
    """S = ½ Σ max(0, Δ)², from the definition of the loss."""
    return problem.loss.P * problem.value(theta)


@pytest.mark.parametrize(("activation", "depth"), CASES)
@pytest.mark.parametrize("norm", NORMS)
def test_rows_are_the_gradients_of_the_gaps_on_the_surface(activation, depth, norm):
    theta, problem, model = model_of(activation, depth, norm)

    def gaps(t):
        layers = problem.forward(t)
        return problem.loss.gaps(layers.f, problem.y)[:, 0]

    J = torch.func.jacrev(gaps)(theta)
    assert torch.allclose(model.rows(torch.ones(20, dtype=torch.bool)), model.project(J), atol=1e-12)
    assert torch.allclose(model.rows(torch.tensor([3, 5])), model.project(J)[[3, 5]], atol=1e-12)


@pytest.mark.parametrize(("activation", "depth"), CASES)
def test_normals_and_forces_are_those_of_the_chain_rule(activation, depth):
    theta, problem, model = model_of(activation, depth)
    at = torch.tensor([[j, mu, n] for j in range(depth) for mu, n in ((1, 0), (4, 2), (7, 3))])

    def z(t):
        return torch.stack([problem.forward(t).z[j][mu, n] for j, mu, n in at.tolist()])

    normals = torch.func.jacrev(z)(theta)
    assert torch.allclose(model.normals(at), model.project(normals), atol=1e-12)
    assert torch.equal(model.pick(model.z, at), z(theta))
    # a bias of the layer above, changed by w, changes Δ as a change of ρ(z) does
    for j, mu, n in at.tolist():
        layers = [(w.clone(), b.clone()) for w, b in model.layers]
        h = 1e-6

        def gap(shift, j=j, mu=mu, n=n, layers=layers):
            moved = [(w, b + shift * w[:, n] if k == j + 1 else b) for k, (w, b) in enumerate(layers)]
            flat = torch.cat([part.flatten() for pair in moved for part in pair])
            return problem.loss.gaps(problem.forward(flat).f, problem.y)[mu, 0]

        force = (
            model.common_forces(torch.eye(20, dtype=theta.dtype)[mu])
            if model.dead_below[j][mu] >= 0
            else model.forces
        )
        pattern = int(model._first(j)[mu]) if model.dead_below[j][mu] >= 0 else mu
        assert float(force[j][pattern, n]) == pytest.approx(float(gap(h) - gap(-h)) / (2 * h), abs=1e-8)


@pytest.mark.parametrize(("activation", "depth"), CASES)
def test_the_curvature_is_the_hessian_of_the_gaps_times_their_weights(activation, depth):
    theta, problem, model = model_of(activation, depth)
    weights = torch.from_numpy(np.random.default_rng(0).uniform(0, 1, 20)) * model.active

    def weighted(t):
        return (weights * problem.loss.gaps(problem.forward(t).f, problem.y)[:, 0]).sum()

    K, nu = model.curvature(weights)
    assert torch.allclose(K, torch.func.hessian(weighted)(theta), atol=1e-10)
    assert nu == 0


@pytest.mark.parametrize(("activation", "depth"), CASES)
def test_at_fixed_norm_rows_and_curvature_are_those_of_the_sphere(activation, depth):
    """Along a great circle S'' = |J v|² of the active + v·K v at its start, with S smooth there."""
    theta, problem, model = model_of(activation, depth, 3.0)
    K, nu = model.curvature(model.gaps.clamp(min=0))
    J = model.rows(model.active)
    rng = np.random.default_rng(1)
    for _ in range(3):
        v = model.project(torch.from_numpy(rng.standard_normal((1, len(theta)))))[0]
        v = 3.0 * v / v.norm()
        h = 1e-4

        def circle(angle, v=v):
            return total(problem, np.cos(angle) * theta + np.sin(angle) * v)

        second = (circle(h) - 2 * circle(0.0) + circle(-h)) / h**2
        first = (circle(h) - circle(-h)) / (2 * h)
        gradient = J.T @ model.gaps[model.active]
        assert float(gradient @ v) == pytest.approx(first, rel=1e-5, abs=1e-7)
        assert float((J @ v).square().sum() + v @ K @ v) == pytest.approx(second, rel=1e-3, abs=1e-4)
    slope = torch.func.grad(
        lambda t: 0.5 * problem.loss.gaps(problem.forward(t).f, problem.y).clamp(min=0).square().sum()
    )(theta)
    assert nu == pytest.approx(-float(theta @ slope) / 9.0, rel=1e-10)


def test_a_held_kink_has_the_slope_of_its_multiplier():
    theta, problem = small_problem("relu", 20, depth=2, seed=1)
    held = Kinks(torch.tensor([[0, 3, 1], [1, 3, 2]]), torch.tensor([0.25, 0.75], dtype=torch.float64))
    model = KinkModel(theta, problem, held)
    assert model.slopes[0][3, 1] == 0.25 and model.slopes[1][3, 2] == 0.75
    plain = KinkModel(theta, problem, Kinks.none(theta))
    changed = [(a != b).sum() for a, b in zip(model.slopes, plain.slopes)]
    assert sum(int(n) for n in changed) == 2


def dead_model(held=None):
    """A network with two hidden layers, with a first layer that is off at patterns 2, 5 and 11, of both labels."""
    theta, problem = small_problem("relu", 20, depth=2, seed=3)
    weight, bias = KinkModel(theta, problem, Kinks.none(theta)).layers[0]
    directions = torch.zeros_like(problem.x)
    directions[[2, 5, 11]] = 1.0
    x = torch.where(
        directions > 0, -8.0 * torch.linalg.pinv(weight).sum(1) - torch.arange(20)[:, None] * 1e-3, problem.x
    )
    assert bool(((x[[2, 5, 11]] @ weight.T + bias) < 0).all()), (
        "the first layer is not off: choose another seed"
    )
    y = problem.y.clone()
    y[[2, 5, 11]] = torch.tensor([[1.0], [-1.0], [1.0]], dtype=y.dtype)
    problem = replace(problem, x=x, y=y)
    return theta, problem, KinkModel(theta, problem, held or Kinks.none(theta))


def test_patterns_that_a_layer_does_not_pass_on_share_their_kinks():
    """The force of a common kink is the change of their part of S with the input of the layer above it."""
    theta, problem, model = dead_model()
    group = (model.dead_below[1] == 0).nonzero()[:, 0]
    assert {2, 5, 11} <= set(group.tolist())
    first = int(group[model.active[group]][0])
    gaps = model.gaps.clamp(min=0)
    forces = model.common_forces(gaps)
    assert not forces[0].any() and not model.forces[1][group].any()
    assert forces[1].any(1).nonzero()[:, 0].tolist() == [first]
    dead = problem.take(group)
    for n in range(3):
        layers = [(w.clone(), b.clone()) for w, b in model.layers]

        def share(shift, n=n, layers=layers):
            moved = [(w, b + shift * w[:, n] if k == 2 else b) for k, (w, b) in enumerate(layers)]
            return total(dead, torch.cat([part.flatten() for pair in moved for part in pair]))

        expected = float(share(1e-6) - share(-1e-6)) / 2e-6
        assert float(forces[1][first, n]) == pytest.approx(expected, abs=1e-8)
        assert float(model.force(torch.tensor([[1, first, n]]), gaps)) == pytest.approx(expected, abs=1e-8)


def test_a_held_common_kink_is_held_at_all_patterns_that_share_it():
    held = Kinks(torch.tensor([[1, 5, 0], [1, 11, 0]]), torch.tensor([0.25, 0.25], dtype=torch.float64))
    _, _, model = dead_model(held)
    group = (model.dead_below[1] == 0).nonzero()[:, 0]
    assert model.slopes[1][group, 0].tolist() == [0.25] * len(group)
    first = int(group[model.active[group]][0])
    assert model.held.at.tolist() == [[1, first, 0]] and model.held.slope.tolist() == [0.25]


def test_the_tangent_is_the_change_of_every_pre_activation_at_first_order():
    theta, problem, model = model_of("tanh", 3)
    step = torch.from_numpy(np.random.default_rng(2).standard_normal(len(theta)))
    for j, change in enumerate(model.tangent(step)):
        exact = torch.func.jvp(lambda t, j=j: problem.forward(t).z[j], (theta,), (step,))[1]
        assert torch.allclose(change, exact, atol=1e-12)


def test_free_weights_are_balanced_and_steps_avoid_the_scale_symmetries():
    theta, problem, model = model_of("relu", 2)
    scaled = theta.clone()
    scaled[:12] *= 64.0  # the weights into the first layer; its biases and the weights out of it stay
    assert float(Surface(2.0).onto(scaled, problem).norm()) == pytest.approx(2.0)
    assert model.fixed.shape[1] == problem.arch.n_hidden
    assert torch.allclose(
        model.project(model.fixed.T),
        torch.zeros(model.fixed.shape[1], len(theta), dtype=theta.dtype),
        atol=1e-14,
    )
