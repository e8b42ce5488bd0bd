"""The knobs of an approach to jamming: what is lowered from stage to stage, and what happens where a stage unjams.

    margin      ε ← ε - (1 - q) ⟨Δ²⟩/⟨Δ⟩ over the unsatisfied patterns,        dL/dε = Σ_{µ∈m} Δ_µ/P
    patterns    P ← P - max(1, min(P/50, (P - P_s)/2)),        P_s: the largest P that a stage has satisfied

At fixed norm the margin is continuous, as κ is for the perceptron, and near jamming a stage with q = ½ divides L by four. P
is discrete: L does not fall to zero, and the end is a jammed stage of which one pattern fewer is satisfied. The patterns
that go are the last ones, since a run trains on the first P of its dataset.

    unjammed    a stage in which all patterns become satisfied. It is taken back. The margin: tried with a fifth of its
                1 - q. The patterns: tried half way.
    avalanche   the margin: a stage that unjams however small it is: the branch ends there. The margin rises again until
                the network jams on another branch. The patterns: a stage with less than half of the unsatisfied patterns
                of the one before.
    collapse    ε falls towards 0 and f with it: L/(N ε²) does not fall. There is no jamming point at this P and norm.
    dead        unsatisfied patterns that are dead (network/dead.py): no margin satisfies them all. The margin: they are
                set aside, and the stage is made again without them. The patterns: as long as others are
                unsatisfied, dead ones are no obstacle; a stage with dead ones alone counts as unjammed.

Source: none, own protocol; S. Franz and G. Parisi, J. Phys. A 49, 145001 (2016), for the margin of the perceptron.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from torch import Tensor

from jamtools.errors import InputError, Remedy
from jamtools.minima.approach_stage import (
    ApproachStage,
    compared,
    dead_at,
    descended,
    free_stage,
    gaps_at,
    numbers_with,
    sphere_stage,
    unsatisfied_at,
    without,
)
from jamtools.minima.escape import has_grown
from jamtools.minima.kink_newton import Outlook
from jamtools.minima.kink_stage import KINK_MAX_PARAMETERS, has_kink_stage
from jamtools.minima.newton import require_newton_support
from jamtools.network.problem import Problem

#: The knobs by name.
KnobName = Literal["margin", "patterns"]
KNOBS: tuple[KnobName, ...] = ("margin", "patterns")

#: 1 - q of the first stages, and the smallest; below it a stage that unjams is an avalanche.
SHRINK_FIRST, SHRINK_LEAST = 0.5, 4e-3

#: Factors of 1 - q after a stage that unjammed, and after one that did not.
SHRINK_UNJAMMED, SHRINK_RECOVERS = 0.2, 2.0

#: After an avalanche the margin rises above the largest satisfied one by this part of it, then by this factor more each
#: time, up to the last part.
RECOMPRESS_FIRST, RECOMPRESS_FACTOR, RECOMPRESS_MOST = 1e-3, 1.5, 0.3

#: Above this L/N a stage rearranges many patterns. It begins with a descent, makes at most so many iterations of Newton, and
#: need not reach its minimum.
FAR_FROM_JAMMING, FAR_ITERATIONS = 1e-6, 60

#: How many times a stage is made again with fewer patterns, because some were dead at its end.
SET_ASIDE_MOST = 20

#: A collapse: ε has fallen below the first part of its first value, while the mean Δ is above the second part of ε and the
#: mean |f| below the third. (The margin of a perceptron may pass 0.)
COLLAPSE_MARGIN, COLLAPSE_GAP, COLLAPSE_F = 0.05, 0.1, 5.0

#: The part of the patterns that a stage takes away or adds.
PATTERNS_PART = 0.02

#: With fewer unsatisfied patterns in common with the stage before than this part, a stage is on another branch.
BRANCH_OVERLAP = 0.5

#: The largest numbers of iterations of free weights: of the start, and of each later stage.
FREE_START_ITERATIONS, FREE_STAGE_ITERATIONS = 20_000, 2000


class Knob(Protocol):
    """What an approach lowers. A pace is the number that a knob remembers from stage to stage."""

    @property
    def name(self) -> KnobName:
        """Its name."""

    @property
    def first_pace(self) -> float:
        """The pace of stage 0."""

    @property
    def problem(self) -> Problem:
        """A problem with the architecture and the norm of all stages."""

    def at(self, stage: ApproachStage) -> Problem:
        """The problem of a stage."""

    def start(self, theta: Tensor, descend: bool) -> ApproachStage:
        """Stage 0 from theta [Ñ]; descend: whether theta may be far from a minimum."""

    def lower(self, last: ApproachStage, pace: float) -> tuple[ApproachStage | None, float]:
        """The stage after a jammed one, and the pace after it; None where the approach ends at the last one."""

    def higher(self, last: ApproachStage, pace: float) -> tuple[ApproachStage | None, float]:
        """The first stage that jams after a satisfied one, and the pace after it; None where there is none."""

    def compared(self, stage: ApproachStage, last: ApproachStage) -> ApproachStage:
        """The stage with its changes since the one before."""

    def collapses(self, stage: ApproachStage, first_epsilon: float) -> bool:
        """Whether f vanishes with the margin."""

    def has_grown(self, stage: ApproachStage) -> bool:
        """Whether free weights have grown by a decade."""

    def is_far(self, stage: ApproachStage) -> bool:
        """Whether jamming is so far that a stage need not reach its minimum."""


@dataclass(frozen=True)
class MarginKnob:
    """The margin of a problem at fixed norm; `problem` is that at the first margin. The pace is 1 - q of the next stage.

    Raises InputError for free weights, and for a network whose stages are too large.
    """

    problem: Problem
    name: KnobName = "margin"
    first_pace: float = SHRINK_FIRST

    def __post_init__(self) -> None:
        self.problem.loss.require_hinge()
        if self.problem.arch.norm is None:
            raise InputError(
                "an approach of free weights by the margin, expected a fixed norm: they have no jamming point",
                Remedy.FIXED_NORM,
            )
        _require_stages(self.problem)

    def at(self, stage: ApproachStage) -> Problem:
        """The problem of a stage."""
        return at_margin(without(self.problem, stage.set_aside), stage.epsilon)

    def start(self, theta: Tensor, descend: bool) -> ApproachStage:
        """Stage 0 from theta [Ñ], on the sphere; descend: whether theta may be far from a minimum."""
        return self._stage(self.problem.onto(theta), self.problem.loss.epsilon, (), descend=descend)

    def lower(self, last: ApproachStage, pace: float) -> tuple[ApproachStage | None, float]:
        """The stage at a lower margin; after an avalanche the first one that jams again."""
        gaps = gaps_at(last.theta, self.at(last)).clamp(min=0)
        mean = float(gaps.square().sum() / gaps.sum())
        far = self.is_far(last)
        while True:
            outlook = None if far else Outlook((1 - pace) * gaps)
            stage = self._stage(last.theta, last.epsilon - pace * mean, last.set_aside, outlook, far)
            if stage.status != "satisfied":
                return stage, min(SHRINK_FIRST, SHRINK_RECOVERS * pace)
            pace *= SHRINK_UNJAMMED
            if pace < SHRINK_LEAST:
                return replace(self._recompressed(stage), avalanche=True), SHRINK_FIRST

    def higher(self, last: ApproachStage, pace: float) -> tuple[ApproachStage | None, float]:
        """The stage at the first margin that jams."""
        return self._recompressed(last), SHRINK_FIRST

    def compared(self, stage: ApproachStage, last: ApproachStage) -> ApproachStage:
        """The stage with its changes since the one before; patterns that are set aside are not unsatisfied."""
        return compared(stage, last, self._unsatisfied(stage), self._unsatisfied(last))

    def _unsatisfied(self, stage: ApproachStage) -> Tensor:
        """Which patterns [P] of the first stage are unsatisfied at a stage."""
        unsatisfied = unsatisfied_at(stage.theta, at_margin(self.problem, stage.epsilon))
        unsatisfied[list(stage.set_aside)] = False
        return unsatisfied

    def collapses(self, stage: ApproachStage, first_epsilon: float) -> bool:
        """Whether f vanishes with the margin: Δ stays a part of ε as it falls."""
        problem, epsilon = self.at(stage), stage.epsilon
        if not 0 < epsilon < COLLAPSE_MARGIN * first_epsilon:
            return False
        gaps, f = gaps_at(stage.theta, problem), problem.forward(stage.theta).f
        mean, size = float(gaps[gaps > 0].mean()), float(f.abs().mean())
        return mean > COLLAPSE_GAP * epsilon and size < COLLAPSE_F * epsilon

    def has_grown(self, stage: ApproachStage) -> bool:
        """Never: the norm is fixed."""
        return False

    def is_far(self, stage: ApproachStage) -> bool:
        """Whether L/N is above FAR_FROM_JAMMING."""
        return stage.loss > FAR_FROM_JAMMING * self.problem.arch.n_effective

    def _recompressed(self, satisfied: ApproachStage) -> ApproachStage:
        """The first stage that jams, as the margin rises above the one that theta satisfies."""
        last, excess = satisfied, RECOMPRESS_FIRST
        while last.status == "satisfied":
            largest = last.epsilon - float(gaps_at(last.theta, self.at(last)).max())
            unit = abs(largest) or abs(last.epsilon)
            last = self._stage(last.theta, largest + excess * unit, last.set_aside, descend=True)
            excess = min(RECOMPRESS_FACTOR * excess, RECOMPRESS_MOST)
        return last

    def _stage(
        self,
        theta: Tensor,
        epsilon: float,
        set_aside: Sequence[int],
        outlook: Outlook | None = None,
        descend: bool = False,
    ) -> ApproachStage:
        """The stage at a margin without some patterns, and without those that are dead at its end."""
        steps = 0
        for _ in range(SET_ASIDE_MOST):
            problem = at_margin(without(self.problem, set_aside), epsilon)
            start = descended(theta, problem) if descend else theta
            far = problem.value(start) > FAR_FROM_JAMMING * problem.arch.n_effective
            stage = sphere_stage(start, problem, outlook, FAR_ITERATIONS if far else None)
            steps, dead = steps + stage.steps, dead_at(stage.theta, problem)
            stage = replace(stage, set_aside=set_aside, steps=steps)
            if not bool(dead.any()):
                return stage
            set_aside = numbers_with(set_aside, dead.nonzero()[:, 0].tolist(), len(self.problem.x))
            if len(set_aside) == len(self.problem.x):
                break
            theta, outlook = stage.theta, None
        return replace(stage, status="dead")


@dataclass(frozen=True)
class PatternsKnob:
    """The number P of the first patterns of a problem, which has all that there are; at fixed norm and of free weights.

    P: that of stage 0; theta0 [Ñ]: the initial parameters, from which an escape counts. The pace is the largest P that a
    stage has satisfied. Raises InputError for a network whose stages are too large.
    """

    problem: Problem
    P: int
    theta0: Tensor
    name: KnobName = "patterns"
    first_pace: float = 0.0

    def __post_init__(self) -> None:
        require_newton_support(self.problem.arch, self.problem.loss, self.problem.x.dtype)
        _require_stages(self.problem)

    def at(self, stage: ApproachStage) -> Problem:
        """The problem of a stage."""
        return first_patterns(self.problem, stage.P)

    def start(self, theta: Tensor, descend: bool) -> ApproachStage:
        """Stage 0 from theta [Ñ]; at fixed norm, descend: whether theta may be far from a minimum."""
        if self.problem.arch.norm is not None:
            theta = self.problem.onto(theta)
            theta = descended(theta, first_patterns(self.problem, self.P)) if descend else theta
        return self._stage(theta, self.P, None, FREE_START_ITERATIONS)

    def lower(self, last: ApproachStage, pace: float) -> tuple[ApproachStage | None, float]:
        """The stage with fewer patterns; None where one pattern fewer is satisfied."""
        gaps, most = gaps_at(last.theta, self.at(last)).clamp(min=0), _part(last.P)
        while (distance := last.P - int(pace)) > 1:
            P = last.P - min(most, distance // 2)
            stage = self._stage(last.theta, P, Outlook(gaps[:P]) if bool(gaps[:P].any()) else None)
            if not _is_unjammed(stage):
                return stage, pace
            pace = float(P)
        return None, pace

    def higher(self, last: ApproachStage, pace: float) -> tuple[ApproachStage | None, float]:
        """The first stage that jams as patterns are added, or that with all of them; None where there are no more."""
        stage, left = last, len(self.problem.x) - last.P
        while _is_unjammed(stage) and left > 0:
            pace, more = float(stage.P), min(left, _part(stage.P))
            stage, left = self._stage(stage.theta, stage.P + more), left - more
        return (stage if stage.P > last.P else None), pace

    def compared(self, stage: ApproachStage, last: ApproachStage) -> ApproachStage:
        """The stage with its changes since the one before; an avalanche where few unsatisfied patterns are in both."""
        common = min(stage.P, last.P)
        after, before = (unsatisfied_at(s.theta, self.at(s))[:common] for s in (stage, last))
        stage = compared(stage, last, after, before)
        both_jammed = not (_is_unjammed(stage) or _is_unjammed(last))
        return replace(stage, avalanche=both_jammed and stage.overlap < BRANCH_OVERLAP)

    def collapses(self, stage: ApproachStage, first_epsilon: float) -> bool:
        """Never: the margin stays."""
        return False

    def has_grown(self, stage: ApproachStage) -> bool:
        """Whether free weights have grown by a decade since theta0."""
        return has_grown(stage.theta, self.theta0, self.problem)

    def is_far(self, stage: ApproachStage) -> bool:
        """Never: L says little about how many patterns are left to take away."""
        return False

    def _stage(
        self,
        theta: Tensor,
        P: int,
        outlook: Outlook | None = None,
        iterations: int = FREE_STAGE_ITERATIONS,
    ) -> ApproachStage:
        problem = first_patterns(self.problem, P)
        if problem.arch.norm is None:
            stage = free_stage(theta, problem, self.theta0, iterations)
        else:
            stage = sphere_stage(theta, problem, outlook)
        dead = int(dead_at(stage.theta, problem).sum())
        return replace(stage, status="dead") if 0 < dead == stage.n_unsatisfied else stage


def at_margin(problem: Problem, epsilon: float) -> Problem:
    """The problem at another margin."""
    return replace(problem, loss=replace(problem.loss, epsilon=epsilon))


def first_patterns(problem: Problem, P: int) -> Problem:
    """The problem of the first P of its patterns."""
    return replace(problem, x=problem.x[:P], y=problem.y[:P], loss=replace(problem.loss, P=P))


def _part(P: int) -> int:
    """How many of P patterns a stage takes away or adds at most."""
    return max(1, int(PATTERNS_PART * P))


def _is_unjammed(stage: ApproachStage) -> bool:
    """Whether no unsatisfied pattern is left that is alive."""
    return stage.status in ("satisfied", "dead")


def _require_stages(problem: Problem) -> None:
    """Raises InputError for a network whose stages are too large."""
    if not has_kink_stage(problem.arch):
        raise InputError(
            f"an approach of a network of {problem.arch.n_parameters} parameters and {problem.arch.outputs} outputs, "
            f"expected at most {KINK_MAX_PARAMETERS} and one output"
        )
