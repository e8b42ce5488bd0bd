"""Runs along a leading axis: the torch engine's trajectories, and bytes that do not depend on who else is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jamtools.engines.batch import layout
from jamtools.engines.batch.engine import BatchEngine
from jamtools.engines.batch.layout import Layout
from jamtools.errors import InputError
from jamtools.io.write import runs_bytes
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Runs
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute, batch_engine
from jamtools.training.run import RECHECK_STEPS, RunInProgress
from tests.support import oracle
from tests.support.commands import jam
from tests.support.interruption import call_with_checkpoint, interrupted
from tests.support.jobs import make_job

BATCH, TORCH, CARD = Compute(engine="batch"), Compute(engine="torch"), Compute(device="cuda")
ARCH = Architecture(5, 6, 2)
OPTIMIZERS = {
    "adam": {"lr": 1e-4},
    "descent": {"optimizer": "sgd", "batch": 0, "lr": 0.05},
    "momentum": {"optimizer": "sgd", "batch": 0, "lr": 0.05, "momentum": 0.9},
    "fire": {"optimizer": "fire", "lr": 0.1},
}


def same(a, b, data):
    """Every byte of what a file would hold."""
    return runs_bytes(Runs(data, (a,)), []) == runs_bytes(Runs(data, (b,)), [])


def follows(data, arch, settings, place=TORCH, engine=BATCH):
    """The largest distance of theta from another engine's, over the measured steps."""
    settings = with_options(settings, snapshots=True, measurements=8)
    ours, theirs = train(data, arch, settings, 0, engine), train(data, arch, settings, 0, place)
    assert np.array_equal(ours.history["step"], theirs.history["step"])
    assert ours.info["engine"] == "batch"
    return np.abs(ours.history["theta"] - theirs.history["theta"]).max()


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", ["hinge", "cross-entropy"])
def test_it_follows_the_torch_engine(options, activation, loss, outputs):
    """Parameters are of order one: an update rounds to eps/2 of that, 50 updates to 25 eps, and the two engines' errors
    add; gradients, whose errors the rate multiplies, stay below. Twice that for their growth over so few steps.
    """
    data, arch = oracle.dataset(300, 5, outputs=outputs), Architecture(5, 6, 2, activation, outputs)
    settings = with_options(TrainingOptions(), steps=50, loss=loss, stop=False, **options)
    assert follows(data, arch, settings) < 100 * np.finfo(float).eps


def test_it_follows_the_compiled_engine_through_many_blocks(monkeypatch):
    """300 patterns in chunks of 64, two chunks a block."""
    data, settings = oracle.dataset(300, 5), with_options(TrainingOptions(), steps=50)
    monkeypatch.setattr(layout, "CHUNK", 64)
    numbers = 4 * 64 * 8 * (2 * 6 + 2 * 6 + 6)
    monkeypatch.setattr(layout, "ACTIVATIONS", 2 * numbers)
    shape = Layout.of(ARCH, 300, "cpu", torch.float64)
    assert (shape.slots, shape.chunk, shape.group, shape.blocks, shape.padded) == (4, 64, 2, 3, 384)
    assert follows(data, ARCH, settings, Compute(engine="compiled")) < 100 * np.finfo(float).eps


