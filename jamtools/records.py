"""The records that artefacts hold: names, shapes, dtypes, and the checks that make them a contract.

    dataset -> runs -> spectra

Arrays are numpy arrays, float64 unless stated otherwise: reading and checking a file does not import torch.
Sizes: P patterns in d dimensions, C outputs, Ñ parameters, N effective parameters.

Source: the definitions of arXiv:1809.09349, sections II and III.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError, Remedy
from jamtools.record_checks import check_fields, check_patterns, check_set_aside

Array = NDArray[np.float64]

#: Fields of the metadata of every run.
RUN_FIELDS = (
    "d", "width", "depth", "activation", "batch_norm", "P", "n_parameters", "n_hidden",
    "n_effective_expected", "loss", "epsilon", "optimizer", "protocol", "seed", "steps", "status",
    "certified", "final_loss", "n_unsatisfied", "n_contacts", "n_misclassified", "grad_norm",
)  # fmt: skip

#: Fields that the metadata of a spectrum adds to those of its run.
SPECTRUM_FIELDS = (
    "n_unsatisfied", "n_negative_Hp", "n_negative_H", "n_zero_H0", "rank_H0", "gap_H0", "n_cusps",
    "c0", "bound_holds", "trace_error", "frobenius_error",
)  # fmt: skip

#: Columns of a run's history, one value per measured step.
HISTORY_FIELDS = ("step", "loss", "n_unsatisfied", "n_misclassified", "grad_norm")

#: The matrices whose spectra are computed: H = H0 + Hp.
HESSIAN_PARTS = ("H", "H0", "Hp")

#: The arrays of an estimated density: grid, density, standard error of the density.
DENSITY_ARRAYS = ("x", "y", "error")

#: The arrays of a certificate with n cusps: (pattern, layer from 1, neuron) [n, 3] int64, multipliers [n], forces [n].
CERTIFICATE_ARRAYS = ("cusps", "multipliers", "forces")

#: In units of |ε|, of 1 where ε = 0: a pattern with |Δ| ≤ CONTACT_TOLERANCE·|ε| is a contact and counts neither as an
#: overlap nor as a gap.
CONTACT_TOLERANCE = 1e-10

#: Unsatisfied patterns per effective parameter. A run that has more of them after its last step is certainly jammed; this is
#: the rule of the authors' program.
JAMMED_PER_PARAMETER = 0.1


@dataclass(frozen=True)
class Dataset:
    """P labelled patterns, and perhaps a test set.

    x [P, d]; y [P] of ±1, or [P, C] of ±1 with exactly one +1 in each row. x_test [P_test, d] and y_test [P_test] or
    [P_test, C] follow the same rules, or both are None. `info`: source, seed, P, d, classes, preprocessing.
    Raises InputError for arrays that break these rules.
    """

    x: Array
    y: Array
    x_test: Array | None = None
    y_test: Array | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_patterns(self.x, self.y, "x", "y")
        if (self.x_test is None) != (self.y_test is None):
            raise InputError("got one of x_test and y_test, expected both or neither")
        if self.x_test is not None and self.y_test is not None:
            check_patterns(self.x_test, self.y_test, "x_test", "y_test")
            if self.x_test.shape[1] != self.x.shape[1] or self.y_test.shape[1:] != self.y.shape[1:]:
                raise InputError(
                    f"test set of shape {self.x_test.shape}, {self.y_test.shape} does not fit the "
                    f"training set of shape {self.x.shape}, {self.y.shape}; make both from one source"
                )

    @property
    def P(self) -> int:
        """The number of training patterns."""
        return self.x.shape[0]

    @property
    def d(self) -> int:
        """The dimension of a pattern."""
        return self.x.shape[1]

    @property
    def outputs(self) -> int:
        """C: 1 for ±1 labels, the number of classes for one-hot ones."""
        return 1 if self.y.ndim == 1 else self.y.shape[1]

    def first(self, P: int, set_aside: Sequence[int] = ()) -> Dataset:
        """The first P patterns but for those of some numbers; with the whole test set. InputError for fewer than P."""
        if P > self.P:
            raise InputError(f"asked for {P} patterns, the dataset has {self.P}", Remedy.LARGER_DATASET)
        if P == self.P and not set_aside:
            return self
        kept = np.delete(np.arange(P), list(set_aside))
        return Dataset(self.x[kept], self.y[kept], self.x_test, self.y_test, self.info)


@dataclass(frozen=True)
class Run:
    """One trained network.

    theta, theta0 [Ñ]: parameters at the end and at the start; per layer the weight [out, in] row by row, then the bias.
    gaps [P] or [P, C]: Δ at the end. history: columns [T] over the measured steps, and theta [T, Ñ] with snapshots.
    info: `RUN_FIELDS` and other fields of the training. certificate: the arrays of `CERTIFICATE_ARRAYS`, or empty.
    dead [n_dead] int64: the unsatisfied patterns that a layer does not pass on, ascending (states.py).
    Raises InputError for missing fields and for shapes that contradict info.
    """

    theta: Array
    theta0: Array
    gaps: Array
    history: Mapping[str, NDArray[Any]]
    info: Mapping[str, Any]
    certificate: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    dead: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        check_fields(self.info, RUN_FIELDS, "run")
        check_set_aside(self.info)
        for name in ("theta", "theta0"):
            shape = getattr(self, name).shape
            if shape != (self.info["n_parameters"],):
                raise InputError(
                    f"{name} has shape {shape}, expected {self.info['n_parameters']} parameters as in the metadata"
                )
        if self.gaps.shape[:1] != (self.info["P"],):
            raise InputError(
                f"gaps has shape {self.gaps.shape}, expected {self.info['P']} patterns as in the metadata"
            )
        if len(self.dead) and not (self.dead.min() >= 0 and self.dead.max() < self.info["P"]):
            raise InputError(f"dead patterns outside 0 to {self.info['P'] - 1}; make the run again")
        self._check_history()

    def _check_history(self) -> None:
        for name in HISTORY_FIELDS:
            if name not in self.history:
                raise InputError(f"a run without history/{name}", Remedy.TRAIN_AGAIN)
        shapes = {name: column.shape for name, column in self.history.items()}
        T = shapes["step"]
        expected = {name: (*T, len(self.theta)) if name == "theta" else T for name in shapes}
        if len(T) != 1 or shapes != expected:
            raise InputError(
                f"history columns of shapes {sorted(set(shapes.values()))}, expected one [T] for all"
            )

    @property
    def P(self) -> int:
        """The number of training patterns."""
        return int(self.info["P"])

    @property
    def set_aside(self) -> list[int]:
        """The numbers of the patterns of the dataset that the training left out, ascending (the field `set_aside`)."""
        return list(self.info.get("set_aside") or ())

    @property
    def N(self) -> int:
        """The number of effective parameters that the architecture has generically: Ñ less its scale symmetries."""
        return int(self.info["n_effective_expected"])

    @property
    def alpha(self) -> float:
        """P/N: patterns per effective parameter."""
        return self.P / self.N

    @property
    def epsilon(self) -> float:
        """The margin ε of the hinge loss, which sets the scale of Δ."""
        return float(self.info["epsilon"])

    @property
    def margin_unit(self) -> float:
        """The unit of Δ: |ε|, 1 where ε = 0."""
        return margin_unit(self.epsilon)

    @property
    def contact(self) -> float:
        """The largest |Δ| of a contact; 0 for a loss without margin."""
        return CONTACT_TOLERANCE * self.margin_unit if self.info["loss"] == "hinge" else 0.0

    @property
    def n_unsatisfied(self) -> int:
        """N_Δ at the end of the training, of a run of the hinge loss."""
        return int(self.info["n_unsatisfied"])

    @property
    def unsatisfied(self) -> NDArray[np.bool_]:
        """Which Δ are unsatisfied, [P] or [P, C]. A contact is satisfied; a Δ that is NaN is not."""
        return ~(self.gaps <= self.contact)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by their names in a file, without the prefix of the run: theta [Ñ], history/step [T], and so on."""
        arrays: dict[str, NDArray[Any]] = {"theta": self.theta, "theta0": self.theta0, "gaps": self.gaps}
        if len(self.dead):
            arrays["dead"] = self.dead
        for folder, columns in (("history", self.history), ("certificate", self.certificate)):
            arrays |= {f"{folder}/{name}": column for name, column in columns.items()}
        return arrays


