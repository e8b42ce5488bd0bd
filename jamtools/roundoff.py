"""How far round-off can move what a network computes, at worst.

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

from jamtools.cusps.subgradient import Kinks
from jamtools.network.loss import Loss
from jamtools.network.roundoff import _sizes, operations


def force_errors(kinks: Kinks, multipliers: Tensor, loss: Loss, errors: Tensor) -> Tensor:
    """Bounds of the round-off in the forces u_i [n] of cusps; errors [p, C] are those of Δ at the kinks' patterns."""
    sizes = copy(kinks)
    sizes.layers = _sizes(kinks.layers)
    rounding = operations(kinks.arch) * torch.finfo(multipliers.dtype).eps
    sizes.signal = rounding * kinks.signal.abs() + loss.hinge_curvature * errors
    return torch.cat(sizes.forces(multipliers))
