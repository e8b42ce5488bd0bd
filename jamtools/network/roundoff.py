"""Bounds of the round-off in Δ and L, carried along with the forward pass.

    |δz_j| ≤ |W_j| |δa_{j-1}| + (fan-in_j + 2) eps (|W_j| |a_{j-1}| + |b_j|),        δa_0 = 0
    |δa_j| ≤ s_j |δz_j| + 2 eps |a_j|,        s_j = max |ρ'| on [z_j - |δz_j|, z_j + |δz_j|],        f = z_{L+1}

A sum of n products has an error of at most n eps times the sum of their sizes; the bias and ρ add one rounding each. s_j is
0 where a ReLU is off beyond doubt, and small where a tanh is saturated: a bound with |ρ'| ≤ 1 would grow with ‖W‖ there
although f does not.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), sections 3.1 and 3.3 (running error analysis).
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
    eps = eps or torch.finfo(theta.dtype).eps
    forward_pass, layers = problem.forward(theta), layers_of(theta, problem.arch)
    error = torch.zeros_like(problem.x)
    for j, ((weight, bias), a) in enumerate(zip(absolute(layers), forward_pass.inputs, strict=True)):
        if j > 0:
            error = _steepest(forward_pass.z[j - 1], error, problem.arch) * error + 2 * eps * a.abs()
        size = torch.addmm(bias, a.abs(), weight.T)
        error = error @ weight.T + (weight.shape[1] + 2) * eps * size
    return error + 2 * eps * (problem.loss.epsilon + forward_pass.f.abs())


def _steepest(z: Tensor, error: Tensor, arch: Architecture) -> Tensor:
    """The largest |ρ'| within ± error of the pre-activations z [P, h]."""
    if arch.activation == "relu":
        return (z > -error).to(z.dtype)
    nearest = (z.abs() - error).clamp(min=0)  # |ρ'| of the other activations does not rise with |z|
    return arch.rho.slope(nearest) + 2 * torch.finfo(z.dtype).eps


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
