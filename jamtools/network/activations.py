"""The activations ρ(z), with the first two derivatives.

relu: ρ = max(0, z), ρ'(0) = 0;   tanh;   linear: ρ = z
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """ρ with its first two derivatives, all as functions of the pre-activation z."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _tanh_curvature(z: Tensor) -> Tensor:
    t = torch.tanh(z)
    return -2 * t * (1 - t.square())


ACTIVATIONS = {
    "relu": Activation(torch.relu, lambda z: (z > 0).to(z.dtype), torch.zeros_like),
    "tanh": Activation(torch.tanh, _tanh_slope, _tanh_curvature),
    "linear": Activation(lambda z: z, torch.ones_like, torch.zeros_like),
}
