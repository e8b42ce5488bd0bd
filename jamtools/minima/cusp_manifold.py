"""The manifold M of the cusps at a point, and the smooth function 𝓛 that the loss is on it.

    M = {W: z_i(W) = 0},        F(W) = (f_µ(W) of the unsatisfied, z_i(W)) with ρ(z) = σ z, σ fixed,        𝓛 = ℓ(f)

𝓛 depends on W through F alone. Where the rank of ∇F is the same in a neighbourhood, the sets of constant F are manifolds of
dimension Ñ - rank ∇F, and 𝓛 is constant along them. A null direction of ∇F is then flat to all orders. Examples are the
scale symmetries, a neuron that is off at all these patterns, and linear combinations of two neurons that are always
on. Where the rank is greater nearby, as at W = 0, a zero eigenvalue of ∇²𝓛 decides nothing. F is a polynomial of W (analytic
for tanh), so its rank is the same, and greatest, at almost all points of M. It is computed at a random one with z of order
1. Next to W = 0 in a network of depth L, ∇F differs from that at W = 0 by the power L of the distance, and next to a
saturated neuron by e^{-2|z|}; both may be below round-off.

At fixed norm M lies on the sphere, and all gradients are tangent to it.

Source: none, own derivation above (the constant rank theorem).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jamtools.cusps.subgradient import CuspGradient
from jamtools.linalg.operator import Operator
from jamtools.linalg.subspace import orthonormal_basis, pseudo_inverse, rank
from jamtools.network.passes import ForwardPass, backward, forward, gradient, gradient_rows, joined, layers_of
from jamtools.network.sphere import tangent
from jamtools.network.symmetry import unmoved_directions

#: Displacement for central differences of ∇𝓛, in ‖W‖; their error is of the order of its square.
DIFFERENCE_KICK = 1e-5

#: The largest number of Newton steps from a random point to a point of M, and the largest |z| there, in the rms of all z of
#: the layer.
RANDOM_POINT_STEPS, RANDOM_POINT_DISTANCE = 50, 1e-10

#: Newton steps back onto M; each reduces the distance by a factor of the size of the displacement.
RETRACTION_STEPS = 6


class CuspManifold:
    """M and 𝓛 at the theta [Ñ] of some cusps, and the tangent space of M.

    multipliers [n] in the order of the cusps. On M the cusps `held` ([n] booleans) are at zero; each of them has a force
    u ≠ 0. The other cusps keep their multiplier as slope. size: ‖W‖, the unit of displacements.
    """

    def __init__(self, cusps: CuspGradient, multipliers: Tensor, held: Tensor) -> None:
        self.theta, self.cusps, self.held, self.arch = cusps.theta, cusps, held, cusps.arch
        self.size = float(self.theta.norm()) or 1.0
        self._active = cusps.signal != 0
        self._multipliers = multipliers
        self._slopes = cusps.with_multipliers(multipliers).slopes or []
        self._across = pseudo_inverse(cusps.normals(multipliers)[held])
        directions = [self._across, unmoved_directions(self.theta, self.arch)]
        self._fixed = orthonormal_basis(torch.cat(directions, 1))

    def forward_pass(self, theta: Tensor) -> ForwardPass:
        """The forward pass of the patterns with gradient at theta [Ñ], with σ z in the place of ρ(z)."""
        layers, x = layers_of(theta, self.arch), self.cusps.active.x
        if self.arch.activation != "relu":
            return forward(layers, x, self.arch)
        slopes, inputs, z = self._slopes, [x], []
        for j, (weight, bias) in enumerate(layers):
            z.append(torch.addmm(bias, inputs[-1], weight.T))
            if j < self.arch.depth:
                inputs.append(slopes[j] * z[-1])
        return ForwardPass(inputs, z, slopes)

    def gradient(self, theta: Tensor) -> Tensor:
        """∇𝓛 [Ñ] at theta [Ñ]."""
        forward_pass = self.forward_pass(theta)
        y, loss = self.cusps.active.y, self.cusps.active.loss
        signal = torch.where(self._active, -loss.hinge_curvature * y * loss.gaps(forward_pass.f, y), 0.0)
        beta = backward(layers_of(theta, self.arch), forward_pass, signal, self.arch)
        slope = gradient(beta, forward_pass, self.arch)
        return slope if self.arch.norm is None else tangent(slope, theta)

    def project(self, V: Tensor) -> Tensor:
        """V [Ñ, k] without its components normal to M, along the scale symmetries, and along W at fixed norm."""
        for _ in range(2):  # the second pass removes what round-off left
            V = V - self._fixed @ (self._fixed.T @ V)
        return V

    def onto(self, theta: Tensor) -> Tensor:
        """The point [Ñ] of M next to theta [Ñ], by Newton steps along the normals at the first point."""
        theta = self.cusps.active.onto(theta)
        for _ in range(RETRACTION_STEPS if self._across.shape[1] else 0):
            step = self._across @ self._at_cusps(self.forward_pass(theta).z[:-1])
            theta = self.cusps.active.onto(theta - step)
        return theta

    def edges(self, n: int) -> Tensor:
        """Displacements [k, Ñ], k ≤ 2n, each of which leads along M to where 𝓛 is no longer L, and would lower it.

        To those of the nearest n pre-activations that have u < 0, at which L has a concave kink, and to the nearest n zeros
        of a Δ > 0, whose curvature ends there. The displacements are linear estimates.
        """
        wider = self.cusps.wider(n)
        multipliers = wider.signs.clone()
        own = wider.is_in(self.cusps)
        multipliers[own] = self._multipliers
        concave = ~own & (wider.forces(multipliers) < 0)
        rows, values = [wider.normals(multipliers)[concave]], [wider.z[concave]]
        passed = self.cusps.with_multipliers(self._multipliers)
        gaps = self.cusps.active.loss.gaps(passed.f, self.cusps.active.y).where(self._active, torch.inf)
        for place in gaps.flatten().argsort()[:n]:
            pattern, c = divmod(int(place), gaps.shape[1])
            signal = torch.zeros_like(gaps[:1])
            signal[0, c] = -self.cusps.active.y[pattern, c]
            one = passed.take(torch.tensor([pattern], device=place.device))
            beta = backward(self.cusps.layers, one, signal, self.arch)
            rows.append(gradient_rows(beta, one, self.arch))
            values.append(gaps[pattern, c : c + 1])
        along = self.project(torch.cat(rows).T).T
        size = along.square().sum(1)
        kept = size > 0
        return -(torch.cat(values)[kept] / size[kept])[:, None] * along[kept]

    def steepest(self, rng: np.random.Generator) -> Tensor:
        """A unit vector [Ñ] along which L rises fast: across all cusps, Σ ± u_i ∇z_i; a random one where there are none."""
        rows = self.cusps.jacobian(self._multipliers)
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], len(rows))).to(rows)
        v = (
            signs @ rows
            if len(rows)
            else torch.from_numpy(rng.standard_normal(len(self.theta))).to(self.theta)
        )
        return v / (v.norm() or 1.0)

    def curvature(self) -> Operator:
        """P ∇²𝓛 P as an operator on vectors [Ñ, k], by central differences of ∇𝓛; P: `project`.

        At fixed norm the differences of the tangent ∇𝓛 contain the term μ.
        """

        def product(V: Tensor) -> Tensor:
            columns = []
            for v in V.T:
                step = DIFFERENCE_KICK * self.size / (float(v.norm()) or 1.0)
                ahead, back = self.gradient(self.theta + step * v), self.gradient(self.theta - step * v)
                columns.append((ahead - back) / (2 * step))
            return torch.stack(columns, 1)

        n = len(self.theta)
        return Operator(
            product,
            n,
            device=self.theta.device,
            project=self.project,
            removed=min(self._fixed.shape[1], n - 1),
        )

    def flat(self, rng: np.random.Generator) -> int | None:
        """The dimension of the tangent vectors along which 𝓛 is constant to all orders, without the scale symmetries or W.

        None where the rank of ∇F is greater elsewhere on M; rng draws the point where it is computed.
        """
        rank, elsewhere = self._rank(self.theta), self._random_point(rng)
        if elsewhere is None or rank != self._rank(elsewhere):
            return None
        return len(self.theta) - rank - orthonormal_basis(unmoved_directions(self.theta, self.arch)).shape[1]

    def _random_point(self, rng: np.random.Generator) -> Tensor | None:
        """A point [Ñ] of M with pre-activations of order 1; None where Newton steps do not lead onto M.

        It does not depend on theta: next to a theta with saturated neurons most points have saturated neurons too.
        """
        theta = torch.empty_like(self.theta)
        for weight, bias in layers_of(theta, self.arch):
            weight[:] = torch.from_numpy(rng.standard_normal(weight.shape)) / weight.shape[1] ** 0.5
            bias[:] = torch.from_numpy(rng.standard_normal(bias.shape))
        theta = self.cusps.active.onto(theta * self._input_units)
        for _ in range(RANDOM_POINT_STEPS if bool(self.held.any()) else 0):
            moved = self.cusps.moved_to(theta, self.forward_pass(theta))
            z = [layer / layer.square().mean().sqrt() for layer in moved.forward_pass.z[:-1]]
            if bool((self._at_cusps(z).abs() <= RANDOM_POINT_DISTANCE).all()):
                return theta
            rows = moved.normals(self._multipliers)[self.held]
            step = pseudo_inverse(rows) @ self._at_cusps(moved.forward_pass.z[:-1])
            theta = self.cusps.active.onto(theta - step)
        return None if bool(self.held.any()) else theta

    def _at_cusps(self, z: list[Tensor]) -> Tensor:
        """The values at the cusps held at zero, of arrays [m, h] of each hidden layer."""
        at_cusps = [layer[at] for layer, at in zip(z, self.cusps.at, strict=True)]
        return joined(at_cusps, self.theta[:0])[self.held]

    def _rank(self, theta: Tensor) -> int:
        """The rank of ∇F at theta [Ñ]: one row for each pair (µ, c) with gradient, and one for each cusp."""
        moved = self.cusps.moved_to(theta, self.forward_pass(theta))
        forward_pass, rows = (
            moved.with_multipliers(self._multipliers),
            [moved.normals(self._multipliers)[self.held]],
        )
        for c, active in enumerate(self._active.T):
            passed, signal = forward_pass.take(active), torch.zeros_like(forward_pass.f[active])
            signal[:, c] = 1.0
            beta = backward(moved.layers, passed, signal, self.arch)
            rows.append(gradient_rows(beta, passed, self.arch))
        rows_in_units = torch.cat(rows) * self._input_units
        if self.arch.norm is not None:
            rows_in_units = tangent(rows_in_units, theta * self._input_units)
        return rank(rows_in_units)

    @property
    def _input_units(self) -> Tensor:
        """Units of theta [Ñ]: 1/rms of a component of x for the weights on it, so that a small one counts."""
        units, rms = torch.ones_like(self.theta), self.cusps.active.x.square().mean(0).sqrt()
        layers_of(units, self.arch)[0][0][:] = torch.where(rms > 0, rms, 1.0).reciprocal()
        return units
