"""What is known exactly of H0, Hp and H without their matrices: traces, zero eigenvalues, and that H0 has no negative ones.

    H0 = Jᵀ J,     rank H0 = rank J Jᵀ,     (J Jᵀ)_µν = ∇f_µ · ∇f_ν = Σ_j (β_j β_jᵀ)_µν (a_{j-1} a_{j-1}ᵀ + 1)_µν

J [N_Δ, Ñ] has the rows ∇f of the unsatisfied patterns. While N_Δ is small, J Jᵀ [N_Δ, N_Δ] fits in memory for any Ñ, and the
count of zeros is exact. Otherwise, and for H and Hp, there are lower bounds. These vectors are in the kernel: the scale
generators of ReLU, for H0; a parameter without any gradient at the unsatisfied patterns, as in a dead neuron, for all three;
the biases of the outputs, for Hp. At fixed norm ∇f is the one on the sphere. No zeros of H and Hp are known then, for μ
moves them all; the trace of Hp is that of spaces.py.

Source: arXiv:1809.09349, section III, for the rank of H0; none for the rest, own definitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jamtools.hessian.products import Products
from jamtools.network.symmetry import ScaleGenerators
from jamtools.random_streams import KERNEL_CHECK, generator

#: The largest N_Δ for which J Jᵀ is made: 32 MB, and some seconds for its eigenvalues.
MAX_GRAM_ROWS = 2048


@dataclass(frozen=True)
class KnownCounts:
    """Exact facts of a matrix with which the probes must agree.

    trace: tr A, None where it is not known; kernel: a lower bound of the number of zero eigenvalues, or this number itself
    (exact); nonnegative: whether no eigenvalue is negative.
    """

    trace: float | None
    kernel: int
    exact: bool
    nonnegative: bool


def known_h0(products: Products, layer: int | None = None) -> KnownCounts:
    """The facts of H0, or of its diagonal block of a layer (from 0)."""
    diagonal = products.diagonal_h0()
    if layer is not None:
        diagonal = diagonal[products.part(layer)]
    n, trace = len(diagonal), float(diagonal.sum())
    on_sphere = layer is None and products.arch.norm is not None
    if on_sphere:
        n, trace = n - 1, trace - products.along_theta("H0")
    if products.n_unsatisfied <= MAX_GRAM_ROWS:
        return KnownCounts(trace, n - _rank(products.gram_h0(layer), n, products.theta.dtype), True, True)
    without_gradient = diagonal == 0
    kernel = int(without_gradient.sum())
    if layer is None:  # of a generator, only what lies outside of these parameters is one more direction
        kernel += ScaleGenerators(products.theta * ~without_gradient, products.arch).rank
    kernel = max(kernel - on_sphere, 0)  # at most one direction of the kernel is not tangent
    return KnownCounts(trace, max(kernel, n - products.n_unsatisfied), False, True)


def known_h(products: Products, part: str, generators: ScaleGenerators) -> KnownCounts:
    """The facts of H or Hp on the complement of the scale generators; at fixed norm on the tangent space, with their μ."""
    if products.arch.norm is not None:
        return KnownCounts(_trace_on_sphere(products, part), 0, False, False)
    traceless = part == "Hp" and products.arch.activation != "tanh" and generators.rank == 0
    flat = products.diagonal_h0() == 0
    if part == "Hp" and products.arch.bias:
        flat[-products.arch.outputs :] = True
    kernel = 0
    if flat.any() and _is_zero(products, part, flat):
        within = ScaleGenerators(products.theta * flat, products.arch).rank
        kernel = int(flat.sum()) - within
    # the projection changes the trace of Hp
    return KnownCounts(0.0 if traceless else None, kernel, False, False)


def _trace_on_sphere(products: Products, part: str) -> float | None:
    """tr P Hp P + μ (Ñ - 1) for piecewise linear ρ, where tr Hp = 0; None otherwise."""
    if part == "H" or products.arch.activation == "tanh":
        return None
    return products.norm_multiplier.value * (products.theta.numel() - 1) - products.along_theta("Hp")


def _rank(gram: Tensor, n: int, dtype: torch.dtype) -> int:
    """The number of eigenvalues above n·eps·‖H0‖₂."""
    if not len(gram):
        return 0
    values = torch.linalg.eigvalsh(gram)
    return int((values > n * torch.finfo(dtype).eps * values[-1]).sum())


def _is_zero(products: Products, part: str, flat: Tensor) -> bool:
    """Whether all rows of the parameters `flat` [Ñ] are zero: almost every vector on them shows it."""
    draws = generator(0, KERNEL_CHECK).standard_normal(len(flat))
    vector = torch.as_tensor(draws, dtype=products.theta.dtype, device=products.theta.device) * flat
    return not bool(products.product(part, vector[:, None]).any())
