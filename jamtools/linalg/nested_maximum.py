"""Minimum of a convex quadratic function plus squares of nested maxima, by an interior-point method.

    min_{d, t}  ½ d·G d + g·d + c·t + ½ Σ_µ max(0, D_µ + J_µ·d + Σ_i E_µi t_i)²,      t_i ≥ 0,  t_i ≥ z_i + N_i·d,   E, c ≥ 0

At the minimum t_i = max(0, z_i + N_i·d). With the multipliers v_µ = max(0, D_µ + …), u_i of t_i ≥ z_i + N_i·d and u'_i of
t_i ≥ 0, and the slacks w, q = t - z - N d, the conditions are

    G d + g + Jᵀv + Nᵀu = 0,      c + Eᵀv = u + u',      v - w = D + J d + E t,      v w = u q = u' t = 0

Each iteration is a Newton step on them with v w = u q = u' t = τ, by Mehrotra's predictor and corrector. Without v and the
u it is one Cholesky factorisation of a matrix of the size of d.

Source: S. Mehrotra, SIAM J. Optim. 2, 575 (1992); J. Nocedal and S. J. Wright, Numerical Optimization (2006), section 16.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.linalg.squared_maxima import SquaredMaxima

#: The largest number of iterations.
QP_MAX_ITERATIONS = 60

#: The default tolerance of a minimum.
QP_TOLERANCE = 1e-10

#: The part of the way to the boundary that a step takes.
QP_STEP_TO_BOUNDARY = 0.995


@dataclass(frozen=True)
class NestedMaximum:
    """The function: G [n, n] positive definite, g [n], D [m], J [m, n], E [m, k] ≥ 0, z [k], N [k, n], c [k] ≥ 0."""

    G: Tensor
    g: Tensor
    D: Tensor
    J: Tensor
    E: Tensor
    z: Tensor
    N: Tensor
    c: Tensor

    def value(self, d: Tensor) -> float:
        """The function at d [n], with t = max(0, z + N d)."""
        t = (self.z + self.N @ d).clamp(min=0)
        inner = self.D + self.J @ d + self.E @ t
        return float(
            0.5 * d @ (self.G @ d) + self.g @ d + self.c @ t + 0.5 * inner.clamp(min=0).square().sum()
        )

    def limits(self, v: Tensor) -> Tensor:
        """The upper limits c + Eᵀv [k] of the u."""
        return self.c + self.E.T @ v


@dataclass(frozen=True)
class Minimiser:
    """d [n], and the multipliers v [m] of the squares and u [k] of the inner maxima, 0 ≤ u ≤ c + Eᵀv.

    at_kink [k]: where z + N d is zero to the tolerance, with u inside its bounds.
    """

    d: Tensor
    v: Tensor
    u: Tensor
    at_kink: Tensor


@dataclass
class _Iterate:
    """d [n], t [k], and the pairs (v, w) [m], (u, q) [k], (low, t) [k], all of them positive."""

    d: Tensor
    t: Tensor
    v: Tensor
    w: Tensor
    u: Tensor
    q: Tensor
    low: Tensor

    def pairs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return (self.v, self.w), (self.u, self.q), (self.low, self.t)

    def mean(self) -> float:
        """The mean product τ of the pairs."""
        total = sum(float(a @ b) for a, b in self.pairs())
        return total / max(1, sum(len(a) for a, _ in self.pairs()))

    def moved(self, by: _Iterate, length: float) -> _Iterate:
        parts = zip(vars(self).values(), vars(by).values(), strict=True)
        return _Iterate(*(own + length * step for own, step in parts))


def minimise(function: NestedMaximum, tolerance: float = QP_TOLERANCE) -> Minimiser | None:
    """The minimum; None where the iteration does not converge, or where G is not positive definite to round-off.

    It is found when the residuals and the mean of the products are below `tolerance`, relative to their first values.

    Without inner maxima it is found by the method of squared_maxima.py, which takes fewer factorisations.
    """
    if not len(function.z):
        return _without_inner(function)
    at = _start(function)
    first = _size(function, at)
    for _ in range(QP_MAX_ITERATIONS):
        residuals = _residuals(function, at)
        size = max(float(part.abs().max()) if len(part) else 0.0 for part in residuals)
        if max(size, at.mean()) <= tolerance * first:
            return Minimiser(at.d, at.v, at.u, (at.u > at.q) & (at.low > at.t))
        system = _System.of(function, at)
        if system is None:
            return None
        targets = tuple(-a * b for a, b in at.pairs())
        step = system.solve(residuals, targets)
        length = _longest(at, step)
        tau = at.mean()
        if tau > 0:
            sigma = (at.moved(step, length).mean() / tau) ** 3
            seconds = zip(at.pairs(), step.pairs(), strict=True)
            targets = tuple(sigma * tau - a * b - da * db for (a, b), (da, db) in seconds)
            step = system.solve(residuals, targets)
            length = _longest(at, step)
        at = at.moved(step, min(1.0, QP_STEP_TO_BOUNDARY * length))
    return None


def _without_inner(function: NestedMaximum) -> Minimiser | None:
    d = SquaredMaxima(function.G, function.g, function.D, function.J).minimiser()
    if d is None:
        return None
    v = (function.D + function.J @ d).clamp(min=0)
    return Minimiser(d, v, function.z, torch.zeros(0, dtype=torch.bool, device=d.device))


def _start(function: NestedMaximum) -> _Iterate:
    """d = 0, and pairs of products of the order of the function."""
    unit = max(float(function.D.abs().max()) if len(function.D) else 0.0, 1e-300)
    d = torch.zeros_like(function.g)
    spread = max(float(function.z.abs().max()) if len(function.z) else 0.0, 0.0)
    t = function.z.clamp(min=0) + 0.1 * spread + 0.1 * unit * (function.z.new_ones(()))
    q = t - function.z
    residual = function.D + function.E @ t
    v = 0.5 * (residual + (residual.square() + unit**2).sqrt())
    w = v - residual
    force = function.limits(v)
    return _Iterate(d, t, v, w, 0.5 * force + 1e-8 * unit, q, 0.5 * force + 1e-8 * unit)


def _size(function: NestedMaximum, at: _Iterate) -> float:
    parts = [*_residuals(function, at), function.g, function.D]
    return max(max(float(part.abs().max()) if len(part) else 0.0 for part in parts), 1e-300)


def _residuals(function: NestedMaximum, at: _Iterate) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The conditions, apart from the products: those of d [n], t [k], v [m] and q [k]."""
    return (
        function.G @ at.d + function.g + function.J.T @ at.v + function.N.T @ at.u,
        function.limits(at.v) - at.u - at.low,
        at.v - at.w - function.D - function.J @ at.d - function.E @ at.t,
        at.q - at.t + function.z + function.N @ at.d,
    )


