"""jam-approach as users type it: a pipe, stages, a kill and a resume, refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import ROOT, jam, refusal
from tests.support.contract import header, tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two runs of fixed norm, and their approaches."""
    path = tmp_path_factory.mktemp("approach")
    jam("data", "random", "-P", 30, "-d", 3, "-o", "data", cwd=path, check=True)
    train = ("--activation", "tanh", "--width", 3, "--depth", 2, "--norm", 5, "--steps", 500, "--lr", "1e-2")
    jam("train", "data", *train, "--seeds", "0,2", "-o", "start", cwd=path, check=True)
    jam("approach", "start", "--until", "1e-4", "-o", "all", cwd=path, check=True)
    return path


def infos(path: Path) -> list[dict]:
    return header(path.read_bytes())["runs"]


def test_each_run_has_its_stages_one_after_the_other(folder):
    stages = infos(folder / "all")
    ends = [i for i, info in enumerate(stages) if info["approach"]["end"]]
    assert len(ends) == 2 and ends[1] == len(stages) - 1
    for seed, part in zip((0, 2), (stages[: ends[0] + 1], stages[ends[0] + 1 :]), strict=True):
        assert {info["seed"] for info in part} == {seed}
        assert [info["approach"]["stage"] for info in part] == list(range(len(part)))
        assert (np.diff([info["epsilon"] for info in part]) < 0).all()
        assert part[-1]["approach"]["end"] == "reached"
        assert part[-1]["final_loss"] <= 1e-4 * part[-1]["n_effective_expected"]
        assert all(info["norm"] == 5 and info["certified"] for info in part)


def test_stages_are_runs_for_the_other_commands(folder):
    """The Hessian of the last stages, from a pipe; at a minimum no eigenvalue of H is negative."""
    last = jam(
        "approach", "start", "--until", "1e-4", "--stages", "last", "-q", cwd=folder, check=True
    ).stdout
    spectra = header(jam("hessian", "-q", cwd=folder, input=last, check=True).stdout)["spectra"]
    assert [spectrum["approach"]["end"] for spectrum in spectra] == ["reached", "reached"]
    assert [spectrum["n_negative_H"] for spectrum in spectra] == [0, 0]
    whole = tensors(folder / "all")
    n = len(infos(folder / "all"))
    (folder / "last").write_bytes(last)
    np.testing.assert_array_equal(tensors(folder / "last")["r0001/theta"], whole[f"r{n - 1:04d}/theta"])


def test_a_number_of_stages_keeps_the_last_ones(folder):
    jam(
        "approach",
        "start",
        "--threads",
        1,
        "--until",
        "1e-4",
        "--stages",
        2,
        "-o",
        "two",
        cwd=folder,
        check=True,
    )
    counts = [info["approach"]["stage"] for info in infos(folder / "two")]
    every = [info["approach"]["stage"] for info in infos(folder / "all") if info["approach"]["end"]]
    assert counts == [every[0] - 1, every[0], every[1] - 1, every[1]]


def test_a_killed_approach_resumes_to_the_same_bytes(folder):
    args = ["start", "--until", "1e-4", "--checkpoint", "ck", "-o", "resumed", "--threads", "1", "-q"]
    slow = [sys.executable, "-m", "jamtools.cli.approach", *args, "--checkpoint-every", "0.05s"]
    with subprocess.Popen(slow, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        deadline = time.monotonic() + 60
        while not (folder / "ck").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75
    assert not (folder / "resumed").exists()
    jam("approach", *args, "--resume", cwd=folder, check=True)
    mine, whole = tensors(folder / "resumed"), tensors(folder / "all")
    assert mine.keys() == whole.keys()
    assert all(np.array_equal(mine[name], whole[name]) for name in whole)
    assert infos(folder / "resumed") == infos(folder / "all")


def test_a_signal_to_the_whole_group_ends_workers_and_keeps_the_stages(folder):
    """As a batch system or timeout sends it: the parent ends with code 75, and no worker stays behind."""
    args = ["start", "--until", "1e-8", "--checkpoint", "group", "-o", "never", "--threads", "2", "-q"]
    line = [sys.executable, "-m", "jamtools.cli.approach", *args, "--checkpoint-every", "0.05s"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, cwd=folder, env=environment, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not (folder / "group").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 75
        while time.monotonic() < deadline:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("a worker is still alive")
    assert not (folder / "never").exists()


def test_a_checkpoint_of_another_request_is_refused(folder):
    args = ("--checkpoint", "other", "--stages", "last", "-o", "x")
    jam("approach", "start", "--threads", 1, "--until", "1e-4", *args, cwd=folder, check=True)
    line = ("approach", "start", "--until", "1e-3", "--checkpoint", "other", "--resume", "-o", "y")
    assert "until" in refusal(jam(*line, cwd=folder))


def test_free_weights_are_refused_with_the_remedy(folder):
    jam("train", "data", "--width", 3, "--steps", 5, "-o", "free", cwd=folder, check=True)
    message = refusal(jam("approach", "free", "-o", "no", cwd=folder))
    assert "expected a fixed norm" in message and "jam-train --norm 3x" in message
    assert not (folder / "no").exists()


def test_the_table_says_how_each_approach_ended(folder):
    done = jam(
        "approach",
        "start",
        "--threads",
        1,
        "--until",
        "1e-4",
        "--stages",
        "last",
        "-o",
        "z",
        cwd=folder,
        check=True,
    )
    assert done.stderr.count(" reached ") == 2 and "N_Δ/N" in done.stderr


def test_the_perceptron_is_isostatic_at_its_jamming_point(tmp_path):
    """N_Δ = d = N + 1 for a spherical perceptron at negative margin (S. Franz and G. Parisi 2016)."""
    jam("data", "random", "--gaussian", "-P", 120, "-d", 20, "-o", "data", cwd=tmp_path, check=True)
    network = ("--depth", 0, "--no-bias", "--norm", 1, "--epsilon", "-0.5")
    jam("train", "data", *network, "--steps", 1000, "--lr", "1e-2", "-o", "start", cwd=tmp_path, check=True)
    jam("approach", "start", "--until", "1e-14", "--stages", "last", "-o", "jam", cwd=tmp_path, check=True)
    (info,) = infos(tmp_path / "jam")
    assert info["approach"]["end"] == "reached" and info["certified"]
    assert info["n_unsatisfied"] == 20 == info["n_effective_expected"] + 1


def test_patterns_are_taken_away_or_added_until_the_last_jammed_stage(tmp_path):
    """A perceptron with too many patterns, and one with too few, end at runs of the same data."""
    jam("data", "random", "--gaussian", "-P", 30, "-d", 5, "-o", "data", cwd=tmp_path, check=True)
    network = ("--depth", 0, "--no-bias", "--norm", 1, "--epsilon", "0.01", "--steps", 500, "--lr", "1e-2")
    jam("train", "data", *network, "--patterns", "4,16", "-o", "start", cwd=tmp_path, check=True)
    done = jam("approach", "start", "--knob", "patterns", "-o", "stages", cwd=tmp_path, check=True)
    assert done.stderr.count(" reached ") == 2
    stages = infos(tmp_path / "stages")
    ends = [info for info in stages if info["approach"]["end"]]
    assert stages[0]["P"] == 4 and stages[0]["status"] == "satisfied" and stages[1]["P"] > 4
    assert ends[0]["P"] == ends[1]["P"], "the satisfied set of a perceptron is connected"
    assert {info["approach"]["knob"] for info in stages} == {"patterns"}
    checked = jam("train", "--verify", "stages", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    jam("plot", "stages", "-o", "stages.png", cwd=tmp_path, check=True)
