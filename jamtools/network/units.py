"""The units of a problem: those in which its inputs have a mean square of 1 and its margin is ½.

    x = s x',    ε = u ε',    ε' = ½:        W_1 = W_1' / s,      (W_{L+1}, b_{L+1}) = u (W_{L+1}', b_{L+1}')
    ⟨x'²⟩ = 1:   f = u f',   Δ = u Δ',   L = u² L'

A descent in these units is the same for all scales of x and of ε. Batch normalisation is not covered.
Source: none, own definition; arXiv:1809.09349, section II, for the freedom to choose ε.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jamtools.network.architecture import Architecture
from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem

#: The margin in the units of a descent.
UNIT_MARGIN = 0.5

#: A mean square of x this close to 1 counts as 1, so that patterns on the unit sphere keep their last bits.
UNIT_SCALE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Units:
    """s and u of the head of the module, for an architecture."""

    arch: Architecture
    input_scale: float
    margin_scale: float

    @classmethod
    def of(cls, problem: Problem) -> Units:
        """The units of a problem of the hinge loss with ε > 0; inputs that are all zero keep their scale.

        At fixed norm no parameter may be scaled, and the units are those of the problem.
        """
        if problem.arch.norm is not None:
            return cls(problem.arch, 1.0, 1.0)
        largest = float(problem.x.abs().max()) if problem.x.numel() else 0.0
        scale = largest * float((problem.x / largest).square().mean().sqrt()) if largest > 0 else 1.0
        scale = 1.0 if abs(scale - 1) <= UNIT_SCALE_TOLERANCE else scale
        return cls(problem.arch, scale, problem.loss.epsilon / UNIT_MARGIN)

    def problem(self, problem: Problem) -> Problem:
        """The problem in these units."""
        if self.arch.norm is not None:
            return problem
        loss = replace(problem.loss, epsilon=UNIT_MARGIN)
        return replace(problem, x=problem.x / self.input_scale, loss=loss)

    def inside(self, theta: Tensor) -> Tensor:
        """theta [Ñ] of the problem in these units."""
        return self._scaled(theta, self.input_scale, 1 / self.margin_scale)

    def outside(self, theta: Tensor) -> Tensor:
        """theta [Ñ] of the problem itself, from that in these units."""
        return self._scaled(theta, 1 / self.input_scale, self.margin_scale)

    def _scaled(self, theta: Tensor, first: float, last: float) -> Tensor:
        theta = theta.clone(memory_format=torch.contiguous_format)
        layers = layers_of(theta, self.arch)
        layers[0][0].mul_(first)
        for part in layers[-1]:
            part.mul_(last)
        return theta
