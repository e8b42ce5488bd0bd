"""The memory of a run: the estimate against the measured peak, and the refusal of runs that do not fit."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training import ensemble, memory
from jamtools.training.ensemble import train_many
from jamtools.training.job import Compute
from jamtools.training.memory import bytes_needed
from tests.support import oracle
from tests.support.commands import ROOT
from tests.support.jobs import PLAIN, make_job

ARCH = Architecture(5, 6, 2)


#: Prints by how many bytes a run increases the peak of memory, and the estimate. A small run first loads and compiles all.
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
def peak():  # VmHWM, because ru_maxrss starts at the peak of the parent process
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
def test_the_estimate_is_between_once_and_twice_the_measured_peak(engine):
    # each array gets its own pages, because the unused gaps between arrays on the heap differ from run to run
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
    """The bytes that a run on 300 patterns needs."""
    return bytes_needed(make_job(oracle.dataset(300, 5), ARCH, 0, options, Compute(device, dtype, 1, engine)))


def test_the_memory_of_a_batch_is_linear_in_its_slots():
    """A GPU has 64 slots, the CPU 4. In float32 the same slots need half the memory."""
    need, card, alone = needed("batch"), needed("batch", device="cuda"), needed("torch")
    assert needed("batch", torch.float32) == need / 2
    assert 64 / 4 * 0.9 < (card - alone) / (need - alone) < 64 / 4 * 1.1


def test_snapshots_need_the_memory_of_their_parameters():
    snapshots = with_options(PLAIN, snapshots=True, measurements=10)
    assert needed("torch", options=snapshots) - needed("torch") == 8 * 10 * ARCH.n_parameters


@pytest.mark.parametrize(
    ("engine", "remedy"), [("batch", "use the torch engine"), ("compiled", "fewer patterns")]
)
def test_a_run_that_does_not_fit_is_refused_before_it_begins(engine, remedy, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10_000)
    monkeypatch.setattr(ensemble, "RunInProgress", None)  # a run that begins fails
    with pytest.raises(InputError, match=remedy) as refused:
        train_many([make_job(oracle.dataset(300, 5), ARCH, 0, TrainingOptions(), Compute(engine=engine))])
    need = needed(engine)
    message = str(refused.value)
    assert message.startswith(f"P=300 patterns and Ñ={ARCH.n_parameters} parameters: ")
    assert re.findall(r"([\d.e-]+) GiB", message) == [f"{need / 2**30:.3g}", f"{10_000 / 2**30:.3g}"]
    assert "\n" not in message


@pytest.mark.gpu
def test_a_batch_on_a_card_needs_no_more_than_the_estimate():
    """The 64 MiB are the workspace of cuBLAS, which torch allocates once."""
    options, arch = with_options(TrainingOptions(), steps=20, measurements=2), Architecture(30, 30, 3)
    data, compute = oracle.dataset(8000, 30), Compute(device="cuda")
    train_many([make_job(oracle.dataset(300, 30), arch, 0, options, compute)])
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train_many([make_job(data, arch, seed, options, compute) for seed in range(3)])
    measured = torch.cuda.max_memory_allocated() - before
    need = bytes_needed(make_job(data, arch, 0, options, compute))
    assert measured < need + 64 * 2**20
