"""BFGS on a loss with kinks: descent to a minimum that sits on cusps.

    d = -V ∇L,      W ← W + s,  s = t d,      y = ∇L(W + s) - ∇L(W),      r = 1 / s·y
    V ← V + u sᵀ + s uᵀ,      u = r [½ (1 + r yᵀV y) s - V y]

t is found by bisection and doubling. It satisfies the weak Wolfe conditions

    L(W + t d) ≤ L + c₁ t d·∇L,      d·∇L(W + t d) ≥ c₂ d·∇L,

which do not depend on the curvature at W + t d. ∇L jumps across a cusp. The inverse Hessian V therefore becomes small along
the normal of the cusp, and the steps stay within the directions in which the loss is smooth. The loss converges to a minimum
although the gradient does not vanish there. An iteration needs values and gradients alone and costs O(Ñ²).
Source: A. S. Lewis and M. L. Overton, Math. Program. 141, 135 (2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

#: c₁ and c₂ of the weak Wolfe conditions; with c₂ < 1, s·y is positive.
WOLFE_DECREASE, WOLFE_CURVATURE = 1e-4, 0.9

#: The largest number of points in a line search: 2⁻⁵⁰ is below round-off.
LINE_SEARCH_MAX_TRIALS = 50

#: The length of the first step and of the longest one, in ‖W‖.
BFGS_FIRST_STEP, BFGS_LONGEST_STEP = 1e-3, 0.1

#: theta [Ñ] -> L and ∇L [Ñ].
ValueAndGradient = Callable[[Tensor], tuple[float, Tensor]]


class Bfgs:
    """The iteration on theta [Ñ], in place; function(theta) returns L and ∇L [Ñ].

    value, gradient [Ñ]: L and ∇L at theta; inverse [Ñ, Ñ]: V.
    """

    def __init__(self, theta: Tensor, function: ValueAndGradient) -> None:
        self.theta, self.function = theta, function
        self.value, self.gradient = function(theta)
        self.inverse = torch.empty(len(theta), len(theta), dtype=theta.dtype, device=theta.device)
        self.reset()

    def reset(self) -> None:
        """Resets V to a multiple of the identity, so that the next step is along the gradient."""
        size = self.gradient.norm().item()
        first = BFGS_FIRST_STEP * (self.theta.norm().item() or 1.0)
        self.inverse.zero_().diagonal().fill_(first / size if size > 0 else 1.0)

    def iterate(self) -> bool:
        """One step, in place; False where no step lowers the loss, or where the loss is zero."""
        if self.value == 0:
            return False
        direction = -(self.inverse @ self.gradient)
        descent = float(direction @ self.gradient)
        if not descent < 0:
            return False
        accepted = self._search(direction, descent)
        if accepted is None:
            return False
        t, value, gradient = accepted
        step, change = t * direction, gradient - self.gradient
        self.theta += step
        self.value, self.gradient = value, gradient
        self._update(step, change)
        return True

    def _search(self, direction: Tensor, descent: float) -> tuple[float, float, Tensor] | None:
        """t, and L and ∇L [Ñ] at the new point, or None. The longest step must satisfy only the first condition."""
        longest = BFGS_LONGEST_STEP * (self.theta.norm().item() or 1.0) / direction.norm().item()
        low, high, t = 0.0, math.inf, min(1.0, longest)
        for _ in range(LINE_SEARCH_MAX_TRIALS):
            value, gradient = self.function(self.theta + t * direction)
            if not value <= self.value + WOLFE_DECREASE * t * descent:
                high = t
            elif float(direction @ gradient) < WOLFE_CURVATURE * descent and t < longest:
                low = t
            else:
                return t, value, gradient
            t = (low + high) / 2 if high < math.inf else min(2 * t, longest)
        return None

    def _update(self, step: Tensor, change: Tensor) -> None:
        """Updates V after a step s [Ñ] that changed ∇L by y [Ñ]."""
        product = float(step @ change)
        if not product > 0:  # possible only after the longest step, which may end where L still falls
            return
        moved = self.inverse @ change
        r = 1 / product
        u = r * (0.5 * (1 + r * float(change @ moved)) * step - moved)
        self.inverse.addmm_(torch.stack([u, step], 1), torch.stack([step, u]))

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on: V [Ñ, Ñ], ∇L [Ñ] and L [1]."""
        return {
            "inverse": self.inverse.cpu().numpy().copy(),
            "gradient": self.gradient.cpu().numpy().copy(),
            "value": np.array([self.value]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        self.inverse.copy_(torch.from_numpy(state["inverse"]))
        self.gradient.copy_(torch.from_numpy(state["gradient"]))
        self.value = float(state["value"][0])
