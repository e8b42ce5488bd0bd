r"""The one gauge of a ReLU network in which no neuron's weights are out of proportion.

    (W_j)_n, (b_j)_n → s (W_j)_n, s (b_j)_n,      (W_{j+1})_·n → (W_{j+1})_·n / s,      s = 2^k,    z_n → s z_n

leaves f(x; W) as it is, to the last bit: products and sums of numbers times powers of two round alike. Here k is such
that what enters a neuron and what leaves it have norms within a factor of 2 of each other. Norms over all parameters, kicks
in all directions, and the rms of a layer's pre-activations mean something only then: they depend on the s, and f does not.
Likewise (W_{L+1}, b_{L+1}, ε) → (W_{L+1}, b_{L+1}, ε) / 2^k takes Δ → Δ / 2^k and L → L / 4^k, and ε into [½, 1).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from jamtools.loss import Loss
from jamtools.network import Architecture, layers_of


def balanced(theta: Tensor, arch: Architecture) -> tuple[Tensor, Tensor]:
    """The same network in that gauge [Ñ], and the s [L, h] of each neuron; theta itself and ones for a smooth ρ.

    A neuron with nothing that enters it, or nothing that leaves, stays as it is.
    """
    theta = theta.clone()
    scales = theta.new_ones(arch.depth, arch.width)
    moved = arch.activation == "relu"
    while moved:  # ends: a pass that moves a neuron lowers Σ ‖W‖² + ‖b‖², and there are finitely many powers
        moved = False
        for j in range(arch.depth):
            factors = _factors(theta, arch, j)
            moved |= bool((factors != 1).any())
            _rescale(theta, arch, j, factors)
            scales[j] *= factors
    return theta, scales


def normalised(theta: Tensor, arch: Architecture, loss: Loss) -> tuple[Tensor, Loss, float]:
    """theta [Ñ] and the hinge loss with an ε between ½ and 1, and the unit 2^k of Δ that they are in."""
    unit = 2.0 ** math.frexp(loss.epsilon)[1]
    theta = theta.clone()
    for tensor in layers_of(theta, arch)[-1]:
        tensor /= unit
    return theta, replace(loss, epsilon=loss.epsilon / unit), unit


def _factors(theta: Tensor, arch: Architecture, j: int) -> Tensor:
    """2^round(½ log₂(‖out‖/‖in‖)) of the neurons of hidden layer j (from 0) [h]."""
    layers = layers_of(theta, arch)
    into = torch.cat([layers[j][0], layers[j][1][:, None]], 1).norm(dim=1)
    out = layers[j + 1][0].norm(dim=0)
    ratio = torch.where((into > 0) & (out > 0), out / into, 1.0)
    return torch.exp2((0.5 * ratio.log2()).round())


def _rescale(theta: Tensor, arch: Architecture, j: int, factors: Tensor) -> None:
    layers = layers_of(theta, arch)
    layers[j][0].mul_(factors[:, None])
    layers[j][1].mul_(factors)
    layers[j + 1][0].div_(factors)
