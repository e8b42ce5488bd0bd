"""Steps by torch operations, on any device: full batch or mini-batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.base import Stateless, stop_reason
from jamtools.engines.optimizers import Optimizer
from jamtools.network.problem import Problem
from jamtools.protocols import Settings


class TorchEngine(Stateless):
    """Steps by torch operations, on any device; full batch or mini-batches."""

    def __init__(
        self,
        problem: Problem,
        theta: Tensor,
        optimizer: Optimizer,
        settings: Settings,
        rng: np.random.Generator,
    ) -> None:
        self.problem, self.theta, self.optimizer, self.settings, self.rng = (
            problem,
            theta,
            optimizer,
            settings,
            rng,
        )
        P = len(problem.x)
        # a mini-batch does not tell N_Δ of the whole set: it is read once a pass
        self.look_every = math.ceil(P / settings.batch) if settings.batch else 1

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """See the module."""
        stop = bool(self.settings.stop) if stop is None else stop
        for here in range(step, until):
            top, g = self._gradient(here % self.look_every == 0)
            outcome = stop_reason(top, stop)
            if outcome:
                return here, outcome
            self.optimizer.step(self.theta, g, self.settings.schedule.rate(here))
        return until, ""

    def _gradient(self, look: bool) -> tuple[float, Tensor]:
        if not self.settings.batch:
            return self.problem.largest_gap_and_gradient(self.theta)
        top = self.problem.largest_gap(self.theta) if look else 1.0
        chosen = self.rng.choice(len(self.problem.x), self.settings.batch, replace=False, shuffle=False)
        return top, self.problem.batch_gradient(self.theta, torch.as_tensor(chosen, device=self.theta.device))
