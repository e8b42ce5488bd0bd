"""The signs of H at fixed norm close to jamming, where H0 is larger than Hp by many powers of ten.

    V = [V_s, V_k]:  eigenvectors of H0, stiff where λ > 4 ‖Hp‖₂, and the others;      H_s = V_sᵀ H V_s, …
    S = H_k - H_ks H_s⁻¹ H_sk,        N_-(H) = N_-(H_s) + N_-(S) = N_-(S)                                (Haynsworth)

As L → 0, H has about N_Δ - 1 stiff modes, which stay, and N - N_Δ + 1 soft ones, which vanish as √L. Round-off of H is about
eps ‖H0‖₂, and it hides the soft modes once they are that small. H_s is positive definite: H0 is larger there than Hp. All
terms of S have the size of Hp. So its zeros are those |λ| that round-off of S explains, whatever ‖H0‖ is:

    n eps √κ ‖S‖₂ + ‖(1/P) Σ ± δ_µ ∇⊗∇Δ_µ‖₂        κ: the ratio of the stiff eigenvalues of H0;  δ: round-off of Δ

The directions of the kernel of H0 are known to eps √κ. For this H0 is computed in the basis V as (J V)ᵀ (J V), where the
round-off of each entry is relative to this entry. The second term, with random signs, is the round-off of Hp; Δ comes from
longer floating-point numbers (network/roundoff.py), since in double precision its round-off is relative to ε.

Source: E. V. Haynsworth, Linear Algebra Appl. 1, 73 (1968), for the signs; none for the rest, own definitions.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from jamtools.errors import CheckError, Remedy
from jamtools.hessian.assembly import ASSEMBLY_BLOCK_PATTERNS, Hessian, Passes, h0, hp
from jamtools.hessian.products import Products
from jamtools.hessian.spaces import Space
from jamtools.linalg.inertia import Inertia, inertia_of, norm2
from jamtools.network.problem import Problem
from jamtools.network.roundoff import EXTENDED_EPS, extended_gaps, gap_errors, operations
from jamtools.network.sphere import project_in_place
from jamtools.random_streams import GAP_SIGNS, generator
from jamtools.records import margin_unit

#: Where round-off of H exceeds this part of ‖Hp‖₂, signs are counted on the soft modes. Most soft modes of networks at
#: L/N = 1e-12 are above 1e-3 of ‖Hp‖₂.
LARGEST_ROUND_OFF = 1e-6

#: The eigenvalues of H0 above this times ‖Hp‖₂ are stiff. ‖Hp‖₂ is estimated from below, to about one digit.
STIFF_RATIO = 4.0


#: A network is close to jamming where half of its unsatisfied Δ are below this times |ε|. Elsewhere a small Hp is one whose
#: terms cancel, as in a linear network, and its signs are those of the round-off of theta.
LARGEST_GAP = 1e-3


def are_hidden(pair: Hessian, products: Products) -> bool:
    """Whether round-off of H = H0 + Hp, n eps ‖H0‖₂, hides modes of the size of Hp; H0, Hp [n, n]."""
    if not products.n_unsatisfied or products.median_gap > LARGEST_GAP * margin_unit(products.loss.epsilon):
        return False
    n, eps = len(pair.H0), torch.finfo(pair.H0.dtype).eps
    return n * eps * norm2(pair.H0) > LARGEST_ROUND_OFF * norm2(pair.Hp)


def signs_of_H(pair: Hessian, space: Space, products: Products) -> Inertia:
    """The signs of H, from H0 and Hp [n, n] in the basis of the space; tolerance: what counts as zero on the soft modes.

    Besides H0 and Hp it needs three matrices [n, n]. Raises CheckError when H0 is not positive definite where it is large.
    """
    theta, problem = products.theta, products.problem
    rounding = _round_off_of_Hp(theta, problem)
    values, vectors = torch.linalg.eigh(pair.H0)
    n, eps = len(values), torch.finfo(values.dtype).eps
    least = max(STIFF_RATIO * norm2(pair.Hp), n * eps * float(values[-1]))
    n_soft = int((values <= least).sum())
    H = h0(passes := Passes(theta, problem), passes.unsatisfied(), space.embed(vectors.mT))
    H.addmm_(vectors.mT, pair.Hp @ vectors)
    del vectors
    if n_soft == n:
        return inertia_of(H, n * eps * norm2(H) + rounding)
    S = _schur_complement(H, n_soft)
    spread = math.sqrt(float(values[-1] / values[n_soft]))
    soft = inertia_of(S, n * eps * spread * norm2(S) + rounding)
    return Inertia(soft.n_negative, soft.n_zero, soft.n_positive + n - n_soft, soft.tolerance)


def _round_off_of_Hp(theta: Tensor, problem: Problem) -> float:
    """‖δHp‖₂ for the round-off of Δ, within its bounds and with random signs."""
    passes, eps = Passes(theta, problem), operations(problem.arch) * torch.finfo(theta.dtype).eps
    unsatisfied = passes.unsatisfied()
    signal = torch.zeros_like(problem.y)
    draws = generator(0, GAP_SIGNS)
    for patterns in unsatisfied.any(1).nonzero()[:, 0].split(ASSEMBLY_BLOCK_PATTERNS):
        part = problem.take(patterns)
        errors = gap_errors(theta, part, EXTENDED_EPS) + eps * extended_gaps(theta, part).abs()
        errors *= unsatisfied[patterns]
        signs = torch.from_numpy(draws.choice([-1.0, 1.0], tuple(errors.shape)))
        signal[patterns] = problem.loss.hinge_curvature * errors * signs.to(errors)
    return norm2(project_in_place(hp(replace(passes, signal=signal), unsatisfied), theta))


def _schur_complement(H: Tensor, n_soft: int) -> Tensor:
    """S [n_soft, n_soft] of H [n, n], whose first rows are those of the soft modes."""
    factor, failed = torch.linalg.cholesky_ex(H[n_soft:, n_soft:])
    if int(failed):
        raise CheckError("H is not positive definite on the stiff modes of H0", Remedy.OTHER_DEVICE)
    half = torch.linalg.solve_triangular(factor, H[n_soft:, :n_soft], upper=False)
    return torch.addmm(H[:n_soft, :n_soft], half.mT, half, alpha=-1)
