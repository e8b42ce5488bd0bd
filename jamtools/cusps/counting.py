"""The number of cusps N_c: hidden pre-activations that sit at zero.

    N_c = #{(µ, j, n) : |z_jn(x_µ)| ≤ tolerance · rms(z_j)}

Source: arXiv:1809.09349, section V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss, column
from jamtools.network.passes import Layers, backward, forward, layers_of

#: The tolerances to choose from, in rms of the layer, when the user names none. A first-order run leaves its cusps
#: within a few learning rates of zero (Adam at 10⁻⁴: 10⁻⁵ to 3·10⁻⁴ rms; brought down to 10⁻⁷: 10⁻⁹ to 10⁻⁶), so no
#: single value holds them all and little of the smooth rest.
TOLERANCES = 10.0 ** (np.arange(-24, -11) / 4)

#: The smooth background within the tolerance is read off |z| between these many tolerances. Not further out: the
#: last layers of deep networks have a density that bends at 10⁻² rms.
OUTSIDE = (10**0.5, 10.0)

#: Patterns in one pass: it bounds the memory.
PATTERNS = 4096


@dataclass(frozen=True)
class LayerCount:
    """One hidden layer (from 1), over n (pattern, neuron) pairs.

    scale: rms of z; limit: the largest |z| that counts as zero; n_at_zero: pairs within it, of which the
    smooth density around zero explains `background`; n_cusps: those pairs where ρ has a kink; n_with_gradient:
    at patterns with ∂L/∂f ≠ 0 (Δ > 0); n_convex: of these, with ∂L/∂ρ ≥ 0.
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
    """N_c of a network over its training set, in all and by layer; `tolerance` is relative to each layer's rms."""

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
        """How many of the n_cusps a smooth density would put within the tolerance."""
        return sum(layer.background for layer in self.per_layer if layer.n_cusps)


def count(
    theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, tolerance: float | None = None
) -> CuspCount:
    """The cusps of the network theta [Ñ] at the patterns x [P, d] with labels y [P] or [P, C].

    tolerance: in rms of each layer; by default the one of TOLERANCES that holds most above the smooth
    background. A smooth ρ has no cusps, but its pre-activations at zero are counted as well (n_at_zero).
    """
    arch.require_plain()
    layers = layers_of(theta, arch)
    scales = _scales(layers, x, arch)
    tolerance = tolerance or _best_tolerance(layers, x, arch, scales)
    limits = tolerance * scales
    tally = torch.zeros(arch.depth, 4, dtype=torch.long, device=x.device)
    for x_part, y_part in zip(x.split(PATTERNS), column(y).split(PATTERNS), strict=True):
        tally += _tally(layers, x_part, y_part, arch, loss, limits)
    per_layer = []
    for j, (at_zero, outside, with_gradient, convex) in enumerate(tally.tolist()):
        background = outside / (OUTSIDE[1] - OUTSIDE[0])
        kinks = (at_zero, with_gradient, convex) if arch.activation == "relu" else (0, 0, 0)
        sizes = (len(x) * arch.width, float(scales[j]), float(limits[j]))
        per_layer.append(LayerCount(j + 1, *sizes, at_zero, background, *kinks))
    return CuspCount(tolerance, tuple(per_layer))


def _scales(layers: Layers, x: Tensor, arch: Architecture) -> Tensor:
    """The rms of the pre-activations of each hidden layer [L]."""
    squares = torch.zeros(arch.depth, dtype=x.dtype, device=x.device)
    for part in x.split(PATTERNS):
        squares += torch.stack([z.square().sum() for z in forward(layers, part, arch).z[:-1]])
    return (squares / (len(x) * arch.width)).sqrt()


def _best_tolerance(layers: Layers, x: Tensor, arch: Architecture, scales: Tensor) -> float:
    """The tolerance of the most cusps n - b less the smooth background b taken for cusps."""
    edges = np.outer([1.0, *OUTSIDE], TOLERANCES).ravel()
    within = torch.zeros(len(edges), dtype=torch.long, device=x.device)
    for part in x.split(PATTERNS):
        size = torch.stack(forward(layers, part, arch).z[:-1]).abs()  # [L, p, h]
        within += torch.stack([(size <= edge * scales[:, None, None]).sum() for edge in edges])
    n, low, high = within.cpu().numpy().reshape(3, -1)
    background = (high - low) / (OUTSIDE[1] - OUTSIDE[0])
    return float(TOLERANCES[np.argmax(n - 2 * background)])


def _tally(layers: Layers, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, limits: Tensor) -> Tensor:
    """[L, 4]: pre-activations at zero, between the OUTSIDE limits, at zero with gradient, and convex ones."""
    state = forward(layers, x, arch)
    signal = loss.slope(state.f, y)
    has_gradient = signal.ne(0).any(1, keepdim=True)
    beta = backward(layers, state, signal, arch)
    rows = []
    for j, limit in enumerate(limits):
        size = state.z[j].abs()
        at_zero = size <= limit
        outside = (size > OUTSIDE[0] * limit) & (size <= OUTSIDE[1] * limit)
        convex = beta[j + 1] @ layers[j + 1][0] >= 0
        kinds = (at_zero, outside, at_zero & has_gradient, at_zero & has_gradient & convex)
        rows.append(torch.stack([kind.sum() for kind in kinds]))
    return torch.stack(rows)
