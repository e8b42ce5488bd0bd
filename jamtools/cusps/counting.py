"""The number of cusps N_c: hidden pre-activations that sit at zero.

    N_c = #{(µ, j, n) : |z_jn(x_µ)| ≤ tolerance · rms(z_j)}

Source: arXiv:1809.09349, section V.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jamtools.network.passes import ForwardPass, backward, forward, layers_of
from jamtools.network.problem import Problem

#: The tolerances to choose from by default, in rms of the layer. A first-order run leaves its cusps within a few learning
#: rates of zero (Adam at 10⁻⁴: 10⁻⁵ to 3·10⁻⁴ rms; at 10⁻⁷: 10⁻⁹ to 10⁻⁶). No single tolerance would contain all cusps and
#: few of the smooth pre-activations.
CUSP_TOLERANCE_CHOICES = 10.0 ** (np.arange(-24, -11) / 4)

#: The smooth background is measured where |z| lies between these multiples of the tolerance. Larger |z| cannot be used,
#: because the density in the last layers of deep networks bends at 10⁻² rms.
BACKGROUND_TOLERANCES = (10**0.5, 10.0)

#: The largest number of patterns in one pass; it bounds the memory.
CUSP_BLOCK_PATTERNS = 4096


@dataclass(frozen=True)
class LayerCount:
    """The counts of one hidden layer (from 1), over n pairs (pattern, neuron).

    scale: rms of z; limit: the largest |z| that counts as zero; n_at_zero: pairs with |z| ≤ limit; background: how many of
    these the smooth density around zero explains; n_cusps: n_at_zero for ReLU, 0 for a ρ without a kink; n_with_gradient:
    the cusps at patterns with ∂L/∂f ≠ 0 (Δ > 0); n_convex: the cusps with gradient that have ∂L/∂ρ ≥ 0.
    """

    layer: int
    n: int
    scale: float
    limit: float
    n_at_zero: int
    background: float
    n_cusps: int
    n_with_gradient: int
    n_convex: int

    @property
    def n_without_gradient(self) -> int:
        return self.n_cusps - self.n_with_gradient


@dataclass(frozen=True)
class CuspCount:
    """N_c of a network over its training set, in total and by layer; tolerance: in rms of each layer."""

    tolerance: float
    per_layer: tuple[LayerCount, ...]

    @property
    def n_cusps(self) -> int:
        return sum(layer.n_cusps for layer in self.per_layer)

    @property
    def n_with_gradient(self) -> int:
        return sum(layer.n_with_gradient for layer in self.per_layer)

    @property
    def n_without_gradient(self) -> int:
        return self.n_cusps - self.n_with_gradient

    @property
    def n_convex(self) -> int:
        return sum(layer.n_convex for layer in self.per_layer)

    @property
    def background(self) -> float:
        """How many of the n_cusps a smooth density explains."""
        return sum(layer.background for layer in self.per_layer if layer.n_cusps)


def count(
    theta: Tensor, problem: Problem, tolerance: float | None = None, forward_pass: ForwardPass | None = None
) -> CuspCount:
    """The cusps of the network theta [Ñ] at the patterns of a problem.

    tolerance: in rms of each layer. By default it is the one of CUSP_TOLERANCE_CHOICES with most cusps above the smooth
    background. forward_pass: that of all patterns at theta, if the caller has it already. A smooth ρ has no cusps, but
    its pre-activations at zero are counted too (n_at_zero). Raises InputError with batch normalisation.
    """
    arch = problem.arch
    arch.require_plain()
    passes = _Blocks(theta, problem, forward_pass)
    scales = _scales(passes)
    tolerance = tolerance or _best_tolerance(passes, scales)
    limits = tolerance * scales
    tally = torch.zeros(arch.depth, 4, dtype=torch.long, device=theta.device)
    for block, y in passes:
        tally += _tally(passes, block, y, limits)
    per_layer = []
    for j, (at_zero, outside, with_gradient, convex) in enumerate(tally.tolist()):
        background = outside / (BACKGROUND_TOLERANCES[1] - BACKGROUND_TOLERANCES[0])
        kinks = (at_zero, with_gradient, convex) if arch.activation == "relu" else (0, 0, 0)
        sizes = (len(problem.x) * arch.width, float(scales[j]), float(limits[j]))
        per_layer.append(LayerCount(j + 1, *sizes, at_zero, background, *kinks))
    return CuspCount(tolerance, tuple(per_layer))


class _Blocks:
    """The forward passes of a problem, a block of patterns at a time, each with its labels [p, C].

    If there is only one block, it is computed once, or it is the given pass. Several blocks are computed again in each
    iteration, to bound the memory.
    """

    def __init__(self, theta: Tensor, problem: Problem, forward_pass: ForwardPass | None) -> None:
        self.problem, self.layers = problem, layers_of(theta, problem.arch)
        self._single = None
        if len(problem.x) <= CUSP_BLOCK_PATTERNS:
            self._single = forward_pass or forward(self.layers, problem.x, problem.arch)

    def __iter__(self) -> Iterator[tuple[ForwardPass, Tensor]]:
        problem = self.problem
        if self._single is not None:
            yield self._single, problem.y
            return
        for x, y in zip(
            problem.x.split(CUSP_BLOCK_PATTERNS), problem.y.split(CUSP_BLOCK_PATTERNS), strict=True
        ):
            yield forward(self.layers, x, problem.arch), y


def _scales(passes: _Blocks) -> Tensor:
    """The rms of the pre-activations of each hidden layer [L]."""
    x, arch = passes.problem.x, passes.problem.arch
    squares = torch.zeros(arch.depth, dtype=x.dtype, device=x.device)
    for block, _ in passes:
        squares += torch.stack([z.square().sum() for z in block.z[:-1]])
    return (squares / (len(x) * arch.width)).sqrt()


def _best_tolerance(passes: _Blocks, scales: Tensor) -> float:
    """The tolerance with the largest n - 2b: the cusps n - b minus the smooth background b that is counted with them."""
    edges = np.outer([1.0, *BACKGROUND_TOLERANCES], CUSP_TOLERANCE_CHOICES).ravel()
    within = torch.zeros(len(edges), dtype=torch.long, device=scales.device)
    for block, _ in passes:
        size = torch.stack(block.z[:-1]).abs()  # [L, p, h]
        within += torch.stack([(size <= edge * scales[:, None, None]).sum() for edge in edges])
    n, low, high = within.cpu().numpy().reshape(3, -1)
    background = (high - low) / (BACKGROUND_TOLERANCES[1] - BACKGROUND_TOLERANCES[0])
    return float(CUSP_TOLERANCE_CHOICES[np.argmax(n - 2 * background)])


def _tally(passes: _Blocks, block: ForwardPass, y: Tensor, limits: Tensor) -> Tensor:
    """Counts [L, 4] of pre-activations: at zero, in the background's range, at zero with gradient, these if convex."""
    layers, problem = passes.layers, passes.problem
    signal = problem.loss.slope(block.f, y)
    has_gradient = signal.ne(0).any(1, keepdim=True)
    beta = backward(layers, block, signal, problem.arch)
    rows = []
    for j, limit in enumerate(limits):
        size = block.z[j].abs()
        at_zero = size <= limit
        outside = (size > BACKGROUND_TOLERANCES[0] * limit) & (size <= BACKGROUND_TOLERANCES[1] * limit)
        convex = beta[j + 1] @ layers[j + 1][0] >= 0
        kinds = (at_zero, outside, at_zero & has_gradient, at_zero & has_gradient & convex)
        rows.append(torch.stack([kind.sum() for kind in kinds]))
    return torch.stack(rows)
