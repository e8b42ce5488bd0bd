"""L and ∇L at theta for a descent, by the fastest code there is.

    theta [Ñ] → L = 1/(2P) Σ_µ max(0, Δ_µ)²,  ∇L [Ñ]
    at fixed norm:  F(u) = L(R û),   ∇F = (R/‖u‖) (g - û û·g),   g = ∇L(R û),   û = u/‖u‖

The minima of F over all u are those of L on the sphere ‖W‖ = R.
Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.kernel.problem import KernelProblem
from jamtools.network.problem import Problem
from jamtools.network.sphere import tangent


class LossFunction:
    """L and ∇L [Ñ] at theta [Ñ], or F and ∇F at u [Ñ]: by the compiled kernel on the CPU with one output, else by torch."""

    def __init__(self, problem: Problem, theta: Tensor) -> None:
        self.problem, self.call = problem, None
        if theta.device.type == "cpu" and problem.arch.outputs == 1:
            self.call = KernelProblem(problem, theta.numpy())

    def __call__(self, theta: Tensor) -> tuple[float, Tensor]:
        norm = self.problem.arch.norm
        if norm is None:
            return self._at(theta)
        size = theta.norm()
        value, slope = self._at((theta * (norm / size)).contiguous())
        return value, tangent(slope, theta) * (norm / size)

    def _at(self, theta: Tensor) -> tuple[float, Tensor]:
        if self.call is None:
            return self.problem.value_and_gradient(theta)
        value, gradient = self.call.value_and_gradient(theta.numpy())
        return value, torch.from_numpy(gradient)

    def state(self) -> dict[str, np.ndarray]:
        """The kernel's list of patterns, which decides the order of its sums."""
        return {f"list-{name}": array for name, array in self.call.state().items()} if self.call else {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues with the list of a state."""
        if self.call:
            self.call.restore({name: state[f"list-{name}"] for name in self.call.state()})
