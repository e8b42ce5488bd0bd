"""Curvature on cusps against a calculation by hand, differences along the manifold of the cusps, and autograd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.func import grad, jacrev

import jamtools.minima.second_order
from jamtools.cusps.counting import count
from jamtools.cusps.subgradient import SmallestSubgradient
from jamtools.errors import InputError
from jamtools.hessian.assembly import hessian
from jamtools.minima.second_order import Lagrangian, lagrangian
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.network.symmetry import scale_generators
from tests.support import oracle
from tests.support.curvature import TIGHT, curvature_of, cusps_of, planted
from tests.support.one_neuron import column, minimum, saddle

# --- one neuron, by hand ------------------------------------------------------------------------------------


def one_neuron(y: float, multiplier: float) -> Lagrangian:
    """f = a ρ(w x + b) + c at w = a = 1, b = c = 0, ε = 3: a cusp at x = 0 of label -1, and x = 1 of label y."""
    arch, loss = Architecture(1, 1, 1), Loss("hinge", 3.0, 2)
    theta, x, labels = column(1, 0, 1, 0)[:, 0], column(0, 1), column(-1, y)
    cusps = cusps_of(theta, Problem(x, labels, arch, loss))
    return lagrangian(cusps, with_multiplier(multiplier))


def with_multiplier(multiplier: float) -> SmallestSubgradient:
    return SmallestSubgradient(0, 0, np.array([multiplier]), True)


@pytest.mark.parametrize(
    ("y", "smallest", "largest"),
    [(1.0, (1 - 5**0.5) / 2, (1 + 5**0.5) / 2), (-1.0, (7 - 29**0.5) / 2, (7 + 29**0.5) / 2)],
)
def test_the_curvature_of_one_neuron_on_one_cusp_is_that_found_by_hand(y, smallest, largest):
    """∇z = b̂ removes b, and the scale symmetry removes w - a. On (w + a)/√2 and c, in units √2, √2 and 1 of w, a and c, the
    rest is [[2 (1 + s), 1], [1, 1]] with s = ∂L/∂f at x = 1: -1 for y = 1 and 2 for y = -1.
    """
    result = one_neuron(y, 0.5)
    assert (result.held.dimension, result.held.n_zero) == (2, 0)
    assert (result.held.smallest, result.held.largest) == pytest.approx((smallest, largest))
    assert result.held.relative == pytest.approx(smallest / largest)
    assert result.held.n_negative == int(y > 0) and result.stable is (y < 0)
    assert result.free is result.held
    assert (result.n_at_bound, result.n_without_force, result.n_concave) == (0, 0, 0)


def test_a_multiplier_at_its_bound_frees_its_direction():
    """With λ = 0, f depends on b only at x = 1. On (w + a)/√2, b and c: [[6, 3√2, 1], [3√2, 1, 1/√2], [1, 1/√2, 1]]."""
    result = one_neuron(-1.0, 0.0)
    root = 0.5**0.5
    free = np.linalg.eigvalsh([[6, 6 * root, 1], [6 * root, 1, root], [1, root, 1]])
    assert result.n_at_bound == 1 and result.held.n_negative == 0
    assert result.free.dimension == 3 and result.free.n_negative == 1
    assert (result.free.smallest, result.free.largest) == pytest.approx((free[0], free[-1]))
    assert result.stable is None


def true_loss(theta: Tensor, problem: Problem) -> Tensor:
    return oracle.hinge(oracle.f(problem.arch, theta, problem.x), problem.y, problem.loss.epsilon)


def rises(point, directions: Tensor) -> Tensor:
    """L(theta + direction) - L(theta) for each row of `directions`."""
    theta, problem = point
    start_loss = true_loss(theta, problem)
    return torch.stack([true_loss(theta + step, problem) for step in directions]) - start_loss


def test_a_minimum_on_a_cusp_is_one_by_descent_trials_as_well():
    point = minimum()
    end, result = curvature_of(*point)
    assert end.norm < 1e-15 < 0.1 < end.gradient_norm and end.multipliers == pytest.approx([0.5])
    assert result.stable and result.held.n_negative == 0 and result.held.relative > 0.01
    steps = torch.from_numpy(np.random.default_rng(0).standard_normal((300, 4)))
    for length in (1e-2, 1e-3, 1e-4):
        assert rises(point, length * steps).min() > 0


def test_a_saddle_on_a_cusp_has_one_negative_direction_along_which_the_loss_falls():
    point = saddle()
    end, result = curvature_of(*point)
    assert end.norm < 1e-15 and end.multipliers == pytest.approx([0.5])
    assert result.held.n_negative == 1 and result.stable is False
    assert (result.n_concave, result.n_at_bound) == (0, 0)
    step = column(0, 0, 0, 0, 0, 1, 0, -1, 0)[:, 0]
    fall = rises(point, torch.stack([1e-3 * step, 1e-4 * step]))
    assert fall[1] < 0 and float(fall[0] / fall[1]) == pytest.approx(100, rel=0.01), "of second order"


@pytest.mark.parametrize("make", [minimum, saddle])
def test_signs_of_the_curvature_do_not_depend_on_the_scale_of_the_loss(make):
    """A factor of 10⁻¹² in ε and in the last layer takes L to 10⁻²⁴ L, and a minimum is still a minimum."""
    theta, problem = make()
    end, before = curvature_of(theta, problem)
    for tensor in layers_of(theta, problem.arch)[-1]:
        tensor *= 1e-12
    small = replace(problem.loss, epsilon=1e-12 * problem.loss.epsilon)
    scaled, after = curvature_of(theta, replace(problem, loss=small))
    assert scaled.multipliers == pytest.approx(end.multipliers)
    assert_same_signs(before, after)


def assert_same_signs(before: Lagrangian, after: Lagrangian) -> None:
    for a, b in ((before.held, after.held), (before.free, after.free)):
        assert (a.dimension, a.n_negative, a.n_zero) == (b.dimension, b.n_negative, b.n_zero)
        assert a.relative == pytest.approx(b.relative, rel=1e-6)
    names = ("n_at_bound", "n_without_force", "n_concave", "stable")
    assert [getattr(before, name) for name in names] == [getattr(after, name) for name in names]


def test_a_concave_cusp_is_not_stable():
    """w = b = 0, a = 1: all patterns sit on the cusp, g = 0 with every multiplier at 0, and L falls with |w|."""
    arch, theta, loss = Architecture(1, 1, 1), column(0, 0, 1, 0)[:, 0], Loss("hinge", 0.5, 4)
    x, y = column(1, -1, 0.5, -0.5), column(1, 1, -1, -1)
    problem = Problem(x, y, arch, loss)
    cusps = count(theta, problem, TIGHT)
    assert cusps.n_with_gradient == 4 and cusps.n_convex == 2
    end, result = curvature_of(theta, problem)
    assert end.norm < 1e-15
    assert result.n_concave == 2 and result.stable is False
    lower = theta + column(1e-3, 0, 0, 0)[:, 0]
    assert true_loss(lower, problem) < true_loss(theta, problem)


@pytest.mark.parametrize(
    ("z", "multiplier", "n_concave"),
    [(0, 0, 1), (0, 1, 1), (1e-6, 0, 1), (1e-6, 0.5, 1), (1e-6, 1, 0), (-1e-6, 0, 0)],
)
def test_a_smooth_pre_activation_near_zero_is_no_concave_cusp(z, multiplier, n_concave):
    """The label is +1, so that u < 0. With |z| > 0 and the slope of its own side, z is within the tolerance by chance."""
    arch, loss, theta = Architecture(1, 1, 1), Loss("hinge", 3.0, 2), column(1, 0, 1, 0)[:, 0]
    x, y = column(z, 1), column(1, 1)
    cusps = cusps_of(theta, Problem(x, y, arch, loss), 1e-5)
    assert cusps.counted.n_with_gradient == 1 and cusps.counted.n_convex == 0
    result = lagrangian(cusps, with_multiplier(multiplier))
    assert result.n_concave == n_concave


def test_a_cusp_without_force_is_no_constraint():
    """The second layer is off at the pattern: L does not change with the first layer's pre-activation there."""
    arch, loss = Architecture(1, 1, 2), Loss("hinge", 3.0, 2)
    theta = column(1, 0, 1, -0.5, 1, 0)[:, 0]
    _, result = curvature_of(theta, Problem(column(0, 1), column(1, 1), arch, loss))
    assert (result.n_without_force, result.n_at_bound, result.n_concave) == (1, 0, 0)
    assert result.held.dimension == arch.n_parameters - arch.n_hidden


