"""Writers of artefacts: the bytes of datasets, runs and spectra."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from jamtools.io.artefact import ARTEFACT_VERSION, Provenance
from jamtools.io.streams import plain
from jamtools.records import Dataset, Runs, Spectrum

Tensors = dict[str, NDArray[Any]]


def dataset_bytes(dataset: Dataset, provenance: Provenance) -> bytes:
    """The bytes of an artefact with a dataset."""
    return _pack("dataset", _dataset_tensors(dataset), {"dataset": dict(dataset.info)}, provenance)


def runs_bytes(runs: Runs, provenance: Provenance) -> bytes:
    """The bytes of an artefact with runs and their training set."""
    tensors = _dataset_tensors(runs.dataset)
    for i, run in enumerate(runs.runs):
        tensors |= {f"r{i:04d}/{name}": array for name, array in run.arrays().items()}
    fields = {"dataset": dict(runs.dataset.info), "runs": [dict(run.info) for run in runs.runs]}
    return _pack("runs", tensors, fields, provenance)


def spectra_bytes(spectra: Iterable[Spectrum], provenance: Provenance) -> bytes:
    """The bytes of an artefact with spectra and with the matrices, vectors and densities that they have."""
    tensors: Tensors = {}
    infos = []
    for i, spectrum in enumerate(spectra):
        prefix = f"r{i:04d}"
        tensors |= {f"{prefix}/{part}": values for part, values in spectrum.eigenvalues.items()}
        tensors |= {f"{prefix}/matrix/{part}": matrix for part, matrix in spectrum.matrices.items()}
        tensors |= {f"{prefix}/vectors/{part}": rows for part, rows in spectrum.vectors.items()}
        for part, density in spectrum.densities.items():
            tensors |= {f"{prefix}/{part}/density/{name}": array for name, array in density.items()}
        parts = {"parts": list(spectrum.eigenvalues), "densities": list(spectrum.densities)}
        infos.append({**spectrum.info, **parts})
    return _pack("spectra", tensors, {"spectra": infos}, provenance)


def _dataset_tensors(dataset: Dataset) -> Tensors:
    arrays = {name: getattr(dataset, name) for name in ("x", "y", "x_test", "y_test")}
    return {name: array for name, array in arrays.items() if array is not None}


def _pack(kind: str, tensors: Tensors, fields: Mapping[str, Any], provenance: Provenance) -> bytes:
    metadata = {"kind": kind, "version": ARTEFACT_VERSION, "provenance": provenance, **fields}
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(
        contiguous, metadata={"jamtools": json.dumps(plain(metadata), sort_keys=True, allow_nan=False)}
    )
