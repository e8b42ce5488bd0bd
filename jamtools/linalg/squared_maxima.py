"""Minimum of a convex quadratic function plus squares of maxima, by a semismooth Newton method.

    min_d  φ(d) = ½ d·G d + g·d + ½ Σ_µ max(0, D_µ + J_µ·d)²

    A = {µ: D_µ + J_µ·d > 0},      (G + J_AᵀJ_A) s = -∇φ(d),      d ← d + t s

φ is smooth, convex and quadratic in each cell of A. t is its exact minimum along s. The slope of φ along s rises and is
piecewise linear, with kinks where a maximum begins or ends. The method ends after finitely many steps,
mostly fewer than ten.

Source: L. Qi and J. Sun, Math. Program. 58, 353 (1993), for the method; none for the line search, own derivation above.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: The largest number of steps.
SEMISMOOTH_MAX_STEPS = 50

#: The minimum is found when ‖∇φ‖ is below this part of the size of its terms.
SEMISMOOTH_TOLERANCE = 1e-12


@dataclass(frozen=True)
class SquaredMaxima:
    """The function: G [n, n] positive definite, g [n], D [m], J [m, n]."""

    G: Tensor
    g: Tensor
    D: Tensor
    J: Tensor

    def minimiser(self) -> Tensor | None:
        """d [n] at the minimum; None where it is not found, or where G is not positive definite to round-off."""
        d, gaps = torch.zeros_like(self.g), self.D
        scale = self._scale(gaps)
        for _ in range(SEMISMOOTH_MAX_STEPS):
            active = gaps > 0
            rows = self.J[active]
            slope = self.G @ d + self.g + rows.T @ gaps[active]
            if float(slope.norm()) <= SEMISMOOTH_TOLERANCE * scale:
                return d
            factor, failed = torch.linalg.cholesky_ex(torch.addmm(self.G, rows.T, rows))
            if bool(failed):
                return None
            step = -torch.cholesky_solve(slope[:, None], factor)[:, 0]
            across = self.J @ step
            length = self._exact_length(d, step, gaps, across)
            d, gaps = d + length * step, gaps + length * across
        return d if float(slope.norm()) <= SEMISMOOTH_TOLERANCE**0.5 * scale else None

    def _scale(self, gaps: Tensor) -> float:
        """The size of the terms of ∇φ at the start."""
        return float(self.g.norm()) + float(self.J.norm() * gaps.clamp(min=0).norm())

    def _exact_length(self, d: Tensor, step: Tensor, gaps: Tensor, across: Tensor) -> float:
        """The t > 0 at which φ(d + t s) is least."""
        curved = self.G @ step
        slope, bend = float(curved @ d + self.g @ step), float(curved @ step)
        active = gaps > 0
        slope += float(gaps[active] @ across[active])
        bend += float(across[active].square().sum())
        kinks = -gaps / across
        changes = torch.where(active, -1.0, 1.0) * across.square()
        ahead = (kinks > 0) & kinks.isfinite()
        order = kinks[ahead].argsort()
        at = 0.0
        for place, change in zip(kinks[ahead][order].tolist(), changes[ahead][order].tolist(), strict=True):
            if slope + bend * (place - at) >= 0:
                break
            slope, at = slope + bend * (place - at), place
            bend += change
        return at - slope / bend if bend > 0 else at
