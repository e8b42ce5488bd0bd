"""From artefacts to records: datasets, runs and spectra."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError
from jamtools.io.artefact import Artefact
from jamtools.io.streams import STDIN, describe, read_bytes
from jamtools.records import DENSITY_ARRAYS, HESSIAN_PARTS, Array, Dataset, Run, Runs, Spectrum, check_counts


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
        raise error.with_prefix(describe(artefact.source)) from error


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
        values = {name: artefact.tensor(f"{prefix}/{name}") for name in info.get("parts", HESSIAN_PARTS)}
        densities = {
            name: _density(artefact, f"{prefix}/{name}/density") for name in info.get("densities", ())
        }
        own = {name: value for name, value in info.items() if name not in ("parts", "densities")}
        return Spectrum(values, own, densities=densities)


def _density(artefact: Artefact, prefix: str) -> dict[str, Array]:
    return {name: artefact.tensor(f"{prefix}/{name}") for name in DENSITY_ARRAYS}


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
