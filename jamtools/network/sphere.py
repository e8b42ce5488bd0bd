"""The sphere ‖W‖ = R of networks of fixed norm: its tangent vectors, and the way back onto it.

    P v = v - W (W·v)/R²,        W → R W/‖W‖,        μ = -W·∇L/R²
    L along a geodesic W(t) with W(0) = W, W'(0) = v ⟂ W:        L'' = vᵀ∇²L v + μ |v|²,    since  W'' = -W |v|²/R²

At a minimum ∇L = -μ W, and the Hessian on the tangent space is P (H0 + Hp + μ 1) P. For ReLU ∇L·A_k W = 0 along the
scaling A_k W of each hidden neuron, so that W·A_k W = 0 where μ ≠ 0: the weights into a neuron and out of it have the same
norm. Then A_k W is a tangent vector v with H0 v = 0 and vᵀHp v = -∇L·A_k²W = μ |v|². Its curvature is 2 μ: the scalings are
no longer symmetries where μ > 0. They are in the kernel of H0, not in that of H, and do not enter N. μ < 0 is no minimum.

Source: P.-A. Absil, R. Mahony and R. Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), sections 3.6 and 5.5.
"""

from __future__ import annotations

import torch
from torch import Tensor


def onto_sphere(theta: Tensor, norm: float | None) -> Tensor:
    """theta [Ñ] scaled to ‖W‖ = norm; theta itself for None."""
    return theta if norm is None else theta * (norm / theta.norm())


def tangent(vectors: Tensor, theta: Tensor) -> Tensor:
    """P v of vectors [..., Ñ]: without their components along theta [Ñ]."""
    unit = theta / theta.norm()
    return vectors - (vectors @ unit)[..., None] * unit


def tangent_rows(vectors: Tensor, theta: Tensor) -> Tensor:
    """Each row of the vectors [R, Ñ] without its component along its own row of theta [R, Ñ]."""
    along = (vectors * theta).sum(1, keepdim=True) / theta.square().sum(1, keepdim=True)
    return vectors - along * theta


def norm_multiplier(theta: Tensor, gradient: Tensor) -> float:
    """μ from ∇L [Ñ] at theta [Ñ]; 0 where theta vanishes."""
    square = float(theta @ theta)
    return -float(theta @ gradient) / square if square > 0 else 0.0


def tangent_block(matrix: Tensor, theta: Tensor) -> Tensor:
    """The symmetric matrix [Ñ, Ñ] on the tangent space at theta [Ñ], in an orthonormal basis of it [Ñ - 1, Ñ - 1].

    The basis is that of the reflection Q = 1 - 2 w wᵀ which takes the last axis to ±W/‖W‖; Q A Q costs O(Ñ²).
    """
    w = theta / theta.norm()
    w[-1] += 1.0 if float(w[-1]) >= 0 else -1.0
    w = w / w.norm()
    image = matrix @ w
    twice = 2 * (image - (w @ image) * w)
    reflected = torch.addr(matrix, w, twice, alpha=-1).addr_(twice, w, alpha=-1)
    return reflected[:-1, :-1].contiguous()
