"""Small trainings and searches by command lines: a few seconds each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.commands import jam
from tests.support.contract import objects

#: The options of a network with Ñ = 25, for inputs of d = 4.
NETWORK = ("--width", 4, "--depth", 1)

#: Numbers of patterns far on either side of the transition of that network: N_Δ = 0, and N_Δ > 0.
P_SATISFIED, P_JAMMED = 25, 100

#: The options of each task of a plan.
TASK_OPTIONS = ("--steps", "3k", "--lr", "1e-2", "--max-width", "60", "--trials", "14")


def results(folder: Path) -> list[str]:
    """The names of the results of all tasks."""
    return sorted(path.name for path in folder.glob("nstar-*.jsonl"))


def searched(folder: Path, *options: object) -> list[dict[str, Any]]:
    """The records of a search on `data.st`."""
    line = ("nstar", "search", "data.st", "--depth", 1, "--lr", "1e-2", "-q", *options)
    return objects(jam(*line, cwd=folder, check=True).stdout)
