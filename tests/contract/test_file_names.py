"""Every command names the file in its message, whatever is wrong with it: all commands × all wrong inputs."""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from safetensors.numpy import save

from jamtools.cli.common.remedies import in_shell_words
from jamtools.cli.common.reporting import Reporting
from jamtools.errors import JamError
from jamtools.io.write import dataset_bytes, runs_bytes, spectra_bytes
from tests.support import artefacts
from tests.support.artefacts import refit

DATA = dataset_bytes(artefacts.dataset(P=40), artefacts.PROVENANCE)
RUNS = runs_bytes(artefacts.runs(artefacts.run()), artefacts.PROVENANCE)
SPECTRA = spectra_bytes([artefacts.spectrum([0, 1], [-1, 1], [-1, 2])], artefacts.PROVENANCE)
SEARCH = {"kind": "nstar", "P": 10, "n_star": 20, "interval": [18, 22]}


def without(data: bytes, name: str) -> bytes:
    """The artefact without one of its arrays."""
    return refit(data, lambda tensors, metadata: tensors.pop(name))


def with_field(data: bytes, kind: str, **fields: Any) -> bytes:
    """The artefact whose first record has other fields."""
    return refit(data, lambda tensors, metadata: metadata[kind][0].update(fields))


def not_finite(tensors: dict[str, Any], metadata: dict[str, Any]) -> None:
    tensors["x"] = np.full_like(tensors["x"], np.nan)


#: Files that no command takes.
DAMAGED = {
    "nothing": b"",
    "words": b"Once upon a time there was a file of another kind.\n",
    "bad-json": b'{"P": 10, "n_star": 3}\n{"P": 10 "n_star": 3}\n',
    "json-list": b"[1, 2, 3]\n",
    "poems": b'{"kind": "poem"}\n',
    "image": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "paper": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "zipped": gzip.compress(DATA),
    "noise": bytes(range(1, 250)),
    "cut": RUNS[:-50],
    "foreign": save({"a": np.ones(3)}),
    "later": refit(RUNS, lambda tensors, metadata: metadata.update(version=2)),
    "of-no-kind": refit(RUNS, lambda tensors, metadata: metadata.update(kind="poems")),
}
#: Files of the right kind with wrong contents.
DAMAGED_DATA = {"data-of-nan": refit(DATA, not_finite), "data-without-y": without(DATA, "y")}
DAMAGED_RUNS = {
    "runs-of-nan": refit(RUNS, not_finite),
    "runs-without-theta": without(RUNS, "r0000/theta"),
    "runs-without-list": refit(RUNS, lambda tensors, metadata: metadata.update(runs=None)),
    "runs-of-other-P": with_field(RUNS, "runs", P=9),
    "runs-without-epsilon": refit(RUNS, lambda tensors, metadata: metadata["runs"][0].pop("epsilon")),
}
DAMAGED_SPECTRA = {"spectra-without-H0": without(SPECTRA, "r0000/H0")}
GOOD = {"data": DATA, "runs": RUNS, "spectra": SPECTRA, "search": json.dumps(SEARCH).encode()}
BAD_SEARCHES = {
    "search-of-words": b'{"kind": "nstar", "P": "ten", "n_star": 3}\n',
    "searches-of-both": b'{"P": 9, "n_star": 3, "loss": "hinge"}\n{"P": 9, "n_star": 3, "loss": "cross-entropy"}\n',
    "search-without-result": b'{"kind": "nstar", "P": 10, "n_star": null}\n',
}  # fmt: skip
FILES = DAMAGED | DAMAGED_DATA | DAMAGED_RUNS | DAMAGED_SPECTRA | GOOD | BAD_SEARCHES

TAKES_DATA = [*DAMAGED, *DAMAGED_DATA, "runs", "spectra", "search"]
TAKES_RUNS = [*DAMAGED, *DAMAGED_RUNS, "data", "spectra", "search"]
#: JSON lines of any kind can be shown, and those of a poem can be shown only.
SHOWN = [name for name in DAMAGED if name not in ("poems", "of-no-kind")]

