"""From a smooth landscape to that of ReLU: β is raised while Levenberg–Marquardt follows.

    ρ_β(z) = log(1 + e^{βz}) / β,      ρ_β' = σ(βz),      ρ_β'' = β σ (1 - σ),      β_j = β / s_j

with s_j the rms of layer j's pre-activations where the path begins: ReLU knows no scale, and in a deep network the scales of
the layers differ. β is multiplied by the largest factor at which the loss, at the same W, rises little. Small β is where
far moves are made; the path is a dynamics of its own, and leads to lower minima than descent at β = ∞.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from jamtools.minima.levenberg_marquardt import Levenberg
from jamtools.network.activations import Activation
from jamtools.network.problem import Problem

#: β where the path begins and where it ends: BFGS then goes on faster, from a loss that is the exact one to some per cent.
FIRST, LAST = 2.5, 100.0

#: Steps at one β at most; fewer once `STALL` of them lowered the loss by less than the part `LITTLE`.
STEPS, STALL, LITTLE = 20, 5, 1e-3

#: A loss below this part of FLOOR ε² is low enough for the next β, which may lift it to all of that.
ENOUGH = 1e-1

#: The loss may rise to RISE times itself when β does, or to this part of ε².
RISE, FLOOR = 1.5, 4e-3

#: Factors of β: the largest tried first, then its powers of this exponent, the least in any case.
LARGEST, SHRINK, SMALLEST = 4.0, 0.7, 1.15

#: Above βz = 40 the softplus is linear to round-off.
LINEAR = 40.0


def softened(beta: float) -> Activation:
    """softplus of sharpness β, with its derivatives."""

    def curvature(z: Tensor) -> Tensor:
        s = torch.sigmoid(beta * z)
        return beta * s * (1 - s)

    return Activation(lambda z: softplus(z, beta, LINEAR), lambda z: torch.sigmoid(beta * z), curvature)


def scales(theta: Tensor, problem: Problem) -> list[float]:
    """s_j, the rms of the pre-activations of each hidden layer at theta [Ñ]; 1 where all are zero."""
    z = problem.forward(theta).z[:-1]
    return [v.square().mean().sqrt().item() or 1.0 for v in z]


class Path:
    """The path from FIRST to LAST, step by step."""

    def __init__(self, theta: Tensor, problem: Problem) -> None:
        self.levenberg = Levenberg(problem)
        self.scales = scales(theta, problem)
        self.floor = FLOOR * problem.loss.epsilon**2
        self.values: list[float] = []  # L after each step at this β
        self._sharpen(FIRST)

    def _sharpen(self, beta: float) -> None:
        self.beta = beta
        self.levenberg.rho = [softened(beta / scale) for scale in self.scales]
        self.values = []

    def iterate(self, theta: Tensor) -> bool:
        """One step at this β, in place, and on to the next where that is due; False at the end of the path."""
        value = self.levenberg.iterate(theta)
        if value is not None:
            self.values.append(value)
        if value is None or self._settled():
            return self._go_on(theta)
        return True

    def _settled(self) -> bool:
        values = self.values
        if len(values) >= STEPS or values[-1] <= ENOUGH * self.floor:
            return True
        return len(values) > STALL and values[-1 - STALL] - values[-1] < LITTLE * values[-1 - STALL]

    def _go_on(self, theta: Tensor) -> bool:
        beta = self.beta
        if beta >= LAST:
            return False
        limit = max(RISE * self.levenberg.value(theta), self.floor)
        factor = LARGEST
        while factor > SMALLEST:
            self._sharpen(min(beta * factor, LAST))
            if self.levenberg.value(theta) <= limit:
                return True
            factor **= SHRINK
        self._sharpen(min(beta * SMALLEST, LAST))
        return True

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what the next step depends on, beside theta."""
        numbers = [self.beta, self.levenberg.mu, self.levenberg.nu]
        return {"path": np.array(numbers), "values": np.array(self.values), "scales": np.array(self.scales)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from there."""
        self.scales = state["scales"].tolist()
        beta, self.levenberg.mu, self.levenberg.nu = state["path"].tolist()
        self._sharpen(beta)
        self.values = state["values"].tolist()
