"""Command lines as a user types them, and one set of artefacts made by them, for the tests of the contract."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from tests.support.commands import ROOT

BIN = Path(sys.executable).parent

#: Every command, as it is typed.
COMMANDS = (
    "jam", "jam-data", "jam-data random", "jam-data images", "jam-data arrays", "jam-train", "jam-approach", "jam-hessian",
    "jam-neff", "jam-cusps", "jam-gaps", "jam-nstar", "jam-nstar search", "jam-nstar fit", "jam-nstar plan", "jam-plot",
    "jam-runs", "jam-show",
)  # fmt: skip

#: A small example of every artefact: each file with the command line that makes it from files above it.
PIPELINE = {
    "data.safetensors": "jam-data random -P 60 -d 3 --test 20 --seed 1",
    "runs.safetensors": "jam-train data.safetensors --width 4,3 --depth 2 --patterns 60,40 --seeds 1,0 "
    "--steps 400 --lr 1e-2",
    "nstar.jsonl": "jam-nstar search data.safetensors --patterns 40,20 --depth 1 --seeds 0:2 --steps 1k --lr 3e-2",
    "spectra.safetensors": "jam-hessian runs.safetensors --matrices",
    "neff.jsonl": "jam-neff runs.safetensors",
    "cusps.jsonl": "jam-cusps runs.safetensors",
    "gaps.jsonl": "jam-gaps runs.safetensors",
    "fit.jsonl": "jam-nstar fit nstar.jsonl",
    "figure.png": "jam-plot runs.safetensors",
    "sorted.safetensors": "jam-runs runs.safetensors --sort final_loss",
    "shown.jsonl": "jam-show runs.safetensors",
}
#: Groups of files; the files of a group can be made at the same time.
STAGES = (list(PIPELINE)[:1], list(PIPELINE)[1:3], list(PIPELINE)[3:])


def environment(**more: str) -> dict[str, str]:
    """An environment with the commands of this Python first on PATH, and the library of this clone."""
    return os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), **more}


def typed(line: str, cwd: Path, input: bytes = b"", **options: Any) -> subprocess.CompletedProcess:
    """Runs a line in bash. stdout is bytes, stderr text; `env` is added to the environment."""
    env = environment(**options.pop("env", {}))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=cwd, input=input, env=env, capture_output=True, **options
    )
    done.stderr = done.stderr.decode()
    return done


def side_by_side(lines: Iterable[str], cwd: Path, **options: Any) -> list[subprocess.CompletedProcess]:
    """Runs lines two at a time, since most of their time is the import of torch."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda line: typed(line, cwd, **options), lines))


def complaint(done: subprocess.CompletedProcess, line: str, code: int = 1) -> str:
    """The message of a line that must fail: the name of the command and one line, no stdout, this exit code."""
    messages = done.stderr.splitlines()
    assert done.returncode == code, f"{line}: exit code {done.returncode}, expected {code}: {done.stderr}"
    assert len(messages) == 1, f"{line}: {done.stderr}"
    assert messages[0].startswith(f"{line.split()[0]}: "), messages[0]
    assert "unexpected" not in messages[0], messages[0]
    assert done.stdout == b""
    return messages[0]


def header(data: bytes) -> dict[str, Any]:
    """The metadata of a safetensors file, read by its format: the length, JSON, one key that holds JSON."""
    (size,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    assert list(metadata) == ["jamtools"]
    return json.loads(metadata["jamtools"])


def objects(data: bytes) -> list[dict[str, Any]]:
    """The objects of JSON lines: one on each line, with an end after the last line too."""
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def tensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file."""
    return load(path.read_bytes())


def contents(folder: Path) -> Mapping[str, bytes]:
    """The files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
