"""Bounds of the round-off in Δ and L; minima/first_order.py has their derivation.

    |δf| ≤ k eps F,     F = |W_{L+1}| (… |W_2| (|W_1| |x| + |b_1|) + |b_2| …) + |b_{L+1}|,      k = Σ_j (fan-in_j + 2)

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import Layers, layers_of
from jamtools.network.problem import Problem


def operations(arch: Architecture) -> int:
    """k, the number of consecutive roundings from the input to f."""
    return sum(fan_in + 2 for _, fan_in in arch.shapes)


def gap_errors(theta: Tensor, problem: Problem, eps: float | None = None) -> Tensor:
    """Bounds of the round-off in Δ [P, C] at theta [Ñ]; eps: that of the arithmetic, by default that of theta's dtype."""
    size = problem.x.abs()
    for weight, bias in absolute(layers_of(theta, problem.arch)):
        size = torch.addmm(bias, size, weight.T)
    eps = eps or torch.finfo(theta.dtype).eps
    return operations(problem.arch) * eps * (problem.loss.epsilon + size)


def loss_error(gaps: Tensor, errors: Tensor, loss: Loss) -> float:
    """A bound of the round-off in L, from Δ and its errors [P, C]: c Σ (Δ + ½ δ) δ, plus the round-off of the sum."""
    above = (gaps + errors).clamp(min=0)
    moved = loss.hinge_curvature * (above * torch.minimum(errors, above)).sum()
    return float(
        moved + gaps.numel() * torch.finfo(gaps.dtype).eps * loss.hinge_curvature * above.square().sum()
    )


def absolute(layers: Layers) -> Layers:
    """|W| [out, in] and |b| [out] of each layer."""
    return [(weight.abs(), bias.abs()) for weight, bias in layers]
