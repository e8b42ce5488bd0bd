"""The effective number of parameters, N_eff = rank G.

    G_{i,(µ,n,c)} = ∂_{W_i} f_c(x_µ) + ê_n·∇_x ∂_{W_i} f_c(x_µ),   n = 0..d,  ê_0 = 0        [Ñ, P (d+1) C]

The derivatives along ê_n are computed by tangents, first forward and then backward:

    ȧ_0 = ê_n,   ż_j = W_j ȧ_{j-1},   ȧ_j = ρ'(z_j) ∘ ż_j
    β_j = ρ'(z_j) ∘ u_j,   β̇_j = ρ''(z_j) ∘ ż_j ∘ u_j + ρ'(z_j) ∘ u̇_j,   u_j = W_{j+1}ᵀ β_{j+1}
    block of W_j: (β_j + β̇_j) ⊗ a_{j-1} + β_j ⊗ ȧ_{j-1},   of b_j: β_j + β̇_j

At fixed norm N_eff is the rank of P G, of the columns of G on the tangent space of the sphere:

    rank P G = rank G - 1 if W is in the span of the columns, rank G if not,        P = 1 - W Wᵀ/R²

For ReLU W is in the span where the weights into each neuron and out of it have the same norm, as at every minimum with μ > 0
(sphere.py). Elsewhere scalings change the norm and not f, and the sphere excludes no direction of f.

Columns of G are taken in blocks and normalised. Each block is stacked as rows under the triangle R of the earlier columns,
and the stack is factored again. Then RᵀR = G Gᵀ, although G Gᵀ is never computed. The memory is O(Ñ²) for any P.

Source: arXiv:1809.09349, appendix A.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from jamtools.errors import CheckError, Remedy
from jamtools.network.architecture import Architecture
from jamtools.network.passes import ForwardPass, Layers, forward, layers_of

#: The smallest number of columns in a block. A block also has at least Ñ columns. With 50 columns, blocks that added no rank
#: stopped the computation too early in 3 of 60 small networks.
BLOCK_MIN_COLUMNS = 500

#: After this many consecutive blocks that add no rank, the other columns are taken to be in the span.
FRUITLESS_BLOCKS = 2

#: How many random vectors from the complement of the span test the other columns. One is enough almost surely. With several
#: it is unlikely that a column outside the span has small components along all of them.
COMPLEMENT_PROBES = 4

#: Below this many columns per parameter all columns are used.
WHOLE_BELOW_COLUMNS_PER_PARAMETER = 4

#: Below this s_r/s_{r+1} the rank is not well defined; typical networks have 10¹².
CLEAR_RANK_GAP = 1e3

#: At fixed norm W counts as in the span of the columns within this relative distance: about the norm of the gradient on the
#: sphere over that of ∇L, below 1e-5 at a minimum, 1e-3 and more at the ends of Adam.
SPANNED_DISTANCE = 1e-5

#: The largest number of patterns in one pass of stuck_neurons; it bounds the memory.
ACTIVITY_BLOCK_PATTERNS = 4096


@dataclass(frozen=True)
class Rank:
    """rank G and how well it is defined.

    n_effective: the number of singular values above `tolerance` (relative to the largest), and at fixed norm one less where
    W is in the span (spans_theta); singular_values [≤ Ñ]: of G with unit columns and then unit rows, descending; n_silent:
    parameters without gradient at any pattern (the weights of a dead neuron, and each weight between two neurons that are
    never active together); n_columns, n_patterns: the part of G that was factored; stopped_early: whether this is not all of
    G.
    """

    n_effective: int
    tolerance: float
    singular_values: Tensor
    n_silent: int
    n_columns: int
    n_patterns: int
    stopped_early: bool
    spans_theta: bool = False

    @property
    def rank_gap(self) -> float:
        """s_r / max(s_{r+1}, s₁ eps), the gap of the singular values at the rank r. At full rank s_{r+1} = 0."""
        s, r = self.singular_values, self.n_effective + self.spans_theta
        below = float(s[r]) if r < len(s) else 0.0
        return float(s[r - 1]) / max(below, float(s[0]) * torch.finfo(s.dtype).eps)


def effective_parameters(
    theta: Tensor,
    x: Tensor,
    arch: Architecture,
    whole: bool = False,
    tolerance: float | None = None,
    tick: Callable[[int], None] = lambda columns: None,
) -> Rank:
    """N_eff = rank G at theta [Ñ] over the patterns x [P, d].

    All columns are factored when `whole`, or when P (d+1) < 4 Ñ. Otherwise the computation stops after two or three
    consecutive blocks of at least max(500, Ñ) columns that add no rank. It then tests whether any other column has a
    component outside the span (see `_ColumnFactors.missed`). tolerance: relative to s₁, by default max(Ñ, columns)·eps.
    tick: called with the number of columns that are done. Raises CheckError when the singular values do not add up to the
    norm of G, InputError with batch normalisation.
    """
    arch.require_plain()
    free = replace(arch, norm=None)
    stream = _ColumnFactors(theta, x, free, tolerance, tick)
    rank = _rank(
        stream, whole or len(x) * (arch.d + 1) < WHOLE_BELOW_COLUMNS_PER_PARAMETER * arch.n_parameters
    )
    if arch.norm is None or not stream.spans(theta, rank):
        return rank
    return replace(rank, n_effective=rank.n_effective - 1, spans_theta=True)


def _rank(stream: _ColumnFactors, whole: bool) -> Rank:
    """rank G of free weights, from all columns or from as many as are needed."""
    if whole:
        for block in stream.blocks():
            stream.add(block)
        return stream.rank()
    rank = _until_fruitless(stream)
    while rank.stopped_early and rank.n_effective < stream.arch.n_effective:  # the largest of any network
        missed = stream.missed(rank)
        if not len(missed):
            break
        stream.add(missed)
        known, rank = rank.n_effective, stream.rank()
        if rank.n_effective == known:
            break
    return rank


def _until_fruitless(stream: _ColumnFactors) -> Rank:
    """The rank after FRUITLESS_BLOCKS consecutive blocks have added none, or after all blocks.

    The rank can only grow. It is computed once in FRUITLESS_BLOCKS blocks, and no more after it has reached its largest
    possible value, because singular values cost more than a block.
    """
    ranks: list[int] = []
    for i, block in enumerate(stream.blocks()):
        stream.add(block)
        if i % FRUITLESS_BLOCKS == 0:
            full = bool(ranks) and ranks[-1] == stream.arch.n_effective
            ranks.append(ranks[-1] if full else stream.rank().n_effective)
            if len(ranks) > 1 and ranks[-1] == ranks[-2]:
                break
    return stream.rank()


class _ColumnFactors:
    """The triangle R [≤ Ñ, Ñ] of the columns of G that have been added."""

    def __init__(
        self,
        theta: Tensor,
        x: Tensor,
        arch: Architecture,
        tolerance: float | None,
        tick: Callable[[int], None],
    ) -> None:
        self.layers, self.x, self.arch = layers_of(theta, arch), x, arch
        self.tolerance, self.tick = tolerance, tick
        self.triangle = theta.new_zeros(0, arch.n_parameters)
        self.used = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.block = -(
            -max(BLOCK_MIN_COLUMNS, arch.n_parameters) // ((arch.d + 1) * arch.outputs)
        )  # in patterns

    def blocks(self) -> Iterator[Tensor]:
        """The indices [n] of the patterns of each block, in a fixed random order, since data may be sorted by class."""
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(self.x)))
        return iter(order.to(self.x.device).split(self.block))

    def add(self, patterns: Tensor) -> None:
        """Adds the normalised columns of some patterns [p] to R, by Householder reflections."""
        rows = columns(self.layers, self.x[patterns], self.arch)
        rows /= _norms(rows)[:, None]
        self.triangle = torch.linalg.qr(torch.cat([self.triangle, rows]), mode="r").R
        self.used[patterns] = True
        self.tick(self.n_columns)

    @property
    def n_columns(self) -> int:
        return int(self.used.sum()) * (self.arch.d + 1) * self.arch.outputs

    def rank(self) -> Rank:
        """The rank of the columns that have been added."""
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = max(self.arch.n_parameters, self.n_columns) * torch.finfo(self.triangle.dtype).eps
        matrix = self._equilibrated()[0]
        s = _singular_values(matrix)
        r, silent = int((s > tolerance * s[0]).sum()), int((matrix == 0).all(0).sum())
        used = int(self.used.sum())
        return Rank(r, tolerance, s, silent, self.n_columns, used, used < len(self.x))

    def _equilibrated(self) -> tuple[Tensor, Tensor]:
        """R with its columns, one for each parameter, scaled to norm 1, and the norms [Ñ].

        A layer whose gradient is 10⁻¹² of that of another layer then has the same weight. The rank does not depend on
        scales, and the errors of Householder reflections are relative to the norm of each column.
        """
        norms = _norms(self.triangle.T)
        return self.triangle / norms, norms

    def spans(self, vector: Tensor, rank: Rank) -> bool:
        """Whether a vector [Ñ] is a combination of the columns, within SPANNED_DISTANCE."""
        matrix, norms = self._equilibrated()
        scaled = vector / norms
        outside = torch.linalg.svd(matrix).Vh[rank.n_effective :] @ scaled
        return float(outside.norm()) <= SPANNED_DISTANCE * float(scaled.norm())

    def missed(self, rank: Rank) -> Tensor:
        """The unused patterns [≤ block] with the columns furthest outside the span; empty if all are in the span.

        A column outside the span almost surely has a component along a random vector of the complement. The test of a
        column with COMPLEMENT_PROBES such vectors costs O(Ñ), while factoring it costs O(Ñ²). The test matters when a
        neuron is active on few patterns: without it the rank was wrong in 22 of 60 small networks at their
        initialisation.
        """
        matrix, norms = self._equilibrated()
        complement = torch.linalg.svd(matrix).Vh[rank.n_effective :]
        random = np.random.default_rng(0).standard_normal((len(complement), COMPLEMENT_PROBES))
        probes = complement.T @ torch.from_numpy(random).to(matrix)
        probes /= torch.linalg.vector_norm(probes, dim=0)
        left = (~self.used).nonzero()[:, 0]
        outside = torch.cat([self._outside(part, norms, probes) for part in left.split(self.block)])
        order = outside.argsort(descending=True)[: self.block]
        return left[order[outside[order] > rank.tolerance]]

    def _outside(self, patterns: Tensor, norms: Tensor, probes: Tensor) -> Tensor:
        """For each of the patterns [p], the largest component of a column along a probe, relative to the column [p]."""
        rows = columns(self.layers, self.x[patterns], self.arch) / norms
        parts = (rows @ probes).abs().amax(1) / _norms(rows)
        return parts.view(len(patterns), -1).amax(1)


def _norms(rows: Tensor) -> Tensor:
    """The norm of each row, 1 for a row of zeros: without biases a dead pattern has such a column."""
    norms = torch.linalg.vector_norm(rows, dim=1)
    return torch.where(norms > 0, norms, 1.0)


def columns(layers: Layers, x: Tensor, arch: Architecture) -> Tensor:
    """The columns of G for the patterns x [p, d], as rows [p (d+1) C, Ñ]; those of n = 0 are plain gradients."""
    forward_pass = forward(layers, x, arch)
    a_dot, z_dot = _forward_tangents(layers, forward_pass, arch)
    beta, beta_dot = _backward_tangents(layers, forward_pass, z_dot, arch)
    parts = []
    for j, a in enumerate(forward_pass.inputs):
        moved = beta[j] + beta_dot[j]  # [p, d+1, C, out]
        weight = moved[..., None] * a[:, None, None, None, :]
        weight += beta[j][..., None] * a_dot[j][:, :, None, None, :]  # [p, d+1, C, out, in]
        parts += [weight.flatten(3), moved] if arch.bias else [weight.flatten(3)]
    return torch.cat(parts, dim=3).flatten(0, 2)


def _forward_tangents(
    layers: Layers, forward_pass: ForwardPass, arch: Architecture
) -> tuple[list[Tensor], list[Tensor]]:
    """ȧ_{j-1} [p, d+1, in] and ż_j [p, d+1, out] of every layer, along ê_0 = 0, ê_1 … ê_d at once."""
    x = forward_pass.inputs[0]
    axes = torch.cat([x.new_zeros(1, arch.d), torch.eye(arch.d, dtype=x.dtype, device=x.device)])
    a_dot, z_dot = [axes.expand(len(x), -1, -1)], []
    for (weight, _), z in zip(layers, forward_pass.z, strict=True):
        z_dot.append(a_dot[-1] @ weight.T)
        a_dot.append(arch.rho.slope(z)[:, None] * z_dot[-1])
    return a_dot[:-1], z_dot


def _backward_tangents(
    layers: Layers, forward_pass: ForwardPass, z_dot: list[Tensor], arch: Architecture
) -> tuple[list[Tensor], list[Tensor]]:
    """β_j [p, 1, C, out] and β̇_j [p, d+1, C, out] of every layer, for the gradients of all C outputs at once."""
    unit = torch.eye(arch.outputs, dtype=forward_pass.f.dtype, device=forward_pass.f.device)
    beta = [unit.expand(len(forward_pass.f), 1, -1, -1)]
    beta_dot = [torch.zeros_like(beta[0]).expand(-1, arch.d + 1, -1, -1)]
    for j in range(len(layers) - 2, -1, -1):
        u, u_dot = beta[-1] @ layers[j + 1][0], beta_dot[-1] @ layers[j + 1][0]
        slope = arch.rho.slope(forward_pass.z[j])[:, None, None]
        bend = arch.rho.curvature(forward_pass.z[j])[:, None, None] * z_dot[j][:, :, None]
        beta.append(slope * u)
        beta_dot.append(bend * u + slope * u_dot)
    return beta[::-1], beta_dot[::-1]


def _singular_values(matrix: Tensor) -> Tensor:
    """Singular values, descending. Solvers on GPUs have failed silently: CheckError unless Σs² = ‖matrix‖_F²."""
    s = torch.linalg.svdvals(matrix)
    error = abs(float(torch.linalg.vector_norm(s) / torch.linalg.vector_norm(matrix)) - 1)
    if not error <= matrix.shape[1] * torch.finfo(matrix.dtype).eps:
        raise CheckError(
            f"the singular values and G differ in norm by {error:.1e}, expected round-off", Remedy.ON_CPU
        )
    return s


#: (layer from 1, neuron from 0) of each neuron.
Neurons = list[tuple[int, int]]


def stuck_neurons(theta: Tensor, x: Tensor, arch: Architecture) -> tuple[Neurons, Neurons]:
    """The ReLU neurons that at theta [Ñ] are active (z > 0) at no pattern of x [P, d], and those active at all patterns.

    Each is given as (layer, neuron), layers from 1 and neurons from 0. Both kinds lower the rank of G: f does not depend on
    the first, and the second are linear. Both lists are empty for other ρ.
    """
    if arch.activation != "relu":
        return [], []
    active = torch.zeros(arch.depth, arch.width, dtype=torch.long, device=x.device)
    for block in x.split(ACTIVITY_BLOCK_PATTERNS):
        z = forward(layers_of(theta, arch), block, arch).z[:-1]
        active += torch.stack([(layer > 0).sum(0) for layer in z])
    return _listed(active == 0), _listed(active == len(x))


def _listed(chosen: Tensor) -> Neurons:
    return [(layer + 1, neuron) for layer, neuron in chosen.nonzero().tolist()]
