"""train and train_many, compared with torch.optim, with closed forms and with single runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jamtools.engines.optimizers import make_optimizer
from jamtools.engines.torch_engine import TorchEngine
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import CONTACT_TOLERANCE
from jamtools.training import ensemble, memory
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.memory import bytes_needed, runs_at_once
from tests.support import oracle
from tests.support.jobs import make_job


def reference(data, arch, steps, make, init="orthogonal", loss=oracle.hinge):
    """theta [Ñ] after `steps` steps of torch's own optimiser, autograd and layers from the same start."""
    net = oracle.module(arch, torch.from_numpy(initial_parameters(arch, init, 0)))
    optimizer = make(net.parameters())
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y).view(len(data.x), -1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(net.parameters()).detach().numpy()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_training_by_adam_follows_adam_of_torch(activation, outputs):
    """At rate 1e-4 round-off grows to about 3e-16 in 1000 steps; after 200 steps it is about one unit in the last place."""
    data, arch = oracle.dataset(60, 5, outputs=outputs), Architecture(5, 6, 2, activation, outputs)
    run = train(data, arch, with_options(TrainingOptions(), steps=200), seed=0)
    theirs = reference(data, arch, 200, lambda p: torch.optim.Adam(p, lr=1e-4))
    assert np.abs(run.theta - theirs).max() < 1e-13


def test_training_by_full_batches_follows_sgd_of_torch():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, "tanh")
    run = train(
        data, arch, with_options(TrainingOptions(), steps=100, optimizer="sgd", batch=0, lr=0.05), seed=0
    )
    theirs = reference(data, arch, 100, lambda p: torch.optim.SGD(p, lr=0.05))
    assert np.abs(run.theta - theirs).max() < 1e-13


def test_training_on_cross_entropy_follows_torch():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2)
    run = train(
        data, arch, with_options(TrainingOptions(), steps=100, loss="cross-entropy", init="torch"), seed=0
    )

    def entropy(f, y):
        return torch.nn.functional.binary_cross_entropy_with_logits(f, (y + 1) / 2)

    theirs = reference(data, arch, 100, lambda p: torch.optim.Adam(p, lr=1e-4), init="torch", loss=entropy)
    assert np.abs(run.theta - theirs).max() < 1e-13
    assert run.info["epsilon"] == 0
    assert run.info["n_unsatisfied"] is None


@pytest.mark.statistical
def test_the_step_of_a_mini_batch_is_unbiased():
    """A batch of all P patterns is the full gradient. The mean over smaller batches converges to it."""
    data, arch = oracle.dataset(40, 4), Architecture(4, 5, 1, "tanh")
    options = {"steps": 1, "optimizer": "sgd", "lr": 1.0, "stop": False}
    whole = train(data, arch, with_options(TrainingOptions(), batch=40, **options), seed=0)
    assert np.array_equal(
        whole.theta, train(data, arch, with_options(TrainingOptions(), batch=0, **options), seed=0).theta
    )
    theta0 = whole.theta0
    g = whole.theta - theta0
    single = np.array([step_of_a_mini_batch(data, arch, theta0, seed) for seed in range(400)])
    error = single.std(0, ddof=1) / math.sqrt(400)
    assert (np.abs(single.mean(0) - g) <= 5 * error + 1e-15).all()  # 5 standard errors over 31 parameters


def step_of_a_mini_batch(data, arch, theta0, seed):
    """The first step from theta0 [Ñ] with the mini-batches of generator `seed`."""
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)[:, None]
    problem = Problem(x, y, arch, Loss("hinge", 0.5, 40))
    settings = with_options(TrainingOptions(), optimizer="sgd", batch=8, lr=1.0, stop=False).resolve(40)
    theta = torch.from_numpy(theta0.copy())
    TorchEngine(problem, theta, make_optimizer("sgd", theta), settings, np.random.default_rng(seed)).advance(
        0, 1
    )
    return theta.numpy() - theta0


