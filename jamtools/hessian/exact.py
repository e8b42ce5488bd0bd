"""Exact spectra at the end of a run: eigenvalues or signs of H, H0 and Hp, the counts that follow, and their checks.

    rank H0 ≤ N_Δ,   (N - rank H0)/N: weight of the delta at 0 beside the symmetries,   C0 = N_-(Hp)/N
    stable: N_Δ ≥ N_-, and where cusps hold directions N_Δ ≥ N_- - N_c                       (N_- = N_-(Hp))

Signs of H and Hp are counted with the scale generators of ReLU projected out: where ∇L ≠ 0 these are not zero modes of Hp
and would change the count. At fixed norm all three matrices are those on the tangent space, and "Hp" is Hp + μ 1
(spaces.py); the symmetries are then the Ñ - 1 - N scalings, in the kernel of H0 at a minimum.

Each matrix is assembled and diagonalised itself; none is the difference of two others. A failed check is an error. Besides a
block of the assembly, at most three matrices [Ñ, Ñ] are in memory: two that wait, and the one that is being diagonalised.

Source: arXiv:1809.09349, section III.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jamtools.cusps.counting import CuspCount, count_of_run
from jamtools.errors import CheckError
from jamtools.hessian.assembly import Hessian, hessian
from jamtools.hessian.assembly import bytes_needed as assembly_bytes
from jamtools.hessian.products import Products
from jamtools.hessian.soft_modes import are_hidden, signs_of_H
from jamtools.hessian.spaces import Space
from jamtools.hessian.summary import summarise
from jamtools.linalg.eigenvalues import Eigenvalues, symmetric_eigenvalues
from jamtools.linalg.inertia import Inertia, inertia_of, n_below
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.records import HESSIAN_PARTS, Array, Dataset, Run, Spectrum, check_finite


@dataclass(frozen=True)
class ExactOptions:
    """The contents of an exact spectrum.

    parts: which of H, H0 and Hp; matrices: whether to keep H0 and Hp; vectors: how many eigenvectors to keep at each end;
    signs_only: whether to compute only the signs of the eigenvalues.
    """

    parts: tuple[str, ...] = HESSIAN_PARTS
    matrices: bool = False
    vectors: int = 0
    signs_only: bool = False


def exact_spectrum(
    run: Run,
    data: Dataset,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    options: ExactOptions | None = None,
) -> Spectrum:
    """The spectra of H, H0 and Hp at the end of a run, with the counts that the contract names.

    `data` holds the run's own P patterns. Fields that need a part which `options.parts` leaves out are None. Raises
    CheckError when trace, Frobenius norm or tr Hp fail on the CPU too, InputError for a run that diverged or was not
    trained on the hinge loss.
    """
    options = options or ExactOptions()
    check_finite(run)
    problem = Problem.of(run, data, device, dtype)
    theta = problem.tensor(run.theta)
    products = Products(theta, problem)
    space = Space.of(products)
    signal = None if problem.arch.norm is None else products.signal
    parts = _Parts(space.restrict(hessian(theta, problem, signal=signal)), space, options)
    soft = _soft_signs(parts, space, products)
    spectra: dict[str, Eigenvalues] = {}
    signs: dict[str, Inertia] = {}
    n_negative: dict[str, int] = {}
    for name, matrix in parts.each():
        generators = None if name == "H0" else space.generators
        if options.signs_only:
            signs[name] = soft.get(name) or inertia_of(matrix, constraints=generators)
            n_negative[name] = signs[name].n_negative
            continue
        spectra[name] = _eigenvalues(matrix, name, options.vectors)
        if name in soft:
            n_negative[name] = soft[name].n_negative
        elif generators is not None:
            n_negative[name] = n_below(matrix, -spectra[name].tolerance, generators)
    if "Hp" in spectra:
        space.check_trace(spectra["Hp"])
    info = {**run.info, "method": "exact", "norm_multiplier": space.multiplier}
    info |= summarise(spectra, signs, n_negative, info)
    info |= bounds(info, count_of_run(run, data, device))
    values = {name: _to_numpy(spectra[name].values) for name in spectra}
    vectors = {
        name: _to_numpy(space.embed(e.vectors)) for name, e in spectra.items() if e.vectors is not None
    }
    return Spectrum(values, info, parts.kept, vectors)


class _Parts:
    """Yields H0, H and Hp one after the other and frees each; H overwrites H0, so that at most two are in memory."""

    def __init__(self, pair: Hessian, space: Space, options: ExactOptions) -> None:
        self.kept: dict[str, Array] = {}
        if options.matrices:
            self.kept = {name: _to_numpy(getattr(pair, name)).copy() for name in ("H0", "Hp")}
        self._H0, self._Hp, self.wanted = space.block(pair.H0), space.block(pair.Hp), options.parts

    @property
    def pair(self) -> Hessian:
        """H0 and Hp [n, n], before the first of them is freed."""
        return Hessian(self._H0, self._Hp)

    def each(self) -> Iterator[tuple[str, Tensor]]:
        """The name and the matrix [n, n] of each part to diagonalise."""
        if "H0" in self.wanted:
            yield "H0", self._H0
        H = self._H0
        if "H" in self.wanted:
            H += self._Hp
            yield "H", H
        del H, self._H0
        if "Hp" in self.wanted:
            yield "Hp", self._Hp


def _soft_signs(parts: _Parts, space: Space, products: Products) -> dict[str, Inertia]:
    """The signs of H by name, if it is wanted and round-off hides its soft modes; for networks of fixed norm alone."""
    if space.basis is None or "H" not in parts.wanted or not are_hidden(parts.pair, products):
        return {}
    return {"H": signs_of_H(parts.pair, space, products)}


def _eigenvalues(matrix: Tensor, name: str, vectors: int) -> Eigenvalues:
    """The checked eigenvalues; if the eigensolver of another device fails, those of the CPU, with a warning."""
    try:
        return symmetric_eigenvalues(matrix, name, vectors)
    except (CheckError, RuntimeError) as error:
        if matrix.device.type == "cpu":
            raise
        warnings.warn(
            f"the eigensolver of {matrix.device} failed ({error}); the CPU takes over", stacklevel=2
        )
        return symmetric_eigenvalues(matrix.cpu(), name, vectors)


def _to_numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


def bounds(info: Mapping[str, Any], cusps: CuspCount) -> dict[str, Any]:
    """N_c, and whether N_Δ ≥ N_- (smooth ρ) and N_Δ ≥ N_- - N_c hold; in the bound N_c counts the convex cusps alone.

    Without N_-, and for the second bound where N_c is refused, the fields are None.
    """
    fields = cusps.fields()
    n_negative, unsatisfied = info["n_negative_Hp"], info["n_unsatisfied"]
    n_convex = fields["n_convex_cusps"]
    bound = None if n_negative is None or n_convex is None else n_negative - n_convex
    return {
        **fields,
        "smooth_bound": n_negative,
        "smooth_bound_holds": None if n_negative is None else unsatisfied >= n_negative,
        "bound": bound,
        "bound_holds": None if bound is None else unsatisfied >= bound,
    }


def bytes_needed(info: Mapping[str, Any], options: ExactOptions) -> int:
    """Bytes in float64 for a run of this shape: three matrices [Ñ, Ñ], a block of patterns, and what `options` keeps.

    There are two more matrices with `matrices`, and three with `vectors`: the eigenvectors and the workspace of the solver.
    At fixed norm H has two more even without vectors, for its soft modes.
    """
    soft = 2 * (info.get("norm") is not None and "H" in options.parts)
    more = 2 * options.matrices + max(3 * (options.vectors > 0), soft)
    return assembly_bytes(Architecture.of(info)) + 8 * more * int(info["n_parameters"]) ** 2
