"""The Hessian of the hinge loss at a point, split in two: H = H0 + Hp.

    H0 = (1/P) Σ_{µ∈m} ∇Δ_µ ⊗ ∇Δ_µ        Hp = (1/P) Σ_{µ∈m} Δ_µ ∇⊗∇Δ_µ        m: the unsatisfied patterns

With C > 1 outputs the factor is 2/(C P) instead of 1/P, and the sums are over the unsatisfied pairs (µ, c). H0 = JᵀJ is one
matrix product. For Hp let c = ∂L/∂f, β_j = ∂(c·f)/∂z_j and a_j the inputs of layer j with a 1 appended for the bias. Then

    ∂²(c·f)/∂W_j ∂W_k [(p,q),(r,s)] = M_jk[p,r] a_j[q] a_k[s]  +  β_k[r] a_j[q] T_kj[s,p]            (j ≤ k)

    T_kj = ∂(inputs of k)/∂z_j:     T_{j+1,j} = diag ρ'(z_j),  T_{k+1,j} = diag ρ'(z_k) W_k T_kj   (no T for j = k)
    M_jk = ∂²(c·f)/∂z_j∂z_k:        M_jj = diag[ρ''(z_j) W_{j+1}ᵀβ_{j+1}] + D_j W_{j+1}ᵀ M_{j+1,j+1} W_{j+1} D_j,
                                    M_jk = D_j W_{j+1}ᵀ M_{j+1,k} for j < k,     D_j = diag ρ'(z_j),  M = 0 at the output.

Each block (j, k) is a matrix product over patterns. Patterns are the last, contiguous index of every array here. The sums
over patterns keep the layout of this product. They are sorted into Hp once, at the end. Only the blocks j ≤ k of Hp, the
upper triangle of H0, panel by panel, and the elements p ≤ r, q ≤ s of M_jj ⊗ a_j ⊗ a_j are computed. For ReLU M vanishes:
the blocks of one layer are zero and tr Hp = 0.

Source: arXiv:1809.09349, section III and appendix B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from jamtools.hessian.placement import Key, place
from jamtools.network.activations import Activation
from jamtools.network.architecture import Architecture
from jamtools.network.passes import ForwardPass, Layers, backward, forward, layers_of
from jamtools.network.problem import Problem

#: Patterns are taken in blocks. The intermediate arrays of a block have at most this many numbers (64 MB in float64).
ASSEMBLY_BLOCK_NUMBERS = 1 << 23

#: A block also has at most this many patterns, so that the arrays stay in the cache.
ASSEMBLY_BLOCK_PATTERNS = 1024

#: Rows of a panel of H0. The panels on the diagonal compute both triangles, half of which is not needed.
H0_PANEL_ROWS = 128


@dataclass(frozen=True)
class Hessian:
    """H0 and Hp [Ñ, Ñ] in the order of theta, both symmetric; H is their sum."""

    H0: Tensor
    Hp: Tensor

    @property
    def H(self) -> Tensor:
        """H0 + Hp [Ñ, Ñ]."""
        return self.H0 + self.Hp


def bytes_needed(arch: Architecture, dtype: torch.dtype = torch.float64) -> int:
    """The peak memory of hessian(), or of its result with H, in bytes: 3 Ñ² numbers and a block of patterns.

    The third Ñ² bounds the sums that are not yet sorted into Hp: Σ_{j<k} Ñ_j Ñ_k for M, the same for T, and at most half
    of Ñ_j² for each layer j. A block has at most ASSEMBLY_BLOCK_NUMBERS numbers, unless one pattern needs more.
    """
    block = max(_block_patterns(numbers) * numbers for numbers in (_h0_numbers(arch), _hp_numbers(arch)))
    return (3 * arch.n_parameters**2 + block) * dtype.itemsize


def hessian(
    theta: Tensor, problem: Problem, slopes: Sequence[Tensor] | None = None, signal: Tensor | None = None
) -> Hessian:
    """H0 and Hp of the hinge loss at theta [Ñ], in the memory that `bytes_needed` gives.

    slopes [L][P, h]: if given, they replace ρ'(z). On a cusp the slope is its multiplier. signal [P, C]: ∂L/∂f, if it is
    known to more digits than double precision gives.
    Raises InputError for another loss or with batch normalisation.
    """
    problem.arch.require_plain()
    problem.loss.require_hinge()
    passes = Passes(theta, problem, slopes, signal=signal)
    unsatisfied = passes.unsatisfied()
    return Hessian(h0(passes, unsatisfied), hp(passes, unsatisfied))


@dataclass(frozen=True)
class Passes:
    """Forward passes of chosen patterns of a problem, at theta [Ñ].

    slopes [L][P, h]: if given, they replace ρ'(z); rho: the activation of each hidden layer, if it is not that of the
    architecture; signal [P, C]: c = ∂L/∂f, if it is not that of the loss.
    """

    theta: Tensor
    problem: Problem
    slopes: Sequence[Tensor] | None = None
    rho: Sequence[Activation] | None = None
    signal: Tensor | None = None

    @property
    def arch(self) -> Architecture:
        return self.problem.arch

    @cached_property
    def layers(self) -> Layers:
        """The weights and biases of each layer, views of theta."""
        return layers_of(self.theta, self.arch)

    def of(self, chosen: Tensor) -> ForwardPass:
        """The forward pass of the patterns with these indices [p]."""
        forward_pass = forward(self.layers, self.problem.x[chosen], self.arch, self.rho)
        return (
            forward_pass
            if self.slopes is None
            else replace(forward_pass, slopes=[slope[chosen] for slope in self.slopes])
        )

    def unsatisfied(self) -> Tensor:
        """Which outputs of which patterns [P, C] are unsatisfied."""
        size = _block_patterns(_h0_numbers(self.arch))
        unsatisfied = []
        for x, y in zip(self.problem.x.split(size), self.problem.y.split(size), strict=True):
            f = forward(self.layers, x, self.arch, self.rho).f
            unsatisfied.append(self.problem.loss.unsatisfied(self.problem.loss.gaps(f, y)))
        return torch.cat(unsatisfied)

    def signal_of(self, chosen: Tensor, forward_pass: ForwardPass) -> Tensor:
        """c = ∂L/∂f [p, C] of the patterns with these indices [p], whose forward pass is given."""
        if self.signal is not None:
            return self.signal[chosen]
        return self.problem.loss.slope(forward_pass.f, self.problem.y[chosen])

    def curvature(self, z: Sequence[Tensor]) -> list[Tensor]:
        """ρ''(z) of every hidden layer, from z [L][h, p]; empty where ρ is piecewise linear."""
        if self.rho is None and self.arch.activation in ("relu", "linear"):
            return []
        return [rho.curvature(v) for rho, v in zip(self.rho or [self.arch.rho] * self.arch.depth, z)]


def _h0_numbers(arch: Architecture) -> int:
    """How many numbers h0 needs for one pattern: a column of J, and fewer than that for all activations."""
    return 2 * arch.n_parameters


def _hp_numbers(arch: Architecture) -> int:
    """How many numbers hp needs for one pattern: M of two layers with all above, T twice, two factors, all activations."""
    widest = max(max(out, fan_in + 1) for out, fan_in in arch.shapes)
    return arch.n_parameters + (2 * arch.depth + 4) * widest**2


def _block_patterns(numbers: int) -> int:
    """How many patterns are in a block, with this many numbers for each."""
    return max(1, min(ASSEMBLY_BLOCK_PATTERNS, ASSEMBLY_BLOCK_NUMBERS // numbers))


def h0(passes: Passes, unsatisfied: Tensor, basis: Tensor | None = None) -> Tensor:
    """H0 [Ñ, Ñ] = (∂²L/∂Δ²) Σ ∇f_c ⊗ ∇f_c over the unsatisfied pairs of pattern and output ([P, C] booleans).

    basis: if given, rows V [n, Ñ]; the result is V H0 Vᵀ [n, n], and its round-off is relative to each entry.
    """
    arch, loss = passes.arch, passes.problem.loss
    n = arch.n_parameters if basis is None else len(basis)
    H0 = passes.theta.new_zeros(n, n)
    for pairs in unsatisfied.nonzero().split(_block_patterns(_h0_numbers(arch))):
        forward_pass = passes.of(pairs[:, 0])
        signal = torch.nn.functional.one_hot(pairs[:, 1], arch.outputs).to(H0)
        J = H0.new_empty(arch.n_parameters, len(pairs))
        _fill_gradients(
            J, backward(passes.layers, forward_pass, signal, arch), forward_pass.inputs, arch.bias
        )
        J = J if basis is None else basis @ J
        for start in range(0, n, H0_PANEL_ROWS):
            panel = H0[start : start + H0_PANEL_ROWS, start:]
            panel.addmm_(J[start : start + H0_PANEL_ROWS], J[start:].T, alpha=loss.hinge_curvature)
    return _mirrored(H0)


def _fill_gradients(J: Tensor, beta: list[Tensor], inputs: list[Tensor], bias: bool) -> None:
    """Writes ∂g_µ/∂W into J [Ñ, m], one column for each pattern; bias: whether theta has biases."""
    start = 0
    for b, a in zip(beta, inputs, strict=True):
        b, a = b.T.contiguous(), a.T.contiguous()
        end = start + len(b) * len(a)
        torch.mul(b[:, None], a, out=J[start:end].view(len(b), len(a), -1))
        start = end + len(b) * bias
        J[end:start] = b[: start - end]


def _mirrored(matrix: Tensor) -> Tensor:
    """The matrix with its upper triangle copied to the lower one, in place."""
    for start in range(0, len(matrix), H0_PANEL_ROWS):
        end = start + H0_PANEL_ROWS
        matrix[end:, start:end] = matrix[start:end, end:].T
        corner = matrix[start:end, start:end]
        corner.copy_(corner.triu() + corner.triu(1).T)
    return matrix


@dataclass(frozen=True)
class _BlockPass:
    """The passes of a block of m patterns, one tensor for each layer; the pattern is the last index.

    inputs: a [in + 1, m] with the 1 of the bias; beta: β [out, m]; slope: ρ'(z) [h, m]; bend: ρ''(z) ∘ Wᵀβ [h, m].
    """

    layers: Layers
    inputs: list[Tensor]
    beta: list[Tensor]
    slope: list[Tensor]
    bend: list[Tensor]

    @classmethod
    def at(cls, passes: Passes, chosen: Tensor) -> _BlockPass:
        arch, layers, forward_pass = passes.arch, passes.layers, passes.of(chosen)
        signal = passes.signal_of(chosen, forward_pass)
        beta = backward(layers, forward_pass, signal, arch)
        z = [hidden.T.contiguous() for hidden in forward_pass.z[:-1]]
        inputs = [torch.cat([a.T, a.new_ones(1, len(a))]) for a in forward_pass.inputs]
        slope = [forward_pass.slope(j, arch).T.contiguous() for j in range(arch.depth)]
        beta = [b.T.contiguous() for b in beta]
        bend = [
            curvature * (weight.T @ above)
            for curvature, (weight, _), above in zip(passes.curvature(z), layers[1:], beta[1:])
        ]
        return cls(layers, inputs, beta, slope, bend)


def hp(passes: Passes, unsatisfied: Tensor) -> Tensor:
    """Hp [Ñ, Ñ] = Σ_µ Σ_c (∂L/∂f_c) ∇²f_c over the patterns with an unsatisfied output ([P, C] booleans)."""
    return _summed(passes, unsatisfied, lambda point: chain(_mixed_factors(point), _curved_factors(point)))


def convex_part(passes: Passes, unsatisfied: Tensor) -> Tensor:
    """Σ_µ Σ_jn w ∂z_jn ⊗ ∂z_jn [Ñ, Ñ] with w = ρ''(z_jn) ∂L/∂ρ(z_jn) where w > 0, and w = 0 elsewhere.

    This is the part of Hp that leaves the Gauss–Newton matrix H0 positive semi-definite: the convex kinks of a smoothed ρ.
    """

    def kinks(point: _BlockPass) -> Iterator[tuple[Key, Tensor, Tensor]]:
        return _curved_factors(replace(point, bend=[bend.clamp(min=0) for bend in point.bend]))

    return _summed(passes, unsatisfied, kinks)


def _summed(
    passes: Passes,
    unsatisfied: Tensor,
    factors_of: Callable[[_BlockPass], Iterator[tuple[Key, Tensor, Tensor]]],
) -> Tensor:
    """The matrix [Ñ, Ñ] whose blocks are the sums of these products over the patterns with an unsatisfied output."""
    arch = passes.arch
    sums: dict[Key, Tensor] = {}
    for chosen in unsatisfied.any(1).nonzero()[:, 0].split(_block_patterns(_hp_numbers(arch))):
        for key, left, right in factors_of(_BlockPass.at(passes, chosen)):
            if key in sums:
                sums[key].addmm_(left, right.T)
            else:
                sums[key] = left @ right.T
    Hp = passes.theta.new_zeros(arch.n_parameters, arch.n_parameters)
    while sums:
        key, total = sums.popitem()
        place(Hp, total, key, arch)
    return _mirrored(Hp)


def _outer(u: Tensor, v: Tensor) -> Tensor:
    """u ⊗ v of every pattern, [p q, m], from u [p, m] and v [q, m]."""
    return (u[:, None] * v).flatten(0, 1)


def _times(matrix: Tensor, array: Tensor) -> Tensor:
    """The matrix applied to the first index of an array [n, …, m]."""
    return (matrix @ array.flatten(1)).unflatten(1, array.shape[1:])


def _mixed_factors(point: _BlockPass) -> Iterator[tuple[Key, Tensor, Tensor]]:
    """The factors β_k[r] a_j[q] and T_kj[s,p] for all j < k; for k = j + 1 only the diagonal of T_kj."""
    a, beta, slope = point.inputs, point.beta, point.slope
    for j, D in enumerate(slope):
        yield ("near", j, j + 1), _outer(beta[j + 1], a[j]), D
        T: Tensor | None = None
        for k in range(j + 2, len(beta)):
            weight = point.layers[k - 1][0]
            T = weight[:, :, None] * D if T is None else _times(weight, T)
            T *= slope[k - 1][:, None]
            yield ("far", j, k), _outer(beta[k], a[j]), T.flatten(0, 1)


def _curved_factors(point: _BlockPass) -> Iterator[tuple[Key, Tensor, Tensor]]:
    """The factors M_jk[p,r] and a_j[q] a_k[s] for j ≤ k among the hidden layers; none when ρ'' = 0."""
    a = point.inputs
    M: dict[int, Tensor] = {}  # M_jk of the current j, by k
    for j in reversed(range(len(point.bend))):
        back, D, bend = point.layers[j + 1][0].T, point.slope[j][:, None], point.bend[j]
        M = {k: _times(back, above) * D for k, above in M.items()}
        q, s = torch.triu_indices(len(a[j]), len(a[j]), device=bend.device)
        pairs = a[j][q] * a[j][s]
        if not M:  # the last hidden layer, where M_jj is diagonal
            M[j] = torch.diag_embed(bend.T).permute(1, 2, 0).contiguous()
            yield ("diagonal", j, j), bend, pairs
            continue
        for k, both in M.items():
            yield ("curved", j, k), both.flatten(0, 1), _outer(a[j], a[k])
        M[j] = _times(back, M[j + 1].transpose(0, 1)) * D
        M[j].diagonal().add_(bend.T)
        p, r = torch.triu_indices(len(bend), len(bend), device=bend.device)
        yield ("same", j, j), M[j][p, r], pairs