#: A command line with FILE -> the files that it must refuse. Where two files are read, the other one is right.
LINES = {
    "train FILE --steps 1": TAKES_DATA,
    "train FILE --evaluate runs": TAKES_DATA,
    "train data --evaluate FILE": TAKES_RUNS,
    "train --finish FILE": TAKES_RUNS,
    "train --verify FILE": TAKES_RUNS,
    "train data --steps 1 --checkpoint FILE": [name for name in [*DAMAGED, *GOOD] if name != "nothing"],
    "train data --patterns 41 --steps 1": ["data"],
    "hessian FILE": TAKES_RUNS,
    "hessian runs FILE": TAKES_RUNS,
    "neff FILE": TAKES_RUNS,
    "cusps FILE": TAKES_RUNS,
    "gaps FILE": [*TAKES_RUNS, "runs"],
    "gaps --values FILE": [name for name in FILES if name != "json-list"],
    "nstar search FILE --patterns 3": TAKES_DATA,
    "nstar search data --patterns 41": ["data"],
    "nstar search data --journal FILE": [name for name in FILES if name not in ("nothing", "data")],
    "nstar search --plan FILE --task 1": list(FILES),
    "nstar fit FILE": [
        *DAMAGED, "data", "spectra", "search-of-words", "search-without-result", "runs-without-epsilon",
        "runs-without-list",
    ],
    "nstar fit search --plan FILE": [name for name in FILES if name != "nothing"],
    "plot FILE": [*DAMAGED, *DAMAGED_RUNS, *DAMAGED_SPECTRA, "data"],
    "plot runs FILE": [*DAMAGED, *DAMAGED_RUNS, "data", "spectra", "search"],
    "plot FILE --figure neff": ["runs", "spectra", "search"],
    "show FILE": [*SHOWN, "runs-without-list"],
    "show --table FILE": [*SHOWN, "runs-without-list"],
    "show --arrays FILE": [*SHOWN, "search", "poems"],
    "show --provenance FILE": [*SHOWN, "search", "poems"],
    "show --array nonsense FILE": [*DAMAGED, "data", "runs", "spectra", "search"],
    "show --array r0009/theta runs FILE": [*SHOWN, "search", "poems", "runs"],
    "data arrays FILE": list(FILES),
    "data arrays FILE.csv": ["words", "image", "zipped", "noise", "nothing"],
    "data arrays FILE.npz": ["words", "image", "zipped", "noise", "nothing", "data"],
    "data arrays FILE.npy FILE.npy": ["words", "image", "zipped", "noise", "nothing", "data"],
    "data arrays FILE.safetensors": ["words", "image", "zipped", "noise", "nothing", "foreign", "cut"],
    "data images FILE": list(FILES),
}  # fmt: skip
CASES = [(line, name) for line, names in LINES.items() for name in names]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files, each also with the endings of formats of arrays."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, content in FILES.items():
        for ending in ("", ".csv", ".npz", ".npy", ".safetensors"):
            (folder / f"{name}{ending}").write_bytes(content)
    return folder


def message_of(line: str) -> str:
    """The message of a command line without its process. It must fail by a JamError."""
    name, *arguments = line.split()
    app = importlib.import_module(f"jamtools.cli.{name}").app
    run: Callable[..., Any] = typer.main.get_command(app).main
    options = (
        ["-q"] if "--plan" in arguments else ["-q", "-o", "out.png"]
    )  # a line of a plan has its own output
    with pytest.raises(JamError) as caught:
        run(args=[*arguments, *options], standalone_mode=False, obj=Reporting())
    return in_shell_words(caught.value)


@pytest.mark.parametrize(("line", "name"), CASES, ids=[f"{line}: {name}" for line, name in CASES])
def test_the_message_begins_with_the_name_of_the_file(line, name, shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    (shelf / "out.png").unlink(missing_ok=True)  # another line that failed may have left it
    message = message_of(line.replace("FILE", name))
    named = message.partition(": ")[0] if ": " in message else ""
    is_named = any(word.partition(".")[0] == name for word in named.replace(",", "").split())
    assert is_named or f"({name})" in message, message
    assert message.count(f"{name}: ") <= 1, message
    assert not (shelf / "out.png").exists()
