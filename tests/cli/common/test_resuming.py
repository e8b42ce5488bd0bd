"""jam-train that is stopped by signals, time limits and kills, and continued with --resume."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jamtools.io.artefact import Artefact
from jamtools.io.checkpoint import pack
from jamtools.io.read import read_dataset
from jamtools.io.request import request_of
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from tests.support.commands import ROOT, jam, refusal
from tests.support.jobs import make_job

pytestmark = pytest.mark.timeout(300)

#: Four runs of about a second each, two at a time, some of them satisfied early.
LINE = ["--width", "6,7", "--seeds", "0:2", "--steps", "30k", "--measurements", "30", "--threads", "2"]
LINE += ["--no-stop", "--lr", "1e-3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a dataset and the output of a command that nothing interrupts. It also compiles the kernel."""
    folder = tmp_path_factory.mktemp("checkpoint")
    jam("data", "random", "-P", 600, "-d", 8, "-o", folder / "data", check=True)
    jam("train", folder / "data", *LINE, "-o", folder / "whole", check=True)
    return folder


def start(folder, *options, line=LINE):
    """Starts the command on the dataset of the folder, and does not wait for it."""
    line = [sys.executable, "-m", "jamtools.cli.train", *map(str, [folder / "data", *line, *options])]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder, path, output, line=LINE):
    return jam("train", folder / "data", *line, "--checkpoint", path, "--resume", "-o", output)


def steps_kept(path):
    """The steps of all runs of a checkpoint, added up."""
    entries = Artefact(str(path)).infos
    return sum(entry.get("step", 0) + entry.get("info", {}).get("steps", 0) for entry in entries)


def wait_for(path, seconds=60.0):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"no {path} after {seconds} s"
        time.sleep(0.01)


#: Runs the command in a fork for every line that it reads, so that torch is loaded once. With short bursts twenty forks
#: end before the runs do.
FORKS = """
import os, sys
from jamtools.cli import train
from jamtools.io import checkpoint
from jamtools.training import ensemble, run
ensemble.BURST_SECONDS = run.BURST_SECONDS = 0.02
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.argv = ["jam-train", *line.split()]
        train.main()
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def forks():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as forks:
        yield forks
        forks.stdin.close()


def run_and_kill(forks, line, path, seconds):
    """Kills the command `seconds` after it wrote its first checkpoint. False if it had ended before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    print(*line, file=forks.stdin, flush=True)
    child = int(forks.stdout.readline())
    until = time.monotonic() + 60
    while not (path.exists() and path.stat().st_mtime_ns > before):
        assert time.monotonic() < until, "no checkpoint in 60 s"
        time.sleep(0.002)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    status = int(forks.stdout.readline())
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.slow
def test_a_command_killed_twenty_times_ends_with_the_same_bytes(whole, tmp_path, forks):
    """The kills come at random moments, and the steps in the checkpoint increase from call to call."""
    rng, kills, reached = np.random.default_rng(0), 0, set()
    path, output = tmp_path / "c", tmp_path / "out"
    line = [
        whole / "data",
        *LINE,
        "--checkpoint",
        path,
        "--checkpoint-every",
        "0.02",
        "--resume",
        "-o",
        output,
    ]
    while kills < 20:
        kills += run_and_kill(forks, line, path, rng.uniform(0, 0.1))
        reached.add(steps_kept(path))
        if output.exists():  # on a fast machine: begin again
            assert output.read_bytes() == (whole / "whole").read_bytes()
            path.unlink()
            output.unlink()
    assert len(reached) > 10, reached
    assert finish(whole, path, output).returncode == 0
    assert output.read_bytes() == (whole / "whole").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_the_command_with_75_and_no_output(name, whole, tmp_path):
    path, output = tmp_path / "c", tmp_path / "out"
    output.write_text("what was here before")
    command = start(whole, "--checkpoint", path, "--checkpoint-every", "0.2", "-o", output)
    wait_for(path)
    sent = time.monotonic()
    command.send_signal(getattr(signal, name))
    stdout, stderr = command.communicate()
    assert time.monotonic() - sent < 10
    assert (command.returncode, stdout) == (75, "")
    assert stderr == (
        f"jam-train: stopped by {name}; the runs are kept in {path}, run the same command with --resume to continue\n"
    )
    assert output.read_text() == "what was here before"
    assert finish(whole, path, output).returncode == 0
    assert output.read_bytes() == (whole / "whole").read_bytes()


@pytest.mark.slow
def test_a_finished_checkpoint_gives_the_same_output_again(whole, tmp_path):
    path = tmp_path / "c"
    first = finish(whole, path, "-")
    before = path.read_bytes()
    assert first.stdout == finish(whole, path, "-").stdout == (whole / "whole").read_bytes()
    assert path.read_bytes() == before


