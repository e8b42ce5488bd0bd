"""What is measured at one theta, with all values that round-off leaves possible: the ground on which claims are checked.

    |δz_j|, |δa_j|, s_j: as in network/roundoff.py
    |δβ_j| ≤ s_j |δv_j| + |δρ'_j| |v_j|,     v_j = W_{j+1}ᵀ β_{j+1},     |δv_j| ≤ |W_{j+1}|ᵀ (|δβ_{j+1}| + k eps |β_{j+1}|)
    |δ∇L| ≤ Σ_µ |δβ_j| (|a_{j-1}| + |δa_{j-1}|) + |β_j| |δa_{j-1}| + (P + 1) eps |β_j| |a_{j-1}|

s_j is the largest |ρ'| within the error of z_j. |δρ'_j| is how much ρ' changes there: 1 at a ReLU whose sign is not certain,
as on every cusp, where ∇L has no definite value. A count has a lowest and a highest value. A set of patterns has those that
certainly belong to it and those that may.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), sections 3.1 and 3.3 (running error analysis).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from jamtools.network.passes import layers_of, stacked
from jamtools.network.problem import Evaluation, Problem
from jamtools.network.roundoff import Layer, errors_of_gaps, layers_with_errors, loss_error, steepest_slope

#: A stored and a new value have one error each, so the bounds are computed with this multiple of eps.
ERRORS_OF_A_COMPARISON = 2

#: How far the z may be off at which tanh² rounds to 1: programs differ in the last bit of tanh.
TANH_ROUNDS_WITHIN = 0.5


class Range(NamedTuple):
    """The lowest and the highest value of a count."""

    low: int
    high: int


class Patterns(NamedTuple):
    """Which patterns [P], or pairs [P, C], certainly belong to a set, and which may belong to it."""

    certain: Tensor
    possible: Tensor

    @property
    def number(self) -> Range:
        """How many they are."""
        return Range(int(self.certain.sum()), int(self.possible.sum()))

    def within(self, other: Patterns) -> Patterns:
        """The intersection with another set; shapes may broadcast."""
        return Patterns(self.certain & other.certain, self.possible & other.possible)

    def any(self, dimension: int) -> Patterns:
        """Where the set has an element along a dimension."""
        return Patterns(self.certain.any(dimension), self.possible.any(dimension))


@dataclass(frozen=True)
class Measured:
    """theta [Ñ] on the patterns of a problem of the hinge loss, in float64, with bounds of the errors of an arithmetic.

    eps: that of the arithmetic of the stored values. errors [P, C]: how far a stored Δ may be from the new one.
    """

    theta: Tensor
    problem: Problem
    eps: float

    @property
    def _unit(self) -> float:
        return ERRORS_OF_A_COMPARISON * self.eps

    @cached_property
    def evaluation(self) -> Evaluation:
        """The new values."""
        return self.problem.evaluate(self.theta)

    @cached_property
    def layers(self) -> list[Layer]:
        """The forward pass with its errors; a single-precision arithmetic rounds the patterns too."""
        x, eps = self.problem.x, self._unit
        x_error = eps * x.abs() if self.eps > torch.finfo(x.dtype).eps else None
        return layers_with_errors(self.theta, self.problem, eps, x_error)

    @cached_property
    def errors(self) -> Tensor:
        """How far a stored Δ [P, C] may be from the new one."""
        return errors_of_gaps(self.layers[-1], self.problem.loss, self._unit)

    @property
    def loss_error(self) -> float:
        """How far a stored L may be from the new one."""
        return loss_error(self.evaluation.gaps, self.errors, self.problem.loss, self._unit)

    @property
    def unsatisfied(self) -> Patterns:
        """The unsatisfied patterns, or pairs [P, C]."""
        gaps, contact = self.evaluation.gaps, self.problem.loss.contact
        return Patterns(gaps > contact + self.errors, gaps > contact - self.errors)

    @property
    def contacts(self) -> Patterns:
        """The contacts [P, C]."""
        size, contact = self.evaluation.gaps.abs(), self.problem.loss.contact
        return Patterns(size + self.errors <= contact, size - self.errors <= contact)

    @property
    def misclassified(self) -> Patterns:
        """The misclassified patterns [P]."""
        y = self.problem.y
        if y.shape[1] == 1:
            over = (self.evaluation.gaps - self.problem.loss.epsilon)[:, 0]
        else:
            f = y * (self.problem.loss.epsilon - self.evaluation.gaps)
            over = f.masked_fill(y > 0, -torch.inf).amax(1) - f.masked_fill(y < 0, -torch.inf).amax(1)
        error = 2 * self.errors.amax(1)  # Δ has an error, and so has its distance from ε
        return Patterns(over > error, over > -error)

    @property
    def silent(self) -> Patterns:
        """The patterns that each hidden layer does not pass on, [L, P]."""
        certain, possible = [], []
        for layer in self.layers[:-1]:
            most, least = _ends(layer, self.problem)
            slope = self.problem.arch.rho.slope
            certain.append(~slope(most).ne(0).any(1))
            possible.append(~slope(least).ne(0).any(1))
        none, P = self.problem.x.new_zeros(0, dtype=torch.bool), len(self.problem.x)
        return Patterns(stacked(certain, none, P), stacked(possible, none, P))

    @property
    def dead_by_layer(self) -> Patterns:
        """The unsatisfied patterns that each hidden layer does not pass on, [L, P]."""
        return self.silent.within(self.unsatisfied.any(1))

    @property
    def gradient_norm(self) -> float:
        """‖∇L‖."""
        return float(self.evaluation.gradient.norm())

    @property
    def gradient_error(self) -> float:
        """How far a stored ‖∇L‖ may be from the new one; on cusps as much as their kinks change it."""
        return self._gradient_error(kinks=True)

    @property
    def subgradient_error(self) -> float:
        """The same for ‖g(λ)‖, where the slopes at the cusps are given."""
        return self._gradient_error(kinks=False)

    def _gradient_error(self, kinks: bool) -> float:
        problem, eps = self.problem, self._unit
        weights = [weight.abs() for weight, _ in layers_of(self.theta, problem.arch)]
        beta = problem.loss.slope(self.layers[-1].z, problem.y).abs()
        reach = (self.evaluation.gaps > -self.errors).to(beta.dtype)
        error = reach * problem.loss.hinge_curvature * self.errors + 2 * eps * beta
        squares = beta.new_zeros(())
        for j in range(len(weights) - 1, -1, -1):
            a, a_error, _, _ = self.layers[j]
            once = (len(a) + 1) * eps
            entries = error.T @ (a.abs() + a_error) + beta.T @ (a_error + once * a.abs())
            biases = (error + once * beta).sum(0).square().sum()
            squares += entries.square().sum() + biases * problem.arch.bias
            if j > 0:
                wide = (len(weights[j]) + 2) * eps
                v, v_error = beta @ weights[j], (error + wide * beta) @ weights[j]
                steepest, change = _slopes(self.layers[j - 1], problem, kinks)
                beta, error = steepest * v, steepest * v_error + change * (v + v_error)
        return float(squares.sqrt())


def _slopes(layer: Layer, problem: Problem, kinks: bool) -> tuple[Tensor, Tensor]:
    """The largest |ρ'| within the error of z [P, h], and how much ρ' may change there."""
    steepest, change = steepest_slope(layer, problem.arch), torch.zeros_like(layer.z)
    if problem.arch.activation == "relu":
        change = steepest * (layer.z <= layer.z_error) if kinks else change
    elif problem.arch.activation == "tanh":
        change = torch.minimum(2 * layer.z_error * steepest, steepest) + 2 * torch.finfo(layer.z.dtype).eps
    return steepest, change


def _ends(layer: Layer, problem: Problem) -> tuple[Tensor, Tensor]:
    """The z [P, h] within the error with the largest and with the smallest slope."""
    if problem.arch.activation == "relu":
        return layer.z + layer.z_error, layer.z - layer.z_error
    margin = layer.z_error + TANH_ROUNDS_WITHIN
    return (layer.z.abs() - margin).clamp(min=0), layer.z.abs() + margin
