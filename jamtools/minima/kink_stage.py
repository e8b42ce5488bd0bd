"""The last stage of newton: Newton's method with the kinks in its model, and on the conditions of a minimum at its end.

    KinkNewton (kink_newton.py)  →  stationary_point (kkt_newton.py), where the steps predict little decrease, or fail

At a saddle the stage goes on along the direction of negative curvature, to the side where S is lower.
Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from jamtools.minima.escape import Escape
from jamtools.minima.kink_newton import KinkNewton, Outlook
from jamtools.minima.kkt_newton import Stationary, at_kinks, stationary_point
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem

#: The largest number of parameters for which the stage is made. An iteration decomposes several matrices [Ñ, Ñ]: 10 s.
KINK_MAX_PARAMETERS = 1500

#: The largest number of iterations of the stage, and of failures in a row.
KINK_MAX_ITERATIONS, KINK_MAX_FAILURES = 400, 12

#: The end is tried below this predicted decrease of S, relative to it, and after these numbers of failures in a row.
END_BELOW_DECREASE, END_AT_FAILURES = 1e-3, (2, 5, 8, 12)

#: The end is tried again when the predicted decrease is below this part of that of the last try.
END_AGAIN_PART = 0.3

#: The end may raise S by this part of it: S is flat around a minimum.
END_LOSS_RISE = 1e-9

#: Lengths of the steps that leave a saddle, in ‖W‖.
SADDLE_STEPS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def has_kink_stage(arch: Architecture) -> bool:
    """Whether the stage is made for this architecture: it needs one output and not too many parameters."""
    return arch.outputs == 1 and arch.n_parameters <= KINK_MAX_PARAMETERS


class KinkStage:
    """The stage on theta [Ñ], in place, of a problem with one output, with free weights or at fixed norm.

    escape: the trace of the descent before it, of free weights; without it no escape is looked for. outlook: that of the
    first iteration. outcome: "" until the stage has ended, then "stationary" at a minimum, "escaping", or "budget" where it
    does not arrive.
    """

    def __init__(
        self,
        theta: Tensor,
        problem: Problem,
        escape: Escape | None = None,
        outlook: Outlook | None = None,
    ) -> None:
        self.problem, self.escape, self.taken, self.outcome = problem, escape, 0, ""
        self.newton, self.outlook = KinkNewton(theta, problem), outlook
        self.tried_at = END_BELOW_DECREASE / END_AGAIN_PART

    def iterate(self, theta: Tensor) -> bool:
        """One iteration of theta [Ñ], in place; False when the stage has ended. theta is the tensor of the constructor."""
        moved = self.newton.iterate(self.outlook)
        self.outlook = None
        self.taken += 1
        gaps = self._gaps(theta)
        value = self._value(gaps)
        if not value > 0 or self._is_satisfied(gaps):
            return False
        if self._note(theta, value):
            self.outcome = "escaping"
        elif self._is_near_end(moved) and self._ends(theta, gaps, value):
            self.outcome = "stationary"
        elif self.taken >= KINK_MAX_ITERATIONS or self.newton.failures >= KINK_MAX_FAILURES:
            self.outcome = "budget"
        return not self.outcome

    def _is_satisfied(self, gaps: Tensor) -> bool:
        """Whether all Δ [P] are contacts at most; free weights, which can be scaled, go on until none is above 0."""
        return self.problem.arch.norm is not None and float(gaps.max()) <= self.problem.loss.contact

    def _is_near_end(self, moved: bool) -> bool:
        """Whether to try the end: it is tried again where the predicted decrease has become smaller, or after failures."""
        if not moved:
            return self.newton.failures in END_AT_FAILURES
        if self.newton.predicted >= END_BELOW_DECREASE:
            self.tried_at = END_BELOW_DECREASE / END_AGAIN_PART
            return False
        if self.newton.predicted > END_AGAIN_PART * self.tried_at:
            return False
        self.tried_at = self.newton.predicted
        return True

    def _ends(self, theta: Tensor, gaps: Tensor, value: float) -> bool:
        """Goes to the stationary point nearby, if there is one without a higher S; whether it is a minimum."""
        newton = self.newton
        found = stationary_point(theta, self.problem, newton.held, gaps > 0)
        if found is None or not found.admissible:
            return False
        if not self._value(self._gaps(found.theta)) <= (1 + END_LOSS_RISE) * value:
            return False
        theta.copy_(found.theta)
        newton.held = found.held
        if found.curvature >= 0:
            return True
        self._leave(theta, found)
        return False

    def _leave(self, theta: Tensor, saddle: Stationary) -> None:
        """Moves off a saddle, to the lowest of some points along its negative curvature, with its kinks at zero."""
        size = float(saddle.theta.norm())
        steps = [sign * step * size * saddle.downward for step in SADDLE_STEPS for sign in (1, -1)]
        points = [at_kinks(saddle.theta + step, self.problem, saddle.held) for step in steps]
        values = [self._value(self._gaps(point)) for point in points]
        lowest = int(np.argmin(values))
        if values[lowest] < self._value(self._gaps(theta)):
            theta.copy_(points[lowest])
            self.newton.restart()

    def _note(self, theta: Tensor, value: float) -> bool:
        """Adds the present point to the trace; whether the trace shows an escape."""
        arch = self.problem.arch
        if self.escape is None or arch.norm is not None:
            return False
        self.escape = self.escape.at(theta, arch, value)
        return self.escape.shows_one(arch)

    def _gaps(self, theta: Tensor) -> Tensor:
        return self.problem.loss.gaps(self.problem.forward(theta).f, self.problem.y)[:, 0]

    def _value(self, gaps: Tensor) -> float:
        """L of the gaps [P]."""
        return 0.5 * self.problem.loss.hinge_curvature * float(gaps.clamp(min=0).square().sum())

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on."""
        return {"kink_taken": np.array([self.taken, self.tried_at]), **self.newton.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state; the trace is that of the engine."""
        taken, self.tried_at = state["kink_taken"].tolist()
        self.taken = int(taken)
        self.newton.restore(state)
