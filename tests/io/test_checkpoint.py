"""Runs that are killed and go on: to the same bytes as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from jamtools.cli.common.values import duration
from jamtools.errors import InputError, OutputError
from jamtools.io import checkpoint
from jamtools.io.artefact import Artefact
from jamtools.io.checkpoint import Checkpoint, StopRequested, pack, read, train_with_checkpoint
from jamtools.io.read import read_dataset
from jamtools.io.request import request_of
from jamtools.io.write import runs_bytes
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Run, Runs
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.commands import ROOT, jam, refusal
from tests.support.interruption import call_with_checkpoint, interrupted, through_file
from tests.support.jobs import CPU, PLAIN, make_job

ARCH = Architecture(5, 6, 2)
CASES = {
    "compiled adam": ({}, "auto"),
    "torch adam": ({}, "torch"),
    "compiled descent": ({"optimizer": "sgd", "batch": 0}, "auto"),
    "sgd": ({"optimizer": "sgd", "lr": 0.05}, "torch"),
    "adam in batches": ({"batch": 7}, "torch"),
    "momentum": ({"optimizer": "sgd", "momentum": 0.9}, "torch"),
    "fire": ({"optimizer": "fire"}, "auto"),
    "snapshots": ({"snapshots": True}, "auto"),
    "cross-entropy": ({"loss": "cross-entropy"}, "auto"),
}


def file_bytes(data, runs):
    return runs_bytes(Runs(data, tuple(runs)), [])


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize(("options", "engine"), CASES.values(), ids=CASES)
def test_a_run_that_goes_through_files_ends_with_the_same_bytes(options, engine, every, tmp_path):
    data, place = oracle.dataset(60, 5, test=20), Compute(engine=engine)
    settings = with_options(
        TrainingOptions(), **{"steps": 200, "lr": 1e-3, "every": 77, "measurements": 9} | options
    )
    whole = train(data, ARCH, settings, 3, place)
    pieces = interrupted(make_job(data, ARCH, 3, settings, place), every, tmp_path / "c")
    assert file_bytes(data, [pieces]) == file_bytes(data, [whole])


def test_batch_normalisation_and_its_batches_go_on_alike(tmp_path):
    data, arch = oracle.dataset(60, 5, test=20), Architecture(5, 6, 2, batch_norm=True)
    settings = with_options(TrainingOptions(), steps=100, lr=0.05, optimizer="sgd", batch=20, momentum=0.9)
    pieces = interrupted(make_job(data, arch, 3, settings, Compute()), 2, tmp_path / "c")
    assert file_bytes(data, [pieces]) == file_bytes(data, [train(data, arch, settings, 3)])


def test_the_step_at_which_all_is_satisfied_stays_the_same(tmp_path):
    data = oracle.dataset(10, 8)
    settings, arch = with_options(TrainingOptions(), lr=1e-3, steps=5000), Architecture(8, 8, 2)
    for engine in ("compiled", "torch"):
        whole = train(data, arch, settings, 0, Compute(engine=engine))
        assert whole.info["status"] == "satisfied"
        pieces = interrupted(make_job(data, arch, 0, settings, Compute(engine=engine)), 9, tmp_path / "c")
        assert file_bytes(data, [pieces]) == file_bytes(data, [whole])


def test_a_run_that_satisfies_but_for_round_off_goes_on_alike(tmp_path, monkeypatch):
    """The engine takes max Δ ≤ 10⁻⁴ for satisfied, the measurement does not: the look-and-step path, many times."""
    monkeypatch.setattr(
        "jamtools.engines.torch_engine.stop_reason",
        lambda top, stop: "satisfied" if stop and top <= 1e-4 else "",
    )
    data = oracle.dataset(10, 8)
    settings, arch = with_options(TrainingOptions(), lr=1e-3, steps=2000), Architecture(8, 8, 2)
    place = Compute(engine="torch")
    whole = train(data, arch, settings, 0, place)
    assert set(whole.history["step"]) - set(RunInProgress(make_job(data, arch, 0, settings, place)).events)
    pieces = interrupted(make_job(data, arch, 0, settings, place), 3, tmp_path / "c")
    assert file_bytes(data, [pieces]) == file_bytes(data, [whole])


def test_not_a_number_comes_back_as_it_was(tmp_path):
    data = oracle.dataset(40, 4)
    settings = with_options(TrainingOptions(), steps=2000, optimizer="sgd", batch=0, lr=1e6)
    run = train(data, Architecture(4, 5, 3), settings, seed=0)
    back = through_file(tmp_path / "c", run)
    assert isinstance(back, Run)
    assert repr([back.info[name] for name in ("final_loss", "grad_norm")]) == repr(
        [run.info[name] for name in ("final_loss", "grad_norm")]
    )
    assert file_bytes(data, [back]) == file_bytes(data, [run])


def test_single_precision_and_scalars_keep_their_shapes(tmp_path):
    data = oracle.dataset(40, 5)
    training = RunInProgress(make_job(data, ARCH, 0, TrainingOptions(), Compute(dtype=torch.float32)))
    training.optimizer.state["pace"] = torch.tensor(0.25, dtype=torch.float64)
    training.advance()
    state = through_file(tmp_path / "c", training.snapshot())
    assert state.theta.dtype == np.float32
    assert state.optimizer["pace"].shape == ()
    other = RunInProgress(make_job(data, ARCH, 0, TrainingOptions(), Compute(dtype=torch.float32)))
    other.optimizer.state["pace"] = torch.tensor(0.0, dtype=torch.float64)
    other.restore(state)
    assert other.optimizer.state["pace"].item() == 0.25
    assert other.theta.numpy().tobytes() == training.theta.numpy().tobytes()


# --- a call of many runs --------------------------------------------------------------------------------


def four_jobs(steps=40_000):
    data = oracle.dataset(120, 5)
    settings = with_options(TrainingOptions(), steps=steps, lr=1e-4, stop=False, measurements=20)
    return [
        make_job(data.first(P), Architecture(5, h, 2), 0, settings, Compute(threads=2))
        for h in (5, 6)
        for P in (100, 120)
    ]


def test_a_call_stopped_again_and_again_ends_with_the_same_runs(tmp_path):
    jobs = four_jobs()
    whole, path, stops = train_many(jobs), tmp_path / "c", 0
    while True:
        try:
            runs = call_with_checkpoint(path, jobs, limit=2)
            break
        except StopRequested:
            stops += 1
            assert path.exists()
    assert stops > 2
    data = jobs[-1].data
    assert file_bytes(data, runs) == file_bytes(data, whole)
    before = path.read_bytes()
    assert file_bytes(data, call_with_checkpoint(path, jobs, limit=10**9)) == file_bytes(data, whole)
    assert path.read_bytes() == before  # of finished runs alone, the same bytes again


def test_an_interrupt_leaves_a_checkpoint(tmp_path):
    jobs, path = four_jobs(10**6), tmp_path / "c"

    def interrupt():
        raise KeyboardInterrupt

    kept = Checkpoint(str(path), request_of(jobs), len(jobs), 60.0, stop=interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_with_checkpoint(jobs, None, kept)
    assert read(str(path), request_of(jobs))[0].step > 0
    assert threading.active_count() == 1


def test_a_full_disk_ends_no_run(tmp_path, monkeypatch):
    def full(path, data):
        raise OutputError(f"{path}: no space left on device; nothing was written")

    jobs = four_jobs(300)
    monkeypatch.setattr(checkpoint, "write_file", full)
    with pytest.warns(UserWarning, match="no space left .* the runs continue"):
        assert len(call_with_checkpoint(tmp_path / "c", jobs, 10**9)) == 4
    with pytest.raises(OutputError), pytest.warns(UserWarning):
        call_with_checkpoint(tmp_path / "c", four_jobs(10**6), 3)


@pytest.mark.parametrize(
    ("options", "compute", "said"),
    [
        ({"lr": 2e-3}, {}, "lr 0.001, the request is for 0.002"),
        ({"every": 10}, {}, "lr-schedule 250000:10, the request is for 10:10"),
        ({"steps": 7}, {}, "steps 100000, the request is for 7"),
        ({"stop": False}, {}, "stop on, the request is for off"),
        ({"batch": 5}, {}, "batch full, the request is for 5"),
        ({"epsilon": 0.25}, {}, "epsilon 0.5, the request is for 0.25"),
        ({}, {"engine": "torch"}, "engine compiled, the request is for torch"),
        ({}, {"dtype": torch.float32}, "dtype float64, the request is for float32"),
    ],
)
def test_a_checkpoint_of_other_settings_says_which(options, compute, said, tmp_path):
    data, base = oracle.dataset(40, 5), with_options(TrainingOptions(), lr=1e-3)
    path = tmp_path / "c"
    path.write_bytes(pack(request_of([make_job(data, ARCH, 0, base)]), [None]))
    other = make_job(data, ARCH, 0, with_options(base, **options), Compute(**compute))
    with pytest.raises(InputError, match=said) as error:
        read(str(path), request_of([other]))
    assert str(error.value).startswith(f"{path}: ")


def test_a_checkpoint_of_other_runs_or_data_says_which(tmp_path):
    data, path = oracle.dataset(40, 5, test=10), tmp_path / "c"
    path.write_bytes(pack(request_of([make_job(data, ARCH)]), [None]))
    other = oracle.dataset(40, 5, seed=1)
    labels = type(data)(data.x, -data.y, data.x_test, data.y_test)
    test = type(data)(data.x, data.y, data.x_test, -data.y_test)
    for jobs, said in [
        ([make_job(data, ARCH, 1)], "seeds 0, the request is for 1"),
        ([make_job(data, ARCH, 0), make_job(data, ARCH, 1)], "seeds 0, the request is for 0,1"),
        ([make_job(data, Architecture(5, 7, 2), 0)], "width 6, the request is for 7"),
        ([make_job(data, Architecture(5, 6, 2, "tanh"), 0)], "activation relu, the request is for tanh"),
        ([make_job(data.first(30), ARCH, 0)], "patterns 40, the request is for 30"),
        ([make_job(other, ARCH, 0)], "training set"),
        ([make_job(labels, ARCH, 0)], "training set"),
        ([make_job(test, ARCH, 0)], "test set"),
    ]:
        with pytest.raises(InputError, match=said):
            read(str(path), request_of(jobs))


def test_what_amounts_to_the_same_is_the_same():
    data = oracle.dataset(40, 5)

    def request(options=PLAIN, compute=CPU):
        return request_of([make_job(data.first(P), ARCH, 0, options, compute) for P in (30, 40)])

    usual = request()
    assert request(with_options(TrainingOptions(), batch=40, stop=True), Compute(threads=3)) == usual
    assert usual["patterns"] == [30, 40]
    assert request(with_options(TrainingOptions(), optimizer="sgd"))["batch"] == [15, 20]


def test_damage_anywhere_is_seen(tmp_path):
    job, path = make_job(oracle.dataset(40, 5), ARCH), tmp_path / "c"
    training = RunInProgress(job)
    training.advance()
    whole = pack(request_of([job]), [training.snapshot()])
    rng = np.random.default_rng(0)
    for at in [0, 3, 8, 9, 20, len(whole) - 1, *rng.integers(0, len(whole), 60)]:
        spoiled = bytearray(whole)
        spoiled[at] ^= 1 << int(rng.integers(0, 7))
        for data in (bytes(spoiled), whole[:at]):
            path.write_bytes(data)
            with pytest.raises(InputError, match="checkpoint") as error:
                read(str(path), request_of([job]))
            assert "\n" not in str(error.value)


# --- the command ----------------------------------------------------------------------------------------

#: Four runs of about a second each, two at a time, some of them satisfied early.
LINE = ["--width", "6,7", "--seeds", "0:2", "--steps", "30k", "--measurements", "30", "--threads", "2"]
LINE += ["--no-stop", "--lr", "1e-3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a dataset, and the output of the command that nothing interrupts; it compiles the kernel too."""
    folder = tmp_path_factory.mktemp("checkpoint")
    jam("data", "random", "-P", 600, "-d", 8, "-o", folder / "data", check=True)
    jam("train", folder / "data", *LINE, "-o", folder / "whole", check=True)
    return folder


