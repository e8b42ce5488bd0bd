"""The approach to jamming: a jammed network of fixed norm, taken to L → 0 by a falling margin, in warm stages.

    ε ← ε - (1 - q) ⟨Δ²⟩/⟨Δ⟩ over the unsatisfied patterns,        dL/dε = Σ_{µ∈m} Δ_µ/P

At fixed norm the margin is a continuous knob, as κ is for the perceptron, and there is a margin ε_J at which the branch of
minima reaches L = 0. Near it a stage with q = ½ divides L by four. Each stage begins at the minimum of the last one, and
ends at the minimum nearby (kink_stage.py).

    unjammed    a stage in which all patterns become satisfied. It is taken back, and tried with a fifth of its 1 - q.
    avalanche   a stage that unjams however small it is: the branch ends there. The margin rises again until the
                network jams on another branch.
    collapse    ε falls towards 0 and f with it: L/(N ε²) does not fall. There is no jamming point at this P and norm.
    dead        some unsatisfied patterns are dead (network/dead.py). No margin satisfies them, and L cannot vanish.

A start that is satisfied goes the other way until it jams.
Source: none, own protocol; S. Franz and G. Parisi, J. Phys. A 49, 145001 (2016), for the perceptron.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from jamtools.errors import InputError, Remedy
from jamtools.minima.bfgs_stage import BfgsStage
from jamtools.minima.escape import Escape
from jamtools.minima.kink_newton import Outlook
from jamtools.minima.kink_stage import KINK_MAX_PARAMETERS, KinkStage, has_kink_stage
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

#: Stages in a row that may end without a minimum, and avalanches of one approach.
STAGES_WITHOUT_MINIMUM, MOST_AVALANCHES = 3, 20

#: The largest number of iterations of the descent from a start.
START_ITERATIONS = 2000

#: How a stage ended, and how an approach ended; "" while it goes on.
StageStatus = Literal["stationary", "budget", "satisfied", "dead"]
ApproachEnd = Literal["", "reached", "collapsed", "dead", "stalled", "unjammed"]


@dataclass(frozen=True)
class ApproachStage:
    """The end of a stage: theta [Ñ] at this margin, its loss, its N_Δ, and the kinks at zero.

    status: "stationary" at a minimum, "budget" where none was reached, "satisfied", "dead" where a pattern is. steps: its
    iterations. Against the stage before: moved, ‖δW‖/‖W‖; overlap, the unsatisfied patterns that both have over those that
    either has; n_changed, the patterns that only one of them has; change, that of N_Δ. avalanche: whether the branch before
    had ended.
    """

    theta: Tensor
    epsilon: float
    loss: float
    n_unsatisfied: int
    n_kinks: int
    status: StageStatus
    steps: int
    moved: float = 0.0
    overlap: float = 1.0
    n_changed: int = 0
    change: int = 0
    avalanche: bool = False


@dataclass(frozen=True)
class Approach:
    """An approach on its way: its last stage, and all that the next one depends on.

    number: that of the last stage, from 0; shrink: 1 - q; lost: the stages in a row without a minimum; avalanches: their
    number so far; first_epsilon: the margin of stage 0. end: "" while it goes on, then "reached" at the jamming point, with
    L/N ≤ until, "collapsed", "dead", "stalled" where stages end without a minimum, "unjammed" where no avalanche leads to
    jamming.
    """

    stage: ApproachStage
    first_epsilon: float
    number: int = 0
    shrink: float = SHRINK_FIRST
    lost: int = 0
    avalanches: int = 0
    end: ApproachEnd = ""


def begin(theta: Tensor, problem: Problem, until: float, descend: bool = True) -> Approach:
    """Stage 0: the minimum on the sphere to which a descent from theta [Ñ] leads.

    problem: the loss at the first margin, with the fixed norm of its architecture; until: L/N at which an approach ends;
    descend: False for a theta that is at a minimum already. Raises InputError for free weights, and for a network
    whose stages are too large.
    """
    require_approach(problem)
    start = problem.onto(theta)
    stage = _stage(_descended(start, problem) if descend else start, problem)
    return _ended(Approach(stage, problem.loss.epsilon), problem, until)


def advance(approach: Approach, problem: Problem, until: float) -> Approach:
    """The approach after its next stage; the approach itself where it has ended."""
    if approach.end:
        return approach
    last, shrink, avalanche = approach.stage, approach.shrink, False
    if last.status == "satisfied":
        stage = _recompressed(last, problem)
    else:
        while (stage := _lower(last, problem, shrink)).status == "satisfied":
            shrink *= SHRINK_UNJAMMED
            if shrink < SHRINK_LEAST:
                stage, avalanche = replace(_recompressed(stage, problem), avalanche=True), True
                break
        shrink = SHRINK_FIRST if avalanche else min(SHRINK_FIRST, SHRINK_RECOVERS * shrink)
    new = replace(
        approach,
        stage=_compared(stage, last, problem),
        number=approach.number + 1,
        shrink=shrink,
        lost=0 if stage.status == "stationary" else approach.lost + 1,
        avalanches=approach.avalanches + avalanche,
    )
    return _ended(new, problem, until)


def require_approach(problem: Problem) -> None:
    """Raises InputError for a problem that has no approach by its margin."""
    problem.loss.require_hinge()
    if problem.arch.norm is None:
        raise InputError(
            "an approach of free weights, expected a fixed norm: they have no jamming point",
            Remedy.FIXED_NORM,
        )
    if not has_kink_stage(problem.arch):
        raise InputError(
            f"an approach of a network of {problem.arch.n_parameters} parameters and {problem.arch.outputs} outputs, "
            f"expected at most {KINK_MAX_PARAMETERS} and one output"
        )


def at_margin(problem: Problem, epsilon: float) -> Problem:
    """The problem at another margin."""
    return replace(problem, loss=replace(problem.loss, epsilon=epsilon))


def _ended(approach: Approach, problem: Problem, until: float) -> Approach:
    """The approach with its end, if it has come."""
    stage = approach.stage
    end: ApproachEnd = ""
    if stage.status == "dead":
        end = "dead"
    elif stage.status == "satisfied":
        end = "unjammed" if approach.avalanches > MOST_AVALANCHES else ""
    elif approach.lost >= STAGES_WITHOUT_MINIMUM:
        end = "stalled"
    elif stage.status == "stationary" and stage.loss <= until * problem.arch.n_effective:
        end = "reached"
    elif approach.avalanches > MOST_AVALANCHES:
        end = "unjammed"
    elif _collapses(approach, problem):
        end = "collapsed"
    return replace(approach, end=end)


def _collapses(approach: Approach, problem: Problem) -> bool:
    stage = approach.stage
    gaps = _gaps(stage.theta, at_margin(problem, stage.epsilon))
    mean = float(gaps[gaps > 0].mean())
    return (
        0 < stage.epsilon < COLLAPSE_MARGIN * approach.first_epsilon and mean > COLLAPSE_GAP * stage.epsilon
    )


def _descended(theta: Tensor, problem: Problem) -> Tensor:
    """The end [Ñ] of a descent on the sphere from theta [Ñ], where it has become slow."""
    u = theta.clone()
    stage = BfgsStage(u, problem, Escape(float(u.norm())), is_last=False)
    while stage.taken < START_ITERATIONS and stage.iterate(u):
        pass
    return problem.onto(u)


def _lower(last: ApproachStage, problem: Problem, shrink: float) -> ApproachStage:
    """The stage at a margin that is lower by (1 - q) ⟨Δ²⟩/⟨Δ⟩."""
    gaps = _gaps(last.theta, at_margin(problem, last.epsilon)).clamp(min=0)
    epsilon = last.epsilon - shrink * float(gaps.square().sum() / gaps.sum())
    return _stage(last.theta, at_margin(problem, epsilon), Outlook((1 - shrink) * gaps))


def _recompressed(satisfied: ApproachStage, problem: Problem) -> ApproachStage:
    """The first stage that jams, as the margin rises above the one that theta satisfies."""
    last, excess = satisfied, RECOMPRESS_FIRST
    while last.status == "satisfied":
        largest = last.epsilon - float(_gaps(last.theta, at_margin(problem, last.epsilon)).max())
        unit = abs(largest) or abs(last.epsilon)
        last = _stage(last.theta, at_margin(problem, largest + excess * unit))
        excess *= RECOMPRESS_FACTOR
    return last


def _stage(theta: Tensor, problem: Problem, outlook: Outlook | None = None) -> ApproachStage:
    """The stage of a problem at its margin from theta [Ñ]."""
    end = theta.clone()
    newton = KinkStage(end, problem, None, outlook)
    while newton.iterate(end):
        pass
    gaps = _gaps(end, problem)
    unsatisfied = problem.loss.unsatisfied(gaps)
    status: StageStatus = "stationary" if newton.outcome == "stationary" else "budget"
    if not bool(unsatisfied.any()):
        status = "satisfied"
    elif _has_dead(end, problem):
        status = "dead"
    loss = 0.5 * problem.loss.hinge_curvature * float(gaps.clamp(min=0).square().sum())
    n, kinks = int(unsatisfied.sum()), len(newton.newton.held.at)
    return ApproachStage(end, problem.loss.epsilon, loss, n, kinks, status, newton.taken)


def _compared(stage: ApproachStage, last: ApproachStage, problem: Problem) -> ApproachStage:
    """The stage with its changes since the stage before."""
    before, after = (
        at_margin(problem, s.epsilon).loss.unsatisfied(_gaps(s.theta, at_margin(problem, s.epsilon)))
        for s in (last, stage)
    )
    either, both = int((before | after).sum()), int((before & after).sum())
    return replace(
        stage,
        moved=float((stage.theta - last.theta).norm() / stage.theta.norm()),
        overlap=both / either if either else 1.0,
        n_changed=either - both,
        change=int(after.sum()) - int(before.sum()),
    )


def _has_dead(theta: Tensor, problem: Problem) -> bool:
    """Whether an unsatisfied pattern is dead at theta [Ñ]."""
    unsatisfied = problem.loss.unsatisfied(_gaps(theta, problem))
    return bool((dead_by_layer(theta, problem).any(0) & unsatisfied).any())


def _gaps(theta: Tensor, problem: Problem) -> Tensor:
    """Δ [P] at theta [Ñ]."""
    return problem.loss.gaps(problem.forward(theta).f, problem.y)[:, 0]