# --- small networks: curves along the manifold of the cusps --------------------------------------------------


CASES = [(1, 1), (2, 1), (3, 1), (2, 3)]


def passes(arch: Architecture, theta: Tensor, x: Tensor, slopes: list[Tensor]) -> list[Tensor]:
    """z of every layer with ρ(z) = σ z for given, fixed slopes σ."""
    z = []
    for j, (weight, bias) in enumerate(layers_of(theta, arch)):
        x = torch.nn.functional.linear(x, weight, bias)
        z.append(x)
        x = slopes[j] * x if j < arch.depth else x
    return z


class Smooth:
    """The Lagrangian of a point with given multipliers, and its cusps as functions of theta, for autograd."""

    def __init__(self, theta: Tensor, problem: Problem, multipliers: np.ndarray) -> None:
        arch, x, y, loss = problem.arch, problem.x, problem.y, problem.loss
        z = forward(layers_of(theta, arch), x, arch).z[:-1]
        self.at = [layer.abs() < 1e-11 for layer in z]
        parts = torch.from_numpy(multipliers).split([int(at.sum()) for at in self.at])
        self.slopes = [
            (layer > 0).double().masked_scatter(at, part)
            for layer, at, part in zip(z, self.at, parts, strict=True)
        ]
        self.arch, self.x = arch, x
        self.value = lambda t: oracle.hinge(passes(arch, t, x, self.slopes)[-1], y, loss.epsilon)

    def cusps(self, theta: Tensor) -> Tensor:
        """z_i [n]."""
        z = passes(self.arch, theta, self.x, self.slopes)
        return torch.cat([layer[at] for layer, at in zip(z, self.at)])

    def onto(self, theta: Tensor) -> Tensor:
        """The nearest point of the manifold, to second order, by Newton steps."""
        for _ in range(6):
            rows = jacrev(self.cusps)(theta)
            theta = theta - torch.linalg.pinv(rows) @ self.cusps(theta)
        return theta


