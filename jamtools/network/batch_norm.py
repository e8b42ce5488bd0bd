"""The network with batch normalisation after each hidden linear layer, before ρ: forward pass and gradient.

    u_j = W_j ρ(z_{j-1}) + b_j,   û_j = (u_j - ⟨u_j⟩) / s_j,   s_j² = ⟨(u_j - ⟨u_j⟩)²⟩ + 10⁻⁵,   z_j = γ_j û_j + δ_j

    β_j = ∂g/∂z_j:   ∂g/∂γ_j = Σ β_j û_j,   ∂g/∂δ_j = Σ β_j,   ∂g/∂u_j = (γ_j / s_j) (β_j - ⟨β_j⟩ - û_j ⟨β_j û_j⟩)

⟨ ⟩ is the mean over the patterns of the batch. Each pattern acts on all others through this mean. Therefore the backward
pass takes all patterns, also those without loss. The mean contains b_j, hence ∂g/∂b_j = 0 exactly. The output layer is not
normalised. The 10⁻⁵ is that of torch's BatchNorm1d, with which the networks of the paper were trained. It is an absolute
number, but it is part of the model, and the gain of a neuron compensates it.

For each hidden layer theta contains the weight, the bias, the gain γ and the shift δ, in this order.

Source: Ioffe and Szegedy, arXiv:1502.03167.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.passes import layers_of

#: Added to the variance, in units of u²; the value of torch.
VARIANCE_EPSILON = 1e-5


@dataclass(frozen=True)
class NormalisedPass:
    """A forward pass with batch normalisation.

    inputs[j] [P, in]: the input of layer j; unit[j], z[j] [P, h]: û_j and z_j of hidden layer j; means[j], scales[j] [h]:
    ⟨u_j⟩ and s_j; f [P, C].
    """

    inputs: list[Tensor]
    unit: list[Tensor]
    z: list[Tensor]
    means: list[Tensor]
    scales: list[Tensor]
    f: Tensor


def norms_of(theta: Tensor, arch: Architecture) -> list[tuple[Tensor, Tensor]]:
    """Views of theta [Ñ] as (gain [h], shift [h]) of each hidden layer."""
    norms, start = [], 0
    for out, fan_in in arch.shapes[:-1]:
        start += out * (fan_in + 1)
        norms.append((theta[start : start + out], theta[start + out : start + 2 * out]))
        start += 2 * out
    return norms


def forward(
    theta: Tensor, x: Tensor, arch: Architecture, statistics: NormalisedPass | None = None
) -> NormalisedPass:
    """The pass of x [P, d] at theta [Ñ]; it is normalised by its own statistics, or by those of the pass `statistics`."""
    *hidden, (weight_out, bias_out) = layers_of(theta, arch)
    passed = NormalisedPass([x], [], [], [], [], x)
    for j, ((weight, bias), (gain, shift)) in enumerate(zip(hidden, norms_of(theta, arch), strict=True)):
        u = torch.addmm(bias, passed.inputs[-1], weight.T)
        if statistics is None:
            mean = u.mean(0)
            scale = (u - mean).square().mean(0).add(VARIANCE_EPSILON).sqrt()
        else:
            mean, scale = statistics.means[j], statistics.scales[j]
        passed.means.append(mean)
        passed.scales.append(scale)
        passed.unit.append((u - mean) / scale)
        passed.z.append(gain * passed.unit[-1] + shift)
        passed.inputs.append(arch.rho.value(passed.z[-1]))
    f = torch.addmm(bias_out, passed.inputs[-1], weight_out.T)
    return NormalisedPass(passed.inputs, passed.unit, passed.z, passed.means, passed.scales, f)


def gradient(theta: Tensor, forward_pass: NormalisedPass, signal: Tensor, arch: Architecture) -> Tensor:
    """∂g/∂theta [Ñ] at theta [Ñ] from signal = ∂g/∂f [P, C], for a pass normalised by its own statistics."""
    layers, norms = layers_of(theta, arch), norms_of(theta, arch)
    back, parts = signal, [(signal.T @ forward_pass.inputs[-1]).reshape(-1), signal.sum(0)]
    for j in range(arch.depth - 1, -1, -1):
        unit = forward_pass.unit[j]
        beta = (back @ layers[j + 1][0]) * arch.rho.slope(forward_pass.z[j])
        along = (beta * unit).mean(0)
        back = (norms[j][0] / forward_pass.scales[j]) * (beta - beta.mean(0) - unit * along)
        weight = (back.T @ forward_pass.inputs[j]).reshape(-1)
        parts = [weight, torch.zeros_like(along), along * len(unit), beta.sum(0), *parts]
    return torch.cat(parts)
