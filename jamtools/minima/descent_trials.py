"""Descent trials: attempts to find a lower loss near a point that may be a minimum.

    L(W + δ) < L(W) - error,      error = round-off + Σ_i |u_i z_i|

A displacement δ for which this holds shows that the minimum does not reach to |δ|. The last term bounds the decrease at
first order that is due to cusps which are not exactly at zero. There are trials of three kinds:

- Lines: L at points W + δ of growing distance, to both sides, along the directions of least curvature and, for each hidden
  neuron, along its own weights and bias: it is scaled up and down.
- Kicks: a displacement of 10⁻⁶ to 10⁻³ ‖W‖, once in a random direction and once along a mixture of the directions of least
  curvature, then a descent.
- Edges: a displacement along M beyond the nearest concave kinks and beyond the nearest Δ = 0, then a descent.

Displacements along the directions of least curvature stay on the manifold M of the cusps. L is that of all patterns. The
radius is the distance up to which no trial has found a lower loss, less a safety factor: a descent finds a way over an edge
only if its kick has the right direction. More kicks, of a few times this radius, try to refute it: a kick off M raises L at
first order, and the descent may then go over an edge that lies farther away than the kick. Each that succeeds makes the
radius smaller. A trial that succeeds from the shortest kick refutes the minimum, and so does a
line along which L falls as soon as errors allow to see it. Any other trial that succeeds shows an edge of the basin.

The directions come from products with ∇²𝓛 by differences of ∇𝓛. On purpose they share no code with the matrix of
second_order.py.

Source: none, own design.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jamtools.linalg.extreme_eigenvalues import extremes
from jamtools.minima.bfgs import Bfgs
from jamtools.minima.cusp_manifold import CuspManifold
from jamtools.minima.loss_function import LossFunction
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem
from jamtools.random_streams import DESCENT_TRIALS, RADIUS_TRIALS, generator

#: The shortest and the longest kick, in ‖W‖. Short ones are needed: near jamming the curvature changes within √Δ.
SHORTEST_KICK, LONGEST_KICK = 1e-6, 1e-3

#: The number of steps of a descent.
TRIAL_DESCENT_STEPS = 40

#: Distances of the points on a line, in ‖W‖.
LINE_DISTANCES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

#: A decrease along a line that is not this part of itself at half the distance begins at an edge of the basin: from the
#: minimum on, L would fall like t² to t⁶.
DECREASE_AT_HALF = 2.0**-6

#: How many directions of least curvature there are, and the largest number of products with ∇²𝓛 to find them.
SOFT_DIRECTIONS, SOFT_PRODUCTS = 3, 150

#: How many of the nearest edges of each kind there are, and how far the displacements go, in distances to the edge.
NEAREST_EDGES, BEYOND_EDGE = 6, (1.5, 5.0)

#: The search for soft directions ends earlier when the residuals are below this part of the largest curvature.
SOFT_TOLERANCE = 1e-6

#: The radius is the distance of the nearest trial that found a lower loss, or the longest kick, divided by this.
RADIUS_SAFETY_FACTOR = 10.0

#: The number of kicks that try to refute the radius, and their length, in radii.
RADIUS_KICKS, RADIUS_KICK_FACTOR = 6, 3.0

#: A radius below this is not made smaller: a kick is then of the order of the round-off of theta.
SMALLEST_RADIUS = 1e-13


#: A point near M [Ñ] to a point of M [Ñ].
Retraction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DescentTrials:
    """The outcome of n trials.

    radius: the distance, in ‖W‖, up to which nothing lower was found; change: the lowest change of the loss by a trial that
    could refute the minimum, relative to the loss; error: what round-off and distances from the cusps explain of it.
    """

    n: int
    radius: float
    change: float
    error: float

    @property
    def refuted(self) -> bool:
        """Whether a trial refutes the minimum."""
        return self.change < -self.error


@dataclass(frozen=True)
class _Trial:
    """L at the end of a trial from a distance in ‖W‖; refutes: whether a lower L here refutes the minimum."""

    distance: float
    value: float
    refutes: bool = False


def try_to_descend(
    problem: Problem, manifold: CuspManifold, slack: float, kicks: int, seed: int
) -> DescentTrials | None:
    """Trials with a number of kicks, from the theta of the manifold of its cusps; None for no kicks.

    slack: the decrease that round-off and the distance of the cusps from zero explain. seed: that of the random directions.
    """
    if kicks == 0:
        return None
    loss, soft = problem.value(manifold.theta), _soft(manifold, seed)
    trials = [
        *_lines(problem, manifold, soft, loss, slack),
        *_kicks(problem, manifold, soft, kicks, seed),
        *_beyond_edges(problem, manifold),
    ]
    found = [trial for trial in trials if trial.value < loss - slack]
    near = [trial.value for trial in trials if trial.refutes]
    nearest = min((trial.distance for trial in found), default=LONGEST_KICK)
    radius, n = _settled(
        problem, manifold, loss - slack, min(nearest, LONGEST_KICK) / RADIUS_SAFETY_FACTOR, seed
    )
    return DescentTrials(
        len(trials) + n, radius, min(0.0, *(value / loss - 1 for value in near)), slack / loss
    )


def _settled(
    problem: Problem, manifold: CuspManifold, limit: float, radius: float, seed: int
) -> tuple[float, int]:
    """The first of radius, radius/10, ... from which no kick descends below `limit`, and the number of the kicks."""
    function, rng, n = LossFunction(problem, manifold.theta.clone()), generator(seed, RADIUS_TRIALS), 0
    while True:
        length = RADIUS_KICK_FACTOR * radius * manifold.size
        for i in range(RADIUS_KICKS):
            kick = manifold.steepest(rng) if i % 2 else _random(rng, manifold.theta, len(manifold.theta))
            n += 1
            if _lowest(function, manifold.theta + length * kick) < limit:
                break
        else:
            return radius, n
        if radius <= SMALLEST_RADIUS:
            return radius, n
        radius /= RADIUS_SAFETY_FACTOR


def _soft(manifold: CuspManifold, seed: int) -> Tensor:
    """Unit vectors [Ñ, k] of approximately the least curvature on M."""
    operator = manifold.curvature()
    k = min(SOFT_DIRECTIONS, operator.dimension)
    return extremes(operator, k, 0, tolerance=SOFT_TOLERANCE, budget=SOFT_PRODUCTS, seed=seed).lowest.vectors


def _lines(
    problem: Problem, manifold: CuspManifold, soft: Tensor, loss: float, slack: float
) -> Iterator[_Trial]:
    """L at points of growing distance along each half-line; loss: L at theta."""
    stay = problem.onto  # a neuron that is scaled keeps its cusps
    lines = [(v, manifold.onto) for v in soft.T] + [(v, stay) for v in _neurons(manifold)]
    for direction, onto in [(side * v, onto) for v, onto in lines for side in (-1, 1)]:

        def decrease(t: float, direction: Tensor = direction, onto: Retraction = onto) -> float:
            return loss - problem.value(onto(manifold.theta + t * manifold.size * direction))

        falls = False
        for t in LINE_DISTANCES:
            lower = decrease(t)
            refutes = t <= SHORTEST_KICK or (
                lower > slack and not falls and _from_the_start(decrease, t, slack)
            )
            falls = falls or lower > slack
            yield _Trial(t, loss - lower, refutes)


def _from_the_start(decrease: Callable[[float], float], t: float, slack: float) -> bool:
    """Whether L falls from the minimum on, as far as errors allow to see it, to a point at distance t along a line."""
    lower = decrease(t)
    while DECREASE_AT_HALF * lower > slack:
        t, before = t / 2, lower
        lower = decrease(t)
        if lower < DECREASE_AT_HALF * before:
            return False
    return True


def _neurons(manifold: CuspManifold) -> Iterator[Tensor]:
    """For each hidden neuron, the unit vector [Ñ] along its weights and its bias."""
    arch = manifold.arch
    for j in range(arch.depth):
        for n in range(arch.width):
            direction = torch.zeros_like(manifold.theta)
            for own, part in zip(
                layers_of(direction, arch)[j], layers_of(manifold.theta, arch)[j], strict=True
            ):
                own[n] = part[n]
            if bool(direction.any()):
                yield direction / direction.norm()


def _kicks(problem: Problem, manifold: CuspManifold, soft: Tensor, n: int, seed: int) -> Iterator[_Trial]:
    """L at the end of the descent after each kick."""
    function = LossFunction(problem, manifold.theta.clone())
    for i, length in enumerate(np.geomspace(SHORTEST_KICK, LONGEST_KICK, n)):
        rng, theta = generator(seed, DESCENT_TRIALS, i), manifold.theta
        distance = float(length) * manifold.size
        mixture = soft @ _random(rng, soft, soft.shape[1])
        for start in (
            theta + distance * _random(rng, theta, len(theta)),
            manifold.onto(theta + distance * mixture),
        ):
            yield _Trial(float(length), _lowest(function, start), length <= SHORTEST_KICK)


def _beyond_edges(problem: Problem, manifold: CuspManifold) -> Iterator[_Trial]:
    """L at the end of a descent from beyond each edge that is nearer than the longest kick."""
    function = LossFunction(problem, manifold.theta.clone())
    for displacement in manifold.edges(NEAREST_EDGES):
        for factor in BEYOND_EDGE:
            distance = factor * float(displacement.norm()) / manifold.size
            if distance <= LONGEST_KICK:
                start = manifold.onto(manifold.theta + factor * displacement)
                yield _Trial(distance, _lowest(function, start))


def _random(rng: np.random.Generator, like: Tensor, n: int) -> Tensor:
    """A random unit vector [n]."""
    v = torch.from_numpy(rng.standard_normal(n)).to(like)
    return v / v.norm()


def _lowest(function: LossFunction, theta: Tensor) -> float:
    """The loss after a descent from theta [Ñ]."""
    descent = Bfgs(theta, function)
    for _ in range(TRIAL_DESCENT_STEPS):
        if not descent.iterate():
            break
    return descent.value
