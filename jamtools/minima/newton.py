"""The second-order dynamics, from an initial W, or from the end of another run, to a minimum.

    ReLU      LevenbergMarquardt on a softplus of increasing sharpness  →  BFGS on ReLU itself  ⇄  Newton on the cusps
    other ρ   LevenbergMarquardt on the loss itself                     →  BFGS                 ⇄  Newton
    finish    BFGS from a given W  ⇄  Newton; so do ρ other than ReLU, and networks without hidden layers, at fixed norm
    then, where BFGS ends without a minimum: Newton's method with the kinks in its model (kink_stage.py), if f has one
    output and W not too many components

A run is satisfied when every Δ ≤ ALMOST_SATISFIED_GAP ε. The output layer is then multiplied by 1 + 2 max Δ/ε. If this is
not enough, it is multiplied again by a larger factor, until N_Δ = 0 strictly. This works because y f > 0 there. It also
removes the contacts of 10⁻¹⁴ that round-off leaves. At fixed norm f cannot be scaled, and contacts stay.

A run is stationary when Newton's method has arrived at a point without negative curvature. Newton's method is tried each
time that the descent has become ten times slower. Sometimes it arrives at a saddle, which the run then leaves along the
direction of negative curvature. A run is escaping when L levels off while ‖W‖ grows by a decade (escape.py).

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
from jamtools.minima.bfgs_stage import BfgsStage
from jamtools.minima.escape import Escape, balanced_norm
from jamtools.minima.kink_stage import KinkStage, has_kink_stage
from jamtools.minima.levenberg_stage import LevenbergStage
from jamtools.minima.softplus_path import SoftplusPath
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem
from jamtools.network.units import Units

#: With a loss below the first number, in ε², a run may be satisfied. It is satisfied when every Δ is below the second
#: number, in ε. The first condition implies the second for any P below ALMOST_SATISFIED_GAP² / (2 ALMOST_SATISFIED_LOSS) =
#: 5·10⁶.
ALMOST_SATISFIED_LOSS, ALMOST_SATISFIED_GAP = 1e-17, 1e-5


#: The margins ε for which L ~ ε², and the squares in it, are numbers of double precision.
NEWTON_MARGIN_MIN, NEWTON_MARGIN_MAX = 1e-100, 1e100


class Stage(Protocol):
    """A part of the way to a minimum."""

    def iterate(self, theta: Tensor) -> bool:
        """One step of theta [Ñ], in place; False when this stage has ended."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""


