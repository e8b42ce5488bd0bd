"""What each artefact holds: names, shapes, dtypes, and the checks that make them a contract.

    dataset -> runs -> spectra

Arrays are numpy arrays, float64 unless said otherwise, so that reading and checking a file costs no
import of torch. P patterns in d dimensions, C outputs; Ñ parameters (science.md's names throughout).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError

Array = NDArray[np.float64]

#: Fields that every run's metadata carries.
RUN_FIELDS = (
    "d", "width", "depth", "activation", "batch_norm", "P", "n_parameters", "n_hidden",
    "n_effective_expected", "loss", "epsilon", "optimizer", "protocol", "seed", "steps", "status",
    "certified", "final_loss", "n_unsatisfied", "n_contacts", "n_misclassified", "grad_norm",
)  # fmt: skip

#: The matrices that are taken apart: H = H0 + Hp.
PARTS = ("H", "H0", "Hp")
#: The arrays of a density: grid, density, its standard error.
DENSITY = ("x", "y", "error")

#: Fields a spectrum's metadata adds to those of its run.
SPECTRUM_FIELDS = (
    "n_unsatisfied", "n_negative_Hp", "n_negative_H", "n_zero_H0", "rank_H0", "gap_H0", "n_cusps",
    "c0", "bound_holds", "trace_error", "frobenius_error",
)  # fmt: skip

#: Those of them that count what there is at least one of.
COUNT_FIELDS = ("d", "width", "depth", "P", "n_parameters", "n_effective_expected")

#: The arrays of a certificate of a minimum: [n, 3] (pattern, layer from 1, neuron) int64, [n], [n].
CERTIFICATE = ("cusps", "multipliers", "forces")

#: A pattern with |Δ| ≤ CONTACT·ε is a contact: it counts neither as an overlap nor as a gap.
CONTACT = 1e-10
#: A run whose budget ran out is jammed beyond doubt with more unsatisfied patterns than this per effective parameter:
#: the rule of the authors' program.
JAMMED = 0.1

#: History columns, one value per measured step.
HISTORY_FIELDS = ("step", "loss", "n_unsatisfied", "n_misclassified", "grad_norm")


@dataclass(frozen=True)
class Dataset:
    """P labelled patterns.

    x [P, d]; y [P] of ±1, or [P, C] of ±1 with one +1 a row; x_test, y_test alike or both None.
    `info`: source, seed, P, d, classes, preprocessing.
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
        return self.x.shape[0]

    @property
    def d(self) -> int:
        return self.x.shape[1]

    @property
    def outputs(self) -> int:
        """C: 1 for ±1 labels, the number of classes for one-hot ones."""
        return 1 if self.y.ndim == 1 else self.y.shape[1]

    def first(self, P: int) -> Dataset:
        """The first P patterns, with the whole test set."""
        if P > self.P:
            raise InputError(
                f"asked for {P} patterns, the dataset has {self.P}; make a larger one with jam-data"
            )
        if P == self.P:
            return self
        return Dataset(self.x[:P], self.y[:P], self.x_test, self.y_test, self.info)


@dataclass(frozen=True)
class Run:
    """One trained network.

    theta, theta0 [Ñ]: parameters at the end and the start, per layer weight [out, in] row-major then
    bias; gaps [P] (or [P, C]): Δ at the end; history: columns [T] over the measured steps
    (and theta [T, Ñ] where snapshots were asked for);
    info: `RUN_FIELDS` and whatever else the training recorded; certificate: the arrays of `CERTIFICATE`, or empty.
    """

    theta: Array
    theta0: Array
    gaps: Array
    history: Mapping[str, NDArray[Any]]
    info: Mapping[str, Any]
    certificate: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self.info, RUN_FIELDS, "run")
        for name in ("theta", "theta0"):
            got = getattr(self, name).shape
            if got != (self.info["n_parameters"],):
                raise InputError(
                    f"{name} has shape {got}, its run says {self.info['n_parameters']} parameters"
                )
        if self.gaps.shape[:1] != (self.info["P"],):
            raise InputError(f"gaps has shape {self.gaps.shape}, its run says {self.info['P']} patterns")
        for name in HISTORY_FIELDS:
            if name not in self.history:
                raise InputError(f"a run without history/{name}; train it again with jam-train")
        shapes = {name: column.shape for name, column in self.history.items()}
        T = shapes["step"]
        if len(T) != 1 or any(
            shape != ((*T, len(self.theta)) if name == "theta" else T) for name, shape in shapes.items()
        ):
            raise InputError(
                f"history columns of shapes {sorted(set(shapes.values()))}, expected one [T] for all"
            )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by their names in a file, less the run's own prefix: theta, history/step, certificate/cusps, …."""
        own = {"theta": self.theta, "theta0": self.theta0, "gaps": self.gaps}
        groups = {"history": self.history, "certificate": self.certificate}
        return own | {
            f"{group}/{name}": array for group, some in groups.items() for name, array in some.items()
        }


