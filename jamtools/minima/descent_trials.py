"""Descent trials: attempts to find a lower loss near a point that may be a minimum.

    L(W + δ) < L(W) - error - Σ_i |u_i z_i| - ‖g‖ ‖δ‖

A displacement δ for which this holds refutes the minimum. The last two terms bound the decrease at first order that is due
to cusps which are not exactly at zero, and to a gradient which is not exactly zero. Half of the trials start with a
displacement in a random direction and descend along -∇L. The other half start along the manifold M of the cusps in the
directions of least curvature and descend on M, along -P∇L with P the projector on the tangent space of M, then back onto M
by Newton steps. L is the loss over all patterns.

The directions come from products with ∇²𝓛 by differences of ∇𝓛. On purpose they share no code with the matrix of
second_order.py.

Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jamtools.linalg.extreme_eigenvalues import extremes
from jamtools.minima.cusp_manifold import CuspManifold
from jamtools.network.problem import Problem
from jamtools.random_streams import DESCENT_TRIALS, generator

#: Lengths of the first displacement, in ‖W‖. Small ones are needed: near jamming the curvature changes within √Δ.
TRIAL_KICK_SIZES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)

#: The largest number of steps of a descent, and of halvings of one step.
TRIAL_DESCENT_STEPS, TRIAL_STEP_HALVINGS = 12, 30

#: How many directions of least curvature are mixed, and the largest number of products with ∇²𝓛 to find them.
SOFT_DIRECTIONS, SOFT_PRODUCTS = 3, 150

#: The search for soft directions ends earlier when the residuals are below this part of the largest curvature.
SOFT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class DescentTrials:
    """The outcome of n trials, given by the trial with the lowest change + error.

    change: of the loss, relative to it; error: the part of the change that errors explain.
    """

    n: int
    change: float
    error: float

    @property
    def found(self) -> bool:
        """Whether a trial found a lower loss than errors explain."""
        return self.change < -self.error


def try_to_descend(
    problem: Problem, manifold: CuspManifold, slack: tuple[float, float], n: int, seed: int
) -> DescentTrials:
    """n attempts to lower the loss of a problem, from the theta of the manifold of its cusps.

    slack: the decrease that round-off and the distance of the cusps from zero explain, and ‖g‖. seed: that of the random
    directions.
    """
    if n == 0:
        return DescentTrials(0, 0.0, 0.0)
    loss = problem.value(manifold.theta)
    soft, stiffest = _soft(manifold, seed)
    worst = DescentTrials(n, np.inf, 0.0)
    for i in range(n):
        rng = generator(seed, DESCENT_TRIALS, i)
        kick = TRIAL_KICK_SIZES[i // 2 % len(TRIAL_KICK_SIZES)] * manifold.size
        if i % 2:
            end = _random_trial(problem, manifold, kick, stiffest, rng)
        else:
            end = _soft_trial(problem, manifold, kick * soft, stiffest, rng)
        error = slack[0] + slack[1] * float((end - manifold.theta).norm())
        outcome = DescentTrials(n, (problem.value(end) - loss) / loss, error / loss)
        worst = min(worst, outcome, key=lambda trial: (trial.change + trial.error, trial.change))
    return worst


def _soft(manifold: CuspManifold, seed: int) -> tuple[Tensor, float]:
    """Unit vectors [Ñ, k] of approximately the least curvature on M, and the largest curvature."""
    operator = manifold.curvature()
    k = min(SOFT_DIRECTIONS, operator.dimension)
    ends = extremes(operator, k, 0, tolerance=SOFT_TOLERANCE, budget=SOFT_PRODUCTS, seed=seed)
    return ends.lowest.vectors, ends.norm or 1.0


def _random(rng: np.random.Generator, like: Tensor, n: int) -> Tensor:
    """A random unit vector [n]."""
    v = torch.from_numpy(rng.standard_normal(n)).to(like)
    return v / v.norm()


def _random_trial(
    problem: Problem, manifold: CuspManifold, kick: float, stiffest: float, rng: np.random.Generator
) -> Tensor:
    """The end [Ñ] of a descent along -∇L after a displacement of length `kick` in a random direction."""
    start = manifold.theta + kick * _random(rng, manifold.theta, len(manifold.theta))
    return _descended(problem, start, 1 / stiffest, lambda g: g, lambda theta: theta)


def _soft_trial(
    problem: Problem, manifold: CuspManifold, kicks: Tensor, stiffest: float, rng: np.random.Generator
) -> Tensor:
    """The end [Ñ] of a descent on M after a displacement that mixes the columns of `kicks` [Ñ, k]."""
    start = manifold.onto(manifold.theta + kicks @ _random(rng, kicks, kicks.shape[1]))
    return _descended(
        problem, start, 1 / stiffest, lambda g: manifold.project(g[:, None])[:, 0], manifold.onto
    )


def _descended(
    problem: Problem,
    theta: Tensor,
    step: float,
    project: Callable[[Tensor], Tensor],
    onto: Callable[[Tensor], Tensor],
) -> Tensor:
    """The end [Ñ] of steepest descent from theta [Ñ], with backtracking and a step that doubles after each success."""
    value = problem.value(theta)
    for _ in range(TRIAL_DESCENT_STEPS):
        g = project(problem.value_and_gradient(theta)[1])
        for _ in range(TRIAL_STEP_HALVINGS):
            trial = onto(theta - step * g)
            lower = problem.value(trial)
            if lower < value:
                break
            step /= 2
        else:
            return theta
        theta, value, step = trial, lower, 2 * step
    return theta
