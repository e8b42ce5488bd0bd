"""Artefacts to and from safetensors: which tensors and which metadata make a dataset, runs, spectra.

    metadata["jamtools"] = {"kind", "version": 1, "provenance": [...], kind-specific fields}

One metadata key holding sorted JSON keeps the bytes stable. Unknown tensors are passed over.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jamtools.errors import InputError
from jamtools.records import Dataset, Run, Runs, Spectrum
from jamtools.streams import STDIN, describe, plain, read_bytes

VERSION = 1
#: How to come by an artefact of each kind.
REMEDY = {
    "dataset": "make one with jam-data",
    "runs": "pipe it through jam-train first",
    "spectra": "pipe it through jam-hessian first",
}


class Artefact:
    """An open safetensors file of jamtools: its kind, its metadata, its tensors on demand."""

    def __init__(self, source: str) -> None:
        self.source = source
        path, spooled = (source, False) if _is_regular(source) else (_spool(source), True)
        try:
            self._file = _open(path, source)
            self.metadata = _metadata(self._file.metadata(), source)
        finally:
            if spooled:  # the mapping keeps the bytes
                os.unlink(path)
        self.kind: str = self.metadata["kind"]
        self.names = frozenset(self._file.keys())

    def tensor(self, name: str, dtype: str = "F64") -> NDArray[Any]:
        """One array; InputError when it is missing or of another dtype."""
        if name not in self.names:
            raise InputError(f"{describe(self.source)}a {self.kind} file without {name}; make it again")
        got = self._file.get_slice(name).get_dtype()
        if got != dtype:
            raise InputError(
                f"{describe(self.source)}{name} is {got}, expected {dtype}; convert the data first"
            )
        return self._file.get_tensor(name)

    def any_tensor(self, name: str) -> NDArray[Any]:
        """One array of whatever dtype it has."""
        if name not in self.names:
            shown = ", ".join(sorted(self.names)[:12])
            raise InputError(f"{describe(self.source)}no array {name}; it holds {shown}")
        return self._file.get_tensor(name)

    def expect(self, kind: str) -> Artefact:
        """Itself, or an InputError that says which command comes in between."""
        if self.kind != kind:
            raise InputError(
                f"{describe(self.source)}got {_a(self.kind)}, expected {_a(kind)}; {REMEDY[kind]}"
            )
        return self


def _a(kind: str) -> str:
    return kind if kind.endswith("s") or kind == "spectra" else f"a {kind}"


def _is_regular(source: str) -> bool:
    return source != STDIN and os.path.isfile(source)


def _spool(source: str) -> str:
    """A stream's bytes in a temporary file, which can be mapped."""
    data = read_bytes(source)
    if not data:
        raise InputError(
            f"{describe(source)}empty input, expected an artefact; did the command before it fail?"
        )
    handle, path = tempfile.mkstemp(prefix="jamtools-", suffix=".safetensors")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return path


def _open(path: str, source: str) -> Any:
    try:
        if os.path.getsize(path) == 0:
            raise InputError(
                f"{describe(source)}empty input, expected an artefact; did the command before it fail?"
            )
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        if _looks_like_json(path):
            raise InputError(f"{describe(source)}got JSON, expected an artefact in safetensors") from error
        raise InputError(
            f"{describe(source)}not a whole safetensors file ({error}); it was cut short or is something else, make it again"
        ) from error
    except OSError as error:
        raise InputError(f"{source}: {(error.strerror or str(error)).lower()}; check the path") from error