def second_difference(smooth: Smooth, v: Tensor, theta: Tensor, point_loss) -> tuple[float, Tensor]:
    """d²L/dt² of the true loss along a curve in the manifold with velocity v, and the acceleration of the curve."""
    t = 5e-5  # smooth pre-activations of 3e-4 must keep their sign
    ahead, back = smooth.onto(theta + t * v), smooth.onto(theta - t * v)
    assert max(float(smooth.cusps(end).abs().max()) for end in (ahead, back)) < 1e-14
    second = (point_loss(ahead) - 2 * point_loss(theta) + point_loss(back)) / t**2
    return float(second), (ahead - 2 * theta + back) / t**2


def tangents(smooth: Smooth, theta: Tensor, n: int) -> Tensor:
    """n random unit tangent vectors of the manifold, as rows."""
    basis = scipy.linalg.null_space(jacrev(smooth.cusps)(theta).numpy())
    vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((n, basis.shape[1])) @ basis.T)
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("depth", "outputs"), CASES)
def test_the_second_difference_of_the_loss_along_the_cusps_is_the_curvature_and_the_bending(depth, outputs):
    """For any λ, d²L/dt² = vᵀ∇²𝓛 v + g·w, with L the true loss and w the acceleration of the curve."""
    theta, problem = planted(depth, outputs)
    cusps = cusps_of(theta, problem)
    assert cusps.counted.n_with_gradient == cusps.counted.n_cusps == 2 * depth + 2
    multipliers = np.random.default_rng(depth).random(len(cusps.signs))
    smooth = Smooth(theta, problem, multipliers)
    H = hessian(theta, cusps.active, cusps.with_multipliers(torch.from_numpy(multipliers)).slopes).H
    for v in tangents(smooth, theta, 4):
        second, w = second_difference(smooth, v, theta, lambda t: true_loss(t, problem))
        bent = float(grad(smooth.value)(theta) @ w)
        assert depth == 1 or abs(bent) > 1e-3 * abs(second), "a flat manifold tests less"
        assert float(v @ H @ v) + bent == pytest.approx(second, rel=1e-5, abs=2e-6)


@pytest.mark.parametrize(("depth", "outputs"), CASES)
def test_with_the_best_multipliers_the_second_difference_is_the_curvature_alone(depth, outputs):
    """With unbounded λ, g is tangent to the manifold, and the curve of nearest points bends normal to it."""
    theta, problem = planted(depth, outputs, together=False)
    cusps = cusps_of(theta, problem)
    assert cusps.linear and len(cusps.signs) == depth + 2
    rows, none = cusps.jacobian(cusps.signs), torch.zeros_like(cusps.signs)
    best = torch.linalg.lstsq(rows.T, -cusps.gradient(none)[:, None]).solution[:, 0]
    smooth = Smooth(theta, problem, best.numpy())
    H = hessian(theta, cusps.active, cusps.with_multipliers(best).slopes).H
    assert cusps.gradient(best).norm() > 1e-3, "not stationary, and it does not matter"
    for v in tangents(smooth, theta, 4):
        second, _ = second_difference(smooth, v, theta, lambda t: true_loss(t, problem))
        assert float(v @ H @ v) == pytest.approx(second, rel=1e-4, abs=2e-6)


