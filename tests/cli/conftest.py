"""Runs of jam-train on both sides of the transition, and the tasks of a plan: made once for the tests that read them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from jamtools.data.sphere import random_sphere
from jamtools.io.write import dataset_bytes
from tests.support import artefacts
from tests.support.commands import jam
from tests.support.small_runs import NETWORK, P_JAMMED, P_SATISFIED, TASK_OPTIONS


@dataclass(frozen=True)
class Minima:
    """A folder with `data`, `adam` (four runs that are at no minimum) and `finished` (the same at their minima)."""

    folder: Path
    finish_messages: str


@pytest.fixture(scope="session")
def minima(tmp_path_factory: pytest.TempPathFactory) -> Minima:
    folder = tmp_path_factory.mktemp("minima")
    (folder / "data").write_bytes(dataset_bytes(random_sphere(P_JAMMED, 4, 1), artefacts.PROVENANCE))
    options = ["--patterns", f"{P_SATISFIED},{P_JAMMED}", "--seeds", "0:2", "--steps", 300, "--lr", "1e-2"]
    jam("train", "data", *NETWORK, *options, "-o", "adam", cwd=folder, check=True)
    done = jam("train", "--finish", "adam", "-o", "finished", cwd=folder, check=True)
    return Minima(folder, done.stderr)


@pytest.fixture(scope="session")
def array(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data.st`, a plan of six tasks and their results; `whole.jsonl` is made by one process."""
    folder = tmp_path_factory.mktemp("array")
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=folder, check=True)
    cells = ("--patterns", "20,40", "--depths", "1", "--seeds", "0:3")
    plan = jam("nstar", "plan", *cells, "data.st", *TASK_OPTIONS, cwd=folder, check=True).stdout
    (folder / "plan.txt").write_bytes(plan)
    jam("nstar", "search", "--plan", "plan.txt", "--task", 1, cwd=folder, check=True)
    for line in plan.decode().splitlines()[1:]:
        jam("nstar", *shlex.split(line)[1:], cwd=folder, check=True)
    options = ("--patterns", "20,40", "--depth", 1, "--seeds", "0:3", "--cold", *TASK_OPTIONS, "-q")
    whole = jam("nstar", "search", "data.st", *options, cwd=folder, check=True).stdout
    (folder / "whole.jsonl").write_bytes(whole)
    return folder
