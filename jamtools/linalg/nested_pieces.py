"""Minimum of a convex quadratic function plus squares of nested maxima, from a guess of its pieces.

    A = {µ: inner max > 0},      each kink:   on, t = z + N·d > 0;    off, t = 0 > z + N·d;    held, z + N·d = 0
    (G + J'ᵀJ') d + N_heldᵀ u = -(g + N_onᵀ c_on + J'ᵀD'),     N_held d = -z_held,
    J' = J_A + E_A,on N_on,      D' = D_A + E_A,on z_on

On its pieces the function of nested_maximum.py is quadratic, and its minimum is that of a linear system. Where the minimum
contradicts the guess, the pieces change: a pattern by its sign; a kink that is on or off by the sign of z + N·d, to held; a
held one to off where u < 0, and to on where u > c + Eᵀv. When the pieces reproduce themselves, all conditions of the minimum
hold to round-off. From a good guess this takes a few factorisations. It may cycle, and then there is no result.

Source: M. Hintermüller, K. Ito and K. Kunisch, SIAM J. Optim. 13, 865 (2002), for the method on one bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.linalg.nested_maximum import Minimiser, NestedMaximum

#: The largest number of guesses.
PIECES_MAX_GUESSES = 12

#: A sign counts only beyond this part of the size of its terms.
PIECES_ROUND_OFF = 1e-12


@dataclass(frozen=True)
class Pieces:
    """A [m], and the kinks that are on [k] and held [k], booleans; the others are off."""

    active: Tensor
    on: Tensor
    held: Tensor

    @classmethod
    def at(cls, function: NestedMaximum, d: Tensor, held: Tensor) -> Pieces:
        """Those at d [n], with these kinks [k] held."""
        s = function.z + function.N @ d
        inner = function.D + function.J @ d + function.E @ s.clamp(min=0)
        return cls(inner > 0, (s > 0) & ~held, held)

    def same(self, other: Pieces) -> bool:
        """Whether all pieces agree."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return all(bool((own == its).all()) for own, its in pairs)


def minimum_from(function: NestedMaximum, guess: Pieces) -> Minimiser | None:
    """The minimum of the function; None where no guess reproduces itself, or G is not positive definite to round-off."""
    for _ in range(PIECES_MAX_GUESSES):
        system = _System.of(function, guess)
        if system is None:
            return None
        d, u_held = system.solution()
        found, guess, old = *_next(function, guess, d, u_held), guess
        if guess.same(old):
            return found
    return None


def _next(function: NestedMaximum, pieces: Pieces, d: Tensor, u_held: Tensor) -> tuple[Minimiser, Pieces]:
    """The minimum on the pieces, and the pieces that follow from it."""
    s = function.z + function.N @ d
    t = torch.where(pieces.on, s, 0.0)
    inner = function.D + function.J @ d + function.E @ t
    v = torch.where(pieces.active, inner, 0.0)
    limit = function.limits(v)
    u = torch.where(pieces.on, limit, 0.0)
    u[pieces.held] = u_held
    near_inner = PIECES_ROUND_OFF * (function.D.abs() + function.J.abs() @ d.abs() + function.E @ t.abs())
    near_s = PIECES_ROUND_OFF * (function.z.abs() + function.N.abs() @ d.abs())
    near_u = PIECES_ROUND_OFF * (limit.abs() + u.abs())
    active = torch.where(pieces.active, inner >= -near_inner, inner > near_inner)
    below, above = pieces.held & (u < -near_u), pieces.held & (u > limit + near_u)
    ends = pieces.on & (s < -near_s)
    begins = ~pieces.on & ~pieces.held & (s > near_s)
    held = (pieces.held & ~below & ~above) | ends | begins
    on = (pieces.on & ~ends) | above
    u = torch.minimum(u.clamp(min=0), limit.clamp(min=0))
    return Minimiser(d, v.clamp(min=0), u, pieces.held), Pieces(active, on, held)


@dataclass(frozen=True)
class _System:
    """The linear system on some pieces, factorised: the matrix of d [n, n] first, then the complement [held, held]."""

    matrix: Tensor
    normals: Tensor
    factor: Tensor
    across: Tensor  # matrix⁻¹ Nᵀ of the held kinks [n, held]
    inverse: Tensor  # pseudo-inverse of the complement
    right: Tensor
    z: Tensor

    @classmethod
    def of(cls, function: NestedMaximum, pieces: Pieces) -> _System | None:
        """The system; None where its matrix is not positive definite to round-off."""
        on, held, E = pieces.on, pieces.held, function.E[pieces.active]
        rows = function.J[pieces.active] + E[:, on] @ function.N[on]
        values = function.D[pieces.active] + E[:, on] @ function.z[on]
        matrix = torch.addmm(function.G, rows.T, rows)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if bool(failed):
            return None
        normals = function.N[held]
        across = torch.cholesky_solve(normals.T, factor)
        inverse = torch.linalg.pinv(normals @ across, hermitian=True)
        right = -(function.g + function.N[on].T @ function.c[on] + rows.T @ values)
        return cls(matrix, normals, factor, across, inverse, right, -function.z[held])

    def solution(self) -> tuple[Tensor, Tensor]:
        """d [n] and u [held], with one step of refinement."""
        d, u = self._solve(self.right, self.z)
        more, change = self._solve(
            self.right - self.matrix @ d - self.normals.T @ u, self.z - self.normals @ d
        )
        return d + more, u + change

    def _solve(self, right: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        free = torch.cholesky_solve(right[:, None], self.factor)[:, 0]
        u = self.inverse @ (self.normals @ free - target)
        return free - self.across @ u, u
