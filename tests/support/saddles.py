"""Saddles that no test of second order sees, calculated by hand; and the loss in the arithmetic of mpmath.

    L(W(t)) = L₀ - A t^k + ...,   A > 0,        W_i(t) = W_i + v_i t^{p_i}

Each has a path W(t) on which L falls with a known power k. On straight lines it may rise.

- chain: one neuron of each layer in a row, f = c + w_{n+1} ρ(w_n ... ρ(w_1 x + b_1) ... + b_n), of which k weights vanish.
  L = L₀ + S Π w + ..., with S = Σ_µ (∂L/∂f_µ) x_µ ≠ 0 and Σ_µ ∂L/∂f_µ = 0. All derivatives of lower order in these weights
  vanish. With ReLU, positive biases keep the neurons on. With both labels at each x, S = 0, L = L₀ + ½⟨x²⟩ (Π w)²: a
  minimum of order 2k.
- moments: f = c + a tanh(w x + b), a = w = 0, with Σ_µ (∂L/∂f_µ) x_µ^j = 0 for all j < m. The labels at m + 1 equidistant x
  have the signs and the numbers of the m-th difference. L - L₀ = -A a w^m + B (a w)²: it falls on straight lines if m ≤ 3.
  If m > 3 it rises on them like t⁴, and falls like t^{2m-2} where a ~ w^{m-2}.
- fold: the minimum f = tanh(x) of `neuron`, with one more component e of x, of mean zero at each x. The curvature along its
  weight, Σ_µ (n ρ'² + s ρ'') e², is a chosen part of its positive terms. The third moment of e gives an order of 3.
- split: that minimum with its neuron split in two, with the weights a and 1 - a to the output. Along the difference of their
  weights the curvature is a (1 - a) Σ s ρ'' x² > 0 for 0 < a < 1: outside there are saddles, at a = 0 and 1 of order 3.
Source: own derivation; K. Fukumizu and S. Amari, Neural Networks 13, 317 (2000), for the split; K. Kawaguchi, NeurIPS
(2016), for deep linear networks.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import mpmath
import numpy as np
import torch
from scipy.optimize import fsolve
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem

RHO = {"relu": lambda z: max(z, mpmath.mpf(0)), "tanh": mpmath.tanh, "linear": lambda z: z}

#: The margin of the patterns of a chain and of moments.
EPSILON = 0.5

#: `neuron`: the margin, the positive x (the last two are solved for), the copies of each, and the sum of its labels.
NEURON_EPSILON, NEURON_COPIES = 1.5, 24
NEURON_X, NEURON_LABELS = (0.56668177, 0.74525531, 2.0108, 2.6300), (12, 6, 18, 14)


@dataclass(frozen=True)
class Saddle:
    """theta [Ñ], its problem, and the path on which L falls like t^order: v [Ñ], p [Ñ].

    level: the bias of the output keeps f(0) = 0 on the path.
    """

    theta: Tensor
    problem: Problem
    v: Tensor
    powers: Tensor
    order: int
    level: bool = True

    def at(self, t) -> list:
        """W(t) [Ñ] in mpmath."""
        point = [
            mpmath.mpf(w) + mpmath.mpf(v) * mpmath.mpf(t) ** p
            for w, v, p in zip(self.theta.tolist(), self.v.tolist(), self.powers.tolist())
        ]
        return self.levelled(point)

    def levelled(self, point: list) -> list:
        """The point with the bias of the output at which f(0) = 0."""
        if not self.level:
            return point
        return [*point[:-1], point[-1] - exact_output(point, self.problem.arch, [0.0] * self.problem.arch.d)]

    def beside(self, displacement: Tensor) -> Tensor:
        """theta [Ñ] plus a displacement [Ñ], levelled."""
        point = self.levelled([mpmath.mpf(w) for w in (self.theta + displacement).tolist()])
        return torch.tensor([float(w) for w in point], dtype=torch.float64)


def exact_output(theta: list, arch: Architecture, x: list):
    """f(x) of one output in mpmath; theta [Ñ], x [d]."""
    sizes = [arch.d] + [arch.width] * arch.depth + [1]
    a, start = [mpmath.mpf(value) for value in x], 0
    for j, (fan_in, out) in enumerate(itertools.pairwise(sizes)):
        bias = start + out * fan_in
        rows = [theta[start + n * fan_in : start + (n + 1) * fan_in] for n in range(out)]
        z = [mpmath.fdot(row, a) + b for row, b in zip(rows, theta[bias:])]
        a = [RHO[arch.activation](value) for value in z] if j < arch.depth else z
        start = bias + out
    return a[0]


def exact_loss(theta, problem: Problem):
    """L in mpmath at theta [Ñ]."""
    theta, total, known = [mpmath.mpf(w) for w in theta], mpmath.mpf(0), {}
    for x, (y,) in zip(map(tuple, problem.x.tolist()), problem.y.tolist()):
        if x not in known:
            known[x] = exact_output(theta, problem.arch, list(x))
        total += max(problem.loss.epsilon - y * known[x], mpmath.mpf(0)) ** 2
    return total / 2 / len(problem.x)


def power(saddle: Saddle, t: float = 2.0**-20) -> float:
    """The power of t with which L falls on the path, from t and t/2; an AssertionError where it does not fall."""
    with mpmath.workdps(120):
        start = exact_loss(saddle.theta.tolist(), saddle.problem)
        falls = [start - exact_loss(saddle.at(s), saddle.problem) for s in (mpmath.mpf(t), mpmath.mpf(t) / 2)]
        assert min(falls) > 0, "L does not fall"
        return float(mpmath.log(falls[0] / falls[1], 2))


def column(*values: float) -> Tensor:
    """The values as a tensor [values, 1]."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def _problem(x: list, y: list[float], arch: Architecture, epsilon: float = EPSILON) -> Problem:
    return Problem(
        torch.tensor(x, dtype=torch.float64), column(*y), arch, Loss("hinge", epsilon, len(x), arch.outputs)
    )


