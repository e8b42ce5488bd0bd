"""Attempts to find a lower loss near a point that is said to be a minimum.

    L(W + δ) < L(W) - error - Σ_i |u_i z_i| - ‖g‖ ‖δ‖

refutes the claim: the last two terms are what cusps that are not quite at zero, and a gradient that has not quite vanished,
may still give at first order. Half of the kicks go in random directions, with descent along -∇L; half go along the cusps'
manifold M in the directions of least curvature, with descent on M: P∇L with P the projector on the tangent space of M and
back onto M by Newton's steps. L is always the true loss, over all patterns.

The directions come from products with ∇²𝓛 by differences of ∇𝓛, and share no code with the matrix of tangent.py.
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

#: Sizes of the kicks, as parts of ‖W‖: near jamming the curvature changes within √Δ, so that the smallest count as well.
SIZES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)

#: Steps of a descent, and halvings of one step.
STEPS, HALVINGS = 12, 30

#: Directions of least curvature that are mixed, and the products spent on finding them.
SOFT, PRODUCTS = 3, 150

#: Residuals that end that search earlier, as a part of the largest curvature.
SOFTNESS = 1e-6


@dataclass(frozen=True)
class Trials:
    """What came of n attempts, by the one that went farthest below what error explains, or came nearest to it.

    change: of the loss, relative to it; error: the part of that which is error; found: whether it went below.
    """

    n: int
    change: float
    error: float

    @property
    def found(self) -> bool:
        return self.change < -self.error


def attempt(
    problem: Problem, manifold: CuspManifold, slack: tuple[float, float], n: int, seed: int
) -> Trials:
    """n attempts to lower the loss of a problem, from the theta of the manifold of its cusps.

    slack: what round-off and the cusps' distance from zero explain, and ‖g‖.
    """
    if n == 0:
        return Trials(0, 0.0, 0.0)
    here = problem.value(manifold.theta)
    soft, stiffest = _soft(manifold, seed)
    worst = Trials(n, np.inf, 0.0)
    for i in range(n):
        rng = generator(seed, DESCENT_TRIALS, i)
        kick = SIZES[i // 2 % len(SIZES)] * manifold.size
        if i % 2:
            end = _random_trial(problem, manifold, kick, stiffest, rng)
        else:
            end = _soft_trial(problem, manifold, kick * soft, stiffest, rng)
        error = slack[0] + slack[1] * float((end - manifold.theta).norm())
        found = Trials(n, (problem.value(end) - here) / here, error / here)
        worst = min(worst, found, key=lambda trial: (trial.change + trial.error, trial.change))
    return worst


def _soft(manifold: CuspManifold, seed: int) -> tuple[Tensor, float]:
    """Unit vectors [Ñ, k] of about the least curvature on M, and the largest curvature."""
    operator = manifold.curvature()
    k = min(SOFT, operator.dimension)
    ends = extremes(operator, k, 0, tolerance=SOFTNESS, budget=PRODUCTS, seed=seed)
    return ends.lowest.vectors, ends.norm or 1.0


def _random(rng: np.random.Generator, like: Tensor, n: int) -> Tensor:
    """A unit vector [n]."""
    v = torch.from_numpy(rng.standard_normal(n)).to(like)
    return v / v.norm()


def _random_trial(
    problem: Problem, manifold: CuspManifold, kick: float, stiffest: float, rng: np.random.Generator
) -> Tensor:
    """From a kick in any direction, down the gradient."""
    start = manifold.theta + kick * _random(rng, manifold.theta, len(manifold.theta))
    return _descended(problem, start, 1 / stiffest, lambda g: g, lambda theta: theta)


def _soft_trial(
    problem: Problem, manifold: CuspManifold, kicks: Tensor, stiffest: float, rng: np.random.Generator
) -> Tensor:
    """From a kick among the kicks [Ñ, k], down on M."""
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
    """Steepest descent with backtracking: a step that lowers L is twice as long the next time."""
    value = problem.value(theta)
    for _ in range(STEPS):
        g = project(problem.value_and_gradient(theta)[1])
        for _ in range(HALVINGS):
            trial = onto(theta - step * g)
            lower = problem.value(trial)
            if lower < value:
                break
            step /= 2
        else:
            return theta
        theta, value, step = trial, lower, 2 * step
    return theta
