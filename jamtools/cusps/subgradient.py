"""Cusps: pre-activations that sit at zero, and the smallest gradient they allow.

    N_c = #{(µ, j, n): z_{jn}(x_µ) = 0},  read as |z_{jn}(x_µ)| ≤ τ s_j,   s_j² = ⟨z_{jn}(x_µ)²⟩_{µ,n}

A minimum of the loss of a ReLU network sits on cusps, and there the gradient is a set:

    g(λ) = Σ_µ β_j ⊗ a_{j-1},   β_j = σ_j ∘ u_j,   u_j = W_{j+1}ᵀ β_{j+1} = ∂L/∂ρ(z_j),
    σ = θ(z) off the cusps, σ = λ ∈ [0, 1] on them;   ∂g/∂λ_i = u_i ∂z_i/∂W

min_λ ‖g(λ)‖ is 0 where ‖∇L‖, taken with ρ'(0) = 0, is not. A cusp with u_i ≥ 0 is convex: L has a kink like |z|.
g is multilinear in λ, and linear while a pattern has cusps in one layer only.
Source: arXiv:1809.09349, section III and figure 12; F. H. Clarke, Optimization and Nonsmooth Analysis (1983).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.cusps.counting import CuspCount
from jamtools.errors import InputError
from jamtools.linalg.bounded_least_squares import box_least_squares
from jamtools.network.architecture import Architecture
from jamtools.network.loss import Loss, column
from jamtools.network.passes import Layers, State, backward, forward, gradient, gradient_rows, layers_of

#: Cusps times parameters, the size of a dense least-squares problem that is still solved: 1.6 GB.
LARGEST = 2e8

#: Linearisations of g(λ) at most; one is exact while a pattern has cusps in one layer only.
LINEARISATIONS = 50

#: A linearisation that shortens g by less than this part of it was the last.
LITTLE = 1e-6

#: A multiplier this close to 0 or 1 has reached it.
AT_BOUND = 1e-6


@dataclass(frozen=True)
class Clarke:
    """The smallest element of the Clarke subdifferential of the loss over its cusps.

    norm: its length; gradient_norm: ‖∇L‖ with ρ' = θ(z); multipliers [cusps with gradient], layer after
    layer and pattern after pattern; converged: the last linearisation brought nothing.
    """

    norm: float
    gradient_norm: float
    multipliers: NDArray[np.float64]
    converged: bool

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The multipliers strictly between 0 and 1: their cusps hold a direction with force to spare."""
        return (self.multipliers > AT_BOUND) & (self.multipliers < 1 - AT_BOUND)

    @property
    def n_inside(self) -> int:
        return int(self.inside.sum())


def clarke(theta: Tensor, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, cusps: CuspCount) -> Clarke:
    """min_{λ ∈ [0,1]} ‖g(λ)‖ over the cusps with gradient that `cusps` counted.

    Where a pattern has cusps in several layers the minimum is a local one, the better of two starts. For a
    smooth ρ it is the norm of the gradient. Raises InputError when there are too many cusps for it.
    """
    size = cusps.n_with_gradient * arch.n_parameters
    if size > LARGEST:
        raise InputError(
            f"{cusps.n_with_gradient} cusps times {arch.n_parameters} parameters, expected at most "
            f"{LARGEST:.0e} in all; lower --tolerance"
        )
    kinks = Kinks(layers_of(theta, arch), x, column(y), arch, loss, cusps)
    plain = float(kinks.gradient(kinks.signs).norm())
    if not len(kinks.signs):
        return Clarke(plain, plain, np.zeros(0), True)
    norm, multipliers, converged = _descend(kinks, torch.full_like(kinks.signs, 0.5))
    # where a first minimum is zero to round-off there is no better one
    if not kinks.linear and norm > arch.n_parameters * torch.finfo(theta.dtype).eps * plain:
        norm, multipliers, converged = min(
            (norm, multipliers, converged), _descend(kinks, kinks.signs), key=lambda end: end[0]
        )
    return Clarke(norm, plain, multipliers.cpu().numpy(), converged)


