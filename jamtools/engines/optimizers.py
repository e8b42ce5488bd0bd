"""First-order steps on a flat parameter vector; the state of an optimiser belongs to one run.

    Adam   m ← m + (1-β₁)(g - m),  v ← β₂v + (1-β₂)g²,  W ← W - η m̂ / (√v̂ + 10⁻⁸)      (β₁, β₂ = 0.9, 0.999)
    SGD    b ← μ b + g,  W ← W - η b                                                        (momentum μ, b = 0 at first)
    FIRE   v ← (1-α) v + α |v| F/|F| where F·v > 0, v ← 0 elsewhere;   v ← v + Δt F,  W ← W + Δt v        (F = -g)
           F·v > 0 for more than 5 steps: Δt ← min(1.1 Δt, 10 η), α ← 0.99 α;   F·v ≤ 0: Δt ← Δt/2, α ← 0.1

Adam's 10⁻⁸ is that of its authors and of the paper. FIRE has no absolute scale: with L × s and η / √s it takes the same
steps. `state` names the tensors that, with `t`, make the next step: what a checkpoint has to keep; scalars are there as
0-d float64 tensors on the CPU.
Sources: Kingma and Ba, arXiv:1412.6980; Bitzek, Koskinen, Gähler, Moseler and Gumbsch, PRL 97, 170201 (2006).
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
    """Gradient descent, with momentum in torch's convention; without it there is no state."""

    def __init__(self, theta: Tensor, momentum: float = 0.0) -> None:
        self.t, self.momentum = 0, momentum
        self.state: dict[str, Tensor] = {"b": torch.zeros_like(theta)} if momentum else {}

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        self.t += 1
        if self.momentum:
            g = self.state["b"].mul_(self.momentum).add_(g)
        theta.add_(g, alpha=-lr)


class FIRE:
    """The fast inertial relaxation engine, integrated by semi-implicit Euler steps of Δt = pace · η.

    "Any common integrator" serves its authors; this one needs one gradient a step. pace is 1 at first and at most
    10; `lr` is a time here: it should be below 2/√λ for the largest curvature λ.
    """

    N_MIN, GROW, SHRINK, ALPHA, ALPHA_SHRINK, LARGEST = 5, 1.1, 0.5, 0.1, 0.99, 10.0

    def __init__(self, theta: Tensor) -> None:
        self.t = 0
        start = {"pace": 1.0, "alpha": self.ALPHA, "downhill": 0.0}
        scalars = {name: torch.tensor(value, dtype=torch.float64) for name, value in start.items()}
        self.state: dict[str, Tensor] = {"v": torch.zeros_like(theta), **scalars}

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        v = self.state["v"]
        power = -_dot(g, v)
        if power > 0:
            self._downhill(v, g)
        elif self.t > 0:  # at the first step v = 0 says nothing
            self._uphill(v)
        self.t += 1
        dt = self.state["pace"].item() * lr
        v.add_(g, alpha=-dt)
        theta.add_(v, alpha=dt)

    def _downhill(self, v: Tensor, g: Tensor) -> None:
        """Turns v towards F; after N_MIN such steps in a row also grows the step. v and g are not zero here."""
        pace, alpha, downhill = (self.state[name] for name in ("pace", "alpha", "downhill"))
        mix = alpha.item() * math.sqrt(_dot(v, v)) / math.sqrt(_dot(g, g))
        v.mul_(1 - alpha.item()).add_(g, alpha=-mix)
        downhill += 1
        if downhill > self.N_MIN:
            pace.mul_(self.GROW).clamp_(max=self.LARGEST)
            alpha *= self.ALPHA_SHRINK

    def _uphill(self, v: Tensor) -> None:
        """Stops, and starts again with half the step."""
        v.zero_()
        self.state["pace"].mul_(self.SHRINK)
        self.state["alpha"].fill_(self.ALPHA)
        self.state["downhill"].zero_()


def _dot(a: Tensor, b: Tensor) -> float:
    """a·b; a plain sum, whose order does not follow the number of threads as that of a BLAS product may."""
    return (a * b).sum().item()


def make_optimizer(name: str, theta: Tensor, momentum: float = 0.0) -> Optimizer:
    """The optimiser of a name, at rest; newton is an engine of its own, and has nothing to keep here."""
    if name == "fire":
        return FIRE(theta)
    return Adam(theta) if name == "adam" else SGD(theta, momentum)