def start(folder, *options, line=LINE):
    """The command under way, its checkpoint and output in the folder it runs in."""
    line = [sys.executable, "-m", "jamtools.cli.train", *map(str, [folder / "data", *line, *options])]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder, path, output, line=LINE):
    return jam("train", folder / "data", *line, "--checkpoint", path, "--resume", "-o", output)


def steps_kept(path):
    """Of all runs of a checkpoint together."""
    entries = Artefact(str(path)).infos
    return sum(entry.get("step", 0) + entry.get("info", {}).get("steps", 0) for entry in entries)


def wait_for(path, seconds=60.0):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"no {path} after {seconds} s"
        time.sleep(0.01)


#: Forks a life of the command for every line it reads: torch is loaded once for all of them. With short bursts twenty
#: lives are over before the runs are.
NURSERY = """
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
def nursery():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as mother:
        yield mother
        mother.stdin.close()


def live(mother, line, path, more):
    """A life that is killed `more` seconds after it wrote its first checkpoint; False if it was over before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    print(*line, file=mother.stdin, flush=True)
    child = int(mother.stdout.readline())
    until = time.monotonic() + 60
    while not (path.exists() and path.stat().st_mtime_ns > before):
        assert time.monotonic() < until, "no checkpoint in 60 s"
        time.sleep(0.002)
    time.sleep(more)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    status = int(mother.stdout.readline())
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_bytes(whole, tmp_path, nursery):
    """At random moments; each life leaves something more for the next one to go on from."""
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
        kills += live(nursery, line, path, rng.uniform(0, 0.1))
        reached.add(steps_kept(path))
        if output.exists():  # on a fast machine: then all over again
            assert output.read_bytes() == (whole / "whole").read_bytes()
            path.unlink()
            output.unlink()
    assert len(reached) > 10, reached
    assert finish(whole, path, output).returncode == 0
    assert output.read_bytes() == (whole / "whole").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_it_with_75_and_no_output(name, whole, tmp_path):
    path, output = tmp_path / "c", tmp_path / "out"
    output.write_text("what was here before")
    under_way = start(whole, "--checkpoint", path, "--checkpoint-every", "0.2", "-o", output)
    wait_for(path)
    told = time.monotonic()
    under_way.send_signal(getattr(signal, name))
    out, said = under_way.communicate()
    assert time.monotonic() - told < 10
    assert (under_way.returncode, out) == (75, "")
    assert said == (
        f"jam-train: stopped by {name}; the runs are kept in {path}, run the same command with --resume to go on\n"
    )
    assert output.read_text() == "what was here before"
    assert finish(whole, path, output).returncode == 0
    assert output.read_bytes() == (whole / "whole").read_bytes()


