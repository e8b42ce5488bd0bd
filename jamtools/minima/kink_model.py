"""The gaps, the kinks and the curvature of the loss around a theta, with its kinks kept.

    S(W) = P L = ½ Σ_µ max(0, Δ_µ)²,        a kink i: a hidden pre-activation z_i of one pattern µ, near zero
    e_i = ∂Δ_µ/∂ρ(z_i),    n_i = ∂z_i/∂W,    J_µ = ∂Δ_µ/∂W,    K = Σ_{µ∈m} Δ_µ ∇²Δ_µ (+ ν 1 at fixed norm)
    S(W + d) ≈ ½ d·K d + ½ Σ_µ max(0, D_µ + J⁰_µ·d + Σ_i e_i max(0, z_i + n_i·d))²
    D_µ = Δ_µ - Σ_i e_i ρ(z_i),      J⁰_µ = J_µ - Σ_i σ_i e_i n_i

A kink that is held at zero has the slope σ_i = λ_i of its multiplier, every other one θ(z_i). Both maxima stay in the model.
So it knows the patterns that become unsatisfied on the way, and the pre-activations that change their sign. Kinks with
e_i > 0 are convex; those with e_i < 0 are linear in the model.

Free weights: d is orthogonal to the scale symmetries of ReLU, along which S is constant. At fixed norm ‖W‖ = R: d ⟂ W, and
ν = -W·∇S/R² is the multiplier of the norm; all rows and K are those on the tangent space.

Source: arXiv:1809.09349, section III; none for the model, own derivation above.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jamtools.hessian.assembly import Passes, hp
from jamtools.linalg.subspace import orthonormal_basis
from jamtools.network.passes import ForwardPass, backward, gradient, gradient_rows, joined, layers_of, stacked
from jamtools.network.problem import Problem
from jamtools.network.sphere import norm_multiplier, onto_sphere
from jamtools.network.symmetry import balanced, unmoved_directions


@dataclass(frozen=True)
class Kinks:
    """Kinks held at zero: their place [n, 3] (hidden layer from 0, pattern, neuron), ascending, and their slope λ [n]."""

    at: Tensor
    slope: Tensor

    @classmethod
    def none(cls, like: Tensor) -> Kinks:
        """No kinks: arrays [0, 3] and [0], on the device of a tensor of any shape."""
        return cls(torch.zeros(0, 3, dtype=torch.long, device=like.device), like.new_zeros(0))


@dataclass(frozen=True)
class Surface:
    """Where W may go: everywhere, or on the sphere ‖W‖ = norm, which is that of the architecture."""

    norm: float | None = None

    def onto(self, theta: Tensor, problem: Problem) -> Tensor:
        """theta [Ñ] on the surface; free weights of ReLU are balanced, which does not change f."""
        if self.norm is None:
            return balanced(theta, problem.arch)[0]
        return onto_sphere(theta, self.norm)

    def fixed(self, theta: Tensor, problem: Problem) -> Tensor:
        """An orthonormal basis [Ñ, k] of the directions in which no step goes."""
        return orthonormal_basis(unmoved_directions(theta, problem.arch))


class KinkModel:
    """The quantities of the head of the module at theta [Ñ], for one output.

    gaps [P]; active [P]: Δ > 0; forces [L][P, h]: e of every pre-activation; z, slopes [L][P, h]; scales [L][h]: the size of
    the terms of z, of each neuron.
    """

    def __init__(self, theta: Tensor, problem: Problem, held: Kinks) -> None:
        self.theta, self.problem, self.arch = theta, problem, problem.arch
        self.surface = Surface(problem.arch.norm)
        self.layers = layers_of(theta, problem.arch)
        forward_pass = problem.forward(theta)
        self.gaps = problem.loss.gaps(forward_pass.f, problem.y)[:, 0]
        self.active = self.gaps > 0
        self.z = forward_pass.z[:-1]
        self.slopes = [self.arch.rho.slope(z).clone() for z in self.z]
        for j, slope in enumerate(self.slopes):
            here = held.at[:, 0] == j
            slope[held.at[here, 1], held.at[here, 2]] = held.slope[here]
        self.forward_pass = replace(forward_pass, slopes=self.slopes)
        self.beta = backward(self.layers, self.forward_pass, -problem.y, self.arch)
        self.forces = [b @ weight for b, (weight, _) in zip(self.beta[1:], self.layers[1:], strict=True)]
        self.fixed = self.surface.fixed(theta, problem)

    @property
    def scales(self) -> list[Tensor]:
        """Σ |W| |a| + |b| of each neuron [L][h], the median over the patterns."""
        inputs, hidden = self.forward_pass.inputs, self.layers[:-1]
        return [
            (a.abs() @ weight.abs().T + bias.abs()).median(0).values
            for a, (weight, bias) in zip(inputs, hidden, strict=False)
        ]

    def value(self, theta: Tensor) -> float:
        """S at another theta [Ñ]."""
        f = self.problem.forward(theta).f
        return 0.5 * float(self.problem.loss.gaps(f, self.problem.y).clamp(min=0).square().sum())

    def project(self, rows: Tensor) -> Tensor:
        """Rows [n, Ñ] without their components along the fixed directions."""
        return rows - (rows @ self.fixed) @ self.fixed.T

    def rows(self, patterns: Tensor) -> Tensor:
        """J [n, Ñ] of some patterns (index or mask)."""
        inputs = [a[patterns] for a in self.forward_pass.inputs]
        beta = [b[patterns] for b in self.beta]
        return self.project(gradient_rows(beta, ForwardPass(inputs, []), self.arch))

    def normals(self, at: Tensor) -> Tensor:
        """n_i [n, Ñ] of kinks at [n, 3]."""
        parts = [self._normals(j, *at[at[:, 0] == j, 1:].T) for j in range(self.arch.depth)]
        return self.project(joined(parts, self.theta.new_zeros(0, len(self.theta))))

    def _normals(self, j: int, patterns: Tensor, neurons: Tensor) -> Tensor:
        signal = self.theta.new_zeros(len(patterns), self.arch.width).scatter(1, neurons[:, None], 1.0)
        at_kinks = self.forward_pass.take(patterns)
        below = backward(self.layers[: j + 1], at_kinks, signal, self.arch)
        part = gradient_rows(below, ForwardPass(at_kinks.inputs[: j + 1], []), self.arch)
        return torch.nn.functional.pad(part, (0, self.arch.n_parameters - part.shape[1]))

    def pick(self, by_layer: list[Tensor], at: Tensor) -> Tensor:
        """The entries [n] of an array [L][P, h] at kinks [n, 3]."""
        all_layers = stacked(by_layer, self.theta, len(self.gaps), self.arch.width)
        return all_layers[at[:, 0], at[:, 1], at[:, 2]]

    def curvature(self, weights: Tensor) -> tuple[Tensor, float]:
        """K [Ñ, Ñ] with the weights Δ ≥ 0 [P] of the patterns, and ν, which is 0 for free weights."""
        signal = -(self.problem.y * weights[:, None])
        K = hp(Passes(self.theta, self.problem, self.slopes, signal=signal), (weights > 0)[:, None])
        if self.surface.norm is None:
            return K, 0.0
        beta = backward(self.layers, self.forward_pass, signal, self.arch)
        nu = norm_multiplier(self.theta, gradient(beta, self.forward_pass, self.arch))
        K.diagonal().add_(nu)
        return self.project(self.project(K).T), nu

    def tangent(self, step: Tensor) -> list[Tensor]:
        """The change of z of each layer [L + 1][P, out] at first order in a step [Ñ]."""
        changes: list[Tensor] = []
        for j, ((weight, _), (dw, db)) in enumerate(
            zip(self.layers, layers_of(step, self.arch), strict=True)
        ):
            change = torch.addmm(db, self.forward_pass.inputs[j], dw.T)
            if changes:
                change = change + (self.slopes[j - 1] * changes[-1]) @ weight.T
            changes.append(change)
        return changes
