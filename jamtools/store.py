"""Artefacts to and from safetensors: which tensors and which metadata make a dataset, runs, spectra.

    metadata["jamtools"] = {"kind", "version": 1, "provenance": [...], kind-specific fields}

One metadata key holding sorted JSON keeps the bytes stable. Unknown tensors are passed over.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jamtools.errors import InputError, OutputError
from jamtools.records import DENSITY, PARTS, Array, Dataset, Run, Runs, Spectrum, check_counts
from jamtools.streams import (
    STDIN,
    describe,
    parse_json_lines,
    plain,
    read_bytes,
    unreadable,
    write_all,
)

VERSION = 1
#: How to come by an artefact of each kind.
REMEDY = {
    "dataset": "make one with jam-data",
    "runs": "pipe it through jam-train first",
    "spectra": "pipe it through jam-hessian first",
    "searches": "make them with jam-nstar search",
}
FOREIGN = "got a safetensors file that jamtools did not write; load arrays with jam-data arrays"
HEAD = 64  # bytes that tell JSON from safetensors


class Artefact:
    """An open safetensors file of jamtools: its kind, its metadata, its tensors on demand."""

    def __init__(self, source: str, data: bytes | None = None) -> None:
        """Opens `source`, or `data` where that has been read from it already."""
        self.source = source
        with _on_disk(source, data) as path:
            self._file = _open(path, source)
        self.metadata = _metadata(self._file.metadata(), source)
        self.kind: str = self.metadata["kind"]
        self.names = frozenset(self._file.keys())

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """The commands that made the file, first to last."""
        steps = self.metadata.get("provenance", [])
        if not isinstance(steps, list):
            raise InputError(f"{describe(self.source)}a provenance that is no list; make the file again")
        return list(steps)

    @property
    def infos(self) -> list[dict[str, Any]]:
        """The metadata of each run or spectrum, in the order of r0000, r0001, …; of a dataset, its one."""
        records = self.metadata.get(self.kind)
        records = [records] if isinstance(records, dict) else records
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise InputError(f"{describe(self.source)}a {self.kind} file without its metadata; make it again")
        return records

    @cached_property
    def _grouped(self) -> dict[str, list[str]]:
        """The names under each folder: "r0000/history" -> ["grad_norm", "loss", …]."""
        groups: dict[str, list[str]] = {}
        for name in sorted(self.names):
            folder, _, last = name.rpartition("/")
            groups.setdefault(folder, []).append(last)
        return groups

    def group(self, folder: str) -> dict[str, NDArray[Any]]:
        """The arrays under "r0000/history", say, by the last part of their names."""
        return {name: self.any_tensor(f"{folder}/{name}") for name in self._grouped.get(folder, [])}

    def tensor(self, name: str, dtype: str = "F64") -> NDArray[Any]:
        """One array; InputError when it is missing or of another dtype."""
        if name not in self.names:
            raise InputError(f"{describe(self.source)}{_a(self.kind)} file without {name}; make it again")
        got = self.dtype(name)
        if got != dtype:
            raise InputError(
                f"{describe(self.source)}{name} is {got}, expected {dtype}; convert the data first"
            )
        return self._file.get_tensor(name)

    def any_tensor(self, name: str) -> NDArray[Any]:
        """One array of whatever dtype it has."""
        if name not in self.names:
            raise InputError(f"{describe(self.source)}no array {name}; it holds {_some(self.names)}")
        try:
            return self._file.get_tensor(name)
        except TypeError as error:  # bfloat16 and the 8-bit floats
            raise InputError(
                f"{describe(self.source)}{name} is {self.dtype(name)}, which numpy does not know; convert it first"
            ) from error

    def dtype(self, name: str) -> str:
        """The type of one array as safetensors name it: F64, I64, …."""
        return str(self._file.get_slice(name).get_dtype())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one array, which stays unread."""
        return tuple(self._file.get_slice(name).get_shape())

    def expect(self, kind: str) -> Artefact:
        """Itself, or an InputError that says which command comes in between."""
        if self.kind != kind:
            raise InputError(
                f"{describe(self.source)}got {_a(self.kind)}, expected {_a(kind)}; {REMEDY[kind]}"
            )
        return self


def _a(kind: str) -> str:
    return kind if kind.endswith("s") or kind == "spectra" else f"a {kind}"