def _path(arch: Architecture) -> tuple[Tensor, Tensor, Tensor]:
    """theta, v = 0 and p = 1, each [Ñ]."""
    theta, v = (torch.zeros(arch.n_parameters, dtype=torch.float64) for _ in range(2))
    return theta, v, torch.ones_like(v, dtype=torch.int64)


def chain(
    activation: str, depth: int, order: int, width: int = 1, scale: float = 1.0, both: bool = False
) -> Saddle:
    """A chain whose first `order` weights of depth + 1 vanish; the others, and the biases of ReLU, are `scale`.

    both: each x has both labels, which makes the point a minimum.
    """
    arch = Architecture(1, width, depth, activation)
    theta, v, powers = _path(arch)
    for j, ((weight, bias), (dw, _)) in enumerate(zip(layers_of(theta, arch), layers_of(v, arch))):
        weight[0, 0], dw[0, 0] = (0.0, 1.0) if j < order else (scale, 0.0)
        if activation == "relu" and j < depth:
            bias[:] = scale
    x, y = [1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]
    if not both:
        x, y = [*x, 2.0, -2.0], [1.0, 1.0, -1.0, -1.0, 1.0, -1.0]
    theta[-1] = -float(exact_output(theta.tolist(), arch, [0.0]))
    return Saddle(theta, _problem([[value] for value in x], y, arch), v, powers, order)


def moments(m: int, width: int = 1, bias: float = 0.7) -> Saddle:
    """A tanh neuron that has to learn the m-th moment of the labels first."""
    arch = Architecture(1, width, 1, "tanh")
    theta, v, powers = _path(arch)
    numbers = [math.comb(m, i) for i in range(m + 1)]
    x = [[i - m / 2] for i in range(m + 1) for _ in range(numbers[i])]
    problem = _problem(x, [(-1.0) ** (m - i) for i in range(m + 1) for _ in range(numbers[i])], arch)
    layers_of(theta, arch)[0][1][0] = bias
    slope, last = (float(mpmath.diff(mpmath.tanh, bias, n)) for n in (1, m))
    A, B = EPSILON * abs(last) / len(x), 0.5 * slope**2 * float(problem.x.square().mean())
    layers_of(v, arch)[0][0][0] = 1.0
    layers_of(v, arch)[1][0][0, 0] = math.copysign(A / (2 * B), last)
    layers_of(powers, arch)[1][0][:] = max(1, m - 2)
    return Saddle(theta, problem, v, powers, m + max(1, m - 2))


