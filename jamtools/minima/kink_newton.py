"""Newton's method for the hinge loss of a network with kinks: both maxima, of Δ and of ρ, stay in its model.

A step solves the convex problem of kink_step.py. It is judged by the exact loss:

    gain = [S(W) - S(W + d)] / predicted       small: the step is corrected to second order, then shortened;
                                               large: it is lengthened, since the model has less negative curvature than S
    λ rises where steps are shortened, and falls to zero where the gain is near 1

The kinks that the problem keeps at zero, with their multipliers λ_i = u_i / (e_i v_µ), are those of the next model.

Source: none for the problem, own design; J. Nocedal and S. J. Wright, Numerical Optimization (2006), chapters 4 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jamtools.minima.kink_model import KinkModel, Kinks, Surface
from jamtools.minima.kink_step import SolvedStep, StepProblem
from jamtools.network.problem import Problem

#: A kink is near z = 0 up to this part of its scale in the first step; later up to NEAR_KINK_PART of the last step, in ‖W‖.
NEAR_KINK_FIRST, NEAR_KINK_PART = 1e-3, 0.1

#: Gains: below the first a step is corrected, above the second it is lengthened.
GAIN_LOW, GAIN_HIGH = 0.7, 1.3

#: The largest number of second-order corrections of a step.
CORRECTIONS = 2

#: A shortened step must reach this part of the predicted decrease, in proportion; the shortest has this length.
SHORTENED_GAIN, SHORTEST_STEP = 0.05, 2.0**-8

#: The longest lengthened step, in steps.
LONGEST_STEP = 2.0**12

#: Factors of λ: after a good step, after a lengthened one, after a poor one, after a failure.
DAMPING_GOOD, DAMPING_LENGTHENED, DAMPING_POOR, DAMPING_FAILED = 0.25, 0.05, 3.0, 6.0

#: λ is at least this, or 0.
DAMPING_LEAST = 3e-3

#: A step of which the model predicts less than this part of S is one of round-off: its kinks are those of the minimum.
ROUND_OFF_DECREASE = 1e-9

#: An accepted step with a gain below this raises λ.
GAIN_POOR = 0.2


@dataclass(frozen=True)
class Outlook:
    """The Δ [P] of which S is expected to consist at the end of a step, where they are known from a stage before."""

    gaps: Tensor


class KinkNewton:
    """The iteration on theta [Ñ], in place, on its surface.

    held: the kinks at zero; damping: λ in its unit; predicted: the decrease of S that the last accepted step predicted,
    relative to S; failures: steps in a row without a decrease.
    """

    def __init__(self, theta: Tensor, problem: Problem) -> None:
        self.theta, self.problem, self.surface = theta, problem, Surface(problem.arch.norm)
        theta.copy_(self.surface.onto(theta, problem))
        self.held = Kinks.none(theta)
        self.damping, self.reach = 1.0, NEAR_KINK_FIRST
        self.predicted, self.failures = 1.0, 0

    def iterate(self, outlook: Outlook | None = None) -> bool:
        """One step; False where it did not lower S. Nothing is changed where no pattern is unsatisfied."""
        model = KinkModel(self.theta, self.problem, self.held)
        expected = (outlook.gaps if outlook else model.gaps).clamp(min=0)
        if not bool((expected > 0).any()):
            return False
        self.held = model.held
        step = StepProblem(model, expected, self.damping, self.reach, self.predicted)
        solved = step.solve()
        before = 0.5 * float(step.gaps.square().sum())
        if solved is None:
            return self._fail()
        if (
            abs(solved.predicted) < ROUND_OFF_DECREASE * before
        ):  # whether it moves or not, its kinks are right
            self.held = solved.kept
        return self._move(step, solved, before) if solved.predicted > 0 else self._fail()

    # --- what becomes of it -------------------------------------------------------------------------------

    def _move(self, problem: StepProblem, solved: SolvedStep, before: float) -> bool:
        """Takes the step, corrected, lengthened or shortened; False where no part of it lowers S."""
        model = problem.model
        reached = self.surface.onto(self.theta + solved.step, self.problem)
        value = model.value(reached)
        for _ in range(CORRECTIONS):
            if (before - value) / solved.predicted >= GAIN_LOW:
                break
            corrected = problem.corrected(solved, reached)
            if corrected is None:
                break
            candidate = self.surface.onto(self.theta + corrected.step, self.problem)
            lower = model.value(candidate)
            if not lower < value:
                break
            solved, reached, value = corrected, candidate, lower
        gain = (before - value) / solved.predicted
        length = 1.0
        if gain > GAIN_HIGH:
            length, reached, value = self._lengthened(model, solved.step, reached, value)
        elif not gain > SHORTENED_GAIN:
            length, reached, value = self._shortened(model, solved, before)
        if not value < before:
            return self._fail()
        self._accept(solved, reached, length, gain, before)
        return True

    def _lengthened(
        self, model: KinkModel, step: Tensor, reached: Tensor, value: float
    ) -> tuple[float, Tensor, float]:
        """The longest of the doubled steps up to which S falls: its length, where it leads, and S there."""
        length = 1.0
        while 2 * length <= LONGEST_STEP:
            further = self.surface.onto(self.theta + 2 * length * step, self.problem)
            lower = model.value(further)
            if not lower < value:
                break
            length, reached, value = 2 * length, further, lower
        return length, reached, value

    def _shortened(self, model: KinkModel, solved: SolvedStep, before: float) -> tuple[float, Tensor, float]:
        """The first of the halved steps that lowers S enough: its length, where it leads, and S there."""
        length = 0.5
        while length >= SHORTEST_STEP:
            reached = self.surface.onto(self.theta + length * solved.step, self.problem)
            value = model.value(reached)
            if before - value > SHORTENED_GAIN * length * solved.predicted:
                return length, reached, value
            length /= 2
        return 0.0, self.theta, before

    def _accept(self, solved: SolvedStep, reached: Tensor, length: float, gain: float, before: float) -> None:
        self.held = solved.kept
        self.reach = NEAR_KINK_PART * length * float(solved.step.norm() / self.theta.norm())
        self.theta.copy_(reached)
        if length < 1 or gain < GAIN_POOR:
            self.damping = max(DAMPING_POOR * self.damping, DAMPING_LEAST)
        elif gain > GAIN_LOW:
            factor = DAMPING_LENGTHENED if gain > GAIN_HIGH else DAMPING_GOOD
            self.damping = self.damping * factor if self.damping > DAMPING_LEAST else 0.0
        self.predicted, self.failures = solved.predicted / before, 0

    def restart(self) -> None:
        """Forgets the failures and the damping, after theta has been moved."""
        self.damping, self.failures, self.predicted = 1.0, 0, 1.0

    def _fail(self) -> bool:
        self.damping = max(DAMPING_FAILED * self.damping, DAMPING_LEAST)
        self.failures += 1
        return False

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything except theta that the next step depends on."""
        numbers = [self.damping, self.reach, self.predicted, self.failures]
        return {
            "kinks": self.held.at.cpu().numpy().copy(),
            "kink_slopes": self.held.slope.cpu().numpy().copy(),
            "kink_numbers": np.array(numbers, dtype=np.float64),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues from a state."""
        at = torch.from_numpy(state["kinks"]).to(self.theta.device)
        self.held = Kinks(at, torch.from_numpy(state["kink_slopes"]).to(self.theta))
        self.damping, self.reach, self.predicted, failures = state["kink_numbers"].tolist()
        self.failures = int(failures)
