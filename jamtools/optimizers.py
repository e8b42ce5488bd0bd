r"""First-order steps on a flat parameter vector; the state of an optimiser belongs to one run.

    Adam   m ← m + (1-β₁)(g - m),  v ← β₂v + (1-β₂)g²,  W ← W - η m̂ / (√v̂ + 10⁻⁸)      (β₁, β₂ = 0.9, 0.999)
    SGD    W ← W - η g

Adam's 10⁻⁸ is that of its authors and of the paper. `state` names the tensors that, with `t`, make the next step:
what a checkpoint has to keep. Source: Kingma and Ba, arXiv:1412.6980.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """Moves theta in place."""

    t: int
    state: dict[str, Tensor]

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        """One step against the gradient g [Ñ] at rate lr."""


class Adam:
    """Adam, with bias correction."""

    def __init__(self, theta: Tensor) -> None:
        self.t = 0
        self.state = {"m": torch.zeros_like(theta), "v": torch.zeros_like(theta)}

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        self.t += 1
        m, v = self.state["m"], self.state["v"]
        m.lerp_(g, 0.1)
        v.mul_(0.999).addcmul_(g, g, value=0.001)
        root = v.sqrt().div_(math.sqrt(1 - 0.999**self.t)).add_(1e-8)
        theta.addcdiv_(m, root, value=-lr / (1 - 0.9**self.t))


class SGD:
    """Plain gradient descent, without state."""

    def __init__(self, theta: Tensor) -> None:
        self.t = 0
        self.state: dict[str, Tensor] = {}

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        self.t += 1
        theta.add_(g, alpha=-lr)


def make(name: str, theta: Tensor) -> Optimizer:
    """The optimiser of a name, at rest."""
    return Adam(theta) if name == "adam" else SGD(theta)