@pytest.mark.slow
def test_a_finished_checkpoint_is_written_out_again(whole, tmp_path):
    path = tmp_path / "c"
    first = finish(whole, path, "-")
    kept = path.read_bytes()
    assert first.stdout == finish(whole, path, "-").stdout == (whole / "whole").read_bytes()
    assert path.read_bytes() == kept


@pytest.mark.slow
def test_a_time_limit_ends_it_with_75_and_gets_on_each_time(whole, tmp_path):
    """Even where the start alone takes longer than the limit."""
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
def test_an_interrupt_keeps_130_and_what_was_done(whole, tmp_path):
    path = tmp_path / "c"
    under_way = start(whole, "--checkpoint", path, "--checkpoint-every", "0.2")
    wait_for(path)
    under_way.send_signal(signal.SIGINT)
    out, said = under_way.communicate()
    assert (under_way.returncode, out) == (130, "")
    assert said.startswith(
        f"jam-train: interrupted; the runs are kept in {path}, run the same command with --resume"
    )
    assert finish(whole, path, "-").stdout == (whole / "whole").read_bytes()


@pytest.mark.slow
def test_without_a_checkpoint_a_signal_does_what_it_did(whole):
    under_way = start(whole)
    time.sleep(2)
    under_way.terminate()
    out, said = under_way.communicate()
    assert (under_way.returncode, out, said) == (143, "", "")


