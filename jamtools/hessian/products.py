"""Products of H0, Hp and H = H0 + Hp of the hinge loss with vectors, without the matrices.

A dot is the derivative along a vector V of the parameters, with V_j its weights and biases of layer j:

    ż_j = W_j ȧ_{j-1} + V_j (a_{j-1}, 1),    ȧ_j = ρ'(z_j) ∘ ż_j                               forwards, ȧ_0 = 0
    β̇_j = ρ'(z_j) ∘ (W_{j+1}ᵀ β̇_{j+1} + V_{j+1}ᵀ β_{j+1}) + ρ''(z_j) ∘ ż_j ∘ (W_{j+1}ᵀ β_{j+1})       backwards
    (A V)_j = Σ_µ β̇_j ⊗ (a_{j-1}, 1) + β_j ⊗ (ȧ_{j-1}, 0)

with β = ∂(c·f)/∂z at fixed c = ∂L/∂f. For Hp the backward pass starts from β̇ = 0. H0 has no term in β, and starts from
β̇ = (∂²L/∂Δ²) ḟ at the unsatisfied patterns. H has both. A product costs about three passes for any Ñ.

Source: Pearlmutter, Neural Computation 6, 147 (1994); arXiv:1809.09349, section III.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from jamtools.errors import InputError
from jamtools.linalg.operator import Operator
from jamtools.network.passes import ForwardPass, backward, forward, layers_of
from jamtools.network.problem import Problem
from jamtools.network.roundoff import EXTENDED_EPS, extended_gaps, gap_errors, operations
from jamtools.network.sphere import tangent
from jamtools.network.symmetry import ScaleGenerators, Views, views_of

#: Patterns are taken in blocks whose intermediate arrays have at most this many numbers (128 MB in float64).
PRODUCT_BLOCK_NUMBERS = 1 << 24

#: How many vectors pass through a block of patterns together.
PRODUCT_GROUP_VECTORS = 8

#: The matrices that can be multiplied with vectors.
PRODUCT_NAMES = ("H0", "Hp", "H")


class NormMultiplier(NamedTuple):
    """μ of a network of fixed norm, and a bound of its round-off, that of Δ included."""

    value: float
    error: float


class Products:
    """H0, Hp and H of the hinge loss of a problem at theta [Ñ].

    n_unsatisfied: N_Δ, the number of unsatisfied patterns, or of pairs (µ, c) if C > 1; the rank of H0 is at most N_Δ. At
    fixed norm the Δ in Hp have the precision of longer floating-point numbers, however small they are.
    Raises InputError for another loss or with batch normalisation. Besides the data, the memory is that of a block of
    patterns and of the vectors. The blocks do not depend on the vectors, so that all products have exactly the same matrix.
    """

    def __init__(self, theta: Tensor, problem: Problem) -> None:
        arch = problem.arch
        arch.require_plain()
        problem.loss.require_hinge()
        self.theta, self.problem, self.arch, self.loss = theta, problem, arch, problem.loss
        self.layers = layers_of(theta, arch)
        per_pattern = 3 * (PRODUCT_GROUP_VECTORS + 1) * sum(out + fan_in for out, fan_in in arch.shapes)
        self._size = max(1, PRODUCT_BLOCK_NUMBERS // per_pattern)
        self._find_unsatisfied()

    def _find_unsatisfied(self) -> None:
        blocks: list[tuple[Tensor, Tensor, Tensor]] = []
        for start in range(0, len(self.problem.x), self._size):
            block = slice(start, start + self._size)
            f, labels = self._forward(block).f, self.problem.y[block]
            active = self.loss.unsatisfied(self.loss.gaps(f, labels))
            patterns = active.any(1).nonzero()[:, 0]
            slope = self.loss.slope(f, labels)[patterns]
            if self.arch.norm is not None:
                slope = self._precise_slope(patterns + start)
            blocks.append((patterns + start, active[patterns], slope))
        self._index, self._active, self._slope = (torch.cat([part[i] for part in blocks]) for i in range(3))
        self.n_unsatisfied = int(self._active.sum())

    def _precise_slope(self, patterns: Tensor) -> Tensor:
        """∂L/∂f [p, C] of these patterns, with Δ from longer floating-point numbers (network/roundoff.py)."""
        part = self.problem.take(patterns)
        return -self.loss.hinge_curvature * part.y * extended_gaps(self.theta, part).clamp(min=0)

    @property
    def median_gap(self) -> float:
        """The median Δ of the unsatisfied pairs (µ, c); NaN where there is none."""
        return float(self._slope[self._active].abs().median()) / self.loss.hinge_curvature

    @property
    def signal(self) -> Tensor:
        """∂L/∂f [P, C] of all patterns; 0 where all outputs are satisfied."""
        signal = torch.zeros_like(self.problem.y)
        signal[self._index] = self._slope
        return signal

    def _forward(self, patterns: slice | Tensor) -> ForwardPass:
        return forward(self.layers, self.problem.x[patterns], self.arch)

    def _blocks(self) -> Iterator[tuple[ForwardPass, Tensor, Tensor]]:
        """By blocks of unsatisfied patterns: the forward pass, the unsatisfied outputs [m, C] as booleans, ∂L/∂f [m, C]."""
        for start in range(0, len(self._index), self._size):
            block = slice(start, start + self._size)
            yield self._forward(self._index[block]), self._active[block], self._slope[block]

    def product(self, name: str, V: Tensor) -> Tensor:
        """The matrix `name` (H0, Hp or H) times V [Ñ, k]; InputError for another name."""
        if name not in PRODUCT_NAMES:
            raise InputError(f"matrix {name!r}, expected one of {', '.join(PRODUCT_NAMES)}")
        rows = V.T.contiguous()
        result = torch.zeros_like(rows)
        for forward_pass, active, slope in self._blocks():
            curvature = active.to(slope.dtype) * (self.loss.hinge_curvature if name != "Hp" else 0.0)
            beta = backward(self.layers, forward_pass, slope, self.arch) if name != "H0" else None
            for group, out in zip(rows.split(PRODUCT_GROUP_VECTORS), result.split(PRODUCT_GROUP_VECTORS)):
                self._add(views_of(out, self.arch), views_of(group, self.arch), forward_pass, curvature, beta)
        return result.T

    def _add(
        self, out: Views, V: Views, forward_pass: ForwardPass, curvature: Tensor, beta: list[Tensor] | None
    ) -> None:
        """Adds A V of one block to `out`; beta is None for H0, which has no terms in β."""
        rho = self.arch.rho
        z_dot, a_dot = self._tangents(V, forward_pass)
        beta_dot = curvature * z_dot[-1]
        for j in range(len(out) - 1, -1, -1):
            weight, bias = out[j]
            weight.baddbmm_(beta_dot.mT, forward_pass.inputs[j].expand(len(weight), -1, -1))
            bias += beta_dot.sum(1)
            if j == 0:
                break
            back = beta_dot @ self.layers[j][0]
            if beta is not None:
                weight.baddbmm_(beta[j].T.expand(len(weight), -1, -1), a_dot[j])
                back += beta[j] @ V[j][0]
            beta_dot = rho.slope(forward_pass.z[j - 1]) * back
            if beta is not None and self.arch.activation not in ("relu", "linear"):
                beta_dot += (
                    rho.curvature(forward_pass.z[j - 1]) * (beta[j] @ self.layers[j][0]) * z_dot[j - 1]
                )

    def _tangents(self, V: Views, forward_pass: ForwardPass) -> tuple[list[Tensor], list[Tensor]]:
        """ż_j [k, m, out] and ȧ_{j-1} [k, m, in] of each layer; ȧ_0 = 0 is an empty tensor."""
        z_dot: list[Tensor] = []
        a_dot = [self.theta.new_empty(0)]
        for j, (weight, bias) in enumerate(V):
            tangent = torch.baddbmm(
                bias[:, None], forward_pass.inputs[j].expand(len(weight), -1, -1), weight.mT
            )
            if j:
                a_dot.append(self.arch.rho.slope(forward_pass.z[j - 1]) * z_dot[-1])
                tangent += a_dot[j] @ self.layers[j][0].T
            z_dot.append(tangent)
        return z_dot, a_dot

    def _slopes(self) -> Iterator[tuple[ForwardPass, list[Tensor]]]:
        """By blocks of unsatisfied pairs (µ, c): the forward pass, and β_j = ∂f_c/∂z [m, out] of each layer."""
        for forward_pass, active, _ in self._blocks():
            for c in range(self.arch.outputs):
                part = forward_pass.take(active[:, c])
                signal = torch.zeros_like(part.f)
                signal[:, c] = 1.0
                yield part, backward(self.layers, part, signal, self.arch)

    def diagonal_h0(self) -> Tensor:
        """The diagonal of H0 [Ñ], (∂²L/∂Δ²) Σ (∂f_c/∂W)² over the unsatisfied pairs, exact, in float64."""
        total = torch.zeros(1, self.theta.numel(), dtype=torch.float64, device=self.theta.device)
        for forward_pass, beta in self._slopes():
            for (weight, bias), b, a in zip(views_of(total, self.arch), beta, forward_pass.inputs):
                weight[0] += b.square().T @ a.square()
                bias[0] += b.square().sum(0)
        return total[0] * self.loss.hinge_curvature

    def traces_h0(self) -> list[float]:
        """tr H0, exact, one part for each layer [L + 1]."""
        views = views_of(self.diagonal_h0()[None], self.arch)
        return [float(weight.sum() + bias.sum()) for weight, bias in views]

    @cached_property
    def norm_multiplier(self) -> NormMultiplier:
        """μ = -W·∇L/‖W‖², with the gradient of free weights (network/sphere.py), and its round-off."""
        eps = operations(self.arch) * torch.finfo(self.theta.dtype).eps
        value = error = torch.zeros((), dtype=torch.float64, device=self.theta.device)
        for index, (forward_pass, active, slope) in zip(self._index.split(self._size), self._blocks()):
            f_dot = self._tangents(views_of(self.theta[None], self.arch), forward_pass)[0][-1][0].double()
            terms = slope * f_dot
            bounds = gap_errors(self.theta, self.problem.take(index), EXTENDED_EPS)
            of_gaps = bounds * active * self.loss.hinge_curvature
            value = value + terms.sum()
            error = error + (of_gaps * f_dot.abs()).sum() + eps * terms.abs().sum()
        square = float(self.theta.double().square().sum())
        return NormMultiplier(0.0 - float(value) / square, float(error) / square)  # not -0

    def along_theta(self, name: str) -> float:
        """Ŵ·A Ŵ of the matrix `name` for the unit vector Ŵ along theta: its curvature across the sphere of fixed norm."""
        unit = self.theta / self.theta.norm()
        return float(unit @ self.product(name, unit[:, None])[:, 0])

    def gram_h0(self, layer: int | None = None) -> Tensor:
        """(∂²L/∂Δ²) ∇f · ∇f [N_Δ, N_Δ] of all unsatisfied pairs: it has the non-zero eigenvalues of H0, in float64.

        Σ_j (β_j β_jᵀ) ∘ (a_{j-1} a_{j-1}ᵀ + 1), over all layers or for one (from 0), whose block it then stands for. The 1
        is that of a bias. Over all layers at fixed norm ∇f is the one on the sphere: less (∇f·Ŵ) (∇f·Ŵ).
        """
        blocks = list(self._slopes())
        total = torch.zeros(
            self.n_unsatisfied, self.n_unsatisfied, dtype=torch.float64, device=self.theta.device
        )
        along = total.new_zeros(self.n_unsatisfied)
        for j in range(len(self.layers)) if layer is None else [layer]:
            b = torch.cat([beta[j] for _, beta in blocks]).double()
            a = torch.cat([forward_pass.inputs[j] for forward_pass, _ in blocks]).double()
            total += (b @ b.T) * (a @ a.T + self.arch.bias)
            along += (b * (a @ self.layers[j][0].T.double() + self.layers[j][1].double())).sum(1)
        if layer is None and self.arch.norm is not None:
            along /= self.theta.double().norm()
            total -= torch.outer(along, along)
        return total * self.loss.hinge_curvature

    def operator(
        self, name: str, layer: int | None = None, generators: ScaleGenerators | None = None
    ) -> Operator:
        """One of the matrices as an operator on vectors [Ñ, k], or its diagonal block of a layer (from 0).

        At fixed norm the whole matrix is the one on the tangent space, and H and Hp have μ 1 more (hessian/spaces.py); the
        block of a layer is that of free weights. generators: the scale generators to project out of the whole matrix.
        Raises InputError for generators with a layer.
        """
        theta = self.theta
        if layer is None and self.arch.norm is not None:
            return self._on_sphere(name)
        if layer is None:
            whole = lambda V: self.product(name, V)
            if generators is None or generators.rank == 0:
                return Operator(whole, theta.numel(), theta.dtype, theta.device)
            return Operator(
                whole, theta.numel(), theta.dtype, theta.device, generators.project, generators.rank
            )
        if generators is not None:
            raise InputError("got scale generators with a block of one layer, expected the whole matrix")
        part = self.part(layer)
        return Operator(
            lambda V: self._block_product(name, part, V), part.stop - part.start, theta.dtype, theta.device
        )

    def _on_sphere(self, name: str) -> Operator:
        """P A P + μ P as an operator on tangent vectors [Ñ, k], with μ = 0 for H0."""
        theta, mu = self.theta, 0.0 if name == "H0" else self.norm_multiplier.value
        whole = lambda V: self.product(name, V) + mu * V
        return Operator(
            whole, theta.numel(), theta.dtype, theta.device, lambda V: tangent(V.T, theta).T, removed=1
        )

    def part(self, layer: int) -> slice:
        """The parameters of a layer (from 0); InputError for another number."""
        sizes = [out * (fan_in + self.arch.bias) for out, fan_in in self.arch.shapes]
        if not 0 <= layer < len(sizes):
            raise InputError(f"layer {layer}, expected 0 to {len(sizes) - 1}")
        start = sum(sizes[:layer])
        return slice(start, start + sizes[layer])

    def _block_product(self, name: str, part: slice, V: Tensor) -> Tensor:
        whole = V.new_zeros(V.shape[1], self.theta.numel())
        whole[:, part] = V.T
        return self.product(name, whole.T)[part]
