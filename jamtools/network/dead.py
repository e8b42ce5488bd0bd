"""Dead patterns: those that a layer does not pass on.

    dead_j(µ) = [ρ'(z_jn(µ)) = 0 for every neuron n of layer j],        dead(µ) = ∨_j dead_j(µ)

The layers below j have no gradient at such a pattern, and f is one constant at all patterns that are dead in layer j. For
ReLU a neuron is active where z > 0. For tanh the slope is zero only where it rounds to zero.

Source: arXiv:1809.09349, appendix A.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jamtools.network.passes import stacked
from jamtools.network.problem import Problem


def dead_by_layer(theta: Tensor, problem: Problem) -> Tensor:
    """Which patterns each hidden layer does not pass on, [L, P] booleans, at theta [Ñ]; also with batch normalisation."""
    slope = problem.arch.rho.slope
    dead = [~slope(z).ne(0).any(1) for z in problem.hidden(theta)]
    return stacked(dead, problem.x.new_zeros(0, dtype=torch.bool), len(problem.x))
