"""Readers of artefacts: datasets, runs and spectra as records, each with its provenance."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError
from jamtools.io.artefact import Artefact, Provenance
from jamtools.io.formats import recognised
from jamtools.io.streams import STDIN, describe, naming, read_bytes
from jamtools.record_checks import check_counts
from jamtools.records import (
    DENSITY_ARRAYS,
    HESSIAN_PARTS,
    Array,
    Dataset,
    Run,
    Runs,
    Spectrum,
    check_data_of_run,
)

#: The length, in characters, up to which a message quotes the whole error of another library.
MAX_QUOTED_ERROR = 80


class DatasetFile(NamedTuple):
    """A dataset, and the commands that made its file."""

    dataset: Dataset
    provenance: Provenance


class RunsFile(NamedTuple):
    """Runs with their training set, and the commands that made their file."""

    runs: Runs
    provenance: Provenance


class SpectraFile(NamedTuple):
    """Spectra, and the commands that made their file."""

    spectra: list[Spectrum]
    provenance: Provenance


@dataclass(frozen=True)
class Member:
    """A run of an ensemble: its name (r0000, r0001, …, numbered over all files), its own P patterns, and its file."""

    name: str
    run: Run
    data: Dataset
    source: str = STDIN

    def naming(self) -> AbstractContextManager[None]:
        """Puts the names of the file and of the run before the messages of the block, which works on the run."""
        return naming(self.source, run=self.name)


class Ensemble(NamedTuple):
    """The runs of several files, and the commands that made the files. Each command is listed once."""

    members: list[Member]
    provenance: Provenance


def read_dataset(source: str | Artefact) -> DatasetFile:
    """The dataset of a file ('-' is standard input). Raises InputError for a file of another kind."""
    artefact = _opened(source).expect("dataset")
    return DatasetFile(dataset_of(artefact), artefact.provenance)


def read_runs(source: str | Artefact, chosen: Sequence[int] | None = None) -> RunsFile:
    """The runs of a file ('-' is standard input) and their training set. Raises InputError for a file of another kind.

    chosen: the numbers of the runs that are wanted; the arrays of the others are not read.
    """
    artefact = _opened(source).expect("runs")
    dataset = dataset_of(artefact)
    return RunsFile(Runs(dataset, tuple(iterate_runs(artefact, dataset, chosen))), artefact.provenance)


def iterate_runs(artefact: Artefact, dataset: Dataset, chosen: Sequence[int] | None = None) -> Iterator[Run]:
    """The runs of an open file, read one by one: all, or those whose numbers are chosen.

    dataset: the training set of the file. Raises InputError for a run that does not fit it.
    """
    infos = artefact.infos
    for i in range(len(infos)) if chosen is None else chosen:
        run = _run(artefact, f"r{i:04d}", infos[i])
        with _errors_with_name_of(artefact):
            check_data_of_run(run, dataset)
        yield run


def read_ensemble(
    sources: Iterable[str | Artefact] | None, chosen: Sequence[Sequence[int]] | None = None
) -> Ensemble:
    """The runs of several files, in the order of the files; None means standard input. Raises InputError for other files.

    chosen: for each file the numbers of the runs that are wanted. Runs keep the names that they have among all runs.
    """
    members: list[Member] = []
    steps: Provenance = []
    first = 0
    for j, source in enumerate(sources or [STDIN]):
        artefact = _opened(source).expect("runs")
        numbers = range(len(artefact.infos)) if chosen is None else chosen[j]
        runs, provenance = read_runs(artefact, numbers)
        members += [
            Member(f"r{first + i:04d}", run, runs.patterns(run), artefact.source)
            for i, run in zip(numbers, runs.runs)
        ]
        steps += [step for step in provenance if step not in steps]
        first += len(artefact.infos)
    return Ensemble(members, steps)


def read_spectra(source: str | Artefact, chosen: Sequence[int] | None = None) -> SpectraFile:
    """The spectra of a file ('-' is standard input), without the matrices. Raises InputError for a file of another kind.

    chosen: the numbers of the spectra that are wanted.
    """
    artefact = _opened(source).expect("spectra")
    infos = artefact.infos
    numbers = range(len(infos)) if chosen is None else chosen
    return SpectraFile([_spectrum(artefact, f"r{i:04d}", infos[i]) for i in numbers], artefact.provenance)


def _opened(source: str | Artefact) -> Artefact:
    return source if isinstance(source, Artefact) else Artefact(source)


def _errors_with_name_of(artefact: Artefact) -> AbstractContextManager[None]:
    """Puts the name of the file before the messages of the checks that a record makes."""
    return naming(artefact.source)


def dataset_of(artefact: Artefact) -> Dataset:
    """The dataset of an open file, or the training set and test set of its runs. Raises InputError for damaged arrays."""
    x, y = artefact.tensor("x"), artefact.tensor("y")
    test = [artefact.tensor(name) if name in artefact.names else None for name in ("x_test", "y_test")]
    info = artefact.metadata.get("dataset", {})
    if not isinstance(info, dict):
        raise InputError(
            f"{describe(artefact.source)}dataset metadata that is no object; make the file again"
        )
    with _errors_with_name_of(artefact):
        return Dataset(x, y, test[0], test[1], info)


def _run(artefact: Artefact, prefix: str, info: dict[str, Any]) -> Run:
    theta, theta0, gaps = (artefact.tensor(f"{prefix}/{name}") for name in ("theta", "theta0", "gaps"))
    history, certificate = (artefact.group(f"{prefix}/{folder}") for folder in ("history", "certificate"))
    has_dead = f"{prefix}/dead" in artefact.names
    dead = artefact.tensor(f"{prefix}/dead", "I64") if has_dead else np.zeros(0, np.int64)
    with _errors_with_name_of(artefact):
        run = Run(theta, theta0, gaps, history, info, certificate, dead)
        check_counts(info)
        return run


def _spectrum(artefact: Artefact, prefix: str, info: dict[str, Any]) -> Spectrum:
    with _errors_with_name_of(artefact):
        parts = info.get("parts", HESSIAN_PARTS)
        eigenvalues = {part: artefact.tensor(f"{prefix}/{part}") for part in parts}
        densities = {
            part: _density(artefact, f"{prefix}/{part}/density") for part in info.get("densities", ())
        }
        fields = {name: value for name, value in info.items() if name not in ("parts", "densities")}
        return Spectrum(eigenvalues, fields, densities=densities)


def _density(artefact: Artefact, prefix: str) -> dict[str, Array]:
    return {name: artefact.tensor(f"{prefix}/{name}") for name in DENSITY_ARRAYS}


def read_numbers(source: str) -> NDArray[np.float64]:
    """Plain numbers [n] from a .npy array of any shape, or from a text: white space separates them, # starts a comment.

    Raises InputError for other files.
    """
    data = read_bytes(source)
    try:
        if data.startswith(b"\x93NUMPY"):
            numbers = np.load(io.BytesIO(data), allow_pickle=False).ravel()
            if np.iscomplexobj(numbers):
                raise ValueError("complex numbers")
            return numbers.astype(np.float64)
        words = _words_of_lines(data.decode("utf-8-sig"))
        return np.array([word for line in words for word in line], dtype=np.float64)
    except ValueError as error:
        raise InputError(
            f"{describe(source)}{_number_fault(data, error)}, expected numbers as text or .npy"
        ) from error


def _words_of_lines(text: str) -> list[list[str]]:
    """The words of each line, without comments."""
    return [line.partition("#")[0].split() for line in text.splitlines()]


def _number_fault(data: bytes, error: ValueError) -> str:
    """Why a content holds no plain numbers: the first word that is none, what else it is, or the error of numpy."""
    found = recognised(data)
    if isinstance(error, UnicodeDecodeError):
        return (
            "got text that is not UTF-8" if found == "text" else f"got {found or 'bytes of no known format'}"
        )
    if found in ("text", "JSON"):
        for number, words in enumerate(_words_of_lines(data.decode("utf-8-sig")), 1):
            for word in words:
                if not _is_number(word):
                    return f"line {number}: {_short(word)!r} is no number"
    return _short(str(error))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) < MAX_QUOTED_ERROR else f"{text[: MAX_QUOTED_ERROR - 20]}…"
