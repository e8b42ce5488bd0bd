"""The sphere ‖W‖ = R of networks of fixed norm: its tangent vectors, and the way back onto it.

    P v = v - W (W·v)/R²,        W → R W/‖W‖,        μ = -W·∇L/R²
    L along a geodesic W(t) with W(0) = W, W'(0) = v ⟂ W:        L'' = vᵀ∇²L v + μ |v|²,    since  W'' = -W |v|²/R²

At a minimum ∇L = -μ W, and the Hessian on the tangent space is P (H0 + Hp + μ 1) P. For ReLU ∇L·A_k W = 0 along the
scaling A_k W of each hidden neuron, so that W·A_k W = 0 where μ ≠ 0: the weights into a neuron and out of it have the same
norm. Then A_k W is a tangent vector v with H0 v = 0 and vᵀHp v = -∇L·A_k²W = μ |v|². Its curvature is 2 μ: the scalings are
no longer symmetries where μ > 0. They are in the kernel of H0, not in that of H, and do not enter N. For ReLU
μ < 0 is no minimum, and where μ = 0 a network may be off balance: then the scalings that keep ‖W‖ are symmetries, hidden - 1
of them, and the minimum is one of a smaller norm too. For the perceptron, whose margin may be negative, a
minimum may have μ < 0.

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


class TangentBasis:
    """An orthonormal basis of the tangent space at theta [Ñ]: all columns but the last of a reflection Q = 1 - 2 w wᵀ.

    Q takes the last axis to ±W/‖W‖. Q A Q costs O(Ñ²), and Q itself is never made.
    """

    def __init__(self, theta: Tensor) -> None:
        w = theta / theta.norm()
        w[-1] += 1.0 if float(w[-1]) >= 0 else -1.0
        self._w = w / w.norm()

    def block(self, matrix: Tensor) -> Tensor:
        """The symmetric matrix [Ñ, Ñ] in this basis [Ñ - 1, Ñ - 1]: a view of the matrix, which is overwritten."""
        image = matrix @ self._w
        twice = 2 * (image - (self._w @ image) * self._w)
        matrix.addr_(self._w, twice, alpha=-1).addr_(twice, self._w, alpha=-1)
        return matrix[:-1, :-1]

    def embed(self, rows: Tensor) -> Tensor:
        """Vectors [k, Ñ - 1] of coefficients in this basis as tangent vectors [k, Ñ]."""
        padded = torch.cat([rows, rows.new_zeros(len(rows), 1)], 1)
        return padded.addr_(padded @ self._w, self._w, alpha=-2)


def tangent_block(matrix: Tensor, theta: Tensor) -> Tensor:
    """The symmetric matrix [Ñ, Ñ] on the tangent space at theta [Ñ], in an orthonormal basis of it [Ñ - 1, Ñ - 1]."""
    return TangentBasis(theta).block(matrix.clone())


def project_in_place(matrix: Tensor, theta: Tensor) -> Tensor:
    """P A P of a symmetric matrix A [Ñ, Ñ] at theta [Ñ]; it overwrites A."""
    unit = theta / theta.norm()
    image = matrix @ unit
    image -= 0.5 * (unit @ image) * unit
    return matrix.addr_(unit, image, alpha=-1).addr_(image, unit, alpha=-1)
