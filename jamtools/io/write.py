"""From records to the bytes of an artefact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from jamtools.io.artefact import VERSION
from jamtools.io.streams import plain
from jamtools.records import Dataset, Runs, Spectrum


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
