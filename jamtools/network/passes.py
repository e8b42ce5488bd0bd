"""The network f(x; W) on a flat parameter vector: forward pass, backward pass and gradient.

    z_1 = W_1 x + b_1,   z_j = W_j ρ(z_{j-1}) + b_j,   f = z_{L+1}           (L hidden layers of h neurons)

    β_{L+1} = ∂g/∂f,     β_j = ρ'(z_j) ∘ W_{j+1}ᵀ β_{j+1},     ∂g/∂W_j = β_j ⊗ ρ(z_{j-1}),   ∂g/∂b_j = β_j

theta contains, layer after layer, the weight [out, in] row-major and then the bias. The paper writes the bias with a minus
sign; the model is the same. ρ'(0) = 0 for ReLU. With batch normalisation (batch_norm.py) the gain and the shift of a hidden
layer follow its bias. A network without biases has b = 0, and theta the weights alone. L = 0: f = W_1 x + b_1.

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.network.activations import Activation
from jamtools.network.architecture import Architecture

#: (weight [out, in], bias [out]) of each layer.
Layers = list[tuple[Tensor, Tensor]]


def layers_of(theta: Tensor, arch: Architecture) -> Layers:
    """Views of theta [Ñ] as (weight [out, in], bias [out]) of each layer; a bias that theta lacks is a new zero."""
    layers, start = [], 0
    for j, (out, fan_in) in enumerate(arch.shapes):
        weight = theta[start : start + out * fan_in].view(out, fan_in)
        start += out * fan_in
        if not arch.bias:
            layers.append((weight, theta.new_zeros(out)))
            continue
        layers.append((weight, theta[start : start + out]))
        start += 3 * out if arch.normalised(j) else out
    return layers


@dataclass(frozen=True)
class ForwardPass:
    """A forward pass: inputs[j] [P, in] is the input of layer j and z[j] [P, out] its output; z[-1] is f [P, C].

    slopes [L][P, h]: if given, they replace ρ'(z) of each hidden layer.
    """

    inputs: list[Tensor]
    z: list[Tensor]
    slopes: list[Tensor] | None = None

    @property
    def f(self) -> Tensor:
        """The outputs [P, C]."""
        return self.z[-1]

    def take(self, patterns: Tensor) -> ForwardPass:
        """The same pass for some patterns alone: `patterns` is an index [p] or a boolean mask [P]."""
        slopes = None if self.slopes is None else [slope[patterns] for slope in self.slopes]
        return ForwardPass([a[patterns] for a in self.inputs], [z[patterns] for z in self.z], slopes)

    def slope(self, j: int, arch: Architecture) -> Tensor:
        """The slope of hidden layer j (from 0) [P, h]."""
        return arch.rho.slope(self.z[j]) if self.slopes is None else self.slopes[j]


def forward(
    layers: Layers, x: Tensor, arch: Architecture, rho: Sequence[Activation] | None = None
) -> ForwardPass:
    """The forward pass of x [P, d].

    rho: the activation of each hidden layer, if it is not that of the architecture. Raises InputError with batch
    normalisation; batch_norm.forward computes that pass.
    """
    arch.require_plain()
    inputs, z = [x], []
    for weight, bias in layers:
        z.append(torch.addmm(bias, inputs[-1], weight.T))
        if len(z) < len(layers):
            inputs.append((rho[len(z) - 1] if rho else arch.rho).value(z[-1]))
    slopes = [activation.slope(v) for activation, v in zip(rho, z)] if rho else None
    return ForwardPass(inputs, z, slopes)


def backward(layers: Layers, forward_pass: ForwardPass, signal: Tensor, arch: Architecture) -> list[Tensor]:
    """β_j [P, out] of every layer, from signal = ∂g/∂f [P, C] at the output."""
    beta = [signal]
    for j in range(len(layers) - 2, -1, -1):
        beta.append((beta[-1] @ layers[j + 1][0]) * forward_pass.slope(j, arch))
    return beta[::-1]


def gradient(beta: list[Tensor], forward_pass: ForwardPass, arch: Architecture) -> Tensor:
    """Σ_µ ∂g_µ/∂W [Ñ], from β_j [P, out] of every layer."""
    parts = []
    for b, a in zip(beta, forward_pass.inputs, strict=True):
        parts += [(b.T @ a).reshape(-1), b.sum(0)] if arch.bias else [(b.T @ a).reshape(-1)]
    return torch.cat(parts)


def gradient_rows(beta: list[Tensor], forward_pass: ForwardPass, arch: Architecture) -> Tensor:
    """∂g_µ/∂W [P, Ñ], one row for each pattern, from β_j [P, out] of every layer, or of the lowest layers alone."""
    parts = []
    for b, a in zip(beta, forward_pass.inputs, strict=True):
        weight = (b[:, :, None] * a[:, None, :]).flatten(1)
        parts += [weight, b] if arch.bias else [weight]
    return torch.cat(parts, dim=1)


def joined(layers: Iterable[Tensor], none: Tensor) -> Tensor:
    """The tensors of the hidden layers one after another; `none` [0, …] for a network without hidden layers."""
    parts = list(layers)
    return torch.cat(parts) if parts else none


def stacked(layers: Iterable[Tensor], like: Tensor, *shape: int) -> Tensor:
    """The tensors of the hidden layers, each of this shape, as one [L, *shape]; L = 0: empty, of the dtype of `like`."""
    parts = list(layers)
    return torch.stack(parts) if parts else like.new_zeros(0, *shape)
