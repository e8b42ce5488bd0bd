"""What only counts, fits lines, draws or handles files starts without torch, which takes two seconds to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from jamtools.io.write import runs_bytes, spectra_bytes
from tests.support import artefacts

ROOT = Path(__file__).parents[1]

#: Packages none of whose modules may load torch, and single modules of the others.
PACKAGES = ("data", "exponents", "figures")
MODULES = (
    "records", "protocols", "conditions", "formulas", "machine", "network.architecture",
    "io.artefact", "io.read", "io.write", "io.streams",
    "transition.trial", "transition.options", "transition.sampling", "transition.logistic", "transition.estimate",
    "transition.merging", "transition.points", "transition.scaling", "transition.depth", "transition.bound",
    "transition.jump",
)  # fmt: skip


def modules_loaded(arguments: Iterable[object], cwd: Path = ROOT) -> set[str]:
    """The names of all modules that `python arguments` imports; its exit code must be 0."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    lines = done.stderr.decode(errors="replace").splitlines()
    assert done.returncode == 0, [line for line in lines if not line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Searches for N* at two P, two jammed runs with spectra, and numbers to fit an exponent to."""
    searches = [
        {"kind": "nstar", "P": P, "n_star": P // 3, "interval": [P // 4, P // 2], "depth": 1, "loss": "hinge"}
        for P in (60, 120)
    ]
    (tmp_path / "nstar.jsonl").write_text("".join(json.dumps(search) + "\n" for search in searches))
    runs = artefacts.runs(artefacts.run(seed=0), artefacts.run(seed=1))
    (tmp_path / "runs.safetensors").write_bytes(runs_bytes(runs, artefacts.PROVENANCE))
    eigenvalues = [0.1] * 11, [-0.1] * 4 + [0.1] * 7, [0.2] * 11
    spectra = [artefacts.spectrum(*eigenvalues, seed=seed, depth=1) for seed in range(2)]
    (tmp_path / "spectra.safetensors").write_bytes(spectra_bytes(spectra, artefacts.PROVENANCE))
    (tmp_path / "values.txt").write_text("\n".join(str((i / 400) ** 0.8) for i in range(1, 401)))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "nstar fit nstar.jsonl",
        "nstar fit nstar.jsonl spectra.safetensors",
        "nstar fit runs.safetensors",
        "nstar plan --patterns 60 data.safetensors",
        "gaps --values values.txt",
        "show runs.safetensors",
        "show --table spectra.safetensors",
        "show --table nstar.jsonl",
        "plot runs.safetensors --figure loss",
        "plot nstar.jsonl",
        "data random -P 20 -d 3",
    ],
)
def test_a_command_that_trains_nothing_runs_without_torch(command, folder):
    name, *arguments = command.split()
    loaded = modules_loaded(["-m", f"jamtools.cli.{name}", *arguments], cwd=folder)
    assert "jamtools.cli.common.session" in loaded
    assert "torch" not in loaded


def test_modules_that_need_no_derivatives_load_without_torch():
    names = [
        *MODULES,
        *(f"{p}.{path.stem}" for p in PACKAGES for path in (ROOT / "jamtools" / p).glob("*.py")),
    ]
    code = "".join(f"import jamtools.{name.removesuffix('.__init__')}\n" for name in names)
    assert "torch" not in modules_loaded(["-c", code])


def test_the_count_of_loaded_modules_sees_torch():
    assert "torch" in modules_loaded(["-c", "import jamtools.network.activations"])