@pytest.mark.parametrize(("depth", "outputs"), CASES)
def test_the_spectrum_on_the_tangent_space_equals_that_of_autograd(depth, outputs):
    """Away from a stationary point the signs depend on the units of H0, which are compared too."""
    theta, problem = planted(depth, outputs)
    arch = problem.arch
    end, result = curvature_of(theta, problem)
    smooth = Smooth(theta, problem, np.where(end.inside, end.multipliers, end.multipliers.round()))
    H = torch.func.hessian(smooth.value)(theta).numpy()
    units = units_of(smooth, theta, problem)
    normals, generators = jacrev(smooth.cusps)(theta).numpy(), scale_generators(theta, arch).numpy().T
    for curvature, kept in ((result.held, np.full(len(normals), True)), (result.free, end.inside)):
        Z = scipy.linalg.null_space(np.concatenate([normals[kept] * units, generators / units]))
        values = np.linalg.eigvalsh(Z.T @ (units[:, None] * H * units) @ Z)
        assert curvature.dimension == len(values) == arch.n_parameters - kept.sum() - arch.n_hidden
        assert curvature.n_negative == (values < -1e-12 * values[-1]).sum() > 0
        assert (curvature.smallest, curvature.largest) == pytest.approx((values[0], values[-1]))
    assert result.n_at_bound == (~end.inside).sum()


def units_of(smooth: Smooth, theta: Tensor, problem: Problem) -> np.ndarray:
    """1/√(mean diagonal of H0) over each layer's weights and over its biases, for each parameter.

    In the first layer the mean is over the weights of each component of x.
    """
    f = lambda t: passes(smooth.arch, t, smooth.x, smooth.slopes)[-1]
    rows = jacrev(f)(theta)[problem.loss.gaps(f(theta), problem.y) > 0]
    diagonal, units = problem.loss.hinge_curvature * rows.square().sum(0), []
    for j, (weight, bias) in enumerate(layers_of(diagonal, smooth.arch)):
        mean = weight.mean(0).expand_as(weight) if j == 0 else weight.mean().expand_as(weight)
        units += [mean.flatten(), bias.mean().expand(len(bias))]
    return torch.cat(units).rsqrt().numpy()


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_signs_of_the_curvature_do_not_depend_on_the_scale_of_a_layer(factor):
    theta, problem = planted(2)
    end, before = curvature_of(theta, problem)
    layers = layers_of(theta, problem.arch)
    for tensor in layers[0]:
        tensor *= factor
    layers[1][0].div_(factor)
    after = lagrangian(cusps_of(theta, problem), end)
    assert before.n_at_bound > 0 and before.held.n_negative > 0
    assert_same_signs(before, after)


def test_the_curvature_without_cusps_is_that_of_the_hessian():
    arch = Architecture(4, 5, 2, "tanh")
    x, y = oracle.sphere(40, 4)
    theta, problem = oracle.random_theta(arch), Problem(x, y, arch, Loss("hinge", 0.5, 40))
    _, result = curvature_of(theta, problem)
    values = torch.linalg.eigvalsh(hessian(theta, problem).H)
    assert result.held.dimension == arch.n_parameters and result.free is result.held
    assert result.held.n_negative == int((values < -1e-13 * values[-1]).sum())


def test_with_more_cusps_than_parameters_only_the_bias_of_the_output_is_free():
    _, result = curvature_of(*planted(1), tolerance=5.0)
    assert (result.held.dimension, result.held.smallest, result.held.relative) == (1, pytest.approx(1), 1)


def test_curvature_with_too_many_parameters_is_refused_with_the_memory_it_needs(monkeypatch):
    point = planted(1)
    monkeypatch.setattr(jamtools.minima.second_order, "CURVATURE_MAX_PARAMETERS", 30)
    with pytest.raises(InputError, match=r"31 parameters, 5 matrices of 0\.0 GB each, expected at most 30"):
        curvature_of(*point)
