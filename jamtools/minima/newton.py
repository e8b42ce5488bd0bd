"""The second-order dynamics, from an initial W, or from the end of another run, to a minimum.

    ReLU      LevenbergMarquardt on a softplus of increasing sharpness  →  BFGS on ReLU itself  ⇄  Newton on the cusps
    other ρ   LevenbergMarquardt on the loss itself                     →  BFGS                 ⇄  Newton
    finish    BFGS from a given W  ⇄  Newton

A run is satisfied when every Δ ≤ ALMOST_SATISFIED_GAP ε. The output layer is then multiplied by 1 + 2 max Δ/ε. If this is
not enough, it is multiplied again by a larger factor, until N_Δ = 0 strictly. This works because y f > 0 there. It also
removes the contacts of 10⁻¹⁴ that round-off leaves.

A run is stationary when Newton's method has arrived at a point without negative curvature. Newton's method is tried each
time that the descent has become ten times slower. Sometimes it arrives at a saddle, which the run then leaves along the
direction of negative curvature.

These dynamics are not those of Adam: they have their own minima and their own N*.
Source: arXiv:1809.09349, sections II and III.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import InputError, Remedy
from jamtools.minima.bfgs import Bfgs
from jamtools.minima.cusp_newton import polish
from jamtools.minima.levenberg_marquardt import LevenbergMarquardt
from jamtools.minima.loss_function import LossFunction
from jamtools.minima.softplus_path import SoftplusPath
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem

#: Levenberg–Marquardt on the loss itself ends when this many steps have lowered the loss by less than this part.
LEVENBERG_STALL_STEPS, LEVENBERG_STALL_DECREASE = 5, 1e-2

#: Iterations of BFGS between two checks of its progress, or the number of parameters if that is larger.
BFGS_MIN_ITERATIONS_PER_CHECK = 100

#: Newton's method is tried when the loss falls by less than the first number, relative to it, between two checks. After each
#: attempt the limit is multiplied by the second number.
POLISH_BELOW_DECREASE, POLISH_DECREASE_FACTOR = 1e-3, 0.1

#: How often BFGS is restarted where it cannot lower the loss and Newton's method does not arrive at a minimum.
BFGS_RESTART_LIMIT = 8

#: Length of a step along a direction of negative curvature, in ‖W‖.
SADDLE_KICK = 1e-4

#: Length of a step in a random direction where the descent stopped without a minimum, in ‖W‖.
STALL_KICK = 1e-5

#: The largest rise of the loss by such a random step, as a part of the loss.
STALL_KICK_LOSS_RISE = 1e-6

#: With a loss below the first number, in ε², a run may be satisfied. It is satisfied when every Δ is below the second
#: number, in ε. The first condition implies the second for any P below ALMOST_SATISFIED_GAP² / (2 ALMOST_SATISFIED_LOSS) =
#: 5·10⁶.
ALMOST_SATISFIED_LOSS, ALMOST_SATISFIED_GAP = 1e-17, 1e-5


class Stage(Protocol):
    """A part of the way to a minimum."""

    def iterate(self, theta: Tensor) -> bool:
        """One step of theta [Ñ], in place; False when this stage has ended."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""


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


