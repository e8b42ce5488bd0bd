"""The approach to jamming: a jammed network of fixed norm, taken to L → 0 by a falling margin, in warm stages.

    ε ← ε - (1 - q) ⟨Δ²⟩/⟨Δ⟩ over the unsatisfied patterns,        dL/dε = Σ_{µ∈m} Δ_µ/P

At fixed norm the margin is a continuous knob, as κ is for the perceptron, and there is a margin ε_J at which the branch of
minima reaches L = 0. Near it a stage with q = ½ divides L by four. Each stage begins at the minimum of the last one, and
ends at the minimum nearby (kink_stage.py).

    unjammed    a stage in which all patterns become satisfied. It is taken back, and tried with a fifth of its 1 - q.
    avalanche   a stage that unjams however small it is: the branch ends there. The margin rises again until the
                network jams on another branch.
    collapse    ε falls towards 0 and f with it: L/(N ε²) does not fall. There is no jamming point at this P and norm.

Dead patterns (network/dead.py) are left out: no margin satisfies them.
Source: none, own protocol; S. Franz and G. Parisi, J. Phys. A 49, 145001 (2016), for the perceptron.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from jamtools.minima.kink_model import Surface
from jamtools.minima.kink_newton import Outlook
from jamtools.minima.kink_stage import KinkStage
from jamtools.minima.sphere_descent import descend_on_sphere
from jamtools.network.dead import dead_by_layer
from jamtools.network.problem import Problem

#: 1 - q of the first stages, and the smallest; below it a stage that unjams is an avalanche.
SHRINK_FIRST, SHRINK_LEAST = 0.5, 4e-3

#: Factors of 1 - q after a stage that unjammed, and after one that did not.
SHRINK_UNJAMMED, SHRINK_RECOVERS = 0.2, 2.0

#: After an avalanche the margin rises above the largest satisfied one by this part of it, and by this factor more each time.
RECOMPRESS_FIRST, RECOMPRESS_FACTOR = 1e-3, 1.3

#: A collapse: ε has fallen below the first part of its first value while the mean Δ is above the second part of ε.
COLLAPSE_MARGIN, COLLAPSE_GAP = 0.05, 0.1

#: Stages in a row that may end without a minimum.
STAGES_WITHOUT_MINIMUM = 3

#: Iterations of BFGS from a start to the neighbourhood of its first minimum.
START_ITERATIONS = 2000

StageStatus = Literal["stationary", "budget", "satisfied", "dead", "collapsed"]


@dataclass(frozen=True)
class ApproachStage:
    """The end of a stage: theta [Ñ] at this margin, its loss and N_Δ without the dead patterns, and the kinks at zero.

    status: "stationary" at a minimum, "budget" where none was reached, "satisfied", "dead" where only dead patterns are
    left, "collapsed". moved: ‖δW‖/‖W‖ of the stage; overlap: the unsatisfied patterns of this stage and of the last one
    that both have, over those that either has; avalanche: whether the last branch had ended.
    """

    theta: Tensor
    epsilon: float
    loss: float
    n_unsatisfied: int
    n_kinks: int
    status: StageStatus
    moved: float
    overlap: float
    avalanche: bool


def first_minimum(theta: Tensor, problem: Problem, norm: float) -> ApproachStage:
    """The minimum on the sphere ‖W‖ = norm to which a descent from theta [Ñ] leads: the stage before the first one."""
    start = descend_on_sphere(theta, problem, norm, START_ITERATIONS)
    return _Approach(problem, norm).stage(start, problem.loss.epsilon, None, None)


def approach(first: ApproachStage, problem: Problem, norm: float, until: float) -> Iterator[ApproachStage]:
    """The stages from a first one on, until L/N ≤ `until`, a collapse, or no minimum is found.

    problem: that of the first stage. A first stage that is satisfied goes the other way until it jams.
    """
    return _Approach(problem, norm).stages(first, until)


class _Approach:
    """The stages of a problem at one norm."""

    def __init__(self, problem: Problem, norm: float) -> None:
        self.problem, self.surface = problem, Surface(norm)

    def at(self, epsilon: float) -> Problem:
        """The problem at another margin."""
        return replace(self.problem, loss=replace(self.problem.loss, epsilon=epsilon))

    def gaps(self, theta: Tensor, epsilon: float) -> Tensor:
        """Δ [P] at theta [Ñ]."""
        problem = self.at(epsilon)
        return problem.loss.gaps(problem.forward(theta).f, problem.y)[:, 0]

    def stages(self, first: ApproachStage, until: float) -> Iterator[ApproachStage]:
        last, shrink, lost, avalanche = first, SHRINK_FIRST, 0, False
        while last.status != "dead" and lost < STAGES_WITHOUT_MINIMUM:
            if last.status == "satisfied":
                last = self._recompressed(last, avalanche)
            elif last.loss / self.problem.arch.n_effective <= until:
                return
            elif self._collapses(last, first):
                yield replace(last, status="collapsed")
                return
            else:
                stage = self._next(last, shrink)
                if stage.status == "satisfied":
                    shrink *= SHRINK_UNJAMMED
                    if shrink >= SHRINK_LEAST:
                        continue
                    last, shrink, avalanche = stage, SHRINK_FIRST, True
                    continue
                last, shrink, avalanche = stage, min(SHRINK_FIRST, SHRINK_RECOVERS * shrink), False
            lost = 0 if last.status == "stationary" else lost + 1
            yield last

    def _next(self, last: ApproachStage, shrink: float) -> ApproachStage:
        """The stage at a margin that is lower by (1 - q) ⟨Δ²⟩/⟨Δ⟩."""
        gaps = self.gaps(last.theta, last.epsilon).clamp(min=0)
        epsilon = last.epsilon - shrink * float(gaps.square().sum() / gaps.sum())
        return self.stage(last.theta, epsilon, last, Outlook((1 - shrink) * gaps))

    def _recompressed(self, satisfied: ApproachStage, avalanche: bool) -> ApproachStage:
        """The first stage that jams, as the margin rises above the one that theta satisfies."""
        last, excess = satisfied, RECOMPRESS_FIRST
        while last.status == "satisfied":
            largest = last.epsilon - float(self.gaps(last.theta, last.epsilon).max())
            last = self.stage(last.theta, largest + excess * abs(largest), last, None)
            excess *= RECOMPRESS_FACTOR
        return replace(last, avalanche=avalanche)

    def _collapses(self, last: ApproachStage, first: ApproachStage) -> bool:
        gaps = self.gaps(last.theta, last.epsilon)
        mean = float(gaps[gaps > 0].mean())
        return last.epsilon < COLLAPSE_MARGIN * first.epsilon and mean > COLLAPSE_GAP * last.epsilon

    def stage(
        self, theta: Tensor, epsilon: float, last: ApproachStage | None, outlook: Outlook | None
    ) -> ApproachStage:
        """The stage at one margin from theta [Ñ]."""
        problem = self.at(epsilon)
        alive = ~dead_by_layer(theta, problem).any(0)
        if outlook is not None:
            outlook = Outlook(outlook.gaps[alive])
        end = self.surface.onto(theta, problem)
        newton = KinkStage(end, problem.take(alive), None, self.surface, outlook)
        while newton.iterate(end):
            pass
        kinks = len(newton.newton.held.at)
        status: StageStatus = "stationary" if newton.outcome == "stationary" else "budget"
        return self._ended(end, problem, alive, kinks, status, last)

    def _ended(
        self,
        theta: Tensor,
        problem: Problem,
        alive: Tensor,
        kinks: int,
        status: StageStatus,
        last: ApproachStage | None,
    ) -> ApproachStage:
        """The stage that ended at theta [Ñ], where the patterns `alive` [P] were not dead at its start."""
        gaps = self.gaps(theta, problem.loss.epsilon)
        alive = alive & ~dead_by_layer(theta, problem).any(0)
        unsatisfied = problem.loss.unsatisfied(gaps)
        if not bool((unsatisfied & alive).any()):
            status = "dead" if bool(unsatisfied.any()) else "satisfied"
        shared, moved = 1.0, 0.0
        if last is not None:
            before = self.gaps(last.theta, last.epsilon) > 0
            either = int((before | unsatisfied).sum())
            shared = int((before & unsatisfied).sum()) / either if either else 1.0
            moved = float((theta - last.theta).norm() / theta.norm())
        loss = 0.5 * problem.loss.hinge_curvature * float(gaps[alive].clamp(min=0).square().sum())
        n = int((unsatisfied & alive).sum())
        return ApproachStage(theta, problem.loss.epsilon, loss, n, kinks, status, moved, shared, False)
