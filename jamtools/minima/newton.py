"""To a minimum, not just towards one: the second-order dynamics.

    ReLU    softplus_β, β ↑ (smoothing.py)  →  BFGS at β = ∞ (bfgs.py)  ⇄  Newton on the cusps (polish.py)
    else    Levenberg–Marquardt (levenberg.py)  →  BFGS  ⇄  Newton
    finish  BFGS from a given W  ⇄  Newton

Satisfied: every Δ ≤ SMALL ε. What is left, from there down to the contacts of 10⁻¹⁴ that round-off leaves, goes by a factor
1 + 2 max Δ/ε of the output layer, after which N_Δ = 0 strictly: y f > 0 there. Stationary: Newton's method arrived, and no
curvature is negative. It is tried each time the descent has slowed down tenfold. It ends on a saddle now and then, which is
left along its downward direction. Another dynamics than Adam's, with minima and an N* of its own.
Source: arXiv:1809.09349, sections II and III.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from jamtools.engines.kernel.problem import KernelProblem
from jamtools.errors import InputError
from jamtools.minima.bfgs import Bfgs
from jamtools.minima.cusp_newton import polish
from jamtools.minima.levenberg_marquardt import Levenberg
from jamtools.minima.softplus_path import Path
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem

#: Levenberg–Marquardt on the exact loss ends once so many steps lowered it by less than this part.
STALL, LITTLE = 5, 1e-2

#: Iterations of BFGS between two looks at its progress, at least; as many as parameters if that is more.
LOOK = 100

#: The loss falls by less than this part from look to look before Newton's method is tried; a tenth of it the next time.
SLOW, SLOWER = 1e-3, 0.1

#: BFGS that comes to a stand where Newton does not arrive begins anew so many times.
RESTARTS = 8

#: A kick along a direction of negative curvature, in norms of W.
KICK = 1e-4

#: The same in a random direction, where the descent came to a stand without a minimum.
SHAKE = 1e-5

#: A shake lifts the loss by this part of it at most.
LIFT = 1e-6

#: Below this part of ε² every Δ is below the part SMALL of ε, for any P below SMALL² / 2 TINY, five million.
TINY, SMALL = 1e-17, 1e-5


class Stage(Protocol):
    """A part of the way."""

    def iterate(self, theta: Tensor) -> bool:
        """One step, in place; False once this part is done."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what the next step depends on, beside theta."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from there."""


class Damped:
    """Levenberg–Marquardt on the exact loss of a smooth ρ."""

    def __init__(self, problem: Problem) -> None:
        self.levenberg = Levenberg(problem)
        self.values: list[float] = []

    def iterate(self, theta: Tensor) -> bool:
        """See Stage."""
        value = self.levenberg.iterate(theta)
        if value is None:
            return False
        self.values = [*self.values[-STALL:], value]
        slow = self.values[0] - value < LITTLE * self.values[0]
        return len(self.values) <= STALL or not slow

    def state(self) -> dict[str, np.ndarray]:
        """See Stage."""
        numbers = [self.levenberg.mu, self.levenberg.nu]
        return {"damping": np.array(numbers), "values": np.array(self.values)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See Stage."""
        self.levenberg.mu, self.levenberg.nu = state["damping"].tolist()
        self.values = state["values"].tolist()