def neuron() -> tuple[np.ndarray, np.ndarray]:
    """x [4] and s [4] = Σ ∂(P L)/∂f at x: with -x and the other labels too, f = tanh(x) is a minimum of L.

    Σ s ρ(x) = Σ s x ρ'(x) = 0, and Σ s ρ'' x², Σ s ρ'' > 0.
    """
    x, labels = np.array(NEURON_X), np.array(NEURON_LABELS)

    def signals(last) -> tuple[np.ndarray, np.ndarray]:
        at = np.r_[x[:2], last]
        return at, NEURON_COPIES * np.tanh(at) - labels * NEURON_EPSILON

    def equations(last) -> list[float]:
        at, s = signals(last)
        return [(s * np.tanh(at)).sum(), (s * at / np.cosh(at) ** 2).sum()]

    last = fsolve(equations, x[2:], xtol=1e-13)
    for _ in range(3):  # to round-off
        jacobian = [
            [(a - b) / 2e-6 for a, b in zip(equations(last + h), equations(last - h))]
            for h in 1e-6 * np.eye(2)
        ]
        last = last - np.linalg.solve(np.array(jacobian).T, equations(last))
    return signals(last)


def _patterns(
    x: np.ndarray, e: np.ndarray, values: tuple[float, ...], zeros: int
) -> tuple[list, list[float]]:
    """Patterns (x, e, 0 ...) and labels of `neuron`, e times each of some values; without values x alone."""
    rows, y = [], []
    for at, size, total in zip(x, e, NEURON_LABELS):
        labels = [1.0] * ((NEURON_COPIES + total) // 2) + [-1.0] * ((NEURON_COPIES - total) // 2)
        for side in (1.0, -1.0):
            for extra in [[side * size * value] for value in values] or [[]]:
                rows += [[side * at, *extra, *[0.0] * zeros]] * NEURON_COPIES
                y += [side * label for label in labels]
    return rows, y


def fold(order: int, curvature: float = 0.0, zeros: int = 0) -> Saddle:
    """`neuron` with a component e along whose weight L has a curvature that is this part of its positive terms.

    With 0 it is a saddle of order 3 or 4, else a minimum as narrow as that. zeros: the number of components of x that are 0.
    """
    x, s = neuron()
    slope = 1 / np.cosh(x) ** 2
    terms = NEURON_COPIES * slope**2 - 2 * np.tanh(x) * slope * s
    balance = terms[terms > 0].sum() / -terms[terms < 0].sum()
    e = np.where(terms > 0, 1.0, np.sqrt(balance * (1 - curvature)))
    arch = Architecture(2 + zeros, 1, 1, "tanh")
    theta, v, powers = _path(arch)
    for (w, _), size, at in ((layers_of(theta, arch)[0], 1.0, 0), (layers_of(v, arch)[0], -1.0, 1)):
        w[0, at] = size
    layers_of(theta, arch)[1][0][:] = 1.0
    rows, y = _patterns(x, e, (2.0, -1.0, -1.0) if order == 3 else (1.0, -1.0), zeros)
    return Saddle(theta, _problem(rows, y, arch, NEURON_EPSILON), v, powers, order, level=False)


def split(a: float) -> Saddle:
    """`neuron` in two, with the weights a and 1 - a to the output."""
    x, _ = neuron()
    arch = Architecture(1, 2, 1, "tanh")
    theta, v, powers = _path(arch)
    (w, _), (out, _) = layers_of(theta, arch)
    (dw, _), (dout, _) = layers_of(v, arch)
    w[:], out[0] = 1.0, torch.tensor([a, 1 - a], dtype=torch.float64)
    dw[:, 0] = torch.tensor([1 - a, -a], dtype=torch.float64)
    at_edge = a in (0.0, 1.0)
    if at_edge:
        dout[0] = (1.0 if a else -1.0) * torch.tensor([1.0, -1.0], dtype=torch.float64)
    rows, y = _patterns(x, np.zeros(len(x)), (), 0)
    problem = _problem(rows, y, arch, NEURON_EPSILON)
    return Saddle(theta, problem, v, powers, 3 if at_edge else 2, level=False)


def scaled(saddle: Saddle, inputs: float | Tensor, margin: float) -> Saddle:
    """The same saddle with x and ε times a factor, x also times one for each component [d]; two layers go with them."""
    arch, parts = saddle.problem.arch, []
    for tensor in (saddle.theta, saddle.v):
        tensor = tensor.clone()
        layers_of(tensor, arch)[0][0].div_(inputs)
        for part in layers_of(tensor, arch)[-1]:
            part.mul_(margin)
        parts.append(tensor)
    loss = replace(saddle.problem.loss, epsilon=margin * saddle.problem.loss.epsilon)
    problem = replace(saddle.problem, x=inputs * saddle.problem.x, loss=loss)
    return replace(saddle, theta=parts[0], problem=problem, v=parts[1])
