"""Saturated neurons: hidden neurons of a tanh network whose slope vanishes at every pattern that is not fitted.

    saturated_n = [ρ'(z_n(µ)) ≤ 10⁻⁵ for every unfitted µ],        limit network: sign(z_n) in the place of tanh(z_n)

When the weights and the bias of such a neuron grow by a factor s, its share of L tends to that of the limit network like
e^{-2s|z|}. If the loss L_∞ of the limit network is below L, the descent along s has no minimum: L_∞ is an infimum that no
theta attains. L_∞ is the loss of the unfitted patterns. The others stay fitted: often some of them lie on the slope of the
neuron, as contacts, and the weights grow around them.

Source: none, own derivation above.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jamtools.network.passes import layers_of
from jamtools.network.problem import Problem

#: The largest slope ρ' of a saturated neuron: |z| ≥ 6.4.
SATURATED_NEURON_SLOPE = 1e-5


def saturated_neurons(theta: Tensor, problem: Problem, unfitted: Tensor) -> Tensor:
    """Which hidden neurons [L, h] are saturated at theta [Ñ]; unfitted [P] booleans.

    None are where ρ is not tanh, or with batch normalisation.
    """
    arch = problem.arch
    if arch.activation != "tanh" or arch.batch_norm or not bool(unfitted.any()):
        return torch.zeros(arch.depth, arch.width, dtype=torch.bool, device=theta.device)
    slope = arch.rho.slope
    hidden = problem.take(unfitted).hidden(theta)
    return torch.stack([(slope(z) <= SATURATED_NEURON_SLOPE).all(0) for z in hidden])


def limit_loss(theta: Tensor, problem: Problem, saturated: Tensor) -> float:
    """L_∞ at theta [Ñ]: the loss with the sign in the place of tanh at the `saturated` neurons [L, h].

    problem: that of the unfitted patterns alone.
    """
    a, layers = problem.x, layers_of(theta, problem.arch)
    for (weight, bias), at in zip(layers[:-1], saturated, strict=True):
        z = torch.addmm(bias, a, weight.T)
        a = torch.where(at, torch.sign(z), torch.tanh(z))
    weight, bias = layers[-1]
    return float(problem.loss.value(torch.addmm(bias, a, weight.T), problem.y))