@dataclass(frozen=True)
class Runs:
    """The runs of one file, and the training set that they share.

    Raises InputError when a run has another d than the dataset, or more patterns.
    """

    dataset: Dataset
    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        for run in self.runs:
            check_data_of_run(run, self.dataset)

    def patterns(self, run: Run) -> Dataset:
        """The patterns that this run was trained on: the first P of the dataset that it did not leave out."""
        return self.dataset.first(run.P + len(run.set_aside), run.set_aside)


@dataclass(frozen=True)
class Spectrum:
    """The Hessian H = H0 + Hp at the end of one run: its eigenvalues or densities, and counts.

    eigenvalues: by part of `HESSIAN_PARTS` [Ñ] ascending, for the parts that were computed exactly. info: the run's fields
    and `SPECTRUM_FIELDS`. matrices: H0 and Hp [Ñ, Ñ] in the order of theta, or empty. vectors: by part eigenvectors
    [k, Ñ] of the lowest and the highest eigenvalues. densities: by part the `DENSITY_ARRAYS` [points] of a density that was
    estimated without a matrix.

    At fixed norm all are those on the tangent space of the sphere, with Ñ - 1 eigenvalues, and "Hp" stands for Hp + μ 1, so
    that H = H0 + Hp holds; μ is the field `norm_multiplier`. Raises InputError for missing fields and for shapes that
    contradict info.
    """

    eigenvalues: Mapping[str, Array]
    info: Mapping[str, Any]
    matrices: Mapping[str, Array] = field(default_factory=dict)
    vectors: Mapping[str, Array] = field(default_factory=dict)
    densities: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self.info, SPECTRUM_FIELDS, "spectrum")
        n = n_directions(self.info)
        for name, values in self.eigenvalues.items():
            if name not in HESSIAN_PARTS or values.shape != (n,):
                less = "" if n == self.info["n_parameters"] else ", less one at fixed norm"
                raise InputError(
                    f"{name} has shape {values.shape}, expected as many eigenvalues as parameters{less}"
                )

    def __getitem__(self, part: str) -> Array:
        """The eigenvalues of a part [Ñ], ascending. Raises InputError when they were not computed."""
        if part not in self.eigenvalues:
            raise InputError(f"a spectrum without the eigenvalues of {part}", Remedy.EXACT_SPECTRUM)
        return self.eigenvalues[part]


