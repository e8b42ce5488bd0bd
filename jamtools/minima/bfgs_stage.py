"""The second stage of newton: BFGS on the loss itself, with Newton's method tried from time to time.

The stage ends at a minimum, in an escape to infinity (escape.py), or where BFGS finds no lower loss. It may stop at patterns
near Δ = 0, where the curvature of the loss jumps. At fixed norm it ends early, if the stage with kinks follows.

Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from jamtools.minima.bfgs import Bfgs
from jamtools.minima.cusp_newton import polish
from jamtools.minima.escape import Escape
from jamtools.minima.loss_function import LossFunction
from jamtools.network.problem import Problem

#: Iterations of BFGS between two checks of its progress, or the number of parameters if that is larger.
BFGS_MIN_ITERATIONS_PER_CHECK = 100

#: Newton's method is tried when the loss falls by less than the first number, relative to it, between two checks. After each
#: attempt the limit is multiplied by the second number.
POLISH_BELOW_DECREASE, POLISH_DECREASE_FACTOR = 1e-3, 0.1

#: How often BFGS is restarted where it cannot lower the loss and Newton's method does not arrive at a minimum: where
#: another stage follows, and where none does.
BFGS_RESTARTS, BFGS_RESTARTS_OF_LAST_STAGE = 2, 8

#: Iterations between two points of the trace.
TRACE_EVERY = 10

#: The largest number of checks at which the loss had fallen by less than BFGS_SLOW_DECREASE, relative to it.
BFGS_SLOW_CHECKS, BFGS_SLOW_DECREASE = 50, 1e-5

#: At fixed norm the next stage takes over when the loss falls by less than this, relative to it, between two checks.
SPHERE_SLOW_DECREASE = 1e-2

#: Length of a step along a direction of negative curvature, in ‖W‖.
SADDLE_KICK = 1e-4

#: Length of a step in a random direction where the descent stopped without a minimum, in ‖W‖.
STALL_KICK = 1e-5

#: The largest rise of the loss by such a random step, as a part of the loss.
STALL_KICK_LOSS_RISE = 1e-6


class BfgsStage:
    """The stage on theta [Ñ], in place, from the trace of an Escape; is_last: whether no other stage follows.

    outcome: "" until the stage has ended, then "stationary" at a minimum, "escaping", or "budget" where nothing lowers the
    loss or it falls too slowly.
    """

    def __init__(self, theta: Tensor, problem: Problem, escape: Escape, is_last: bool) -> None:
        self.problem, self.exact, self.escape = problem, LossFunction(problem, theta), escape
        self.bfgs = Bfgs(theta, self.exact)
        self.every = max(BFGS_MIN_ITERATIONS_PER_CHECK, len(theta))
        self.outcome = ""
        self.taken, self.restarts, self.slow, self.last = 0, 0, POLISH_BELOW_DECREASE, self.bfgs.value
        self.slow_checks = 0
        self.restart_limit = BFGS_RESTARTS_OF_LAST_STAGE if is_last else BFGS_RESTARTS
        self.hands_over = problem.arch.norm is not None and not is_last
        self._note(theta)

    def iterate(self, theta: Tensor) -> bool:
        """One iteration of theta [Ñ], in place; False when the stage has ended. theta is the tensor of the constructor."""
        moved = self.bfgs.iterate()
        self.taken += 1
        if (not moved or self.taken % TRACE_EVERY == 0) and self._note(theta):
            self.outcome = "escaping"
            return False
        if moved and self.taken % self.every:
            return True
        gained = 1 - self.bfgs.value / self.last if self.last > 0 else 0.0
        self.last = self.bfgs.value
        self.slow_checks += gained < BFGS_SLOW_DECREASE
        if self.slow_checks > BFGS_SLOW_CHECKS or (
            self.hands_over and (not moved or gained < SPHERE_SLOW_DECREASE)
        ):
            self.outcome = "budget"
            return False
        if moved and gained > self.slow:
            return True
        self.slow *= POLISH_DECREASE_FACTOR
        return self._arrive(theta, moved)

    def _note(self, theta: Tensor) -> bool:
        """Adds the present point to the trace; whether the trace shows an escape, which no fixed norm allows."""
        arch = self.problem.arch
        if arch.norm is not None:
            return False
        self.escape = self.escape.at(theta, arch, self.bfgs.value)
        return self.escape.shows_one(arch)

    def _arrive(self, theta: Tensor, moved: bool) -> bool:
        """Tries Newton's method; False when it arrived at a minimum, or when the restarts are used up."""
        polished = polish(theta, self.problem)
        if polished is not None and polished.downward is None:
            theta.copy_(polished.theta)
            self.bfgs.value = self.exact(theta)[0]
            self._note(theta)
            self.outcome = "stationary"
            return False
        if moved and polished is None:
            return True
        self.restarts += 1
        if self.restarts > self.restart_limit:
            self.outcome = "budget"
            return False
        if polished is not None and polished.downward is not None:
            self._kick(theta, polished.theta, polished.downward)
        else:
            self._shake(theta)
        self.bfgs.value, self.bfgs.gradient = self.exact(theta)
        self.bfgs.reset()
        self.slow, self.last = POLISH_BELOW_DECREASE, self.bfgs.value
        return True

    def _kick(self, theta: Tensor, saddle: Tensor, downward: Tensor) -> None:
        """Moves off a saddle, to the side where the loss is lower; downward [Ñ]: a unit vector."""
        kick = SADDLE_KICK * float(saddle.norm()) * downward
        sides = [saddle + kick, saddle - kick]
        values = [self.exact(side)[0] for side in sides]
        theta.copy_(sides[int(np.argmin(values))])

    def _shake(self, theta: Tensor) -> None:
        """Moves off the cusps at which the descent stopped, by so little that the loss hardly rises."""
        rng = np.random.default_rng(self.restarts)
        kick = torch.as_tensor(rng.standard_normal(len(theta))).to(theta)
        kick *= STALL_KICK * theta.norm() / kick.norm()
        while self.exact(theta + kick)[0] > (1 + STALL_KICK_LOSS_RISE) * self.bfgs.value and bool(kick.any()):
            kick /= 10
        theta += kick

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on."""
        numbers = [self.taken, self.restarts, self.slow, self.last, self.slow_checks]
        return {"descent": np.array(numbers), **self.bfgs.state(), **self.exact.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state; the trace is that of the engine."""
        taken, restarts, self.slow, self.last, slow_checks = state["descent"].tolist()
        self.taken, self.restarts, self.slow_checks = int(taken), int(restarts), int(slow_checks)
        self.bfgs.restore(state)
        self.exact.restore(state)