def _longest(at: _Iterate, step: _Iterate) -> float:
    """The longest step ≤ 1 / QP_STEP_TO_BOUNDARY for which all pairs stay positive."""
    length = 1 / QP_STEP_TO_BOUNDARY
    for own, by in zip(at.pairs(), step.pairs(), strict=True):
        for a, da in zip(own, by, strict=True):
            falling = da < 0
            if bool(falling.any()):
                length = min(length, float((a[falling] / -da[falling]).min()))
    return length


@dataclass(frozen=True)
class _System:
    """The linear system of a Newton step, factorised: the block of t first, then the complement of the size of d."""

    function: NestedMaximum
    at: _Iterate
    weight: Tensor  # v / (v + w) [m]
    theta: Tensor  # u / q [k]
    inner: Tensor  # Cholesky factor of the block of t [k, k]
    mixed: Tensor  # the block of t and d [k, n]
    outer: Tensor  # Cholesky factor of the complement [n, n]

    @classmethod
    def of(cls, function: NestedMaximum, at: _Iterate) -> _System | None:
        weight, theta = at.v / (at.v + at.w), at.u / at.q
        weighted = weight[:, None] * function.J
        matrix = torch.addmm(function.G, function.J.T, weighted)
        matrix.addmm_(function.N.T, theta[:, None] * function.N)
        block = function.E.T @ (weight[:, None] * function.E)
        block.diagonal().add_(theta + at.low / at.t)
        mixed = function.E.T @ weighted - theta[:, None] * function.N
        inner, failed = torch.linalg.cholesky_ex(block)
        if bool(failed):
            return None
        half = torch.linalg.solve_triangular(inner, mixed, upper=False)
        outer, failed = torch.linalg.cholesky_ex(matrix.addmm_(half.T, half, alpha=-1))
        return None if bool(failed) else cls(function, at, weight, theta, inner, mixed, outer)

    def solve(self, residuals: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> _Iterate:
        """The step that takes the residuals to zero and changes the products by the targets."""
        function, at = self.function, self.at
        r_d, r_t, r_v, r_q = residuals
        c_v, c_u, c_t = targets
        a = (c_v - at.v * r_v) / (at.v + at.w)
        b = (c_u + at.u * r_q) / at.q
        right_d = -r_d - function.J.T @ a - function.N.T @ b
        right_t = -r_t - function.E.T @ a + b + c_t / at.t
        onto = torch.cholesky_solve(right_t[:, None], self.inner)[:, 0]
        d = torch.cholesky_solve((right_d - self.mixed.T @ onto)[:, None], self.outer)[:, 0]
        t = onto - torch.cholesky_solve((self.mixed @ d)[:, None], self.inner)[:, 0]
        outward = function.J @ d + function.E @ t
        v = self.weight * outward + a
        q = t - function.N @ d - r_q
        return _Iterate(
            d, t, v, v - outward + r_v, b - self.theta * (t - function.N @ d), q, (c_t - at.low * t) / at.t
        )
