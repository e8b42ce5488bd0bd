"""jam-nstar as users run it: planned as an array, killed and resumed, put together again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, jam, refusal

OPTIONS = ("--steps", "3k", "--lr", "1e-2", "--max-width", "60")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a plan of six tasks, and all of them done."""
    folder = tmp_path_factory.mktemp("array")
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=folder, check=True)
    plan = ("nstar", "plan", "--patterns", "20,40", "--depths", "1", "--seeds", "0:3", "data.st", *OPTIONS)
    (folder / "plan.txt").write_bytes(jam(*plan, cwd=folder, check=True).stdout)
    for task in range(1, 7):
        jam("nstar", "search", "--plan", "plan.txt", "--task", task, cwd=folder, check=True)
    return folder


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("nstar-*.jsonl"))


def objects(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_the_plan_names_each_cell_once(folder: Path) -> None:
    lines = (folder / "plan.txt").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 6
    assert lines[0] == (
        "jam-nstar search data.st --depth 1 --patterns 20 --seeds 0 --cold --steps 3k --lr 1e-2 --max-width 60 "
        "--journal ./nstar-L1-P20-s0.journal --resume -o ./nstar-L1-P20-s0.jsonl"
    )


def test_a_plan_without_a_dataset_reads_standard_input(folder: Path) -> None:
    (line,) = jam("nstar", "plan", "--patterns", 20, "--seeds", 0, check=True).stdout.decode().splitlines()
    words = line.split()
    assert words[:4] == ["jam-nstar", "search", "--depth", "3"]
    data = (folder / "data.st").read_bytes()
    short = ("--depth", 1, "--patterns", 20, "--seeds", 0, "--cold", *OPTIONS, "-q")
    assert jam("nstar", "search", *short, input=data, check=True).stdout == (
        jam("nstar", "search", "data.st", *short, cwd=folder, check=True).stdout
    )


def test_the_tasks_together_find_what_one_process_finds(folder: Path) -> None:
    args = ("data.st", "--patterns", "20,40", "--depth", 1, "--seeds", "0:3", "--cold", *OPTIONS, "-q")
    (folder / "whole.jsonl").write_bytes(jam("nstar", "search", *args, cwd=folder, check=True).stdout)
    assert all(record["n_star"] for record in objects((folder / "whole.jsonl").read_bytes()))
    fits = [
        objects(jam("nstar", "fit", *files, "--plan", "plan.txt", cwd=folder, check=True).stdout)[0]
        for files in (results(folder), ["whole.jsonl"])
    ]
    for fit in fits:
        fit["points"].sort(key=lambda point: point["P"])
    assert fits[0] == fits[1]
    assert fits[0]["missing"] == fits[0]["duplicates"] == [] and fits[0]["slope"] is not None


def test_what_is_missing_and_what_is_there_twice_is_said(folder: Path) -> None:
    files = [name for name in results(folder) if name != "nstar-L1-P40-s1.jsonl"]
    done = jam("nstar", "fit", *files, "nstar-L1-P20-s2.jsonl", "--plan", "plan.txt", cwd=folder, check=True)
    (found,) = objects(done.stdout)
    assert found["missing"] == [{"P": 40, "depth": 1, "seed": 1}]
    assert found["duplicates"] == [{"P": 20, "depth": 1, "seed": 2}]
    assert "1 of the searches not there: P 40 depth 1 seed 1" in done.stderr
    assert "1 of the searches given more than once: P 20 depth 1 seed 2" in done.stderr


def test_a_task_that_is_run_again_trains_nothing_and_leaves_the_same(folder: Path) -> None:
    result, journal = folder / "nstar-L1-P40-s0.jsonl", folder / "nstar-L1-P40-s0.journal"
    before = result.read_bytes(), journal.read_bytes()
    result.unlink()
    jam("nstar", "search", "--plan", "plan.txt", "--task", 4, cwd=folder, check=True)
    assert (result.read_bytes(), journal.read_bytes()) == before


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_search_that_is_told_to_stop_says_so_and_goes_on_where_it_was(
    tmp_path: Path, number: signal.Signals
) -> None:
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=tmp_path, check=True)
    args = ["data.st", "--depth", "1", "--seeds", "0:3", *OPTIONS, "-q"]
    whole = jam("nstar", "search", *args, cwd=tmp_path, check=True).stdout
    journal = tmp_path / "j"
    slow = [sys.executable, "-m", "jamtools.cli.nstar", "search", *args, "--journal", "j", "-o", "out"]
    with subprocess.Popen(
        slow, cwd=tmp_path, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 75
    assert (
        f"stopped by {number.name}; the finished trials are in j" in said and not (tmp_path / "out").exists()
    )
    kept = journal.read_bytes()
    assert "there is a journal already" in refusal(
        jam("nstar", "search", *args, "--journal", "j", cwd=tmp_path)
    )
    again = jam("nstar", "search", *args, "--journal", "j", "--resume", cwd=tmp_path, check=True)
    assert again.stdout == whole
    assert journal.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["search", "--plan", "plan.txt"], 2, "got one of --plan and --task, expected both"),
        (["search", "--plan", "plan.txt", "--task", "7"], 1, "asked for task 7, it has lines 1 to 6"),
        (["search", "--plan", "plan.txt", "--task", "1", "--steps", "3"], 2, "got steps with --plan"),
        (["search", "--plan", "whole.txt", "--task", "1"], 1, "line 1 is no jam-nstar search"),
        (["search", "data.st", "--resume"], 2, "got --resume without a journal"),
        (["search", "data.st", "--journal", "a", "-o", "a"], 2, "expected two files"),
        (["plan", "--patterns", "9", "data.st", "--stepz", "3"], 2, "No such option"),
        (["plan", "--patterns", "9", "data.st", "--steps", "x"], 2, "expected an integer"),
        (
            ["plan", "--patterns", "9", "data.st", "--seeds", "3"],
            2,
            "got --seeds after the dataset, expected it before",
        ),
        (["fit", "nstar-L1-P20-s0.jsonl", "--plan", "whole.txt"], 1, "line 1 is no jam-nstar search"),
    ],
)
def test_what_cannot_be_planned_or_run_is_said_in_one_line(
    folder: Path, args: list[str], code: int, words: str
) -> None:
    (folder / "whole.txt").write_text("rm -rf /\n")
    assert words in refusal(jam("nstar", *args, cwd=folder), code)
