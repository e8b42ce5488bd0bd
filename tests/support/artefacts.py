"""Small artefacts with given content, so that a test can read a file without a training."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from safetensors.numpy import load, save

from jamtools.io.artefact import Artefact
from jamtools.records import Array, Dataset, Run, Runs, Spectrum

PROVENANCE = [
    {"command": "jam-data", "argv": ["random", "-P", "6"], "jamtools": "0", "torch": "2", "device": "cpu"}
]


def dataset(P: int = 6, d: int = 3, seed: int = 0, test: int = 0) -> Dataset:
    """P normal patterns in d dimensions with alternating labels, and `test` test patterns."""
    rng = np.random.default_rng(seed)
    x, x_test = rng.normal(size=(P, d)), rng.normal(size=(test, d))
    y, y_test = np.resize([1.0, -1.0], P), np.resize([1.0, -1.0], test)
    info = {"source": "by hand", "seed": seed, "P": P, "d": d, "classes": 2, "preprocessing": []}
    return Dataset(x, y, x_test if test else None, y_test if test else None, info)


def run_info(**fields: Any) -> dict[str, Any]:
    """The metadata of a run of one hidden layer; `fields` replace or add to them."""
    info = {
        "d": 3, "width": 2, "depth": 1, "activation": "relu", "batch_norm": False, "P": 6, "n_parameters": 11,
        "n_hidden": 2, "n_effective_expected": 9, "loss": "hinge", "epsilon": 0.5, "optimizer": "adam",
        "protocol": None, "seed": 0, "steps": 100, "status": "budget", "certified": None, "final_loss": 0.01,
        "n_unsatisfied": 3, "n_contacts": 0, "n_misclassified": 1, "grad_norm": 1e-3,
    }  # fmt: skip
    return info | fields


def history(n_unsatisfied: int = 3, final_loss: float = 0.01) -> dict[str, Array]:
    """The columns [3] of measurements at the start, at step 10 and at the end."""
    return {
        "step": np.array([0, 10, 100]),
        "loss": np.array([0.5, 0.1, final_loss]),
        "n_unsatisfied": np.array([6, 5, n_unsatisfied]),
        "n_misclassified": np.array([4, 2, 1]),
        "grad_norm": np.array([1.0, 0.1, 1e-3]),
    }


def run(**fields: Any) -> Run:
    """A run with random parameters and gaps, whose metadata are `run_info(**fields)`."""
    info = run_info(**fields)
    rng = np.random.default_rng(info["seed"])
    theta, theta0 = rng.normal(size=(2, info["n_parameters"]))
    columns = history(info["n_unsatisfied"], info["final_loss"] or 0.0)
    return Run(theta, theta0, rng.normal(size=info["P"]), columns, info)


def runs(*members: Run, P: int = 6) -> Runs:
    """Runs on a training set of P patterns."""
    return Runs(dataset(P), members)


def spectrum(H0: ArrayLike, Hp: ArrayLike, H: ArrayLike, **fields: Any) -> Spectrum:
    """A spectrum with these eigenvalues [Ñ] and the counts that follow; `fields` replace or add to its metadata."""
    H0, Hp, H = (np.sort(np.array(values, dtype=float)) for values in (H0, Hp, H))
    counts = {
        "n_negative_Hp": int((Hp < 0).sum()), "n_negative_H": int((H < 0).sum()), "n_zero_H0": int((H0 == 0).sum()),
        "rank_H0": int((H0 > 0).sum()), "gap_H0": min(H0[H0 > 0], default=None), "n_cusps": 1,
        "c0": float((Hp < 0).mean()), "bound_holds": True, "trace_error": 0.0, "frobenius_error": 0.0,
    }  # fmt: skip
    return Spectrum({"H": H, "H0": H0, "Hp": Hp}, run_info(n_parameters=len(H)) | counts | fields)


def refit(data: bytes, change: Callable[[dict, dict], Any]) -> bytes:
    """The bytes of an artefact after `change(tensors, metadata)`, which changes the two dictionaries in place."""
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["jamtools"])
    tensors = load(data)
    change(tensors, metadata)
    return save(tensors, {"jamtools": json.dumps(metadata)})


def opened(data: bytes, source: str = "-") -> Artefact:
    """The artefact with this content, as if it came from `source`."""
    return Artefact(source, data)


def identical(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two arrays have the same bits: NaN equals NaN and -0.0 is not 0.0."""
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
