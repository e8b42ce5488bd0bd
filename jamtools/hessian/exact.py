"""Exact spectra at the end of a run: eigenvalues or signs of H, H0 and Hp, the counts that follow, and their checks.

    rank H0 ≤ N_Δ,   (N - rank H0)/N: weight of the delta at 0 beside the Ñ - N symmetries,   C0 = N_-(Hp)/N
    stable: N_Δ ≥ N_-, and where cusps hold directions N_Δ ≥ N_- - N_c                       (N_- = N_-(Hp))

Signs of H and Hp are counted with the scale generators of ReLU projected out: where ∇L ≠ 0 these are not zero modes of Hp
and would change the count. Each matrix is assembled and diagonalised itself; none is the difference of two others. A failed
check is an error. Besides a block of the assembly, at most three matrices [Ñ, Ñ] are in memory: two that wait, and the one
that is being diagonalised.

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
from jamtools.errors import CheckError, Remedy
from jamtools.hessian.assembly import Hessian, hessian
from jamtools.hessian.assembly import bytes_needed as assembly_bytes
from jamtools.hessian.summary import summarise
from jamtools.linalg.eigenvalues import Eigenvalues, symmetric_eigenvalues
from jamtools.linalg.inertia import Inertia, inertia_of, n_below
from jamtools.network.architecture import Architecture
from jamtools.network.problem import Problem
from jamtools.network.symmetry import scale_generators
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
    CheckError when trace, Frobenius norm or tr Hp = 0 fail on the CPU too, InputError for a run that diverged or was not
    trained on the hinge loss.
    """
    options = options or ExactOptions()
    check_finite(run)
    problem = Problem.of(run, data, device, dtype)
    theta = problem.tensor(run.theta)
    parts = _Parts(hessian(theta, problem), options)
    generators = scale_generators(theta, problem.arch)
    spectra: dict[str, Eigenvalues] = {}
    signs: dict[str, Inertia] = {}
    n_negative: dict[str, int] = {}
    for name, matrix in parts.each():
        if options.signs_only:
            signs[name] = inertia_of(matrix, constraints=None if name == "H0" else generators)
            n_negative[name] = signs[name].n_negative
            continue
        spectra[name] = _eigenvalues(matrix, name, options.vectors)
        if name != "H0":
            n_negative[name] = n_below(matrix, -spectra[name].tolerance, generators)
    if "Hp" in spectra:
        check_traceless(spectra["Hp"], problem.arch)
    info = {**run.info, "method": "exact", **summarise(spectra, signs, n_negative, run.info)}
    info |= bounds(info, count_of_run(run, data, device))
    values = {name: _to_numpy(spectra[name].values) for name in spectra}
    vectors = {name: _to_numpy(e.vectors) for name, e in spectra.items() if e.vectors is not None}
    return Spectrum(values, info, parts.kept, vectors)


class _Parts:
    """Yields H0, H and Hp one after the other and frees each; H overwrites H0, so that at most two are in memory."""

    def __init__(self, pair: Hessian, options: ExactOptions) -> None:
        self._H0, self._Hp, self._wanted = pair.H0, pair.Hp, options.parts
        self.kept: dict[str, Array] = {}
        if options.matrices:
            self.kept = {name: _to_numpy(getattr(pair, name)).copy() for name in ("H0", "Hp")}

    def each(self) -> Iterator[tuple[str, Tensor]]:
        """The name and the matrix [Ñ, Ñ] of each part to diagonalise."""
        if "H0" in self._wanted:
            yield "H0", self._H0
        H = self._H0
        if "H" in self._wanted:
            H += self._Hp
            yield "H", H
        del H, self._H0
        if "Hp" in self._wanted:
            yield "Hp", self._Hp


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


def check_traceless(spectrum: Eigenvalues, arch: Architecture) -> None:
    """Raises CheckError unless tr Hp = 0 for piecewise linear ρ, within the round-off of a sum of n eigenvalues."""
    if arch.activation == "tanh" or spectrum.values.numel() == 0:
        return
    error, scale = abs(spectrum.values.sum().item()), spectrum.values.abs().sum().item()
    if not error <= len(spectrum.values) ** 2 * torch.finfo(spectrum.values.dtype).eps * scale:
        raise CheckError(
            f"the eigenvalues of Hp sum to {error:.1e}, expected 0 for {arch.activation}", Remedy.OTHER_DEVICE
        )


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
    """
    more = 2 * options.matrices + 3 * (options.vectors > 0)
    return assembly_bytes(Architecture.of(info)) + 8 * more * int(info["n_parameters"]) ** 2
