"""What a run takes is known before, and refused with its numbers where there is less."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

from jamtools import machine
from jamtools.cli.common.app import run as run_command
from jamtools.errors import InputError
from jamtools.machine import available
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training import ensemble, memory
from jamtools.training.ensemble import train_many
from jamtools.training.job import Compute
from jamtools.training.memory import bytes_needed, runs_at_once
from tests.support import oracle
from tests.support.commands import ROOT
from tests.support.jobs import PLAIN, make_job

CPU = torch.device("cpu")
ARCH = Architecture(5, 6, 2)

#: A run of each engine after a small one of it, which loads and compiles: by how much the peak grows, and the estimate.
PEAK = """
import sys
from pathlib import Path
import torch
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train_many
from jamtools.training.job import Compute
from jamtools.training.memory import bytes_needed
from tests.support import oracle
from tests.support.jobs import make_job
def peak():  # VmHWM: ru_maxrss begins at the peak of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
options, arch = with_options(TrainingOptions(), steps=2, measurements=2, lr=1e-3), Architecture(20, 40, 3)
small, large = (
    make_job(oracle.dataset(P, 20), arch, 0, options, Compute(engine=sys.argv[1])) for P in (300, 60_000)
)
train_many([small])
before = peak()
train_many([large])
print(peak() - before)
print(bytes_needed(large))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux's")
@pytest.mark.parametrize("engine", ["torch", "compiled", "batch"])
def test_the_estimate_is_above_the_measured_peak_and_within_twice(engine):
    # arrays of their own pages: what the heap leaves unused between smaller ones is the luck of the day
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "1000000",
    }
    done = subprocess.run(
        [sys.executable, "-c", PEAK, engine], env=environment, capture_output=True, text=True
    )
    measured, estimate = map(int, done.stdout.split())
    assert measured < estimate < 2 * measured


def needed(engine, dtype=torch.float64, device="cpu", options=PLAIN):
    """Bytes for a run on 300 patterns."""
    return bytes_needed(make_job(oracle.dataset(300, 5), ARCH, 0, options, Compute(device, dtype, 1, engine)))


def test_the_memory_of_a_batch_is_linear_in_its_slots():
    """R·P·h and R·Ñ: linear in the slots, which the shape gives, and halved in float32 on equal slots."""
    need, card, alone = needed("batch"), needed("batch", device="cuda"), needed("torch")
    assert needed("batch", torch.float32) == need / 2
    assert 64 / 4 * 0.9 < (card - alone) / (need - alone) < 64 / 4 * 1.1


def test_snapshots_need_the_memory_of_their_parameters():
    snapshots = with_options(PLAIN, snapshots=True, measurements=10)
    assert needed("torch", options=snapshots) - needed("torch") == 8 * 10 * ARCH.n_parameters


@pytest.mark.parametrize(
    ("engine", "remedy"), [("batch", "use the torch engine"), ("compiled", "fewer patterns")]
)
def test_what_does_not_fit_is_refused_with_the_numbers(engine, remedy, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10_000)
    monkeypatch.setattr(ensemble, "RunInProgress", None)  # before anything is begun
    with pytest.raises(InputError, match=remedy) as refused:
        train_many([make_job(oracle.dataset(300, 5), ARCH, 0, TrainingOptions(), Compute(engine=engine))])
    need = needed(engine)
    said = str(refused.value)
    assert said.startswith(f"P=300 patterns and Ñ={ARCH.n_parameters} parameters: ")
    assert re.findall(r"([\d.e-]+) GiB", said) == [f"{need / 2**30:.3g}", f"{10_000 / 2**30:.3g}"]
    assert "\n" not in said


def test_fewer_threads_where_fewer_runs_fit(monkeypatch):
    """Three times what one run needs: three at once of eight, and the same bytes."""
    jobs = [
        make_job(
            oracle.dataset(300, 5), ARCH, seed, with_options(TrainingOptions(), steps=20), Compute(threads=8)
        )
        for seed in range(8)
    ]
    whole = train_many(jobs)
    need = bytes_needed(jobs[0])
    monkeypatch.setattr(memory, "available", lambda device: 3 * need + 1)
    assert runs_at_once(jobs[0], 8) == 3
    fewer = train_many(jobs)
    assert all(a.theta.tobytes() == b.theta.tobytes() for a, b in zip(whole, fewer))


def group(tmp_path, monkeypatch, files):
    """A machine with these files for its control groups."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(machine, "_free_in_machine", lambda: 10**12)


def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch):
    """Version 2: the tightest of the group and those above; pages of files may be had back."""
    files = {
        "job/step/memory.max": "max\n",
        "job/step/memory.current": "700\n",
        "job/memory.max": "5000\n",
        "job/memory.current": "1000\n",
        "job/memory.stat": "anon 700\ninactive_file 200\n",
    }
    group(tmp_path, monkeypatch, files)
    monkeypatch.setattr(machine, "CGROUPS_OF_PROCESS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("0::/job/step\n")
    assert available(CPU) == 5000 - 1000 + 200


def test_the_first_version_s_limit_counts_too(tmp_path, monkeypatch):
    files = {"memory/job/memory.limit_in_bytes": "5000\n", "memory/job/memory.usage_in_bytes": "1000\n"}
    group(tmp_path, monkeypatch, files)
    monkeypatch.setattr(machine, "CGROUPS_OF_PROCESS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("5:cpu,cpuacct:/elsewhere\n4:memory:/job\n")
    assert available(CPU) == 4000


def test_this_machine_has_some():
    assert 2**20 < available(CPU) < 2**50


def test_the_command_says_it_in_one_line(tmp_path, monkeypatch, capsys):
    from jamtools.cli import train
    from jamtools.io.write import dataset_bytes

    path = tmp_path / "data"
    path.write_bytes(dataset_bytes(oracle.dataset(300, 5), []))
    monkeypatch.setattr(memory, "available", lambda device: 10_000)
    monkeypatch.setattr(sys, "argv", ["jam-train", str(path), "--device", "cpu", "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        run_command(train.app, train.NAME)
    assert left.value.code == 1
    assert re.fullmatch(
        r"jam-train: P=300 .* needs .* GiB, got .* GiB available in memory; .*\n", capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_single_precision_is_said_to_be_coarse(tmp_path, monkeypatch, capsys):
    from jamtools.cli import train
    from jamtools.io.write import dataset_bytes

    path = tmp_path / "data"
    path.write_bytes(dataset_bytes(oracle.dataset(30, 5), []))
    line = ["jam-train", str(path), "--device", "cpu", "--dtype", "float32", "--steps", "5", "-o", "out"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_command(train.app, train.NAME)
    assert "near the transition" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_batch_on_a_card_takes_no_more_than_was_said():
    """Beside a library's workspace, which torch holds once."""
    settings, arch = with_options(TrainingOptions(), steps=20, measurements=2), Architecture(30, 30, 3)
    data, compute = oracle.dataset(8000, 30), Compute(device="cuda")
    train_many([make_job(oracle.dataset(300, 30), arch, 0, settings, compute)])
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train_many([make_job(data, arch, seed, settings, compute) for seed in range(3)])
    measured = torch.cuda.max_memory_allocated() - before
    need = bytes_needed(make_job(data, arch, 0, settings, compute))
    assert measured < need + 64 * 2**20
