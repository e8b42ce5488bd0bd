"""The gradient of the loss on cusps, as a function of their multipliers, and its smallest value.

    cusps: the (µ, j, n) with z_jn(x_µ) = 0,  read as |z_jn(x_µ)| ≤ τ s_jn     (counting.py)

A minimum of the loss of a ReLU network sits on cusps, and there the gradient is a set:

    g(λ) = Σ_µ β_j ⊗ a_{j-1},   β_j = σ_j ∘ u_j,   u_j = W_{j+1}ᵀ β_{j+1} = ∂L/∂ρ(z_j),
    σ = θ(z) off the cusps, σ = λ ∈ [0, 1] on them;   ∂g/∂λ_i = u_i ∂z_i/∂W

At a minimum min_λ ‖g(λ)‖ = 0, while ‖∇L‖ with ρ'(0) = 0 does not vanish. A cusp with u_i ≥ 0 is convex: L has a kink like
|z|. g is multilinear in λ; it is linear if each pattern has cusps in one layer only.

Patterns with the same x have the same z: their cusps are one kink of L, with one multiplier and the force Σ u_i. With
opposite labels the u_i have opposite signs, and only their sum says whether the kink is convex. So it is for the patterns
that are dead in one layer: above it they have the same z, that of the biases.

At fixed norm all vectors are those on the tangent space of the sphere (network/sphere.py).
Source: arXiv:1809.09349, section III and figure 12; F. H. Clarke, Optimization and Nonsmooth Analysis (1983).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jamtools.cusps.counting import CuspCount, reached_from_below
from jamtools.errors import InputError, Remedy
from jamtools.linalg.bounded_least_squares import box_least_squares
from jamtools.network.passes import ForwardPass, Layers, backward, gradient, gradient_rows, joined, layers_of
from jamtools.network.problem import Problem
from jamtools.network.sphere import norm_multiplier, tangent

#: The largest dense least-squares problem that is solved, in numbers (cusps times parameters): 1.6 GB.
LEAST_SQUARES_MAX_NUMBERS = 2e8

#: The largest number of linearisations of g(λ); one is exact if each pattern has cusps in one layer only.
SUBGRADIENT_MAX_LINEARISATIONS = 50

#: The minimisation ends when a linearisation reduces ‖g‖ by less than this part of it.
SUBGRADIENT_MIN_DECREASE = 1e-6

#: The largest number of halvings of a step in λ that does not shorten g.
SUBGRADIENT_MAX_HALVINGS = 30

#: A multiplier this close to 0 or 1 counts as being there.
MULTIPLIER_BOUND_DISTANCE = 1e-6


@dataclass(frozen=True)
class SmallestSubgradient:
    """The smallest element of the Clarke subdifferential of the loss over its cusps.

    norm: ‖g(λ)‖; gradient_norm: ‖∇L‖ with ρ' = θ(z); multipliers λ [n] of the cusps with gradient, layer after
    layer and pattern after pattern; converged: whether the last linearisation brought no further decrease.
    """

    norm: float
    gradient_norm: float
    multipliers: NDArray[np.float64]
    converged: bool

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which multipliers [n] lie strictly between 0 and 1: at these cusps L rises at first order on both sides."""
        return (self.multipliers > MULTIPLIER_BOUND_DISTANCE) & (
            self.multipliers < 1 - MULTIPLIER_BOUND_DISTANCE
        )

    @property
    def n_inside(self) -> int:
        """The number of multipliers strictly between 0 and 1."""
        return int(self.inside.sum())


def smallest_subgradient(cusps: CuspGradient) -> SmallestSubgradient:
    """min_{λ ∈ [0,1]} ‖g(λ)‖ over the cusps with gradient.

    Where a pattern has cusps in several layers, the result is a local minimum: the lower of those from two starts. Without
    cusps it is the norm of the gradient. Raises InputError when there are too many cusps for dense least squares.
    """
    n_parameters = len(cusps.theta)
    if len(cusps.signs) * n_parameters > LEAST_SQUARES_MAX_NUMBERS:
        raise InputError(
            f"{len(cusps.signs)} cusps times {n_parameters} parameters, "
            f"expected at most {LEAST_SQUARES_MAX_NUMBERS:.0e} in all",
            Remedy.LOWER_TOLERANCE,
        )
    plain = float(cusps.gradient(cusps.signs).norm())
    if not len(cusps.signs):
        return SmallestSubgradient(plain, plain, np.zeros(0), True)
    norm, multipliers, converged = _descend(cusps, torch.full_like(cusps.signs, 0.5))
    # a first minimum that is zero to round-off cannot be improved
    if not cusps.linear and norm > n_parameters * torch.finfo(cusps.theta.dtype).eps * plain:
        norm, multipliers, converged = min(
            (norm, multipliers, converged), _descend(cusps, cusps.signs), key=lambda end: end[0]
        )
    shared = cusps.shared(multipliers).clamp(0, 1)
    if not torch.equal(shared, multipliers):
        norm, multipliers = float(cusps.gradient(shared).norm()), shared
    return SmallestSubgradient(norm, plain, multipliers.cpu().numpy(), converged)