class Exact:
    """L and ∇L by the compiled kernel where it can, on the CPU with one output, else by torch."""

    def __init__(self, problem: Problem, theta: Tensor) -> None:
        self.problem, self.call = problem, None
        if theta.device.type == "cpu" and problem.arch.outputs == 1:
            arrays = problem.x.numpy(), problem.y.numpy()
            self.call = KernelProblem(*arrays, problem.arch, problem.loss, theta.numpy())

    def __call__(self, theta: Tensor) -> tuple[float, Tensor]:
        if self.call is None:
            return self.problem.value_and_gradient(theta)
        value, gradient = self.call.value_and_gradient(theta.numpy())
        return value, torch.from_numpy(gradient)

    def state(self) -> dict[str, np.ndarray]:
        """The kernel's list of patterns, which decides the order of its sums."""
        return (
            {f"list-{name}": array for name, array in self.call.neighbours.state().items()}
            if self.call
            else {}
        )

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on with that list."""
        if self.call:
            self.call.restore({name: state[f"list-{name}"] for name in self.call.neighbours.NAMES})


class Descent:
    """BFGS on the exact loss, and Newton's method from time to time; `outcome` says how it ended."""

    def __init__(self, theta: Tensor, problem: Problem) -> None:
        self.problem, self.exact = problem, Exact(problem, theta)
        self.bfgs = Bfgs(theta, self.exact)
        self.every = max(LOOK, len(theta))
        self.outcome = ""
        self.taken, self.restarts, self.slow, self.last = 0, 0, SLOW, self.bfgs.value

    def iterate(self, theta: Tensor) -> bool:
        """See Stage; theta is the one it was made with."""
        moved = self.bfgs.iterate()
        self.taken += 1
        if moved and self.taken % self.every:
            return True
        gained = 1 - self.bfgs.value / self.last if self.last > 0 else 0.0
        self.last = self.bfgs.value
        if moved and gained > self.slow:
            return True
        self.slow *= SLOWER
        return self._arrive(theta, moved)

    def _arrive(self, theta: Tensor, moved: bool) -> bool:
        """Newton's method; False where it arrived at a minimum, or nothing is left to try."""
        found = polish(theta, self.problem)
        if found is not None and found.downward is None:
            theta.copy_(found.theta)
            self.outcome = "stationary"
            return False
        if moved and found is None:
            return True
        self.restarts += 1
        if self.restarts > RESTARTS:
            self.outcome = "budget"
            return False
        if found is not None and found.downward is not None:
            self._kick(theta, found.theta, found.downward)
        else:
            self._shake(theta)
        self.bfgs.value, self.bfgs.gradient = self.exact(theta)
        self.bfgs.reset()
        self.slow, self.last = SLOW, self.bfgs.value
        return True

    def _kick(self, theta: Tensor, saddle: Tensor, downward: Tensor) -> None:
        """Off a saddle, to the side where the loss is lower."""
        kick = KICK * float(saddle.norm()) * downward
        sides = [saddle + kick, saddle - kick]
        values = [self.exact(side)[0] for side in sides]
        theta.copy_(sides[int(np.argmin(values))])

    def _shake(self, theta: Tensor) -> None:
        """Off the cusps at which the descent came to a stand, so little that the loss hardly rises."""
        rng = np.random.default_rng(self.restarts)
        kick = torch.as_tensor(rng.standard_normal(len(theta))).to(theta)
        kick *= SHAKE * theta.norm() / kick.norm()
        while self.exact(theta + kick)[0] > (1 + LIFT) * self.bfgs.value and bool(kick.any()):
            kick /= 10
        theta += kick

    def state(self) -> dict[str, np.ndarray]:
        """See Stage."""
        numbers = [self.taken, self.restarts, self.slow, self.last]
        return {"descent": np.array(numbers), **self.bfgs.state(), **self.exact.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See Stage."""
        taken, restarts, self.slow, self.last = state["descent"].tolist()
        self.taken, self.restarts = int(taken), int(restarts)
        self.bfgs.restore(state)
        self.exact.restore(state)


class NewtonEngine:
    """An Engine whose steps are iterations of the above; `finish`: from theta to the minimum of its own basin."""

    n_missed: int | None = None

    def __init__(self, problem: Problem, theta: Tensor, finish: bool) -> None:
        require(problem.arch, problem.loss, theta.dtype)
        self.problem, self.theta = problem, theta
        self.stage: Stage = self._first(finish)

    def _first(self, finish: bool) -> Stage:
        if finish:
            return Descent(self.theta, self.problem)
        return (
            Path(self.theta, self.problem) if self.problem.arch.activation == "relu" else Damped(self.problem)
        )

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """See Engine."""
        outcome = ""
        while step < until and not outcome:
            step += 1
            outcome = self._outcome(True)  # of a start that is satisfied but for contacts
            if outcome:
                break
            going = self.stage.iterate(self.theta)
            outcome = self._outcome(going)
            if not going and not outcome:
                self.stage = Descent(self.theta, self.problem)
        return step, outcome

    def _outcome(self, going: bool) -> str:
        """How the run has ended, if it has."""
        descent = self.stage if isinstance(self.stage, Descent) else None
        if descent and not math.isfinite(descent.bfgs.value):
            return "diverged"
        epsilon = self.problem.loss.epsilon
        if not going or (descent and descent.bfgs.value <= TINY * epsilon**2):
            top = self.problem.largest_gap(self.theta)
            if not math.isfinite(top):
                return "diverged"
            if top <= SMALL * epsilon:
                self._satisfy(top)
                return "satisfied"
        return descent.outcome if descent else ""

    def _satisfy(self, top: float) -> None:
        """What is left of Δ goes: the output layer times a little more than one, and y f with it."""
        output = layers_of(self.theta, self.problem.arch)[-1]
        excess = 2 * max(top, 0.0) / self.problem.loss.epsilon
        while top > 0:
            for part in output:
                part.mul_(1 + excess)
            top, excess = self.problem.largest_gap(self.theta), 2 * excess

    def state(self) -> dict[str, np.ndarray]:
        """See Engine."""
        return {"kind": np.array([_KINDS.index(type(self.stage))]), **self.stage.state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See Engine; theta is where it stood already."""
        kind = _KINDS[int(state["kind"][0])]
        if kind is Descent and not isinstance(self.stage, Descent):
            self.stage = Descent(self.theta, self.problem)
        self.stage.restore(state)


_KINDS: list[type[Stage]] = [Path, Damped, Descent]


def require(arch: Architecture, loss: Loss, dtype: torch.dtype) -> None:
    """Raises InputError for what the second-order dynamics does not take."""
    arch.require_plain()
    if loss.name != "hinge":
        raise InputError(f"newton with the loss {loss.name}, expected hinge; use --optimizer adam")
    if dtype != torch.float64:
        raise InputError(
            f"newton in {str(dtype).removeprefix('torch.')}, expected float64, in which a minimum can be told; "
            "leave out --dtype"
        )
