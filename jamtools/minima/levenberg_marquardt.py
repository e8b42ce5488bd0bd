"""Levenberg–Marquardt on the gaps of the unsatisfied patterns.

    (B + µ b) δ = -∇L,      B = H0 + Σ_µ Σ_jn w ∂z_jn ⊗ ∂z_jn,      b = tr B / Ñ

    gain = [L(W) - L(W + δ)] / [-∇L·δ - ½ δᵀ B δ]
    gain > 0:  W ← W + δ,  µ ← µ max(1/3, 1 - (2 gain - 1)³),  ν ← 2          else:  µ ← ν µ,  ν ← 2ν

The w are the positive curvatures of a smoothed ρ (hessian.assembly.convex_part). For any other ρ, B is H0 alone, the
Gauss–Newton matrix k Σ_{µ∈m} ∇Δ_µ ⊗ ∇Δ_µ with k = ∂²L/∂Δ². With fewer unsatisfied patterns than parameters the step is then

    δ = -k Jᵀ (k J Jᵀ + µ b)⁻¹ Δ,      J [N_Δ, Ñ] the rows ∇Δ_µ

B is always positive semi-definite. A step costs the assembly of B and a Cholesky factorisation.

At fixed norm g and B are those on the tangent space, with max(μ, 0) 1 added to B (network/sphere.py), and W returns to the
sphere after the step.

Source: H. B. Nielsen, Damping parameter in Marquardt's method, IMM-REP-1999-05 (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from jamtools.hessian.assembly import Passes, convex_part, h0
from jamtools.network.activations import Activation
from jamtools.network.passes import ForwardPass, backward, forward, gradient, gradient_rows, layers_of
from jamtools.network.problem import Problem
from jamtools.network.sphere import norm_multiplier, project_in_place, tangent

#: µ at the start, its smallest value (the round-off of a factorisation), and the value above which no step is tried.
DAMPING_FIRST, DAMPING_MIN, DAMPING_MAX = 1e-2, 1e-15, 1e12


class Model(Protocol):
    """A quadratic model, L(W + δ) ≈ L + g·δ + ½ δᵀ B δ."""

    @property
    def gradient(self) -> Tensor:
        """∇L [Ñ]."""

    @property
    def mean(self) -> float:
        """tr B / Ñ."""

    def step(self, damping: float) -> Tensor | None:
        """δ [Ñ] with (B + damping) δ = -g; None where B + damping is not positive definite to round-off."""

    def times(self, step: Tensor) -> Tensor:
        """B δ [Ñ]."""


@dataclass(frozen=True)
class PrimalModel:
    """A Model with the matrix B [Ñ, Ñ] and ∇L [Ñ]."""

    gradient: Tensor
    B: Tensor

    @property
    def mean(self) -> float:
        return float(self.B.diagonal().mean())

    def step(self, damping: float) -> Tensor | None:
        """δ [Ñ] by a Cholesky factorisation of B + damping."""
        damped = self.B.clone()
        damped.diagonal().add_(damping)
        return _cholesky_solution(damped, -self.gradient)

    def times(self, step: Tensor) -> Tensor:
        """B δ [Ñ]."""
        return self.B @ step


@dataclass(frozen=True)
class DualModel:
    """A Model with J Jᵀ [N_Δ, N_Δ]: gradient ∇L [Ñ], rows J [N_Δ, Ñ], residuals Δ [N_Δ], k = ∂²L/∂Δ²."""

    gradient: Tensor
    rows: Tensor
    residuals: Tensor
    k: float

    @property
    def mean(self) -> float:
        return self.k * float(self.rows.square().sum()) / self.rows.shape[1]

    def step(self, damping: float) -> Tensor | None:
        """δ [Ñ] by a Cholesky factorisation of k J Jᵀ + damping."""
        damped = self.k * (self.rows @ self.rows.T)
        damped.diagonal().add_(damping)
        coefficients = _cholesky_solution(damped, -self.k * self.residuals)
        return None if coefficients is None else self.rows.T @ coefficients

    def times(self, step: Tensor) -> Tensor:
        """B δ [Ñ]."""
        return self.k * (self.rows.T @ (self.rows @ step))


def _cholesky_solution(matrix: Tensor, b: Tensor) -> Tensor | None:
    """matrix⁻¹ b [n]; None where the matrix [n, n] is not positive definite to round-off."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if bool(failed) else torch.cholesky_solve(b[:, None], factor)[:, 0]