def test_fire_takes_the_torch_engine_s_turns():
    """Long enough to go uphill: paces are halved and grown by the same steps."""
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, "tanh")
    settings = with_options(TrainingOptions(), steps=300, optimizer="fire", lr=0.5, stop=False)
    ours, theirs = (RunInProgress(make_job(data, arch, 0, settings, place)) for place in (BATCH, TORCH))
    for training in (ours, theirs):
        while training.advance():
            pass
    for name in ("pace", "alpha", "downhill"):
        assert ours.optimizer.state[name].item() == theirs.optimizer.state[name].item()
    assert ours.optimizer.state["pace"].item() != 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("arch", "options"),
    [
        (Architecture(7, 13, 2), {"lr": 3e-3}),
        (Architecture(7, 5, 2, "tanh", 3), {"lr": 3e-3}),
        (Architecture(7, 13, 1, "tanh"), {"loss": "cross-entropy", "optimizer": "fire"}),
    ],
    ids=["relu", "classes", "fire"],
)
def test_alone_in_company_and_refilled_are_the_same_bytes(arch, options, dtype):
    """Six runs on four slots at a rate that turns a changed last bit into another run; two threads are there to be had."""
    data = oracle.dataset(310, 7, outputs=arch.outputs, test=40)
    settings = with_options(TrainingOptions(), steps=60, measurements=4, **options)
    compute = Compute(dtype=dtype, engine="batch", threads=2)
    jobs = [make_job(data, arch, seed, settings, compute) for seed in range(6)]
    threads = torch.get_num_threads()
    together = train_many(jobs)
    assert all(same(train_many([job])[0], run, data) for job, run in zip(jobs, together))
    backwards = train_many(jobs[::-1])[::-1]
    assert all(same(a, b, data) for a, b in zip(together, backwards))
    assert torch.get_num_threads() == threads


def test_runs_of_several_shapes_come_back_in_order():
    data, settings = oracle.dataset(120, 5), with_options(TrainingOptions(), steps=30)
    shapes = [(data.first(P), Architecture(5, h, 2)) for h in (5, 6) for P in (80, 120)]
    jobs = [make_job(*shape, seed, settings, BATCH) for shape in shapes for seed in (0, 1)]
    for job, run in zip(jobs, train_many(jobs)):
        assert (run.info["width"], run.info["P"], run.info["seed"]) == (job.arch.width, job.data.P, job.seed)
        assert same(run, train_many([job])[0], data)