def test_a_run_stops_at_the_first_step_without_unsatisfied_patterns():
    data = oracle.dataset(10, 8)
    run = train(data, Architecture(8, 8, 2), with_options(TrainingOptions(), lr=1e-3, steps=5000), seed=0)
    assert run.info["status"] == "satisfied"
    assert run.info["steps"] < 5000
    contact = CONTACT_TOLERANCE * 0.5
    assert (run.gaps <= contact).all()
    assert run.info["final_loss"] <= 0.5 * contact**2
    before = train(
        data,
        Architecture(8, 8, 2),
        with_options(TrainingOptions(), lr=1e-3, steps=run.info["steps"] - 1),
        seed=0,
    )
    assert before.info["status"] == "budget"
    assert (before.gaps > contact).any()


def test_a_run_that_may_not_stop_takes_all_steps_of_its_budget():
    run = train(
        oracle.dataset(10, 8),
        Architecture(8, 8, 2),
        with_options(TrainingOptions(), lr=1e-3, steps=3000, stop=False),
        seed=0,
    )
    assert (run.info["steps"], run.info["status"]) == (3000, "satisfied")


def test_a_run_depends_only_on_its_first_P_patterns():
    data = oracle.dataset(80, 4)
    options = with_options(TrainingOptions(), steps=50)
    alone = train(data.first(50), Architecture(4, 5, 2), options, seed=0)
    assert np.array_equal(
        alone.theta, train(oracle.dataset(80, 4).first(50), Architecture(4, 5, 2), options, seed=0).theta
    )


def test_a_run_that_diverges_does_not_have_the_status_satisfied():
    """NaN is not above zero: a count of Δ > 0 would call this run satisfied."""
    options = with_options(TrainingOptions(), steps=2000, optimizer="sgd", batch=0, lr=1e6)
    run = train(oracle.dataset(40, 4), Architecture(4, 5, 3), options, seed=0)
    assert run.info["status"] == "diverged"
    assert run.info["steps"] < 2000


def test_fewer_runs_at_once_give_the_same_bytes(monkeypatch):
    """The memory is enough for three of the eight runs at once."""
    jobs = [
        make_job(
            oracle.dataset(300, 5),
            Architecture(5, 6, 2),
            seed,
            with_options(TrainingOptions(), steps=20),
            Compute(threads=8),
        )
        for seed in range(8)
    ]
    whole = train_many(jobs)
    need = bytes_needed(jobs[0])
    monkeypatch.setattr(memory, "available", lambda device: 3 * need + 1)
    assert runs_at_once(jobs[0], 8) == 3
    fewer = train_many(jobs)
    assert all(a.theta.tobytes() == b.theta.tobytes() for a, b in zip(whole, fewer))


@pytest.mark.gpu
def test_a_run_on_a_gpu_follows_the_run_on_the_cpu():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, "tanh")
    options = with_options(TrainingOptions(), steps=200)
    on_cpu, on_gpu = train(data, arch, options, 0), train(data, arch, options, 0, Compute(device="cuda"))
    assert np.abs(on_cpu.theta - on_gpu.theta).max() < 1e-12


def test_training_no_jobs_gives_no_runs():
    assert train_many([]) == []


def test_the_watch_sees_the_progress_of_every_run_in_the_order_of_the_jobs(monkeypatch):
    monkeypatch.setattr(ensemble, "BURST_SECONDS", 0.01)
    options = with_options(TrainingOptions(), steps=20_000, stop=False)
    seen = []
    jobs = [make_job(oracle.dataset(200, 5), Architecture(5, h, 2), 0, options) for h in (5, 6)]
    runs = train_many(jobs, watch=seen.append)
    assert seen and all(len(progress) == 2 for progress in seen)
    steps = [progress[0].step for progress in seen]
    assert steps == sorted(steps) and steps[-1] <= 20_000
    assert [run.info["width"] for run in runs] == [5, 6]


def test_an_error_of_a_run_ends_the_call(monkeypatch):
    def fail(run):
        raise RuntimeError("no record")

    monkeypatch.setattr(ensemble, "record_of", fail)
    jobs = [
        make_job(oracle.dataset(20, 5), Architecture(5, 6, 2), 0, with_options(TrainingOptions(), steps=2))
    ]
    with pytest.raises(RuntimeError, match="no record"):
        train_many(jobs)