class LevenbergMarquardt:
    """Damped steps of a problem, with a ρ that may be changed between them.

    rho: the smoothed activation of each hidden layer, None for the architecture's own; mu, nu: the damping.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.arch, self.loss, self.y = problem, problem.arch, problem.loss, problem.y
        self.rho: Sequence[Activation] | None = None
        self.mu, self.nu = DAMPING_FIRST, 2.0

    def value(self, theta: Tensor) -> float:
        """L at theta [Ñ], with this ρ."""
        return self.loss.value(self._forward(theta).f, self.y).item()

    def _forward(self, theta: Tensor) -> ForwardPass:
        return forward(layers_of(theta, self.arch), self.problem.x, self.arch, self.rho)

    def iterate(self, theta: Tensor) -> float | None:
        """One step of theta [Ñ], in place: the new L; None when no damping gives a step that lowers L."""
        forward_pass = self._forward(theta)
        before = self.loss.value(forward_pass.f, self.y).item()
        model = self.model(theta, forward_pass)
        mean = model.mean
        while self.mu <= DAMPING_MAX and mean > 0:
            step = model.step(self.mu * mean)
            if step is not None:
                predicted = -float(model.gradient @ step) - 0.5 * float(step @ model.times(step))
                moved = self.problem.onto(theta + step)
                after = self.value(moved)
                if predicted > 0 and after < before:
                    gain = (before - after) / predicted
                    self.mu = max(DAMPING_MIN, self.mu * max(1 / 3, 1 - (2 * gain - 1) ** 3))
                    self.nu = 2.0
                    theta.copy_(moved)
                    return after
            self.mu *= self.nu
            self.nu *= 2
        self.mu, self.nu = DAMPING_FIRST, 2.0
        return None

    def model(self, theta: Tensor, forward_pass: ForwardPass) -> Model:
        """The quadratic model at theta [Ñ]; forward_pass: that of all patterns there."""
        layers = layers_of(theta, self.arch)
        unsatisfied = self.loss.gaps(forward_pass.f, self.y) > 0
        active = unsatisfied.any(1).nonzero()[:, 0]
        unsatisfied_pass, signal = forward_pass.take(active), self.loss.slope(forward_pass.f, self.y)[active]
        beta = backward(layers, unsatisfied_pass, signal, self.arch)
        slope = gradient(beta, unsatisfied_pass, self.arch)
        if self.rho is None and int(unsatisfied.sum()) < self.arch.n_parameters:
            return self._dual(theta, forward_pass, unsatisfied, slope)
        passes = Passes(theta, self.problem, rho=self.rho)
        B = h0(passes, unsatisfied)
        if self.rho is not None:
            B.add_(convex_part(passes, unsatisfied))
        return PrimalModel(*((slope, B) if self.arch.norm is None else _on_sphere(theta, slope, B)))

    def _dual(
        self, theta: Tensor, forward_pass: ForwardPass, unsatisfied: Tensor, slope: Tensor
    ) -> DualModel:
        patterns, outputs = unsatisfied.nonzero(as_tuple=True)
        unsatisfied_pass, labels = forward_pass.take(patterns), self.y[patterns, outputs]
        signal = torch.zeros_like(unsatisfied_pass.f).scatter(1, outputs[:, None], -labels[:, None])
        beta = backward(layers_of(theta, self.arch), unsatisfied_pass, signal, self.arch)
        rows = gradient_rows(beta, unsatisfied_pass, self.arch)
        residuals = self.loss.gaps(forward_pass.f, self.y)[patterns, outputs]
        if self.arch.norm is not None:
            slope, rows = tangent(slope, theta), tangent(rows, theta)
        return DualModel(slope, rows, residuals, self.loss.hinge_curvature)


def _on_sphere(theta: Tensor, slope: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """∇L [Ñ] and B [Ñ, Ñ] on the tangent space at theta [Ñ]; along theta B has its mean, so that no step goes there."""
    B = project_in_place(B, theta)
    B.diagonal().add_(max(norm_multiplier(theta, slope), 0.0))
    unit = theta / theta.norm()
    return tangent(slope, theta), B.addr_(unit, unit, alpha=float(B.diagonal().mean()))