class CuspGradient:
    """g(λ) at theta [Ñ]: the gradient of the loss as a function of the multipliers λ [n] of its cusps with gradient.

    patterns [m]: the indices of the patterns with gradient; forward_pass, active, signal [m, C]: their forward pass, their
    problem and ∂L/∂f; at: for each hidden layer the (pattern among these [k], neuron [k]) of each cusp; signs [n]: the slope
    θ(z) of the side of zero on which each cusp lies; counted, scales [L][h]: the count, and the scale of each neuron.
    """

    def __init__(
        self, theta: Tensor, problem: Problem, counted: CuspCount, forward_pass: ForwardPass | None = None
    ) -> None:
        """Takes the cusps of `counted` at theta [Ñ]; forward_pass: that of all patterns, if the caller has it already."""
        forward_pass = forward_pass or problem.forward(theta)
        signal = problem.loss.slope(forward_pass.f, problem.y)
        with_gradient = signal.ne(0).any(1)
        self.theta, self.layers, self.arch = theta, layers_of(theta, problem.arch), problem.arch
        self.patterns = with_gradient.nonzero()[:, 0]
        self.forward_pass, self.signal = forward_pass.take(with_gradient), signal[with_gradient]
        self.active = replace(problem, x=self.forward_pass.inputs[0], y=problem.y[with_gradient])
        z = self.forward_pass.z[:-1]
        self.slopes = [self.arch.rho.slope(layer) for layer in z]
        self.counted, self.scales = counted, [theta.new_tensor(layer.scales) for layer in counted.per_layer]
        kinked = self.arch.activation == "relu"
        limits = [counted.tolerance * scale for scale in self.scales]
        moving = reached_from_below(self.forward_pass, limits, self.arch)
        self.at = [
            (kinked & moves & (layer.abs() <= limit)).nonzero(as_tuple=True)
            for layer, limit, moves in zip(z, limits, moving, strict=True)
        ]
        signs = [slope[at] for slope, at in zip(self.slopes, self.at, strict=True)]
        self.signs = joined(signs, theta[:0])

    @property
    def z(self) -> Tensor:
        """The pre-activation of each cusp [n]."""
        return joined([layer[at] for layer, at in zip(self.forward_pass.z, self.at)], self.theta[:0])

    def only(self, keep: Tensor, multipliers: Tensor | None = None) -> CuspGradient:
        """The same function with only the cusps to `keep` ([n] booleans); the others count as smooth.

        multipliers [n]: the slopes of the others, if they are not those of the sides on which they lie.
        """
        fewer = copy(self)
        if multipliers is not None:
            fewer.slopes = self.with_multipliers(multipliers).slopes or []
        parts = keep.split([len(at[0]) for at in self.at])
        fewer.at = [(p[part], n[part]) for (p, n), part in zip(self.at, parts, strict=True)]
        fewer.signs = self.signs[keep]
        return fewer

    def wider(self, n: int) -> CuspGradient:
        """The same function where also the n pre-activations next to zero, in scales of their neurons, count as cusps."""
        if not self.at:
            return self
        z, wider = self.forward_pass.z[:-1], copy(self)
        size = torch.stack([a.abs() / torch.where(scale > 0, scale, 1.0) for a, scale in zip(z, self.scales)])
        for layer, at in zip(size, self.at):
            layer[at] = 0.0
        n_most = min(n + len(self.signs), size.numel())
        near = size <= size.flatten().kthvalue(n_most).values
        wider.at = [layer.nonzero(as_tuple=True) for layer in near]
        wider.signs = torch.cat([slope[at] for slope, at in zip(self.slopes, wider.at, strict=True)])
        return wider

    def is_in(self, other: CuspGradient) -> Tensor:
        """Which cusps [n] are also those of the same function with other cusps."""
        marks = []
        for a, at, theirs in zip(self.forward_pass.z, self.at, other.at):
            mark = torch.zeros_like(a, dtype=torch.bool)
            mark[theirs] = True
            marks.append(mark[at])
        return joined(marks, self.patterns.new_zeros(0, dtype=torch.bool))

    def in_gauge(self, theta: Tensor, problem: Problem, factors: Tensor) -> CuspGradient:
        """The same cusps of the same function in another gauge, which multiplied the neurons by `factors` [L, h]."""
        moved = copy(self)
        moved.theta, moved.layers = theta, layers_of(theta, self.arch)
        moved.active = problem.take(self.patterns)
        moved.forward_pass = moved.active.forward(theta)
        moved.signal = problem.loss.slope(moved.forward_pass.f, moved.active.y)
        moved.scales = [scale * factor for scale, factor in zip(self.scales, factors, strict=True)]
        return moved

    def moved_to(self, theta: Tensor, forward_pass: ForwardPass) -> CuspGradient:
        """The same cusps at another theta [Ñ], where the pass of the patterns with gradient is `forward_pass`.

        The patterns with gradient stay the same, also where Δ has changed its sign, and so do the slopes of a ReLU.
        """
        moved, active = copy(self), self.active
        moved.theta, moved.layers, moved.forward_pass = theta, layers_of(theta, self.arch), forward_pass
        slope = -active.loss.hinge_curvature * active.y * active.loss.gaps(forward_pass.f, active.y)
        moved.signal = torch.where(self.signal != 0, slope, 0.0)
        if self.arch.activation != "relu":
            moved.slopes = [self.arch.rho.slope(z) for z in forward_pass.z[:-1]]
        return moved

    @property
    def linear(self) -> bool:
        """True when no pattern has cusps in more than one layer."""
        layers = joined([patterns.unique() for patterns, _ in self.at], self.patterns[:0])
        return len(layers.unique()) == len(layers)

    def with_multipliers(self, multipliers: Tensor) -> ForwardPass:
        """The forward pass with the slopes σ: the multipliers [n] on the cusps, θ(z) off them."""
        parts = multipliers.split([len(at[0]) for at in self.at])
        slopes = [slope.index_put(*put) for slope, *put in zip(self.slopes, self.at, parts, strict=True)]
        return replace(self.forward_pass, slopes=slopes)

    def gradient(self, multipliers: Tensor) -> Tensor:
        """g(λ) [Ñ] at the multipliers λ [n]; at fixed norm its part tangent to the sphere."""
        return self._tangent(self._free_gradient(multipliers))

    def _free_gradient(self, multipliers: Tensor) -> Tensor:
        """g(λ) [Ñ] of free weights."""
        return gradient(
            backward(self.layers, self.with_multipliers(multipliers), self.signal, self.arch),
            self.forward_pass,
            self.arch,
        )

    def _tangent(self, vectors: Tensor) -> Tensor:
        """Vectors [..., Ñ] on the tangent space of the sphere; the vectors themselves where weights are free."""
        return vectors if self.arch.norm is None else tangent(vectors, self.theta)

    def norm_multiplier(self, multipliers: Tensor) -> float:
        """μ of the fixed norm with these multipliers [n]; 0 where weights are free."""
        if self.arch.norm is None:
            return 0.0
        return norm_multiplier(self.theta, self._free_gradient(multipliers))

    def forces(self, multipliers: Tensor) -> Tensor:
        """u_i = ∂L/∂ρ(z_i) of each cusp [n], summed over the patterns with the same x, with these multipliers [n]."""
        return self.summed(self.own_forces(multipliers))

    def own_forces(self, multipliers: Tensor) -> Tensor:
        """u_i of each cusp [n], of its own pattern alone."""
        return self.propagated(self.signal, self.layers, multipliers)

    def summed(self, values: Tensor) -> Tensor:
        """For each cusp the sum of the values [n] of all cusps of the same neuron at patterns with the same x."""
        kinks = self._kinks
        return values if kinks is None else torch.zeros_like(values).index_add(0, kinks, values)[kinks]

    def shared(self, multipliers: Tensor) -> Tensor:
        """Multipliers [n] with the same g(λ) that are equal where cusps are one kink."""
        if self._kinks is None:
            return multipliers
        u = self.own_forces(multipliers)
        total, weighted = self.summed(u), self.summed(u * multipliers)
        return torch.where(total != 0, weighted / total, multipliers)

    @property
    def _kinks(self) -> Tensor | None:
        """The number of the kink that each cusp [n] belongs to; None where all kinks have one cusp."""
        if not self.at:
            return None
        patterns = torch.cat([pattern for pattern, _ in self.at])
        used, place = patterns.unique(return_inverse=True)
        if not len(used):
            return None
        same_x = self.active.x[used].unique(dim=0, return_inverse=True)[1][place]
        dead = torch.cat([below[at[0]] for below, at in zip(self._dead_below(), self.at, strict=True)])
        input_of_layer = torch.where(dead >= 0, len(used) + dead, same_x)
        neurons = torch.cat([j * self.arch.width + neuron for j, (_, neuron) in enumerate(self.at)])
        kinks = (input_of_layer * self.arch.n_hidden + neurons).unique(return_inverse=True)[1]
        return None if int(kinks.max()) + 1 == len(kinks) else kinks

    def _dead_below(self) -> list[Tensor]:
        """For each hidden layer, the last layer below it that does not pass a pattern on [m], from 0; -1 for none."""
        below = []
        last = torch.full_like(self.patterns, -1)
        for j, (slope, at) in enumerate(zip(self.slopes, self.at, strict=True)):
            below.append(last)
            on = slope.index_put(at, slope.new_ones(())).ne(0).any(1)
            last = torch.where(on, last, j)
        return below

    def propagated(self, signal: Tensor, layers: Layers, multipliers: Tensor) -> Tensor:
        """The signal at each cusp [n], backpropagated from `signal` [m, C] at the output through the weights of `layers`."""
        return joined(self._by_layer(signal, layers, multipliers), multipliers[:0])

    def _by_layer(self, signal: Tensor, layers: Layers, multipliers: Tensor) -> list[Tensor]:
        beta = backward(layers, self.with_multipliers(multipliers), signal, self.arch)
        upper = zip(beta[1:], layers[1:], strict=True)
        return [(b @ weight)[at] for at, (b, (weight, _)) in zip(self.at, upper, strict=True)]

    def jacobian(self, multipliers: Tensor) -> Tensor:
        """∂g/∂λ [n, Ñ] at the multipliers [n], one row for each cusp: u_i ∂z_i/∂W."""
        return self._rows(multipliers, self._by_layer(self.signal, self.layers, multipliers))

    def normals(self, multipliers: Tensor) -> Tensor:
        """∂z_i/∂W [n, Ñ] at the multipliers [n], one row for each cusp."""
        return self._rows(
            multipliers, [torch.ones_like(z[at]) for z, at in zip(self.forward_pass.z, self.at)]
        )

    def _rows(self, multipliers: Tensor, factors: list[Tensor]) -> Tensor:
        """∂z_i/∂W times a factor for each cusp [n, Ñ]; the factors are those of each layer."""
        forward_pass, rows = self.with_multipliers(multipliers), []
        for j, ((patterns, neurons), u) in enumerate(zip(self.at, factors, strict=True)):
            signal = u.new_zeros(len(u), self.arch.width).scatter(1, neurons[:, None], u[:, None])
            at_cusps = forward_pass.take(patterns)
            below = backward(self.layers[: j + 1], at_cusps, signal, self.arch)
            part = gradient_rows(below, ForwardPass(at_cusps.inputs[: j + 1], []), self.arch)
            rows.append(torch.nn.functional.pad(part, (0, self.arch.n_parameters - part.shape[1])))
        return self._tangent(joined(rows, self.theta.new_zeros(0, len(self.theta))))


def _descend(cusps: CuspGradient, multipliers: Tensor) -> tuple[float, Tensor, bool]:
    """‖g‖, λ [n] and whether the minimisation converged, from one start.

    Each linearisation of g is a least-squares problem with bounds.
    """
    g = cusps.gradient(multipliers)
    for _ in range(SUBGRADIENT_MAX_LINEARISATIONS):
        jacobian = cusps.jacobian(multipliers)
        step = box_least_squares(jacobian, jacobian.T @ multipliers - g) - multipliers
        for halving in range(SUBGRADIENT_MAX_HALVINGS):
            trial = multipliers + 0.5**halving * step
            g_trial = cusps.gradient(trial)
            if g_trial.norm() < g.norm():
                break
        else:
            return float(g.norm()), multipliers, True
        gain = 1 - float(g_trial.norm() / g.norm())
        multipliers, g = trial, g_trial
        if gain < SUBGRADIENT_MIN_DECREASE or cusps.linear:
            return float(g.norm()), multipliers, True
    return float(g.norm()), multipliers, False
