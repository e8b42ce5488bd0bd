"""Steps by torch operations, on any device: full batches or mini-batches.

    full batch    W ← W - optimiser(∇L(W))
    mini-batch    W ← W - optimiser(∇L_B(W)),   B: patterns that are drawn without replacement at every step

At fixed norm ∇L is tangent to the sphere, and each step ends with W ← R W/‖W‖.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import Stateless, retract, stop_reason
from jamtools.engines.constants import UNKNOWN_GAP
from jamtools.engines.optimizers import Optimizer
from jamtools.network.problem import Problem
from jamtools.protocols import Settings


class TorchEngine(Stateless):
    """Steps of one run by torch operations."""

    def __init__(
        self,
        problem: Problem,
        theta: Tensor,
        optimizer: Optimizer,
        settings: Settings,
        rng: np.random.Generator,
    ) -> None:
        """theta [Ñ] is changed in place; rng draws the mini-batches."""
        self.problem, self.theta, self.optimizer = problem, theta, optimizer
        self.settings, self.rng = settings, rng
        # a mini-batch does not give the largest Δ of all patterns, so this is computed once per pass through them
        self._steps_per_pass = math.ceil(len(problem.x) / settings.batch) if settings.batch else 1

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """Takes steps from `step` towards `until`; see Engine."""
        stop = self.settings.stop if stop is None else stop
        for t in range(step, until):
            max_gap, g = self._largest_gap_and_gradient(t)
            reason = stop_reason(max_gap, stop, self.problem.loss.contact)
            if reason:
                return t, reason
            self.optimizer.step(self.theta, g, self.settings.schedule.rate(t))
            retract(self.theta, self.problem.arch.norm)
        return until, ""

    def _largest_gap_and_gradient(self, t: int) -> tuple[float, Tensor]:
        """max Δ (of all patterns, or UNKNOWN_GAP) and ∇L [Ñ] (of the step's patterns) at step t."""
        if not self.settings.batch:
            return self.problem.largest_gap_and_gradient(self.theta)
        max_gap = self.problem.largest_gap(self.theta) if t % self._steps_per_pass == 0 else UNKNOWN_GAP
        chosen = self.rng.choice(len(self.problem.x), self.settings.batch, replace=False, shuffle=False)
        return max_gap, self.problem.batch_gradient(
            self.theta, torch.as_tensor(chosen, device=self.theta.device)
        )