@pytest.mark.slow
def test_each_call_with_a_time_limit_makes_progress(whole, tmp_path):
    """Even a limit that is shorter than the start of the command."""
    path, steps = tmp_path / "c", []
    for _ in range(2):
        done = jam(
            "train",
            whole / "data",
            *LINE,
            "--checkpoint",
            path,
            "--resume",
            "--time-limit",
            "0.01s",
            "-o",
            tmp_path / "out",
        )
        assert "stopped by the time limit of 0.01 s" in refusal(done, 75)
        steps.append(steps_kept(path))
    assert steps[0] < steps[1]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_interrupt_ends_with_130_and_keeps_the_runs(whole, tmp_path):
    path = tmp_path / "c"
    command = start(whole, "--checkpoint", path, "--checkpoint-every", "0.2")
    wait_for(path)
    command.send_signal(signal.SIGINT)
    stdout, stderr = command.communicate()
    assert (command.returncode, stdout) == (130, "")
    assert stderr == (
        f"jam-train: interrupted; the runs are kept in {path}, run the same command with --resume to continue\n"
    )
    assert finish(whole, path, "-").stdout == (whole / "whole").read_bytes()


#: jam-train, with a line of progress ten times a second.
IMPATIENT = """
from jamtools.cli.common import progress
progress.LINE_SECONDS = 0.1
from jamtools.cli.train import main
main()
"""


def test_an_interrupt_without_a_checkpoint_says_what_is_lost_and_writes_nothing(whole, tmp_path):
    """One run is satisfied soon, the other never ends."""
    line = ["--width", "8", "--depth", "1", "--patterns", "10,600", "--steps", "1G", "--threads", "2"]
    line += ["--lr", "1e-2", "--seeds", "1", "-o", str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, str(whole / "data"), *line],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        try:
            for told in command.stderr:
                if "1 of 2 runs finished" in told:
                    break
            command.send_signal(signal.SIGINT)
            message = command.communicate(timeout=60)[1].splitlines()[-1]
        finally:
            command.kill()
    assert command.returncode == 130
    assert re.fullmatch(
        r"jam-train: 1 of 2 runs finished, L \S+ to \S+, \d+% of the steps, \d+ s", told.strip()
    )
    assert message == (
        "jam-train: interrupted; 1 finished run of 2 is lost; with --checkpoint FILE it is kept"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_that_was_stopped_continues_as_a_larger_one_to_the_same_bytes(whole, tmp_path):
    path, output = tmp_path / "c", tmp_path / "out"
    line = ["--width", "6", "--seeds", "1", *LINE[4:]]
    command = start(whole, "--checkpoint", path, "--checkpoint-every", "0.2", "-o", output, line=line)
    wait_for(path)
    command.terminate()
    assert command.wait(30) == 75
    command.communicate()
    assert 0 < steps_kept(path) < 30_000
    assert finish(whole, path, output).returncode == 0
    assert output.read_bytes() == (whole / "whole").read_bytes()
    assert refusal(finish(whole, path, output, line=line)) == (
        f"jam-train: {path}: the checkpoint is of width 6,7, the request is for 6; "
        "ask for all its runs, and more if you like, or remove it, or give another --checkpoint"
    )


@pytest.mark.slow
def test_a_signal_without_a_checkpoint_has_its_usual_effect(whole):
    command = start(whole)
    time.sleep(2)
    command.terminate()
    stdout, stderr = command.communicate()
    assert (command.returncode, stdout, stderr) == (143, "", "")


@pytest.mark.slow
def test_a_signal_before_any_run_ends_the_command_with_75(tmp_path):
    line = [sys.executable, "-m", "jamtools.cli.train", "-", "--checkpoint", str(tmp_path / "c")]
    command = subprocess.Popen(
        line, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(3)
    command.terminate()
    assert command.wait(10) == 75
    assert "no run was under way" in command.communicate()[1]
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_of_another_command_line_is_refused(whole, tmp_path):
    path = tmp_path / "c"
    options = with_options(TrainingOptions(), lr=1e-3)
    job = make_job(read_dataset(str(whole / "data"))[0], Architecture(8, 6, 3), 0, options)
    path.write_bytes(pack(request_of([job]), [None]))
    intact = path.read_bytes()
    done = jam("train", whole / "data", "--width", 6, "--checkpoint", path, "--resume", "--device", "cpu")
    assert refusal(done) == (
        f"jam-train: {path}: the checkpoint is of lr 0.001, the request is for 0.0001; "
        "remove it or give another --checkpoint"
    )
    path.write_bytes(intact[:-9])
    done = jam("train", whole / "data", "--width", 6, "--checkpoint", path, "--resume")
    assert "expected a checkpoint; remove it or give another --checkpoint" in refusal(done)
    done = jam("train", whole / "data", "--checkpoint", whole / "data")
    assert "data: got dataset, expected a checkpoint" in refusal(done)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "got --resume without a checkpoint"),
        (["--time-limit", "5m"], "got --time-limit without a checkpoint"),
        (["--checkpoint-every", "5m"], "got --checkpoint-every without a checkpoint"),
        (["--checkpoint", "-"], "expected a file"),
        (["--checkpoint", "c", "--time-limit", "soon"], "expected a duration such as 90s, 5m or 1h"),
        (["--checkpoint", "c", "--checkpoint-every", "0s"], "expected a duration above 0"),
        (["--checkpoint", "c", "-o", "./c"], "expected two files"),
    ],
)
def test_options_that_need_a_checkpoint_are_refused_without_one(options, message, tmp_path):
    assert message in refusal(jam("train", "data", *options, cwd=tmp_path), 2)