@pytest.mark.slow
def test_a_signal_while_it_waits_for_data_ends_it_with_75(tmp_path):
    line = [sys.executable, "-m", "jamtools.cli.train", "-", "--checkpoint", str(tmp_path / "c")]
    under_way = subprocess.Popen(
        line, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(3)
    under_way.terminate()
    assert under_way.wait(10) == 75
    assert "no run was under way" in under_way.communicate()[1]
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_of_another_command_line_is_refused(whole, tmp_path):
    path = tmp_path / "c"
    options = with_options(TrainingOptions(), lr=1e-3)
    job = make_job(read_dataset(str(whole / "data"))[0], Architecture(8, 6, 3), 0, options)
    path.write_bytes(pack(request_of([job]), [None]))
    kept = path.read_bytes()
    done = jam("train", whole / "data", "--width", 6, "--checkpoint", path, "--resume", "--device", "cpu")
    assert refusal(done) == (
        f"jam-train: {path}: the checkpoint is of lr 0.001, the request is for 0.0001; "
        "remove it or give another --checkpoint"
    )
    path.write_bytes(kept[:-9])
    done = jam("train", whole / "data", "--width", 6, "--checkpoint", path, "--resume")
    assert "expected a checkpoint; remove it or give another --checkpoint" in refusal(done)
    done = jam("train", whole / "data", "--checkpoint", whole / "data")
    assert "data: got dataset, expected a checkpoint" in refusal(done)


@pytest.mark.parametrize(
    ("options", "said"),
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
def test_options_that_make_no_sense_are_usage_errors(options, said, tmp_path):
    assert said in refusal(jam("train", "data", *options, cwd=tmp_path), 2)


def test_durations_have_units():
    assert [duration(text) for text in ("90s", "5m", "1.5h", "2d", "7", "0.05s")] == [
        90, 300, 5400, 172800, 7, 0.05,
    ]  # fmt: skip