@dataclass(frozen=True)
class Runs:
    """The runs of one file, and the training set they share."""

    dataset: Dataset
    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        for run in self.runs:
            if run.info["d"] != self.dataset.d or run.info["P"] > self.dataset.P:
                raise InputError(
                    f"a run of P={run.info['P']}, d={run.info['d']} on a dataset of "
                    f"P={self.dataset.P}, d={self.dataset.d}; the file is inconsistent"
                )

    def patterns(self, run: Run) -> Dataset:
        """The patterns this run was trained on: the first P of the dataset."""
        return self.dataset.first(run.info["P"])


@dataclass(frozen=True)
class Spectrum:
    """What is known of H = H0 + Hp at the end of one run.

    eigenvalues: of those of PARTS that were asked for, [Ñ] ascending; matrices: "H0" and "Hp" [Ñ, Ñ] in the order of theta,
    or empty; vectors: eigenvectors [k, Ñ] of the lowest and highest eigenvalues by part; densities: by part the arrays
    of a density that was estimated without a matrix; info: the run's fields and `SPECTRUM_FIELDS`.
    """

    eigenvalues: Mapping[str, Array]
    info: Mapping[str, Any]
    matrices: Mapping[str, Array] = field(default_factory=dict)
    vectors: Mapping[str, Array] = field(default_factory=dict)
    densities: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self.info, SPECTRUM_FIELDS, "spectrum")
        for name, values in self.eigenvalues.items():
            if name not in PARTS or values.shape != (self.info["n_parameters"],):
                raise InputError(
                    f"{name} has shape {values.shape}, expected as many eigenvalues as parameters"
                )

    def __getitem__(self, part: str) -> Array:
        """The eigenvalues of a part [Ñ], ascending; InputError when they are not there."""
        if part not in self.eigenvalues:
            raise InputError(
                f"a spectrum without the eigenvalues of {part}; run jam-hessian with --method exact and without --only and "
                "--inertia"
            )
        return self.eigenvalues[part]


def sha256(arrays: Iterable[NDArray[Any]], text: str = "") -> str:
    """A digest of a text and of arrays, their types and shapes."""
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_finite(run: Run) -> None:
    """Raises InputError for a run that diverged."""
    if not np.isfinite(run.theta).all() or not np.isfinite(run.gaps).all():
        raise InputError(
            f"a run of status {run.info['status']!r} whose parameters or gaps are not finite; leave it out"
        )


def check_patterns(x: Array, y: Array, x_name: str, y_name: str) -> None:
    """Raises InputError unless x is a finite float64 [P, d] and y holds P labels ±1."""
    for name, array in ((x_name, x), (y_name, y)):
        if array.dtype != np.float64:
            raise InputError(f"{name} is {array.dtype}, expected float64; convert it with jam-data arrays")
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{x_name} has shape {x.shape}, expected [P, d]")
    if x.shape[0] == 0:
        raise InputError(f"{x_name} holds no pattern, expected at least one")
    if y.ndim not in (1, 2) or y.shape[0] != x.shape[0]:
        raise InputError(
            f"{x_name} has {x.shape[0]} patterns and {y_name} has shape {y.shape}, expected as many labels"
        )
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise InputError(f"{x_name} is not finite (NaN or infinity in pattern {row}); clean the data first")
    check_labels(y, y_name)


def check_labels(y: Array, name: str) -> None:
    """Raises InputError unless y is ±1, with exactly one +1 a row when it is [P, C]."""
    wrong = np.abs(y) != 1.0
    if wrong.any():
        raise InputError(f"{name} holds {y[wrong].flat[0]:g}, expected labels +1 and -1 only")
    if y.ndim == 2 and (y.shape[1] < 2 or ((y > 0).sum(axis=1) != 1).any()):
        raise InputError(
            f"{name} of shape {y.shape} is not one-hot, expected one +1 and otherwise -1 in each row"
        )


def check_fields(info: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    """Raises InputError when metadata lacks one of the fields of the contract."""
    missing = [name for name in names if name not in info]
    if missing:
        raise InputError(
            f"a {what} without the field{'s' * (len(missing) > 1)} {', '.join(missing)}; make it again"
        )


def check_counts(info: Mapping[str, Any]) -> None:
    """Raises InputError when a run of a file counts its neurons, patterns or parameters in other than integers."""
    for name in COUNT_FIELDS:
        if type(info.get(name)) is not int or info[name] < 1:  # a bool is an int too
            raise InputError(
                f"a run of {name} {info.get(name)!r}, expected an integer of at least 1; make it again"
            )
