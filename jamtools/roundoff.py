r"""How far round-off can move what a network computes, at worst.

    |δf| ≤ k eps F,     F = |W_{L+1}| (… |W_2| (|W_1| |x| + |b_1|) + |b_2| …) + |b_{L+1}|,      k = Σ_j (fan-in_j + 2)

since |ρ(z)| ≤ |z| and |ρ'| ≤ 1: each sum of n products is off by n eps of the sum of their sizes, and 2 are for the bias and
ρ. The same holds on the way back. A sign counts where the number is larger than this, and a loss is lower than another by
more than this or not at all.
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1.
"""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from jamtools.cusps import Kinks
from jamtools.loss import Loss
from jamtools.network import Architecture, Layers, layers_of


def operations(arch: Architecture) -> int:
    """k: roundings in a row from the input to f."""
    return sum(fan_in + 2 for _, fan_in in arch.shapes)


def gap_errors(theta: Tensor, x: Tensor, arch: Architecture, loss: Loss, eps: float | None = None) -> Tensor:
    """Bounds of the round-off in Δ [P, C], at theta [Ñ] and x [P, d]; eps: by default that of theta's own type."""
    size = x.abs()
    for weight, bias in _sizes(layers_of(theta, arch)):
        size = torch.addmm(bias, size, weight.T)
    return operations(arch) * (eps or torch.finfo(theta.dtype).eps) * (loss.epsilon + size)


def loss_error(gaps: Tensor, errors: Tensor, loss: Loss) -> float:
    """A bound of the round-off in L, from Δ and its errors [P, C]: c Σ (Δ + ½ δ) δ, and that of the sum."""
    above = (gaps + errors).clamp(min=0)
    moved = loss.hinge_curvature * (above * torch.minimum(errors, above)).sum()
    return float(
        moved + gaps.numel() * torch.finfo(gaps.dtype).eps * loss.hinge_curvature * above.square().sum()
    )


def force_errors(kinks: Kinks, multipliers: Tensor, loss: Loss, errors: Tensor) -> Tensor:
    """Bounds of the round-off in the forces u_i [n] of cusps; errors [p, C] are those of Δ at the kinks' patterns."""
    sizes = copy(kinks)
    sizes.layers = _sizes(kinks.layers)
    rounding = operations(kinks.arch) * torch.finfo(multipliers.dtype).eps
    sizes.signal = rounding * kinks.signal.abs() + loss.hinge_curvature * errors
    return torch.cat(sizes.forces(multipliers))


def _sizes(layers: Layers) -> Layers:
    return [(weight.abs(), bias.abs()) for weight, bias in layers]
