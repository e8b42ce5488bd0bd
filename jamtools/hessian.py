r"""The Hessian of the hinge loss at a point, split in two: H = H0 + Hp.

    H0 = (1/P) Σ_{µ∈m} ∇Δ_µ ⊗ ∇Δ_µ        Hp = (1/P) Σ_{µ∈m} Δ_µ ∇⊗∇Δ_µ        m: the unsatisfied patterns

(with C > 1 outputs 2/(C P) for 1/P, and the sum over unsatisfied pairs (µ, c)). H0 = JᵀJ is one matrix product.
For Hp let c = ∂L/∂f, β_j = ∂(c·f)/∂z_j and a_j the inputs of layer j with a 1 appended for the bias. Then

    ∂²(c·f)/∂W_j ∂W_k [(p,q),(r,s)] = M_jk[p,r] a_j[q] a_k[s]  +  β_k[r] a_j[q] T_kj[s,p]            (j ≤ k)

    T_kj = ∂(inputs of k)/∂z_j:     T_{j+1,j} = diag ρ'(z_j),  T_{k+1,j} = diag ρ'(z_k) W_k T_kj   (no T for j = k)
    M_jk = ∂²(c·f)/∂z_j∂z_k:        M_jj = diag[ρ''(z_j) W_{j+1}ᵀβ_{j+1}] + D_j W_{j+1}ᵀ M_{j+1,j+1} W_{j+1} D_j,
                                    M_jk = D_j W_{j+1}ᵀ M_{j+1,k} for j < k,     D_j = diag ρ'(z_j),  M = 0 at the output.

Each block is a matrix product over patterns. For ReLU M vanishes: the same-layer blocks are zero and tr Hp = 0.

Source: arXiv:1809.09349, section III and appendix B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jamtools.loss import Loss
from jamtools.network import (
    Architecture,
    Layers,
    State,
    backward,
    forward,
    gradient_rows,
    layers_of,
)

#: Patterns are taken in blocks whose intermediate products stay below this many numbers (256 MB in float64).
BLOCK_NUMBERS = 1 << 25


@dataclass(frozen=True)
class Hessian:
    """H0 and Hp [Ñ, Ñ] in the order of theta, both symmetric; H is their sum."""

    H0: Tensor
    Hp: Tensor

    @property
    def H(self) -> Tensor:
        return self.H0 + self.Hp


def hessian(
    theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, slopes: list[Tensor] | None = None
) -> Hessian:
    """H0 and Hp of the hinge loss at theta [Ñ], over x [P, d] and y [P, C].

    slopes [L][P, h] stand for ρ'(z) where they are given: on a cusp, its multiplier.
    Raises InputError for another loss or with batch normalisation.
    Patterns are taken in blocks: memory beyond the two results is bounded.
    """
    arch.require_plain()
    loss.require_hinge()
    layers = layers_of(theta, arch)
    n = arch.n_parameters
    H0, Hp = theta.new_zeros(n, n), theta.new_zeros(n, n)
    for chosen in _unsatisfied_blocks(layers, x, y, arch, loss):
        state = forward(layers, x[chosen], arch)
        if slopes is not None:
            state = replace(state, slopes=[slope[chosen] for slope in slopes])
        _add_h0(H0, layers, state, loss.gaps(state.f, y[chosen]), arch, loss)
        _add_hp(Hp, layers, state, loss.slope(state.f, y[chosen]), arch)
    return Hessian(H0, Hp)


def _unsatisfied_blocks(
    layers: Layers, x: Tensor, y: Tensor, arch: Architecture, loss: Loss
) -> Iterator[Tensor]:
    """The unsatisfied patterns, block by block, as indices into x."""
    gaps = loss.gaps(forward(layers, x, arch).f, y)
    unsatisfied = (gaps > 0).any(1).nonzero()[:, 0]
    widest = max(fan_in + 1 for _, fan_in in arch.shapes)
    size = max(1, BLOCK_NUMBERS // max(arch.n_parameters, 2 * widest**2))
    yield from unsatisfied.split(size)


def _add_h0(H0: Tensor, layers: Layers, state: State, gaps: Tensor, arch: Architecture, loss: Loss) -> None:
    """H0 += (∂²L/∂Δ²) Σ ∇f_c ⊗ ∇f_c over the unsatisfied pairs of a block."""
    for c in range(arch.outputs):
        active = gaps[:, c] > 0
        signal = torch.zeros_like(gaps)
        signal[active, c] = loss.hinge_curvature**0.5
        rows = gradient_rows(backward(layers, state, signal, arch), state)
        H0.addmm_(rows.T, rows)


def _add_hp(Hp: Tensor, layers: Layers, state: State, slope: Tensor, arch: Architecture) -> None:
    """Hp += Σ_µ Σ_c slope_c ∇²f_c, a block (j, k) of layers at a time, and its mirror image."""
    beta = backward(layers, state, slope, arch)
    ones = slope.new_ones(len(slope), 1)
    inputs = [torch.cat([a, ones], 1) for a in state.inputs]
    index = _parameter_index(arch, slope.device)
    curved = _curvatures(layers, state, beta, arch)
    for j in range(len(layers)):
        jacobian: Tensor | None = None
        for k in range(j, len(layers)):
            jacobian = _input_jacobian(jacobian, layers, state, j, k, arch)
            block = _block(inputs[j], inputs[k], beta[k], curved.get((j, k)), jacobian)
            if block is not None:
                _add_block(Hp, block, index[j], index[k], j == k)


def _input_jacobian(
    last: Tensor | None, layers: Layers, state: State, j: int, k: int, arch: Architecture
) -> Tensor | None:
    """T_kj [m, in_k, out_j] from T_{k-1,j}; None for j = k, where the inputs do not depend on z_j."""
    if k == j:
        return None
    slope = state.slope(k - 1, arch)
    if k == j + 1:
        return torch.diag_embed(slope)
    assert last is not None
    return slope[:, :, None] * (layers[k - 1][0] @ last)


def _curvatures(
    layers: Layers, state: State, beta: list[Tensor], arch: Architecture
) -> dict[tuple[int, int], Tensor]:
    """M_jk [m, out_j, out_k] for j ≤ k among the hidden layers; empty when ρ'' = 0."""
    if arch.activation in ("relu", "linear"):
        return {}
    curved: dict[tuple[int, int], Tensor] = {}
    hidden = len(layers) - 1
    for j in range(hidden - 1, -1, -1):
        weight, slope = layers[j + 1][0], state.slope(j, arch)
        curved[j, j] = torch.diag_embed(arch.rho.curvature(state.z[j]) * (beta[j + 1] @ weight))
        back = weight * slope[:, None, :]  # W_{j+1} D_j, [m, out_{j+1}, out_j]
        for k in range(j + 1, hidden):
            curved[j, k] = back.mT @ curved[j + 1, k]
        if j + 1 < hidden:
            curved[j, j] += curved[j, j + 1] @ back
    return curved


def _block(
    a_j: Tensor, a_k: Tensor, beta_k: Tensor, curved: Tensor | None, jacobian: Tensor | None
) -> Tensor | None:
    """The block (j, k) as [out_j, in_j + 1, out_k, in_k + 1]; None when it vanishes."""
    block = None
    if curved is not None:  # M[p,r] a_j[q] a_k[s]
        pr = curved.flatten(1).T @ (a_j[:, :, None] * a_k[:, None, :]).flatten(1)
        block = pr.view(*curved.shape[1:], a_j.shape[1], a_k.shape[1]).permute(0, 2, 1, 3)
    if jacobian is None:
        return block
    # β[r] a_j[q] T[s,p]; the bias column of a_k does not depend on z_j
    rq = (beta_k[:, :, None] * a_j[:, None, :]).flatten(1).T @ jacobian.flatten(1)
    mixed = rq.view(beta_k.shape[1], a_j.shape[1], *jacobian.shape[1:]).permute(3, 1, 0, 2)
    mixed = torch.nn.functional.pad(mixed, (0, 1))
    return mixed if block is None else block + mixed


def _parameter_index(arch: Architecture, device: torch.device) -> list[Tensor]:
    """Per layer the places in theta of (weight | bias), [out · (in + 1)]."""
    index, start = [], 0
    for out, fan_in in arch.shapes:
        weight = torch.arange(start, start + out * fan_in, device=device).view(out, fan_in)
        bias = torch.arange(start + out * fan_in, start + out * (fan_in + 1), device=device)
        index.append(torch.cat([weight, bias[:, None]], 1).flatten())
        start += out * (fan_in + 1)
    return index


def _add_block(Hp: Tensor, block: Tensor, rows: Tensor, columns: Tensor, diagonal: bool) -> None:
    flat = block.reshape(len(rows), len(columns))
    if diagonal:
        flat = (flat + flat.T) / 2  # symmetric but for round-off
    Hp[rows[:, None], columns] += flat
    if not diagonal:
        Hp[columns[:, None], rows] += flat.T