def _some(names: Iterable[str], most: int = 12) -> str:
    """A few names to choose from, the first run's for all runs."""
    kept = sorted(name for name in names if name.startswith("r0000/") or not re.match(r"r\d+/", name))
    return ", ".join(kept[:most]) + ", …" * (len(kept) > most)


def open_any(source: str, text: bool = False) -> Artefact | list[dict[str, Any]]:
    """Whatever a jam command wrote: an open artefact, or JSON lines; `text`: which what is no artefact should be."""
    data = None if _is_regular(source) else read_bytes(source)
    head = _head(source) if data is None else data[:HEAD]
    if _is_json(head) or (text and b"\0" not in head):
        return parse_json_lines(read_bytes(source) if data is None else data, source)
    return Artefact(source, data)


def _head(source: str) -> bytes:
    try:
        with open(source, "rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise unreadable(source, error) from error


def _is_regular(source: str) -> bool:
    return source != STDIN and os.path.isfile(source)


@contextmanager
def _on_disk(source: str, data: bytes | None) -> Iterator[str]:
    """A path to map: a file's own, or that of a copy of a stream, which the mapping outlives."""
    if data is None and _is_regular(source):
        yield source
        return
    try:
        with tempfile.NamedTemporaryFile(prefix="jamtools-", buffering=0) as copy:
            write_all(copy, read_bytes(source) if data is None else data)
            yield copy.name
    except OSError as error:
        raise OutputError(
            f"temporary folder: {(error.strerror or str(error)).lower()}; set TMPDIR to a roomier one"
        ) from error


def _open(path: str, source: str) -> Any:
    try:
        if os.path.getsize(path) == 0:
            raise InputError(
                f"{describe(source)}empty input, expected an artefact; did the command before it fail?"
            )
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise InputError(f"{describe(source)}{_mistaken(path, error)}") from error
    except OSError as error:
        raise unreadable(source, error) from error


def _mistaken(path: str, error: Exception) -> str:
    if _is_json(_head(path)):
        return "got JSON, expected an artefact in safetensors"
    return f"not a whole safetensors file ({error}); it was cut short or is something else, make it again"


def _is_json(head: bytes) -> bool:
    """True for text that opens a JSON value; safetensors open with a length, whose high bytes are null."""
    return head.lstrip()[:1] in (b"{", b"[") and b"\0" not in head


def _metadata(header: Mapping[str, str] | None, source: str) -> dict[str, Any]:
    try:
        metadata = json.loads((header or {})["jamtools"])
        kind, version = metadata["kind"], metadata["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{describe(source)}{FOREIGN}") from error
    if not isinstance(kind, str):
        raise InputError(f"{describe(source)}{FOREIGN}")
    if version != VERSION:
        raise InputError(
            f"{describe(source)}got {kind} of format version {version}, expected version {VERSION}; "
            "use the jamtools that wrote it"
        )
    return metadata


def read_dataset(source: str | Artefact) -> tuple[Dataset, list[dict[str, Any]]]:
    """A dataset and its provenance."""
    artefact = _opened(source).expect("dataset")
    return _dataset(artefact), artefact.provenance


def read_runs(source: str | Artefact) -> tuple[Runs, list[dict[str, Any]]]:
    """The runs of one file and their provenance."""
    artefact = _opened(source).expect("runs")
    dataset = _dataset(artefact)
    runs = tuple(_run(artefact, f"r{i:04d}", info) for i, info in enumerate(artefact.infos))
    with _named(artefact):
        return Runs(dataset, runs), artefact.provenance


@dataclass(frozen=True)
class Member:
    """A run of an ensemble: its name there (r0000, r0001, … over all files) and its own P patterns."""

    name: str
    run: Run
    data: Dataset


def read_ensemble(
    sources: Iterable[str | Artefact] | None,
) -> tuple[list[Member], list[dict[str, Any]]]:
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


def read_spectra(source: str | Artefact) -> tuple[list[Spectrum], list[dict[str, Any]]]:
    """The spectra of one file, without the matrices, and their provenance."""
    artefact = _opened(source).expect("spectra")
    spectra = [_spectrum(artefact, f"r{i:04d}", info) for i, info in enumerate(artefact.infos)]
    return spectra, artefact.provenance


def _opened(source: str | Artefact) -> Artefact:
    return source if isinstance(source, Artefact) else Artefact(source)


@contextmanager
def _named(artefact: Artefact) -> Iterator[None]:
    """Puts the file's name before what a record's own checks say."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{describe(artefact.source)}{error}") from error


def _dataset(artefact: Artefact) -> Dataset:
    x, y = artefact.tensor("x"), artefact.tensor("y")
    test = [artefact.tensor(name) if name in artefact.names else None for name in ("x_test", "y_test")]
    info = artefact.metadata.get("dataset", {})
    if not isinstance(info, dict):
        raise InputError(
            f"{describe(artefact.source)}dataset metadata that is no object; make the file again"
        )
    with _named(artefact):
        return Dataset(x, y, test[0], test[1], info)


def _run(artefact: Artefact, prefix: str, info: dict[str, Any]) -> Run:
    theta, theta0, gaps = (artefact.tensor(f"{prefix}/{name}") for name in ("theta", "theta0", "gaps"))
    history, certificate = (artefact.group(f"{prefix}/{folder}") for folder in ("history", "certificate"))
    with _named(artefact):
        run = Run(theta, theta0, gaps, history, info, certificate)
        check_counts(info)
        return run


def _spectrum(artefact: Artefact, prefix: str, info: dict[str, Any]) -> Spectrum:
    with _named(artefact):
        values = {name: artefact.tensor(f"{prefix}/{name}") for name in info.get("parts", PARTS)}
        densities = {
            name: _density(artefact, f"{prefix}/{name}/density") for name in info.get("densities", ())
        }
        own = {name: value for name, value in info.items() if name not in ("parts", "densities")}
        return Spectrum(values, own, densities=densities)


def _density(artefact: Artefact, prefix: str) -> dict[str, Array]:
    return {name: artefact.tensor(f"{prefix}/{name}") for name in DENSITY}


def read_numbers(source: str) -> NDArray[np.float64]:
    """Plain numbers [n] from text (white space between them, # starts a comment) or a .npy array."""
    data = read_bytes(source)
    try:
        if data.startswith(b"\x93NUMPY"):
            numbers = np.load(io.BytesIO(data), allow_pickle=False).ravel()
            if np.iscomplexobj(numbers):
                raise ValueError("complex numbers")
        else:
            lines = (line.partition("#")[0] for line in data.decode().splitlines())
            numbers = np.array([word for line in lines for word in line.split()], dtype=np.float64)
        return numbers.astype(np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        what = str(error) if len(str(error)) < 80 else f"{str(error)[:60]}…"
        raise InputError(f"{describe(source)}{what}, expected numbers as text or .npy") from error


def dataset_bytes(dataset: Dataset, provenance: list[dict[str, Any]]) -> bytes:
    """A dataset as the bytes of a file."""
    return _pack("dataset", _dataset_tensors(dataset), {"dataset": dict(dataset.info)}, provenance)


def runs_bytes(runs: Runs, provenance: list[dict[str, Any]]) -> bytes:
    """Runs and their training set as the bytes of a file."""
    tensors = _dataset_tensors(runs.dataset)
    for i, run in enumerate(runs.runs):
        tensors |= {f"r{i:04d}/{name}": array for name, array in run.arrays().items()}
    fields = {"dataset": dict(runs.dataset.info), "runs": [dict(run.info) for run in runs.runs]}
    return _pack("runs", tensors, fields, provenance)


def spectra_bytes(spectra: Iterable[Spectrum], provenance: list[dict[str, Any]]) -> bytes:
    """Spectra, with the matrices they carry, as the bytes of a file."""
    tensors: dict[str, NDArray[Any]] = {}
    spectra = list(spectra)
    for i, spectrum in enumerate(spectra):
        prefix = f"r{i:04d}"
        tensors |= {f"{prefix}/{name}": values for name, values in spectrum.eigenvalues.items()}
        tensors |= {f"{prefix}/matrix/{name}": matrix for name, matrix in spectrum.matrices.items()}
        tensors |= {f"{prefix}/vectors/{name}": rows for name, rows in spectrum.vectors.items()}
        for part, density in spectrum.densities.items():
            tensors |= {f"{prefix}/{part}/density/{name}": array for name, array in density.items()}
    return _pack("spectra", tensors, {"spectra": [_spectrum_info(one) for one in spectra]}, provenance)


def _spectrum_info(spectrum: Spectrum) -> dict[str, Any]:
    return {**spectrum.info, "parts": list(spectrum.eigenvalues), "densities": list(spectrum.densities)}


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
