"""jam-nstar search as users run it: stopped and resumed, with a journal, with other dynamics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import ROOT, jam, refusal
from tests.support.contract import objects
from tests.support.processes import IMPORTS_PROCESSOR_SECONDS, processor_time
from tests.support.small_runs import TASK_OPTIONS, searched


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_search_stopped_by_a_signal_keeps_its_trials_and_resumes_to_the_same_bytes(
    tmp_path: Path, number: signal.Signals
) -> None:
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=tmp_path, check=True)
    args = ["data.st", "--depth", "1", "--seeds", "0:3", *TASK_OPTIONS, "--steps", "30k", "-q"]
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
        messages = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 75
    assert (
        f"stopped by {number.name}; the finished trials are in j" in messages
        and not (tmp_path / "out").exists()
    )
    kept = journal.read_bytes()
    assert "there is a journal already" in refusal(
        jam("nstar", "search", *args, "--journal", "j", cwd=tmp_path)
    )
    again = jam("nstar", "search", *args, "--journal", "j", "--resume", cwd=tmp_path, check=True)
    assert again.stdout == whole
    assert journal.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see how far a process is")
def test_an_interrupted_search_names_the_journal_that_holds_its_trials(tmp_path: Path) -> None:
    jam("data", "random", "-P", 40, "-d", 4, "-o", "data.st", cwd=tmp_path, check=True)
    line = ["search", "data.st", "--depth", "1", *TASK_OPTIONS, "--steps", "1G", "--journal", "j"]
    with subprocess.Popen(
        [sys.executable, "-m", "jamtools.cli.nstar", *line],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        while process.poll() is None and processor_time(process.pid) < IMPORTS_PROCESSOR_SECONDS:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        messages = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, messages
    assert "interrupted; the finished trials are in j" in messages and "Traceback" not in messages


def test_a_resumed_search_with_more_trials_begins_with_those_of_its_journal(array: Path) -> None:
    args = ("--patterns", 30, "--steps", "1k", "--journal", "more.journal", "--resume")
    (first,) = searched(array, *args, "--trials", 10)
    trained = (array / "more.journal").read_bytes()
    (then,) = searched(array, *args, "--trials", 30)
    assert then["trials"][:10] == first["trials"] and 10 < len(then["trials"]) <= 30
    assert (array / "more.journal").read_bytes().startswith(trained)


def test_a_search_refuses_a_time_after_the_end_of_its_trainings(array: Path) -> None:
    done = jam("nstar", "search", "data.st", "--steps", 100, "--times", "10,200", cwd=array)
    assert "a time of 200 steps, the trainings have 100; give them more" in refusal(done)


def test_searches_record_their_dynamics_and_a_fit_keeps_them_apart(minima):
    common = ["search", "data", "--patterns", 20, "--depth", 1, "--seeds", "0:2"]
    for name, options in {
        "by-newton": ["--optimizer", "newton"],
        "by-adam": ["--steps", 200, "--lr", "1e-2"],
        "by-both": ["--steps", 200, "--lr", "1e-2", "--certify"],
    }.items():
        jam("nstar", *common, *options, "-q", "-o", name, cwd=minima.folder, check=True)
    found = {
        name: objects((minima.folder / name).read_bytes())[0] for name in ("by-newton", "by-adam", "by-both")
    }
    assert [(r["optimizer"], r["certify"]) for r in found.values()] == [
        ("newton", False), ("adam", False), ("adam", True)
    ]  # fmt: skip
    assert all(trial["certified"] is None for trial in found["by-adam"]["trials"])
    for trial in found["by-newton"]["trials"]:
        assert trial["certified"] or trial["outcome"] not in ("success", "stationary")
    for pair in (("by-newton", "by-adam"), ("by-adam", "by-both")):
        fits = objects(jam("nstar", "fit", *pair, cwd=minima.folder, check=True).stdout)
        assert len(fits) == 2, "each dynamics has its own fit"