class Kinks:
    """The gradient of the loss as a function of the multipliers λ [n] of its cusps with gradient.

    patterns [m]: those that have gradient; state, y, signal: their pass, labels and ∂L/∂f; at: per layer the
    (pattern among these, neuron) of each cusp; signs [n]: the slopes θ(z) that a cusp has where it lies.
    """

    def __init__(
        self, layers: Layers, x: Tensor, y: Tensor, arch: Architecture, loss: Loss, cusps: CuspCount
    ) -> None:
        state = forward(layers, x, arch)
        signal = loss.slope(state.f, y)
        active = signal.ne(0).any(1)
        self.arch, self.layers = arch, layers
        self.patterns = active.nonzero()[:, 0]
        self.state, self.y, self.signal = state.take(active), y[active], signal[active]
        z = self.state.z[:-1]
        self.slopes = [arch.rho.slope(layer) for layer in z]
        limits = [layer.limit if layer.n_cusps else -1.0 for layer in cusps.per_layer]
        self.at = [
            (layer.abs() <= limit).nonzero(as_tuple=True) for layer, limit in zip(z, limits, strict=True)
        ]
        self.signs = torch.cat([slope[at] for slope, at in zip(self.slopes, self.at, strict=True)])

    def only(self, keep: Tensor) -> Kinks:
        """The same with some of the cusps [n] for smooth."""
        fewer = copy(self)
        parts = keep.split([len(at[0]) for at in self.at])
        fewer.at = [(p[part], n[part]) for (p, n), part in zip(self.at, parts, strict=True)]
        fewer.signs = self.signs[keep]
        return fewer

    @property
    def linear(self) -> bool:
        """True when no pattern has cusps in more than one layer."""
        layers = torch.cat([patterns.unique() for patterns, _ in self.at])
        return len(layers.unique()) == len(layers)

    def moved(self, multipliers: Tensor) -> State:
        """The pass with the slopes σ: the multipliers on the cusps, θ(z) off them."""
        parts = multipliers.split([len(at[0]) for at in self.at])
        slopes = [slope.index_put(*put) for slope, *put in zip(self.slopes, self.at, parts, strict=True)]
        return replace(self.state, slopes=slopes)

    def gradient(self, multipliers: Tensor) -> Tensor:
        """g(λ) [Ñ]."""
        return gradient(backward(self.layers, self.moved(multipliers), self.signal, self.arch), self.state)

    def forces(self, multipliers: Tensor) -> list[Tensor]:
        """u_i = ∂L/∂ρ(z_i) of the cusps of each layer."""
        beta = backward(self.layers, self.moved(multipliers), self.signal, self.arch)
        upper = zip(beta[1:], self.layers[1:], strict=True)
        return [(b @ weight)[at] for at, (b, (weight, _)) in zip(self.at, upper, strict=True)]

    def jacobian(self, multipliers: Tensor) -> Tensor:
        """∂g/∂λ [n, Ñ], a row a cusp: u_i ∂z_i/∂W with the other multipliers as they are."""
        state, rows = self.moved(multipliers), []
        for j, ((patterns, neurons), u) in enumerate(zip(self.at, self.forces(multipliers), strict=True)):
            signal = u.new_zeros(len(u), self.arch.width).scatter(1, neurons[:, None], u[:, None])
            here = state.take(patterns)
            below = backward(self.layers[: j + 1], here, signal, self.arch)
            part = gradient_rows(below, State(here.inputs[: j + 1], []))
            rows.append(torch.nn.functional.pad(part, (0, self.arch.n_parameters - part.shape[1])))
        return torch.cat(rows)


def _descend(kinks: Kinks, multipliers: Tensor) -> tuple[float, Tensor, bool]:
    """‖g‖, λ and whether it converged, from one start: box-constrained least squares on g's linearisation."""
    g = kinks.gradient(multipliers)
    for _ in range(LINEARISATIONS):
        jacobian = kinks.jacobian(multipliers)
        step = box_least_squares(jacobian, jacobian.T @ multipliers - g) - multipliers
        for halving in range(30):
            trial = multipliers + 0.5**halving * step
            g_trial = kinks.gradient(trial)
            if g_trial.norm() < g.norm():
                break
        else:
            return float(g.norm()), multipliers, True
        gain = 1 - float(g_trial.norm() / g.norm())
        multipliers, g = trial, g_trial
        if gain < LITTLE or kinks.linear:
            return float(g.norm()), multipliers, True
    return float(g.norm()), multipliers, False
