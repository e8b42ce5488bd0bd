"""The path from a smooth landscape to that of ReLU: Levenberg–Marquardt on a softplus whose sharpness β is raised.

    ρ_β(z) = log(1 + e^{βz}) / β,      ρ_β' = σ(βz),      ρ_β'' = β σ (1 - σ),      β_j = β / s_j

Here s_j is the rms of the pre-activations of layer j where the path begins. A ReLU network has no scale of its own, and in a
deep network the layers have different scales. β is multiplied by the largest factor with which the loss, at the same W,
rises little. W moves far while β is small. The path has its own dynamics, and leads to lower minima than descent at β = ∞.

Source: none for the schedule of β, own design; C. Dugas et al., NeurIPS 13 (2000), for the softplus.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from jamtools.minima.levenberg_marquardt import LevenbergMarquardt
from jamtools.network.activations import Activation
from jamtools.network.problem import Problem

#: β at the beginning and at the end of the path. At the end the loss is that of ReLU to some per cent, and BFGS is faster.
BETA_FIRST, BETA_LAST = 2.5, 100.0

#: The largest number of steps at one β.
MAX_STEPS_PER_BETA = 20

#: The steps at one β also end when this many of them have lowered the loss by less than this part.
STALL_WINDOW_STEPS, STALL_RELATIVE_DECREASE = 5, 1e-3

#: With the next β the loss may rise to this many times its value, or to this part of ε² if that is more.
LOSS_RISE_LIMIT, LOSS_RISE_FLOOR = 1.5, 4e-3

#: The steps at one β end below this part of the floor of the loss.
LOSS_LOW_ENOUGH = 1e-1

#: Factors of β: the largest, which is tried first; the exponent from each factor to the next; the smallest, always accepted.
BETA_FACTOR_MAX, BETA_FACTOR_EXPONENT, BETA_FACTOR_MIN = 4.0, 0.7, 1.15

#: Above this βz the softplus is z to round-off.
SOFTPLUS_LINEAR_ABOVE = 40.0


def softened(beta: float) -> Activation:
    """The softplus of sharpness β, with its first two derivatives."""

    def curvature(z: Tensor) -> Tensor:
        s = torch.sigmoid(beta * z)
        return beta * s * (1 - s)

    return Activation(
        lambda z: softplus(z, beta, SOFTPLUS_LINEAR_ABOVE), lambda z: torch.sigmoid(beta * z), curvature
    )


def layer_scales(theta: Tensor, problem: Problem) -> list[float]:
    """s_j [L], the rms of the pre-activations of each hidden layer at theta [Ñ]; 1 where all are zero."""
    z = problem.forward(theta).z[:-1]
    return [v.square().mean().sqrt().item() or 1.0 for v in z]


class SoftplusPath:
    """A Stage: the path from BETA_FIRST to BETA_LAST, from theta [Ñ], step by step."""

    def __init__(self, theta: Tensor, problem: Problem) -> None:
        self.levenberg = LevenbergMarquardt(problem)
        self.layer_scales = layer_scales(theta, problem)
        self.floor = LOSS_RISE_FLOOR * problem.loss.epsilon**2
        self.values: list[float] = []  # L after each step at this β
        self._sharpen(BETA_FIRST)

    def _sharpen(self, beta: float) -> None:
        """Sets β and forgets the losses at the last β."""
        self.beta = beta
        self.levenberg.rho = [softened(beta / scale) for scale in self.layer_scales]
        self.values = []

    def iterate(self, theta: Tensor) -> bool:
        """One step of theta [Ñ] at this β, in place, then the next β where it is due; False at the end of the path."""
        value = self.levenberg.iterate(theta)
        if value is not None:
            self.values.append(value)
        if value is None or self._settled():
            return self._next_beta(theta)
        return True

    def _settled(self) -> bool:
        """Whether further steps at this β would gain little."""
        values = self.values
        if len(values) >= MAX_STEPS_PER_BETA or values[-1] <= LOSS_LOW_ENOUGH * self.floor:
            return True
        if len(values) <= STALL_WINDOW_STEPS:
            return False
        before = values[-1 - STALL_WINDOW_STEPS]
        return before - values[-1] < STALL_RELATIVE_DECREASE * before

    def _next_beta(self, theta: Tensor) -> bool:
        """Raises β as far as the loss allows; False at the end of the path."""
        beta = self.beta
        if beta >= BETA_LAST:
            return False
        limit = max(LOSS_RISE_LIMIT * self.levenberg.value(theta), self.floor)
        factor = BETA_FACTOR_MAX
        while factor > BETA_FACTOR_MIN:
            self._sharpen(min(beta * factor, BETA_LAST))
            if self.levenberg.value(theta) <= limit:
                return True
            factor **= BETA_FACTOR_EXPONENT
        self._sharpen(min(beta * BETA_FACTOR_MIN, BETA_LAST))
        return True

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on."""
        numbers = [self.beta, self.levenberg.mu, self.levenberg.nu]
        return {
            "path": np.array(numbers),
            "values": np.array(self.values),
            "layer_scales": np.array(self.layer_scales),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        self.layer_scales = state["layer_scales"].tolist()
        beta, self.levenberg.mu, self.levenberg.nu = state["path"].tolist()
        self._sharpen(beta)
        self.values = state["values"].tolist()
