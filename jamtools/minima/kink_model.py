"""The gaps, the kinks and the curvature of the loss around a theta, with its kinks kept.

    S(W) = P L = ½ Σ_µ max(0, Δ_µ)²,        a kink i: a hidden pre-activation z_i of one pattern µ, near zero
    e_i = ∂Δ_µ/∂ρ(z_i),    n_i = ∂z_i/∂W,    J_µ = ∂Δ_µ/∂W,    K = Σ_{µ∈m} Δ_µ ∇²Δ_µ (+ ν 1 at fixed norm)
    S(W + d) ≈ ½ d·K d + ½ Σ_µ max(0, D_µ + J⁰_µ·d + Σ_i e_i max(0, z_i + n_i·d))²
    D_µ = Δ_µ - Σ_i e_i ρ(z_i),      J⁰_µ = J_µ - Σ_i σ_i e_i n_i

A kink that is held at zero has the slope σ_i = λ_i of its multiplier, every other one θ(z_i). Both maxima stay in the model.
So it knows the patterns that become unsatisfied on the way, and the pre-activations that change their sign. Kinks with
e_i > 0 are convex; those with e_i < 0 are linear in the model.

Patterns that a layer does not pass on share all z above it, and only the sum of their forces acts on such a common kink. So
it is one kink, at the first of these patterns, and has no e of its own. Their Δ do not vanish near jamming, so that its
force is a constant c of the model: c max(0, z + n·d), convex where c > 0.

    c = Σ_µ Δ_µ e_µ    over the unsatisfied patterns that share it

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
from jamtools.network.symmetry import balanced, scale_generators


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
        return orthonormal_basis(
            scale_generators(theta, problem.arch) if self.norm is None else theta[:, None]
        )


class KinkModel:
    """The quantities of the head of the module at theta [Ñ], for one output.

    gaps [P]; active [P]: Δ > 0; forces [L][P, h]: e of every pre-activation, 0 at common kinks; z, slopes [L][P, h];
    dead_below [L][P]: the last layer below that does not pass a pattern on, from 0, or -1; held: the kinks at zero, each
    common one at its first pattern.
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
        self.dead_below: list[Tensor] = []
        for j in range(self.arch.depth):
            self._hold(j, held)
        self.held = self._canonical(held)
        self.forward_pass = replace(forward_pass, slopes=self.slopes)
        self.beta = backward(self.layers, self.forward_pass, -problem.y, self.arch)
        self._all_forces = [b @ weight for b, (weight, _) in zip(self.beta[1:], self.layers[1:], strict=True)]
        self.forces = [
            torch.where((dead >= 0)[:, None], 0.0, e)
            for e, dead in zip(self._all_forces, self.dead_below, strict=True)
        ]
        self.fixed = self.surface.fixed(theta, problem)

    def _hold(self, j: int, held: Kinks) -> None:
        """Sets the slopes of the held kinks of layer j, a common one at all patterns that share it."""
        last = self.dead_below[-1] if j else torch.full_like(self.active, -1, dtype=torch.long)
        if j:
            last = torch.where(self.slopes[j - 1].ne(0).any(1), last, j - 1)
        self.dead_below.append(last)
        here = held.at[:, 0] == j
        (patterns, neurons), slope = held.at[here, 1:].T, held.slope[here]
        self.slopes[j][patterns, neurons] = slope
        dead = last[patterns]
        common = torch.full((self.arch.depth, self.arch.width), torch.nan).to(slope)
        common[dead[dead >= 0], neurons[dead >= 0]] = slope[dead >= 0]
        shared = torch.where((last >= 0)[:, None], common[last.clamp(min=0)], torch.nan)
        self.slopes[j] = torch.where(shared.isnan(), self.slopes[j], shared)

    def _canonical(self, held: Kinks) -> Kinks:
        """The held kinks with each common one once, at its first pattern."""
        if not len(held.at):
            return held
        at, first = held.at.clone(), torch.stack([self._first(j) for j in range(self.arch.depth)])
        at[:, 1] = first[at[:, 0], at[:, 1]]
        kinks, place = at.unique(dim=0, return_inverse=True)
        return Kinks(kinks, held.slope.new_zeros(len(kinks)).index_put((place,), held.slope))

    def _first(self, j: int) -> Tensor:
        """For each pattern [P] the first unsatisfied one that shares its z of layer j; itself where none does."""
        own, dead = torch.arange(len(self.gaps), device=self.gaps.device), self.dead_below[j]
        for layer in range(j):
            sharing = dead == layer
            members = sharing & self.active
            if bool(members.any()):
                own = torch.where(sharing, members.to(torch.int8).argmax(), own)
        return own

    def common(self, at: Tensor) -> Tensor:
        """Which kinks at [n, 3] are common ones [n]."""
        return torch.stack(self.dead_below)[at[:, 0], at[:, 1]] >= 0 if self.dead_below else at[:, 0] < 0

    def common_forces(self, gaps: Tensor) -> list[Tensor]:
        """c [L][P, h] of the common kinks at their first patterns, 0 elsewhere; gaps [P]: 0 at satisfied ones."""
        forces = []
        for j, (e, dead) in enumerate(zip(self._all_forces, self.dead_below, strict=True)):
            weighted = torch.where((dead >= 0)[:, None], gaps[:, None] * e, 0.0)
            forces.append(torch.zeros_like(e).index_add(0, self._first(j), weighted))
        return forces

    def force(self, at: Tensor, gaps: Tensor) -> Tensor:
        """Δ e of the kinks at [n, 3], and c of the common ones, from gaps [P] that are 0 at satisfied patterns."""
        own = self.pick(self.forces, at) * gaps[at[:, 1]]
        return torch.where(self.common(at), self.pick(self.common_forces(gaps), at), own)

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
        if not len(at):
            return self.theta.new_zeros(0, len(self.theta))
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
