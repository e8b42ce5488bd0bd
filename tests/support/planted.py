"""Stationary points with chosen theta, cusps and multipliers λ: the data are constructed to fit them.

    g = Σ_µ n_µ s_µ ∇f_µ = 0,      n_µ: the number of copies of pattern µ,      s_µ = ∂L/∂f_µ

Every pattern without a cusp occurs with both labels, in numbers whose contributions cancel. A non-negative least-squares
problem adds the copies that balance the contribution of the cusps. Newton steps on x, of a few hundredths, then correct the
rounding to whole copies. The construction uses nothing of the code that certifies minima.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.func import grad, jacrev

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import ForwardPass, backward, forward, gradient_rows, layers_of
from jamtools.network.problem import Problem
from tests.support import oracle
from tests.support.cusps import plant

#: Copies of a pattern without a cusp are this number times (2 - Δ/ε), before others are added.
COPIES = 60

#: Copies of a pattern with a cusp.
CUSP_COPIES = 6

#: The margin ε: large, so that all patterns are unsatisfied.
MARGIN = 3.0

#: theta [Ñ] and the problem of which theta is a stationary point.
Point = tuple[Tensor, Problem]


def fixed(arch: Architecture, theta: Tensor, x: Tensor, slopes: list[Tensor]) -> list[Tensor]:
    """z of every layer, with ρ(z) = σ z for the given slopes σ [P, h] of each layer."""
    z = []
    for j, (weight, bias) in enumerate(layers_of(theta, arch)):
        z.append(torch.nn.functional.linear(x, weight, bias))
        x = slopes[j] * z[j] if j < arch.depth else x
    return z


def stationary(seed: int, places: list[tuple[int, int, int]], depth: int) -> tuple[Point, np.ndarray]:
    """A point, and the multipliers of its cusps, layer after layer and pattern after pattern.

    places: (layer from 1, pattern, neuron) of the cusps. Each pattern with a cusp occurs in CUSP_COPIES copies.
    """
    arch = Architecture(3, 3, depth)
    theta, slopes, x, n_on, rng = _network(arch, seed, places)
    layers, state = layers_of(theta, arch), forward(layers_of(theta, arch), x, arch)
    state = ForwardPass(state.inputs, state.z, slopes)
    y = _labels(layers, state, arch, places, n_on)
    pairs = np.r_[np.arange(len(x)), np.arange(n_on, len(x))]
    y = torch.cat([y, torch.ones(len(x) - n_on, 1), -torch.ones(len(x) - n_on, 1)]).double()
    x, slopes, state = x[pairs], [slope[pairs] for slope in slopes], state.take(torch.from_numpy(pairs))
    gaps = MARGIN - y * state.f
    assert (gaps > 0).all()
    rows = gradient_rows(backward(layers, state, -y * gaps, arch), state, arch).numpy()
    copies = torch.from_numpy(np.rint(_weights(rows, gaps[:, 0].numpy(), n_on)))
    x = _fitted(arch, theta, x, y, slopes, copies)
    copies = copies.long()
    x, y = x.repeat_interleave(copies, 0), y.repeat_interleave(copies, 0)
    kinks = [slope.repeat_interleave(copies, 0) for slope in slopes]
    multipliers = torch.cat([slope[(slope != 0) & (slope != 1)] for slope in kinks])
    return (theta, Problem(x, y, arch, Loss("hinge", MARGIN, len(x)))), multipliers.numpy()


def _network(
    arch: Architecture, seed: int, places: list
) -> tuple[Tensor, list[Tensor], Tensor, int, np.random.Generator]:
    """theta and patterns with the cusps; the size of every other pre-activation is above 0.1."""
    theta, rng = oracle.random_theta(arch, seed), np.random.default_rng(seed)
    x, _ = oracle.sphere(500, arch.d, seed)
    for _, bias in layers_of(theta, arch):
        bias *= 0.3
    for layer, pattern, neuron in places:
        plant(theta, arch, x, layer, pattern, neuron)
    n_on = 1 + max(pattern for _, pattern, _ in places)
    z = forward(layers_of(theta, arch), x, arch).z[:-1]
    far = torch.cat(z, 1).abs().min(1).values > 0.1
    far[:n_on] = True
    kept = far.nonzero()[:150, 0]
    slopes = [(layer > 0).double() for layer in z]
    for layer, pattern, neuron in places:
        slopes[layer - 1][pattern, neuron] = rng.uniform(0.3, 0.7)
    return theta, [slope[kept] for slope in slopes], x[kept], n_on, rng


def _labels(layers, state: ForwardPass, arch: Architecture, places: list, n_on: int) -> Tensor:
    """Labels [n_on, 1] with which the cusps are convex: u = -y Δ ∂f/∂ρ > 0."""
    unit = backward(layers, state, torch.ones_like(state.f), arch)
    y = torch.zeros(n_on, 1, dtype=torch.float64)
    for layer, pattern, neuron in places:
        y[pattern] = -torch.sign((unit[layer] @ layers[layer][0])[pattern, neuron])
    assert (y != 0).all()
    return y


def _weights(rows: np.ndarray, gaps: np.ndarray, n_on: int) -> np.ndarray:
    """The numbers n [P] of copies, not yet whole, with which Σ n s ∇f = 0; rows s ∇f [P, Ñ], gaps Δ [P]."""
    least = np.where(np.arange(len(rows)) < n_on, CUSP_COPIES, COPIES * (2 - gaps / MARGIN))
    more, residual = nnls(rows[n_on:].T, -rows.T @ least, maxiter=100 * len(rows))
    assert residual < 1e-9
    return least + np.r_[np.zeros(n_on), more]


def _fitted(
    arch: Architecture, theta: Tensor, x: Tensor, y: Tensor, slopes: list[Tensor], copies: Tensor
) -> Tensor:
    """x [P, d], near the given one, with g = 0 and with z = 0 on the cusps."""
    kinks = [(slope != 0) & (slope != 1) for slope in slopes]

    def value(t: Tensor, x: Tensor) -> Tensor:
        return (copies[:, None] * torch.relu(MARGIN - y * fixed(arch, t, x, slopes)[-1]) ** 2).sum() / 2

    def residual(x: Tensor) -> Tensor:
        z = fixed(arch, theta, x, slopes)
        return torch.cat([grad(value)(theta, x), *(layer[at] for layer, at in zip(z, kinks))])

    for _ in range(8):
        step = torch.linalg.lstsq(
            jacrev(residual)(x).flatten(1), residual(x)[:, None], driver="gelsd", rcond=1e-10
        ).solution
        x = x - step.view_as(x)
    z = fixed(arch, theta, x, slopes)
    assert all(((a > 0).double() == s)[~at].all() for a, s, at in zip(z, slopes, kinks)), "a sign has changed"
    assert residual(x).abs().max() < 1e-11
    return x


#: Pattern 0 has a cusp in each layer.
BOTH = [(1, 0, 0), (2, 0, 0), (1, 1, 1), (2, 2, 2)]


def true_loss(point: Point) -> float:
    theta, problem = point
    return float(oracle.hinge(oracle.f(problem.arch, theta, problem.x), problem.y, problem.loss.epsilon))