class BfgsStage:
    """BFGS on the loss itself, with Newton's method tried from time to time.

    outcome: "" until the stage has ended, then "stationary" at a minimum, or "budget" where the restarts are used up.
    """

    def __init__(self, theta: Tensor, problem: Problem) -> None:
        self.problem, self.exact = problem, LossFunction(problem, theta)
        self.bfgs = Bfgs(theta, self.exact)
        self.every = max(BFGS_MIN_ITERATIONS_PER_CHECK, len(theta))
        self.outcome = ""
        self.taken, self.restarts, self.slow, self.last = 0, 0, POLISH_BELOW_DECREASE, self.bfgs.value

    def iterate(self, theta: Tensor) -> bool:
        """One iteration of theta [Ñ], in place; False when the stage has ended. theta is the tensor of the constructor."""
        moved = self.bfgs.iterate()
        self.taken += 1
        if moved and self.taken % self.every:
            return True
        gained = 1 - self.bfgs.value / self.last if self.last > 0 else 0.0
        self.last = self.bfgs.value
        if moved and gained > self.slow:
            return True
        self.slow *= POLISH_DECREASE_FACTOR
        return self._arrive(theta, moved)

    def _arrive(self, theta: Tensor, moved: bool) -> bool:
        """Tries Newton's method; False when it arrived at a minimum, or when the restarts are used up."""
        polished = polish(theta, self.problem)
        if polished is not None and polished.downward is None:
            theta.copy_(polished.theta)
            self.outcome = "stationary"
            return False
        if moved and polished is None:
            return True
        self.restarts += 1
        if self.restarts > BFGS_RESTART_LIMIT:
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
        numbers = [self.taken, self.restarts, self.slow, self.last]
        return {"descent": np.array(numbers), **self.bfgs.state(), **self.exact.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        taken, restarts, self.slow, self.last = state["descent"].tolist()
        self.taken, self.restarts = int(taken), int(restarts)
        self.bfgs.restore(state)
        self.exact.restore(state)


class NewtonEngine:
    """An Engine whose steps are the iterations of the stages, on theta [Ñ] in place.

    finish: start with BFGS, which leads from theta to the minimum of its own basin. Raises InputError for a problem that is
    not of the hinge loss in float64 without batch normalisation.
    """

    n_missed: int | None = None

    def __init__(self, problem: Problem, theta: Tensor, finish: bool) -> None:
        require_newton_support(problem.arch, problem.loss, theta.dtype)
        self.problem, self.theta = problem, theta
        self.stage: Stage = self._first(finish)

    def _first(self, finish: bool) -> Stage:
        if finish:
            return BfgsStage(self.theta, self.problem)
        if self.problem.arch.activation == "relu":
            return SoftplusPath(self.theta, self.problem)
        return LevenbergStage(self.problem)

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """Steps from `step` to `until`: the step where it stopped, and the outcome or ""."""
        outcome = ""
        while step < until and not outcome:
            step += 1
            outcome = self._outcome(True)  # the start may be satisfied except for contacts
            if outcome:
                break
            going = self.stage.iterate(self.theta)
            outcome = self._outcome(going)
            if not going and not outcome:
                self.stage = BfgsStage(self.theta, self.problem)
        return step, outcome

    def _outcome(self, going: bool) -> str:
        """The outcome of the run, or "" while it continues; going: whether the stage can take another step."""
        descent = self.stage if isinstance(self.stage, BfgsStage) else None
        if descent and not math.isfinite(descent.bfgs.value):
            return "diverged"
        epsilon = self.problem.loss.epsilon
        if not going or (descent and descent.bfgs.value <= ALMOST_SATISFIED_LOSS * epsilon**2):
            largest_gap = self.problem.largest_gap(self.theta)
            if not math.isfinite(largest_gap):
                return "diverged"
            if largest_gap <= ALMOST_SATISFIED_GAP * epsilon:
                self._satisfy(largest_gap)
                return "satisfied"
        return descent.outcome if descent else ""

    def _satisfy(self, largest_gap: float) -> None:
        """Brings the largest Δ to at most 0: scales the output layer, and with it f, by a little more than one."""
        output = layers_of(self.theta, self.problem.arch)[-1]
        excess = 2 * max(largest_gap, 0.0) / self.problem.loss.epsilon
        while largest_gap > 0:
            for part in output:
                part.mul_(1 + excess)
            largest_gap, excess = self.problem.largest_gap(self.theta), 2 * excess

    def state(self) -> dict[str, np.ndarray]:
        """Which stage the run is in, and the state of the stage."""
        return {"kind": np.array([_STAGES.index(type(self.stage))]), **self.stage.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state; theta holds the parameters of that state already."""
        kind = _STAGES[int(state["kind"][0])]
        if kind is BfgsStage and not isinstance(self.stage, BfgsStage):
            self.stage = BfgsStage(self.theta, self.problem)
        self.stage.restore(state)


_STAGES: list[type[Stage]] = [SoftplusPath, LevenbergStage, BfgsStage]


def require_newton_support(arch: Architecture, loss: Loss, dtype: torch.dtype) -> None:
    """Raises InputError unless the problem is one of the hinge loss in float64 without batch normalisation."""
    arch.require_plain()
    if loss.name != "hinge":
        raise InputError(f"newton with the loss {loss.name}, expected hinge", Remedy.ADAM)
    if dtype != torch.float64:
        raise InputError(
            f"newton in {str(dtype).removeprefix('torch.')}, expected float64: a minimum is proved to its round-off",
            Remedy.FLOAT64,
        )
