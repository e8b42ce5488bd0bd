"""The activations ρ(z) with their first two derivatives.

    relu    ρ = max(0, z),   ρ'(z) = θ(z),          ρ'(0) = 0,   ρ'' = 0
    tanh    ρ = tanh z,      ρ' = 1 - tanh² z,      ρ'' = -2 tanh z (1 - tanh² z)
    linear  ρ = z,           ρ' = 1,                ρ'' = 0

Source: arXiv:1809.09349, section II.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """ρ, ρ' and ρ'' as functions of a tensor of pre-activations z; each returns a tensor of the same shape."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _tanh_curvature(z: Tensor) -> Tensor:
    t = torch.tanh(z)
    return -2 * t * (1 - t.square())


#: The activations by name; the names are in architecture.py, which does not import torch.
ACTIVATIONS = {
    "relu": Activation(torch.relu, lambda z: (z > 0).to(z.dtype), torch.zeros_like),
    "tanh": Activation(torch.tanh, _tanh_slope, _tanh_curvature),
    "linear": Activation(lambda z: z, torch.ones_like, torch.zeros_like),
}