def test_two_threads_may_share_no_product(monkeypatch):
    """What the engine guards against: inside a step there is one thread."""
    seen, step = [], BatchEngine._step
    monkeypatch.setattr(BatchEngine, "_step", lambda self: (seen.append(torch.get_num_threads()), step(self)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(oracle.dataset(60, 5), ARCH, with_options(TrainingOptions(), steps=3), 0, BATCH)
        assert (set(seen), torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_one_that_diverges_leaves_the_others_alone():
    """Patterns of 100 times the size blow up one of two runs of one shape; the other one's bytes stay."""
    calm, wild = oracle.dataset(60, 5), oracle.dataset(60, 5, seed=1)
    wild = type(wild)(wild.x * 1e2, wild.y, info=wild.info)
    arch = Architecture(5, 6, 2, "linear")  # a ReLU network would die of it rather than diverge
    settings = with_options(TrainingOptions(), steps=300, optimizer="sgd", batch=0, lr=0.05, stop=False)
    jobs = [make_job(data, arch, seed, settings, BATCH) for data, seed in ((calm, 0), (wild, 0), (calm, 1))]
    first, blown, last = train_many(jobs)
    assert (first.info["status"], blown.info["status"]) == ("budget", "diverged")
    assert blown.info["steps"] == train(wild, arch, settings, 0, TORCH).info["steps"]
    assert same(first, train(calm, arch, settings, 0, BATCH), calm)
    assert same(last, train(calm, arch, settings, 1, BATCH), calm)


def test_each_stops_at_its_own_first_step_without_unsatisfied_patterns():
    data, arch = oracle.dataset(10, 8), Architecture(8, 8, 2)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=1000, measurements=5)
    runs = train_many([make_job(data, arch, seed, settings, BATCH) for seed in range(6)])
    theirs = train_many([make_job(data, arch, seed, settings, TORCH) for seed in range(6)])
    assert [run.info["steps"] for run in runs] == [run.info["steps"] for run in theirs]
    assert len({run.info["steps"] for run in runs if run.info["status"] == "satisfied"}) > 1
    assert max(np.abs(a.theta - b.theta).max() for a, b in zip(runs, theirs)) < 1e-9  # Adam grows round-off


def test_a_step_stands_still_to_the_last_bit():
    """Satisfied slots, aimed far ahead, are passed over by a hundred steps."""
    data, arch = oracle.dataset(10, 8), Architecture(8, 8, 2)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=5000)
    job = make_job(data, arch, 0, settings, BATCH)
    engine = batch_engine(job)
    training = RunInProgress(job, batch=engine)
    training.slot.set_target(0, 5000)
    engine.run(5000)
    step = engine.clock[0, 0]
    before = engine.rows.clone()
    engine.run(100)
    assert 0 < step < 5000
    assert training.slot.reached() == (step, "satisfied")
    assert torch.equal(engine.rows, before)


def test_satisfied_but_for_round_off_takes_one_more_step():
    """The measurement has the last word: where it still finds an unsatisfied pattern, the next step is taken."""
    options = with_options(TrainingOptions(), lr=1e-3, steps=5000)
    training = RunInProgress(make_job(oracle.dataset(10, 8), Architecture(8, 8, 2), 0, options, BATCH))
    while training.advance() or training.status != "satisfied":
        pass
    step, training.status = training.step, ""
    training.history.rows[-1]["n_unsatisfied"] = 1
    assert training.resume_from(step, "satisfied")
    training.advance()
    assert step < training.step <= (step // RECHECK_STEPS + 1) * RECHECK_STEPS


class Seen(TorchDispatchMode):
    """Notes the operations that pass."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function).removeprefix("aten."))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("loss", ["hinge", "cross-entropy"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_step_neither_reads_from_the_device_nor_writes_to_it(options, loss, outputs):
    """What a capture forbids, looked for on the CPU; torch.where with a plain number makes a tensor on the host."""
    data, arch = oracle.dataset(60, 5, outputs=outputs), Architecture(5, 6, 2, "relu", outputs)
    engine = batch_engine(
        make_job(data, arch, 0, with_options(TrainingOptions(), loss=loss, **options), BATCH)
    )
    with Seen() as seen:
        engine._step()
    forbidden = "_local_scalar_dense", "nonzero", "where.Scalar", "scalar_tensor", "lift_fresh", "index."
    assert "where.self_out" in seen.names
    assert not [name for name in seen.names if name.startswith(forbidden)]


# --- kept and gone on with ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_run_that_goes_through_files_ends_with_the_same_bytes(options, tmp_path):
    data = oracle.dataset(60, 5, test=20)
    settings = with_options(TrainingOptions(), **{"steps": 100, "every": 37, "measurements": 9} | options)
    pieces = interrupted(make_job(data, ARCH, 3, settings, BATCH), 3, tmp_path / "c")
    assert same(pieces, train(data, ARCH, settings, 3, BATCH), data)


def test_a_call_stopped_again_and_again_ends_with_the_same_runs(tmp_path, monkeypatch):
    """Five runs on four slots: some under way, some waiting, some finished when it is stopped."""
    from jamtools.io.checkpoint import StopRequested

    monkeypatch.setattr("jamtools.training.ensemble.BURST_SECONDS", 0.02)
    monkeypatch.setattr("jamtools.engines.batch.scheduler.next_burst", lambda burst, taken, seconds: 150)
    data = oracle.dataset(60, 5)
    settings = with_options(TrainingOptions(), steps=1500, stop=False, measurements=5)
    jobs = [make_job(data, ARCH, seed, settings, BATCH) for seed in range(5)]
    whole, stops, runs = train_many(jobs), 0, None
    while runs is None:
        try:
            runs = call_with_checkpoint(tmp_path / "c", jobs, limit=2)
        except StopRequested:
            stops += 1
    assert stops > 1
    assert all(same(a, b, data) for a, b in zip(runs, whole))


def test_the_command_goes_on_to_the_same_bytes(tmp_path):
    line = ["data", "--width", "6", "--seeds", "0:5", "--steps", "1k", "--no-stop", "--engine", "batch"]
    line += ["--device", "cpu", "--measurements", "20"]
    kept = ["--checkpoint", "c", "--resume", "-o", "out"]
    jam("data", "random", "-P", 200, "-d", 6, "-o", tmp_path / "data", check=True)
    jam("train", *line, "-o", "whole", cwd=tmp_path, check=True)
    codes = [jam("train", *line, *kept, "--time-limit", "0.1s", cwd=tmp_path).returncode]
    codes += [jam("train", *line, *kept, cwd=tmp_path).returncode]
    assert codes == [75, 0]
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


# --- what it takes --------------------------------------------------------------------------------------


def test_the_layout_is_a_function_of_the_shape():
    """A card is filled by 64 runs of N ~ 700 and by one of N ~ 8000."""
    small, large = Architecture(15, 15, 3), Architecture(51, 51, 3)
    assert Layout.of(small, 2000, "cuda", torch.float64).slots == 64
    shape = Layout.of(large, 23_000, "cuda", torch.float64)
    assert (shape.slots, shape.blocks) == (1, 1)
    huge = Layout.of(Architecture(784, 100, 5), 10**6, "cuda", torch.float64)
    assert huge.blocks > 1
    assert 10**6 <= huge.padded < 10**6 + huge.blocks * huge.chunk + huge.chunk


@pytest.mark.parametrize(
    ("arch", "options"),
    [(Architecture(5, 6, 2, batch_norm=True), {}), (ARCH, {"batch": 7})],
    ids=["batch norm", "mini-batches"],
)
def test_what_it_does_not_take_is_refused_and_left_to_torch_by_auto(arch, options):
    data, options = oracle.dataset(40, 5), with_options(TrainingOptions(), **options)
    with pytest.raises(InputError, match="the batch engine takes full batches.* use the torch engine"):
        train_many([make_job(data, arch, 0, options, BATCH)])
    assert make_job(data, arch, 0, options, CARD).engine == "torch"


def test_auto_takes_the_batch_on_cuda_alone():
    data = oracle.dataset(40, 5)
    assert make_job(data, ARCH, compute=CARD).engine == "batch"
    assert make_job(data, ARCH).engine == "compiled"
    assert make_job(data, ARCH, compute=Compute(dtype=torch.float32)).engine == "torch"


# --- on a card ------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_captured_step_is_the_step_itself(options):
    """The same kernels on the same slots: the same bytes, whether replayed or called one by one."""
    options = with_options(TrainingOptions(), stop=False, **options)
    job = make_job(oracle.dataset(300, 5), ARCH, 0, options, CARD)
    rows = []
    for direct in (False, True):
        engine = batch_engine(job)
        training = RunInProgress(job, batch=engine)
        if direct:
            engine._graphs = None
        training.slot.set_target(0, 57)
        engine.run(57)
        assert training.slot.reached() == (57, "")
        rows.append(engine.rows.cpu())
    assert torch.equal(*rows)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_on_a_card_alone_and_in_company_are_the_same_bytes(dtype):
    data, arch = oracle.dataset(310, 7), Architecture(7, 13, 2)
    settings = with_options(TrainingOptions(), steps=300, lr=3e-3, measurements=4, stop=False)
    compute = Compute("cuda", dtype)
    slots = Layout.of(arch, 310, "cuda", dtype).slots
    jobs = [make_job(data, arch, seed, settings, compute) for seed in range(slots + 3)]
    together = train_many(jobs)
    for i in (0, 1, slots - 1, slots, slots + 2):
        assert same(train_many([jobs[i]])[0], together[i], data)


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(("loss", "outputs"), [("hinge", 1), ("hinge", 3), ("cross-entropy", 3)])
def test_the_card_follows_the_cpu(options, loss, outputs):
    data, arch = oracle.dataset(300, 5, outputs=outputs), Architecture(5, 6, 2, "tanh", outputs)
    settings = with_options(TrainingOptions(), steps=50, loss=loss, stop=False, **options)
    assert follows(data, arch, settings, TORCH, CARD) < 200 * np.finfo(float).eps


@pytest.mark.gpu
def test_on_a_card_each_stops_at_its_own_step():
    data, arch = oracle.dataset(10, 8), Architecture(8, 8, 2)
    settings = with_options(TrainingOptions(), lr=1e-3, steps=1000)
    there, here = (
        train_many([make_job(data, arch, seed, settings, compute) for seed in range(6)])
        for compute in (CARD, TORCH)
    )
    assert [run.info["steps"] for run in there] == [run.info["steps"] for run in here]
