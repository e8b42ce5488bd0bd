"""A stage of an approach to jamming: the minimum that is next to a given W, and how it differs from the stage before.

    fixed norm      KinkStage (kink_stage.py) from W, on the sphere
    free weights    the last stages of newton from W, with the trace that shows an escape (newton.py, escape.py)

    overlap = |m ∩ m'| / |m ∪ m'|,        moved = ‖W' - W‖/‖W'‖

Here m and m' are the unsatisfied patterns of the stage before and of this one, among the patterns that both have.
Source: none, own protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from jamtools.minima.bfgs_stage import BfgsStage
from jamtools.minima.escape import Escape
from jamtools.minima.kink_newton import Outlook
from jamtools.minima.kink_stage import KinkStage
from jamtools.minima.newton import NewtonEngine
from jamtools.network.dead import dead_by_layer
from jamtools.network.problem import Problem

#: The largest number of iterations of the descent from a start at fixed norm.
START_ITERATIONS = 2000

#: How a stage ended.
StageStatus = Literal["stationary", "escaping", "budget", "satisfied", "dead"]


@dataclass(frozen=True)
class ApproachStage:
    """The end of a stage: theta [Ñ] at this margin and P, its loss, its N_Δ, and the kinks at zero.

    set_aside: the numbers of the patterns that were set aside, among those of the first stage. The P others are in the loss.
    status: "stationary" at a minimum, "escaping" where free weights escape, "budget" where no minimum was reached,
    "satisfied", "dead" where dead patterns are in the way. steps: its iterations; trace: that of an escape, else None.
    Against the stage before, over the patterns of both: moved, ‖δW‖/‖W‖; overlap, the unsatisfied patterns that both have
    over those that either has; n_changed, the patterns that only one of them has; change, that of N_Δ, over all patterns.
    avalanche: whether the stage is on another branch than the one before.
    """

    theta: Tensor
    epsilon: float
    P: int
    loss: float
    n_unsatisfied: int
    n_kinks: int
    status: StageStatus
    steps: int
    set_aside: Sequence[int] = ()
    trace: Escape | None = None
    moved: float = 0.0
    overlap: float = 1.0
    n_changed: int = 0
    change: int = 0
    avalanche: bool = False


def descended(theta: Tensor, problem: Problem) -> Tensor:
    """The end [Ñ] of a descent on the sphere from theta [Ñ], where it has become slow."""
    u = theta.clone()
    stage = BfgsStage(u, problem, Escape(float(u.norm())), is_last=False)
    while stage.taken < START_ITERATIONS and stage.iterate(u):
        pass
    return problem.onto(u)


def sphere_stage(
    theta: Tensor, problem: Problem, outlook: Outlook | None = None, iterations: int | None = None
) -> ApproachStage:
    """The stage of a problem of fixed norm, from theta [Ñ], with at most so many iterations."""
    end = theta.clone()
    newton = KinkStage(end, problem, None, outlook)
    while newton.iterate(end) and (iterations is None or newton.taken < iterations):
        pass
    status: StageStatus = "stationary" if newton.outcome == "stationary" else "budget"
    return _measured(end, problem, status, newton.taken, len(newton.newton.held.at))


def free_stage(theta: Tensor, problem: Problem, theta0: Tensor, iterations: int) -> ApproachStage:
    """The stage of a problem of free weights, from theta [Ñ]; the trace of an escape counts from theta0 [Ñ]."""
    end = theta.clone()
    newton = NewtonEngine(problem, end, theta0, finish=True)
    steps, outcome = newton.advance(0, iterations)
    if outcome == "diverged":
        return _measured(theta.clone(), problem, "budget", steps)
    statuses: dict[str, StageStatus] = {"stationary": "stationary", "escaping": "escaping"}
    return replace(
        _measured(end, problem, statuses.get(outcome, "budget"), steps),
        trace=newton.seen_escape if outcome == "escaping" else None,
    )


def _measured(
    theta: Tensor, problem: Problem, status: StageStatus, steps: int, n_kinks: int = 0
) -> ApproachStage:
    """The stage that ended at theta [Ñ]; status: of a stage that did not satisfy all patterns."""
    gaps = gaps_at(theta, problem)
    n = int(problem.loss.unsatisfied(gaps).sum())
    loss = 0.5 * problem.loss.hinge_curvature * float(gaps.clamp(min=0).square().sum())
    return ApproachStage(
        theta, problem.loss.epsilon, len(problem.x), loss, n, n_kinks, status if n else "satisfied", steps
    )


def compared(stage: ApproachStage, last: ApproachStage, after: Tensor, before: Tensor) -> ApproachStage:
    """The stage with its changes since the last one; after, before: which of the common patterns [P] were unsatisfied."""
    either, both = int((before | after).sum()), int((before & after).sum())
    return replace(
        stage,
        moved=float((stage.theta - last.theta).norm() / stage.theta.norm()),
        overlap=both / either if either else 1.0,
        n_changed=either - both,
        change=stage.n_unsatisfied - last.n_unsatisfied,
    )


def gaps_at(theta: Tensor, problem: Problem) -> Tensor:
    """Δ [P] at theta [Ñ]."""
    return problem.loss.gaps(problem.forward(theta).f, problem.y)[:, 0]


def unsatisfied_at(theta: Tensor, problem: Problem) -> Tensor:
    """Which patterns [P] are unsatisfied at theta [Ñ]."""
    return problem.loss.unsatisfied(gaps_at(theta, problem))


def dead_at(theta: Tensor, problem: Problem) -> Tensor:
    """Which patterns [P] are unsatisfied and dead at theta [Ñ]."""
    return dead_by_layer(theta, problem).any(0) & unsatisfied_at(theta, problem)


def without(problem: Problem, set_aside: Sequence[int]) -> Problem:
    """The problem without the patterns of some numbers; L is the mean over the others."""
    if not set_aside:
        return problem
    kept = torch.ones(len(problem.x), dtype=torch.bool, device=problem.x.device)
    kept[list(set_aside)] = False
    loss = replace(problem.loss, P=int(kept.sum()))
    return replace(problem, x=problem.x[kept], y=problem.y[kept], loss=loss)


def numbers_with(set_aside: Sequence[int], own: Sequence[int], total: int) -> list[int]:
    """The numbers, among `total` patterns, of those set aside and of some of the others, which `own` counts; ascending."""
    others = np.delete(np.arange(total), list(set_aside))
    return sorted([*set_aside, *others[list(own)].tolist()])
