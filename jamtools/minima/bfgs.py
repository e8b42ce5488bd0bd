"""BFGS on a loss that need not be smooth: descent to a minimum that sits on cusps.

    d = -V ∇L,      W ← W + s,  s = t d,      y = ∇L(W + s) - ∇L(W),      r = 1 / s·y
    V ← V + u sᵀ + s uᵀ,      u = r [½ (1 + r yᵀV y) s - V y]

t by bisection and doubling until the weak Wolfe conditions hold,

    L(W + t d) ≤ L + c₁ t d·∇L,      d·∇L(W + t d) ≥ c₂ d·∇L,

which ask nothing of the curvature at the point itself. Across a cusp ∇L jumps, and V, the inverse Hessian, comes to hold
almost nothing along its normal: the directions left are those in which the loss is smooth. The loss converges to a minimum
although the gradient never vanishes. Only values and gradients enter, so that an iteration costs O(Ñ²).
Source: A. S. Lewis and M. L. Overton, Math. Program. 141, 135 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

#: The constants of the weak Wolfe conditions; c₂ < 1 keeps s·y > 0.
C1, C2 = 1e-4, 0.9

#: Halvings and doublings of a line search at most: 2⁻⁵⁰ is below round-off.
TRIALS = 50

#: The first step, and the longest one, in norms of W.
START, LONGEST = 1e-3, 0.1

Function = Callable[[Tensor], tuple[float, Tensor]]


class Bfgs:
    """The iteration on theta, in place. function(theta) -> (L, ∇L)."""

    def __init__(self, theta: Tensor, function: Function) -> None:
        self.theta, self.function = theta, function
        self.value, self.gradient = function(theta)
        self.inverse = torch.empty(len(theta), len(theta), dtype=theta.dtype, device=theta.device)
        self.reset()

    def reset(self) -> None:
        """Forgets the curvature; the first step is along the gradient."""
        size = self.gradient.norm().item()
        first = START * (self.theta.norm().item() or 1.0)
        self.inverse.zero_().diagonal().fill_(first / size if size > 0 else 1.0)

    def iterate(self) -> bool:
        """One step, in place; False where no step lowers the loss, or it is zero."""
        if self.value == 0:
            return False
        direction = -(self.inverse @ self.gradient)
        descent = float(direction @ self.gradient)
        if not descent < 0:
            return False
        found = self._search(direction, descent)
        if found is None:
            return False
        t, value, gradient = found
        step, change = t * direction, gradient - self.gradient
        self.theta += step
        self.value, self.gradient = value, gradient
        self._update(step, change)
        return True

    def _search(self, direction: Tensor, descent: float) -> tuple[float, float, Tensor] | None:
        """t with its L and ∇L; the longest step allowed needs the first condition only."""
        longest = LONGEST * (self.theta.norm().item() or 1.0) / direction.norm().item()
        low, high, t = 0.0, math.inf, min(1.0, longest)
        for _ in range(TRIALS):
            value, gradient = self.function(self.theta + t * direction)
            if not value <= self.value + C1 * t * descent:
                high = t
            elif float(direction @ gradient) < C2 * descent and t < longest:
                low = t
            else:
                return t, value, gradient
            t = (low + high) / 2 if high < math.inf else min(2 * t, longest)
        return None

    def _update(self, step: Tensor, change: Tensor) -> None:
        product = float(step @ change)
        if not product > 0:  # only after the longest step, which may end on a downward slope
            return
        moved = self.inverse @ change
        r = 1 / product
        u = r * (0.5 * (1 + r * float(change @ moved)) * step - moved)
        self.inverse.addmm_(torch.stack([u, step], 1), torch.stack([step, u]))

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what the next step depends on, beside theta."""
        return {
            "inverse": self.inverse.cpu().numpy().copy(),
            "gradient": self.gradient.cpu().numpy().copy(),
            "value": np.array([self.value]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from there."""
        self.inverse.copy_(torch.from_numpy(state["inverse"]))
        self.gradient.copy_(torch.from_numpy(state["gradient"]))
        self.value = float(state["value"][0])