def _looks_like_json(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(16).lstrip()[:1] in (b"{", b"[")


def _metadata(header: Mapping[str, str] | None, source: str) -> dict[str, Any]:
    try:
        metadata = json.loads((header or {})["jamtools"])
        kind, version = metadata["kind"], metadata["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{describe(source)}got a safetensors file that jamtools did not write; load arrays with jam-data arrays"
        ) from error
    if version != VERSION:
        raise InputError(
            f"{describe(source)}got {kind} of format version {version}, expected version {VERSION}; use the jamtools that wrote it"
        )
    return metadata


def read_dataset(source: str) -> tuple[Dataset, list[dict[str, Any]]]:
    """A dataset and its provenance."""
    artefact = Artefact(source).expect("dataset")
    return _dataset(artefact), list(artefact.metadata["provenance"])


def read_runs(source: str) -> tuple[Runs, list[dict[str, Any]]]:
    """The runs of one file and their provenance."""
    artefact = Artefact(source).expect("runs")
    records = artefact.metadata["runs"]
    runs = tuple(_run(artefact, f"r{i:04d}", info) for i, info in enumerate(records))
    return Runs(_dataset(artefact), runs), list(artefact.metadata["provenance"])


@dataclass(frozen=True)
class Member:
    """A run of an ensemble: its name there (r0000, r0001, … over all files) and its own P patterns."""

    name: str
    run: Run
    data: Dataset


def read_ensemble(sources: Iterable[str] | None) -> tuple[list[Member], list[dict[str, Any]]]:
    """The runs of several files one after the other, and the provenance of all; None is standard input."""
    members: list[Member] = []
    steps: list[dict[str, Any]] = []
    for source in sources or [STDIN]:
        runs, provenance = read_runs(source)
        members += [
            Member(f"r{len(members) + i:04d}", run, runs.patterns(run)) for i, run in enumerate(runs.runs)
        ]
        steps += [step for step in provenance if step not in steps]
    return members, steps


def read_spectra(source: str) -> tuple[list[Spectrum], list[dict[str, Any]]]:
    """The spectra of one file, without the matrices, and their provenance."""
    artefact = Artefact(source).expect("spectra")
    spectra = [
        Spectrum(*(artefact.tensor(f"r{i:04d}/{name}") for name in ("H", "H0", "Hp")), info)
        for i, info in enumerate(artefact.metadata["spectra"])
    ]
    return spectra, list(artefact.metadata["provenance"])


def _dataset(artefact: Artefact) -> Dataset:
    test = [artefact.tensor(name) if name in artefact.names else None for name in ("x_test", "y_test")]
    info = artefact.metadata.get("dataset", {})
    try:
        return Dataset(artefact.tensor("x"), artefact.tensor("y"), test[0], test[1], info)
    except InputError as error:
        raise InputError(f"{describe(artefact.source)}{error}") from error


def _run(artefact: Artefact, prefix: str, info: dict[str, Any]) -> Run:
    theta, theta0, gaps = (artefact.tensor(f"{prefix}/{name}") for name in ("theta", "theta0", "gaps"))
    columns = sorted(name for name in artefact.names if name.startswith(f"{prefix}/history/"))
    history = {name.split("/")[-1]: artefact.any_tensor(name) for name in columns}
    return Run(theta, theta0, gaps, history, info)


def dataset_bytes(dataset: Dataset, provenance: list[dict[str, Any]]) -> bytes:
    return _pack("dataset", _dataset_tensors(dataset), {"dataset": dict(dataset.info)}, provenance)


def runs_bytes(runs: Runs, provenance: list[dict[str, Any]]) -> bytes:
    tensors = _dataset_tensors(runs.dataset)
    for i, run in enumerate(runs.runs):
        tensors |= {f"r{i:04d}/{name}": getattr(run, name) for name in ("theta", "theta0", "gaps")}
        tensors |= {f"r{i:04d}/history/{name}": column for name, column in run.history.items()}
    fields = {"dataset": dict(runs.dataset.info), "runs": [dict(run.info) for run in runs.runs]}
    return _pack("runs", tensors, fields, provenance)


def spectra_bytes(spectra: Iterable[Spectrum], provenance: list[dict[str, Any]]) -> bytes:
    tensors: dict[str, NDArray[Any]] = {}
    spectra = list(spectra)
    for i, spectrum in enumerate(spectra):
        tensors |= {f"r{i:04d}/{name}": getattr(spectrum, name) for name in ("H", "H0", "Hp")}
        tensors |= {f"r{i:04d}/matrix/{name}": matrix for name, matrix in spectrum.matrices.items()}
    return _pack("spectra", tensors, {"spectra": [dict(spectrum.info) for spectrum in spectra]}, provenance)


def _dataset_tensors(dataset: Dataset) -> dict[str, NDArray[Any]]:
    arrays = {name: getattr(dataset, name) for name in ("x", "y", "x_test", "y_test")}
    return {name: array for name, array in arrays.items() if array is not None}


def _pack(
    kind: str,
    tensors: Mapping[str, NDArray[Any]],
    fields: Mapping[str, Any],
    provenance: list[dict[str, Any]],
) -> bytes:
    metadata = {"kind": kind, "version": VERSION, "provenance": provenance, **fields}
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(
        contiguous, metadata={"jamtools": json.dumps(plain(metadata), sort_keys=True, allow_nan=False)}
    )
