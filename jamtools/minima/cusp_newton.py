"""Newton's method on the cusps: from the neighbourhood of a minimum to the minimum, to round-off.

    ∇𝓛(W, λ) = 0,      z_i(W) = 0  for the active cusps i ∈ A,      𝓛: L with λ_i z_i in the place of ρ(z_i)

Each step is that of newton_step.py, with the λ that minimise ‖g(λ)‖ without bounds. Near a minimum, with the right set A, it
squares the error. The method has arrived when g vanishes to round-off, 0 < λ < 1 and u ≥ 0. A smooth ρ has no cusps, and the
method is then Newton's method on ∇L = 0.
Source: arXiv:1809.09349, section III; J. Nocedal and S. J. Wright, Numerical Optimization (2006), chapter 18.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.cusps.counting import count
from jamtools.cusps.subgradient import CuspGradient
from jamtools.minima.first_order import gradient_scale
from jamtools.minima.newton_step import cusp_distance, free_multipliers, step_of
from jamtools.network.passes import joined
from jamtools.network.problem import Problem

#: Tolerances of the cusps, in scales of the neuron, in the order in which they are tried. A descent stops with its cusps at
#: 10⁻⁵ to 10⁻⁹. Smooth pre-activations that lie within a tolerance by chance have no multiplier inside (0, 1).
POLISH_TOLERANCES = (1e-5, 1e-4, 1e-3, 1e-6)

#: The largest number of steps, and the factor by which each step must reduce the residual.
POLISH_MAX_STEPS, POLISH_RESIDUAL_FACTOR = 12, 0.5

#: The residual is ‖g‖, relative to its terms, plus the largest |z| of a cusp, in scales of its neuron. Up to this residual
#: only round-off is left.
POLISH_ARRIVED_RESIDUAL = 1e-11

#: With a first residual above this, theta is not near a minimum on these cusps.
POLISH_FIRST_RESIDUAL_MAX = 0.1


@dataclass(frozen=True)
class Polished:
    """theta [Ñ]: the stationary point; downward [Ñ]: a unit vector of negative curvature there, None at a minimum."""

    theta: Tensor
    downward: Tensor | None


def polish(theta: Tensor, problem: Problem) -> Polished | None:
    """The stationary point of a problem near theta [Ñ]; None where the method does not arrive at one."""
    tolerances = POLISH_TOLERANCES if problem.arch.activation == "relu" else POLISH_TOLERANCES[:1]
    for tolerance in tolerances:
        polished = _with_cusps(problem.onto(theta).clone(), problem, tolerance)
        if polished is not None:
            return polished
    return None


def _with_cusps(theta: Tensor, problem: Problem, tolerance: float) -> Polished | None:
    """The stationary point on the cusps within one tolerance, or None."""
    before, held = torch.inf, None
    for _ in range(POLISH_MAX_STEPS):
        forward_pass = problem.forward(theta)
        cusps = CuspGradient(theta, problem, count(theta, problem, tolerance, forward_pass), forward_pass)
        if not len(cusps.patterns) or len(cusps.signs) >= problem.arch.n_effective:
            return None
        if held is None:
            cusps, multipliers = _active(cusps)
            held = _cusp_numbers(cusps)
        else:
            cusps = cusps.only(torch.isin(_cusp_numbers(cusps), held))
            multipliers = free_multipliers(cusps)
        gradient = cusps.gradient(multipliers)
        scale = gradient_scale(cusps, multipliers)
        if not scale > 0:  # without biases a dead pattern has no gradient at all
            return None
        residual = float(gradient.norm()) / scale + cusp_distance(cusps)
        arrived = residual <= POLISH_ARRIVED_RESIDUAL
        if not (arrived or residual <= min(POLISH_FIRST_RESIDUAL_MAX, POLISH_RESIDUAL_FACTOR * before)):
            return None
        if arrived and not _admissible(cusps, multipliers):
            return None
        step = step_of(cusps, multipliers, gradient)
        if arrived:
            return Polished(theta, step.downward)
        theta = problem.onto(theta + step.vector)
        before = residual
    return None


def _active(cusps: CuspGradient) -> tuple[CuspGradient, Tensor]:
    """The cusps whose multipliers [n] lie inside (0, 1), and those multipliers; the others are not held at zero."""
    multipliers = free_multipliers(cusps)
    while True:
        inside = (multipliers > 0) & (multipliers < 1)
        if bool(inside.all()):
            return cusps, multipliers
        cusps = cusps.only(inside)
        multipliers = free_multipliers(cusps)


def _cusp_numbers(cusps: CuspGradient) -> Tensor:
    """A number for each cusp [n], different for each pattern, layer and neuron."""
    layers = len(cusps.at)
    numbers = [(cusps.patterns[p] * layers + j) * cusps.arch.width + n for j, (p, n) in enumerate(cusps.at)]
    return joined(numbers, cusps.patterns[:0])


def _admissible(cusps: CuspGradient, multipliers: Tensor) -> bool:
    """Whether the cusps with a force have convex kinks and multipliers inside (0, 1)."""
    force = cusps.forces(multipliers)
    inside = (multipliers > 0) & (multipliers < 1)
    return bool(((force > 0) & inside | (force == 0)).all())