def margin_unit(epsilon: float) -> float:
    """The unit of Δ at the margin ε: |ε|, 1 where ε = 0."""
    return abs(epsilon) or 1.0


def n_directions(info: Mapping[str, Any]) -> int:
    """The number of directions in which theta of a run can move: Ñ, or Ñ - 1 at fixed norm."""
    return int(info["n_parameters"]) - (info.get("norm") is not None)


def sha256(arrays: Iterable[NDArray[Any]], text: str = "") -> str:
    """The SHA-256 digest, in hexadecimal, of a text and of arrays [any shape] with their dtypes and shapes."""
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_data_of_run(run: Run, dataset: Dataset) -> None:
    """Raises InputError for a run that has another d than the dataset, or more patterns with those it left out."""
    if run.info["d"] != dataset.d or run.P + len(run.set_aside) > dataset.P:
        raise InputError(
            f"a run of P={run.P}, d={run.info['d']} on a dataset of "
            f"P={dataset.P}, d={dataset.d}; the file is inconsistent"
        )


def check_finite(run: Run) -> None:
    """Raises InputError for a run whose parameters or gaps are not finite: it diverged."""
    if not np.isfinite(run.theta).all() or not np.isfinite(run.gaps).all():
        raise InputError(
            f"a run of status {run.info['status']!r} whose parameters or gaps are not finite; leave it out"
        )
