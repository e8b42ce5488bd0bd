"""Two stationary points of networks with one and two hidden neurons, calculated by hand."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem


def column(*values: float) -> Tensor:
    """The values as a tensor [values, 1]."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def minimum() -> tuple[Tensor, Problem]:
    """theta [4] and a problem: a minimum on a cusp with the multiplier λ = ½, at w = a = c = 1, b = 0, ε = 3.

    There f = 1 + ρ(x). P ∂L/∂f is 4 at the cusp x = 0, -2 at x = -1, and with A = 4 (2 - p): -A at each of four x = p, A - 2
    at x = q = A - 6. The gradient vanishes: the sum of these is 0, their sum weighted by the slopes is 0, and
    -A p + (A - 2) q = 0 gives 5A²/4 - 10A + 12 = 0.
    """
    A = (10 + 40**0.5) / 2.5
    p, q = 2 - A / 4, A - 6
    x, y = column(0, -1, p, p, p, p, q), column(-1, 1, 1, 1, 1, 1, -1)
    return column(1, 0, 1, 1)[:, 0], Problem(x, y, Architecture(1, 1, 1), Loss("hinge", 3.0, 7))


def saddle() -> tuple[Tensor, Problem]:
    """theta [9] and a problem: `minimum` with a second neuron along another axis, whose a and b are 0: a saddle.

    With the second coordinate e and s = ∂L/∂f, Σ s ρ(e) = Σ s σ e = 0 for either neuron, so it is stationary. But
    Σ s θ(e) ≠ 0: a change of both a and b of the second neuron lowers the loss.
    """
    _, problem = minimum()
    A = float(problem.x[6, 0]) + 6
    e = column(-1 - A / 2, 1, -1, -1, -1, -1, 2 / (A - 2))
    theta = column(1, 0, 0, 1, 0, 0, 1, 0, 1)[:, 0]
    return theta, replace(problem, x=torch.cat([problem.x, e], 1), arch=Architecture(2, 2, 1))
