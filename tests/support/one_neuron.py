"""Two stationary points of one or two neurons, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def minimum() -> tuple[Tensor, Problem]:
    """theta [Ñ] and a problem: exactly stationary with λ = ½, at w = a = c = 1, b = 0, ε = 3, where f = 1 + ρ(x).

    P ∂L/∂f = 4 at the cusp, -2 at x = -1, and with A = 4 (2 - p): -A at four x = p, A - 2 at x = q = A - 6. Their sum
    is 0, so is that with the slopes, and -A p + (A - 2) q = 0 is 5A²/4 - 10A + 12 = 0.
    """
    A = (10 + 40**0.5) / 2.5
    p, q = 2 - A / 4, A - 6
    x, y = column(0, -1, p, p, p, p, q), column(-1, 1, 1, 1, 1, 1, -1)
    return column(1, 0, 1, 1)[:, 0], Problem(x, y, Architecture(1, 1, 1), Loss("hinge", 3.0, 7))


def saddle() -> tuple[Tensor, Problem]:
    """The same, with a second neuron that looks along another axis and has a = b = 0: still stationary.

    With e the second coordinate, Σ s ρ(e) = Σ s σ e = 0 for either neuron. But Σ s θ(e) ≠ 0: a and b of the second
    neuron lower the loss together.
    """
    _, problem = minimum()
    A = float(problem.x[6, 0]) + 6
    e = column(-1 - A / 2, 1, -1, -1, -1, -1, 2 / (A - 2))
    theta = column(1, 0, 0, 1, 0, 0, 1, 0, 1)[:, 0]
    return theta, replace(problem, x=torch.cat([problem.x, e], 1), arch=Architecture(2, 2, 1))
