"""First-order steps on a flat vector of parameters. The state of an optimiser belongs to one run.

    Adam   m ← m + (1-β₁)(g - m),  v ← β₂v + (1-β₂)g²,  W ← W - η m̂ / (√v̂ + 10⁻⁸)      (β₁, β₂ = 0.9, 0.999)
    SGD    b ← μ b + g,  W ← W - η b                                                        (momentum μ, b = 0 at first)
    FIRE   v ← (1-α) v + α |v| F/|F| where F·v > 0, v ← 0 elsewhere;   v ← v + Δt F,  W ← W + Δt v        (F = -g)
           F·v > 0 for more than 5 steps: Δt ← min(1.1 Δt, 10 η), α ← 0.99 α;   F·v ≤ 0: Δt ← Δt/2, α ← 0.1

FIRE takes the same steps for the loss s·L and the rate η/√s as for L and η. The tensors in the attribute `state` and the
number `t` determine the next step, so a checkpoint keeps them. Scalars in `state` are 0-d float64 tensors on the CPU.

Sources: Kingma and Ba, arXiv:1412.6980; Bitzek, Koskinen, Gähler, Moseler and Gumbsch, PRL 97, 170201 (2006).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from jamtools.engines.constants import (
    ADAM_BETA1,
    ADAM_BETA2,
    ADAM_EPSILON,
    ADAM_GAIN1,
    ADAM_GAIN2,
    FIRE_ALPHA,
    FIRE_ALPHA_SHRINK,
    FIRE_GROWTH,
    FIRE_MAX_PACE,
    FIRE_MIN_DOWNHILL_STEPS,
    FIRE_SHRINK,
)


class Optimizer(Protocol):
    """Changes theta [Ñ] in place. t: the number of steps taken; state: tensors [Ñ] or 0-d."""

    t: int
    state: dict[str, Tensor]

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        """One step of theta [Ñ] against the gradient g [Ñ] at rate lr."""


class Adam:
    """Adam with bias correction."""

    def __init__(self, theta: Tensor) -> None:
        """Starts with the moments m = v = 0 [Ñ]; theta [Ñ]."""
        self.t = 0
        self.state = {"m": torch.zeros_like(theta), "v": torch.zeros_like(theta)}

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        """One step of theta [Ñ] against the gradient g [Ñ] at rate lr."""
        self.t += 1
        m, v = self.state["m"], self.state["v"]
        m.lerp_(g, ADAM_GAIN1)
        v.mul_(ADAM_BETA2).addcmul_(g, g, value=ADAM_GAIN2)
        root = v.sqrt().div_(math.sqrt(1 - ADAM_BETA2**self.t)).add_(ADAM_EPSILON)
        theta.addcdiv_(m, root, value=-lr / (1 - ADAM_BETA1**self.t))


class SGD:
    """Gradient descent, with momentum in torch's convention. Without momentum it has no state."""

    def __init__(self, theta: Tensor, momentum: float = 0.0) -> None:
        """Starts with b = 0 [Ñ]; theta [Ñ]."""
        self.t, self.momentum = 0, momentum
        self.state: dict[str, Tensor] = {"b": torch.zeros_like(theta)} if momentum else {}

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        """One step of theta [Ñ] against the gradient g [Ñ] at rate lr."""
        self.t += 1
        if self.momentum:
            g = self.state["b"].mul_(self.momentum).add_(g)
        theta.add_(g, alpha=-lr)


class FIRE:
    """The fast inertial relaxation engine, integrated by semi-implicit Euler steps of Δt = pace · η.

    Its authors allow any common integrator; this one needs one gradient per step. The pace starts at 1 and is at most
    FIRE_MAX_PACE. The rate η is a time. It should be below 2/√λ for the largest curvature λ.
    """

    def __init__(self, theta: Tensor) -> None:
        """Starts at rest: v = 0 [Ñ]; theta [Ñ]."""
        self.t = 0
        start = {"pace": 1.0, "alpha": FIRE_ALPHA, "downhill": 0.0}
        scalars = {name: torch.tensor(value, dtype=torch.float64) for name, value in start.items()}
        self.state: dict[str, Tensor] = {"v": torch.zeros_like(theta), **scalars}

    def step(self, theta: Tensor, g: Tensor, lr: float) -> None:
        """One step of length Δt = pace · lr in time, of theta [Ñ] under the force -g [Ñ]."""
        v = self.state["v"]
        power = -_dot(g, v)
        if power > 0:
            self._turn_downhill(v, g)
        elif self.t > 0:  # at the first step v = 0, and the power has no sign
            self._stop_uphill(v)
        self.t += 1
        dt = self.state["pace"].item() * lr
        v.add_(g, alpha=-dt)
        theta.add_(v, alpha=dt)

    def _turn_downhill(self, v: Tensor, g: Tensor) -> None:
        """Turns v [Ñ] towards the force -g [Ñ]. Δt grows after several such steps in a row. v and g are not zero here."""
        pace, alpha, downhill = (self.state[name] for name in ("pace", "alpha", "downhill"))
        mix = alpha.item() * math.sqrt(_dot(v, v)) / math.sqrt(_dot(g, g))
        v.mul_(1 - alpha.item()).add_(g, alpha=-mix)
        downhill += 1
        if downhill > FIRE_MIN_DOWNHILL_STEPS:
            pace.mul_(FIRE_GROWTH).clamp_(max=FIRE_MAX_PACE)
            alpha *= FIRE_ALPHA_SHRINK

    def _stop_uphill(self, v: Tensor) -> None:
        """Sets v [Ñ] to zero and halves Δt."""
        v.zero_()
        self.state["pace"].mul_(FIRE_SHRINK)
        self.state["alpha"].fill_(FIRE_ALPHA)
        self.state["downhill"].zero_()


def _dot(a: Tensor, b: Tensor) -> float:
    """a·b of a, b [Ñ] as a plain sum, because the order of the sum in BLAS may depend on the number of threads."""
    return (a * b).sum().item()


def make_optimizer(name: str, theta: Tensor, momentum: float = 0.0) -> Optimizer:
    """The optimiser "adam", "sgd" or "fire" for theta [Ñ], before its first step.

    For any other name (newton) it returns an SGD whose `step` is never called, because newton is an engine and takes its
    own steps.
    """
    if name == "fire":
        return FIRE(theta)
    return Adam(theta) if name == "adam" else SGD(theta, momentum)
