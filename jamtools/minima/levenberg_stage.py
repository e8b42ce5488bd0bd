"""The first stage of newton for a smooth ρ: Levenberg–Marquardt on the exact loss, until it lowers the loss too slowly.

Source: none for the end of the stage, own design; levenberg_marquardt.py for its steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from jamtools.minima.levenberg_marquardt import LevenbergMarquardt
from jamtools.network.problem import Problem

#: Levenberg–Marquardt on the loss itself ends when this many steps have lowered the loss by less than this part.
LEVENBERG_STALL_STEPS, LEVENBERG_STALL_DECREASE = 5, 1e-2


class LevenbergStage:
    """Levenberg–Marquardt on the exact loss of a smooth ρ."""

    def __init__(self, problem: Problem) -> None:
        self.levenberg = LevenbergMarquardt(problem)
        self.values: list[float] = []

    def iterate(self, theta: Tensor) -> bool:
        """One damped step of theta [Ñ], in place; False when the last steps lowered the loss too little."""
        value = self.levenberg.iterate(theta)
        if value is None:
            return False
        self.values = [*self.values[-LEVENBERG_STALL_STEPS:], value]
        slow = self.values[0] - value < LEVENBERG_STALL_DECREASE * self.values[0]
        return len(self.values) <= LEVENBERG_STALL_STEPS or not slow

    def state(self) -> dict[str, np.ndarray]:
        """The damping µ, ν [2], and the last values of the loss [values]."""
        numbers = [self.levenberg.mu, self.levenberg.nu]
        return {"damping": np.array(numbers), "values": np.array(self.values)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        self.levenberg.mu, self.levenberg.nu = state["damping"].tolist()
        self.values = state["values"].tolist()