class NewtonEngine:
    """An Engine whose steps are the iterations of the stages, on theta [Ñ] in place.

    finish: theta is that of a run, and BFGS leads from it to the minimum of its own basin. theta0 [Ñ]: the initial
    parameters. The stages work on a copy of theta in the units of network/units.py. Raises InputError for a problem that is
    not of the hinge loss in float64 without batch normalisation.
    """

    n_missed: int | None = None

    def __init__(self, problem: Problem, theta: Tensor, theta0: Tensor, finish: bool) -> None:
        require_newton_support(problem.arch, problem.loss, theta.dtype)
        self.theta, self.units = theta, Units.of(problem)
        self.norm = problem.arch.norm
        self.problem = self.units.problem(problem)
        # initial parameters are those of the problem in its units: the path is then the same for every scale of x and ε
        self.inside = self.units.inside(theta) if finish else theta.clone()
        start = self.units.inside(theta0) if finish else theta0
        self.escape = Escape(balanced_norm(start, problem.arch))
        self.stage: Stage = self._first(finish)

    def _first(self, finish: bool) -> Stage:
        arch = self.problem.arch
        has_path = arch.activation == "relu" and (arch.norm is None or arch.depth > 0)
        if finish or (arch.norm is not None and not has_path):
            return self._descent()
        if has_path:
            return SoftplusPath(self.inside, self.problem)
        return LevenbergStage(self.problem)

    def _descent(self) -> BfgsStage:
        is_last = not has_kink_stage(self.problem.arch)
        return BfgsStage(self.inside, self.problem, self.escape, is_last)

    def advance(self, step: int, until: int, stop: bool | None = None) -> tuple[int, str]:
        """Steps from `step` to `until`: the step where it stopped, and the outcome or ""."""
        outcome = ""
        while step < until and not outcome:
            step += 1
            outcome = self._outcome(True)  # the start may be satisfied except for contacts
            if outcome:
                break
            going = self.stage.iterate(self.inside)
            if isinstance(self.stage, BfgsStage | KinkStage):
                self.escape = self.stage.escape or self.escape
            outcome = self._outcome(going)
            if not going and outcome in ("", "budget"):
                outcome = self._next_stage(outcome)
        self.theta.copy_(self.problem.onto(self.units.outside(self.inside)))
        return step, outcome

    def _next_stage(self, outcome: str) -> str:
        """Goes to the stage after the present one, which has ended with an outcome; the outcome of the run, or ""."""
        if not isinstance(self.stage, BfgsStage | KinkStage):
            self.stage = self._descent()
        elif isinstance(self.stage, BfgsStage) and has_kink_stage(self.problem.arch):
            self.stage = KinkStage(self.inside, self.problem, self.escape)
        else:
            return outcome
        return ""

    def _outcome(self, going: bool) -> str:
        """The outcome of the run, or "" while it continues; going: whether the stage can take another step."""
        descent = self.stage if isinstance(self.stage, BfgsStage) else None
        if descent and not math.isfinite(descent.bfgs.value):
            return "diverged"
        epsilon = abs(self.problem.loss.epsilon)
        if not going or (descent and descent.bfgs.value <= ALMOST_SATISFIED_LOSS * epsilon**2):
            largest_gap = self.problem.largest_gap(self.problem.onto(self.inside))  # BFGS leaves the sphere
            if not math.isfinite(largest_gap):
                return "diverged"
            if self.norm is not None:
                if largest_gap <= self.problem.loss.contact:
                    return "satisfied"
            elif largest_gap <= ALMOST_SATISFIED_GAP * epsilon:
                self._satisfy(largest_gap)
                return "satisfied"
        return self.stage.outcome if isinstance(self.stage, BfgsStage | KinkStage) else ""

    @property
    def seen_escape(self) -> Escape | None:
        """The trace up to the present theta where it shows an escape, else None."""
        arch = self.problem.arch
        trace = self.escape.at(self.inside, arch, self.problem.value(self.inside))
        return trace if trace.shows_one(arch) else None

    def _satisfy(self, largest_gap: float) -> None:
        """Brings the largest Δ to at most 0: scales the output layer, and with it f, by a little more than one."""
        output = layers_of(self.inside, self.problem.arch)[-1]
        excess = 2 * max(largest_gap, 0.0) / self.problem.loss.epsilon
        while largest_gap > 0:
            for part in output:
                part.mul_(1 + excess)
            largest_gap, excess = self.problem.largest_gap(self.inside), 2 * excess

    def stand_at(self, theta: Tensor, trace: Escape | None) -> None:
        """Takes theta [Ñ], to which the descent of a trace has led, for its own end; None for no trace."""
        self.theta.copy_(theta)
        self.inside.copy_(self.units.inside(theta))
        if trace:  # its last point is theta, which is measured again in these units
            self.escape = Escape(trace.origin, trace.norms[:-1], trace.losses[:-1])

    def state(self) -> dict[str, np.ndarray]:
        """Which stage the run is in, the state of the stage, theta in the units of the stages, and the trace."""
        trace = self.escape.fields()
        return {
            "kind": np.array([_STAGES.index(type(self.stage))]),
            "inside": self.inside.cpu().numpy().copy(),
            "trace_norms": np.array(trace["norm"]),
            "trace_losses": np.array(trace["loss"]),
            **self.stage.state(),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        self.inside.copy_(torch.from_numpy(state["inside"]))
        kind = _STAGES[int(state["kind"][0])]
        if kind is BfgsStage:
            self.stage = self._descent()
        elif kind is KinkStage:
            self.stage = KinkStage(self.inside, self.problem, self.escape)
            self.inside.copy_(torch.from_numpy(state["inside"]))
        self.stage.restore(state)
        norms, losses = (tuple(state[name].tolist()) for name in ("trace_norms", "trace_losses"))
        self.escape = Escape(self.escape.origin, norms, losses)
        if isinstance(self.stage, BfgsStage | KinkStage):
            self.stage.escape = self.escape


_STAGES: list[type[Stage]] = [SoftplusPath, LevenbergStage, BfgsStage, KinkStage]


def require_newton_support(arch: Architecture, loss: Loss, dtype: torch.dtype) -> None:
    """Raises InputError unless the problem is one of the hinge loss in float64 without batch normalisation, with a ε whose
    square is a number of double precision.
    """
    arch.require_plain()
    if loss.name != "hinge":
        raise InputError(f"newton with the loss {loss.name}, expected hinge", Remedy.ADAM)
    least = NEWTON_MARGIN_MIN if arch.norm is None else 0.0
    if not least <= abs(loss.epsilon) <= NEWTON_MARGIN_MAX:
        raise InputError(
            f"newton with a margin of {loss.epsilon:.3g}, expected {NEWTON_MARGIN_MIN:.0e} to {NEWTON_MARGIN_MAX:.0e}: "
            "the loss is of the order of its square"
        )
    if dtype != torch.float64:
        raise InputError(
            f"newton in {str(dtype).removeprefix('torch.')}, expected float64: a minimum is proved to its round-off",
            Remedy.FLOAT64,
        )
