"""Bounds of the round-off in Δ and L, carried along with the forward pass.

    |δz_j| ≤ |W_j| |δa_{j-1}| + (fan-in_j + 2) eps (|W_j| |a_{j-1}| + |b_j|),        δa_0 = 0
    |δa_j| ≤ s_j |δz_j| + 2 eps |a_j|,        s_j = max |ρ'| on [z_j - |δz_j|, z_j + |δz_j|],        f = z_{L+1}

A sum of n products has an error of at most n eps times the sum of their sizes; the bias and ρ add one rounding each. s_j is
0 where a ReLU is off beyond doubt, and small where a tanh is saturated: a bound with |ρ'| ≤ 1 would grow with ‖W‖ there
although f does not.

Δ in longer floating-point numbers is for networks of fixed norm: there Δ vanishes towards jamming while f does not, and of
Δ = ε - y f double precision leaves a relative error of eps ε/Δ.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), sections 3.1 and 3.3 (running error analysis).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss
from jamtools.network.passes import Layers, layers_of
from jamtools.network.problem import Problem

#: ρ of each activation for numpy's floating-point numbers of any length.
LONG_ACTIVATIONS: dict[str, Callable[[NDArray[np.longdouble]], NDArray[np.longdouble]]] = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "linear": lambda z: z,
}

#: eps of the longest floating-point numbers of numpy: 1.1e-19 on most machines, and that of float64 on the others.
EXTENDED_EPS = float(np.finfo(np.longdouble).eps)


def extended_gaps(theta: Tensor, problem: Problem) -> Tensor:
    """Δ [P, C] at theta [Ñ], computed in the longest floating-point numbers of numpy and rounded to the dtype of theta."""
    a = problem.x.cpu().numpy().astype(np.longdouble)
    for layer, (weight, bias) in enumerate(layers_of(theta.cpu(), problem.arch)):
        if layer:
            a = LONG_ACTIVATIONS[problem.arch.activation](a)
        a = a @ weight.numpy().astype(np.longdouble).T + bias.numpy().astype(np.longdouble)
    gaps = np.longdouble(problem.loss.epsilon) - problem.y.cpu().numpy().astype(np.longdouble) * a
    return torch.from_numpy(gaps.astype(np.float64)).to(problem.x)


def operations(arch: Architecture) -> int:
    """k, the number of consecutive roundings from the input to f."""
    return sum(fan_in + 2 for _, fan_in in arch.shapes)


class Layer(NamedTuple):
    """A layer: its input a [P, in] and pre-activation z [P, out], with bounds of their errors."""

    a: Tensor
    a_error: Tensor
    z: Tensor
    z_error: Tensor


def layers_with_errors(
    theta: Tensor, problem: Problem, eps: float, x_error: Tensor | None = None
) -> list[Layer]:
    """The forward pass at theta [Ñ] with bounds of its round-off.

    eps: that of the arithmetic; x_error [P, d]: the error of the patterns, if they are not exact.
    """
    forward_pass = problem.forward(theta)
    layers: list[Layer] = []
    error = torch.zeros_like(problem.x) if x_error is None else x_error
    for (weight, bias), a, z in zip(
        absolute(layers_of(theta, problem.arch)), forward_pass.inputs, forward_pass.z, strict=True
    ):
        if layers:
            error = steepest_slope(layers[-1], problem.arch) * error + 2 * eps * a.abs()
        rounding = (weight.shape[1] + 2) * eps * torch.addmm(bias, a.abs(), weight.T)
        layers.append(Layer(a, error, z, error @ weight.T + rounding))
        error = layers[-1].z_error
    return layers


def steepest_slope(layer: Layer, arch: Architecture) -> Tensor:
    """The largest |ρ'| within the error of z [P, h]."""
    if arch.activation == "relu":
        return (layer.z > -layer.z_error).to(layer.z.dtype)
    nearest = (layer.z.abs() - layer.z_error).clamp(
        min=0
    )  # |ρ'| of the other activations does not rise with |z|
    return arch.rho.slope(nearest) + 2 * torch.finfo(layer.z.dtype).eps


def gap_errors(theta: Tensor, problem: Problem, eps: float | None = None) -> Tensor:
    """Bounds of the round-off in Δ [P, C] at theta [Ñ]; eps: that of the arithmetic, by default that of theta's dtype."""
    eps = eps or torch.finfo(theta.dtype).eps
    return errors_of_gaps(layers_with_errors(theta, problem, eps)[-1], problem.loss, eps)


def errors_of_gaps(output: Layer, loss: Loss, eps: float) -> Tensor:
    """Bounds of the round-off in Δ [P, C] from the output layer."""
    return output.z_error + 2 * eps * (abs(loss.epsilon) + output.z.abs())


def loss_error(gaps: Tensor, errors: Tensor, loss: Loss, eps: float | None = None) -> float:
    """A bound of the round-off in L, from Δ and its errors [P, C]: c Σ (Δ + ½ δ) δ, plus the round-off of the sum."""
    above = (gaps + errors).clamp(min=0)
    moved = (above * torch.minimum(errors, above)).sum()
    summed = gaps.numel() * (eps or torch.finfo(gaps.dtype).eps) * above.square().sum()
    return float(loss.hinge_curvature * (moved + summed))


def absolute(layers: Layers) -> Layers:
    """|W| [out, in] and |b| [out] of each layer."""
    return [(weight.abs(), bias.abs()) for weight, bias in layers]
