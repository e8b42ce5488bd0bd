"""Training against torch.optim, closed forms and its own record."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jamtools.engines.optimizers import make_optimizer
from jamtools.engines.torch_engine import TorchEngine
from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem, measure
from jamtools.protocols import PROTOCOLS, Schedule, TrainingOptions, measured_steps, with_options
from jamtools.records import Dataset
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from tests.support import oracle


def reference(data, arch, steps, make, init="orthogonal", loss=oracle.hinge):
    """torch's own optimiser, autograd and layers from the same start: theta after `steps`."""
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
def test_adam_follows_torch_s_adam(activation, outputs):
    """At rate 1e-4 round-off grows to about 3e-16 over 1000 steps; 200 leave it near one unit."""
    data, arch = oracle.dataset(60, 5, outputs=outputs), Architecture(5, 6, 2, activation, outputs)
    run = train(data, arch, with_options(TrainingOptions(), steps=200), seed=0)
    theirs = reference(data, arch, 200, lambda p: torch.optim.Adam(p, lr=1e-4))
    assert np.abs(run.theta - theirs).max() < 1e-13


def test_full_batch_gradient_descent_follows_torch_s_sgd():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, "tanh")
    run = train(
        data, arch, with_options(TrainingOptions(), steps=100, optimizer="sgd", batch=0, lr=0.05), seed=0
    )
    theirs = reference(data, arch, 100, lambda p: torch.optim.SGD(p, lr=0.05))
    assert np.abs(run.theta - theirs).max() < 1e-13


def test_cross_entropy_follows_torch_s():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2)
    run = train(
        data, arch, with_options(TrainingOptions(), steps=100, loss="cross-entropy", init="torch"), seed=0
    )

    def entropy(f, y):
        return torch.nn.functional.binary_cross_entropy_with_logits(f, (y + 1) / 2)

    theirs = reference(data, arch, 100, lambda p: torch.optim.Adam(p, lr=1e-4), init="torch", loss=entropy)
    assert np.abs(run.theta - theirs).max() < 1e-13
    assert run.info["epsilon"] == 0
    assert run.info["n_unsatisfied"] == run.info["n_misclassified"]


def test_a_batch_gradient_is_an_unbiased_estimate_of_the_whole_one():
    """With batch = P - every pattern drawn once - SGD is full-batch descent; with less, its mean is."""
    data, arch = oracle.dataset(40, 4), Architecture(4, 5, 1, "tanh")
    options = {"steps": 1, "optimizer": "sgd", "lr": 1.0, "stop": False}
    whole = train(data, arch, with_options(TrainingOptions(), batch=40, **options), seed=0)
    assert np.array_equal(
        whole.theta, train(data, arch, with_options(TrainingOptions(), batch=0, **options), seed=0).theta
    )
    theta0 = whole.theta0
    g = whole.theta - theta0
    single = np.array([_one_step(data, arch, theta0, seed) for seed in range(400)])
    error = single.std(0, ddof=1) / math.sqrt(400)
    assert (np.abs(single.mean(0) - g) <= 5 * error + 1e-15).all()  # 5 standard errors over 31 parameters


def _one_step(data, arch, theta0, seed):
    """The step that stream `seed` of batches takes from one and the same start."""
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)[:, None]
    problem = Problem(x, y, arch, Loss("hinge", 0.5, 40))
    settings = with_options(TrainingOptions(), optimizer="sgd", batch=8, lr=1.0, stop=False).resolve(40)
    theta = torch.from_numpy(theta0.copy())
    TorchEngine(problem, theta, make_optimizer("sgd", theta), settings, np.random.default_rng(seed)).advance(
        0, 1
    )
    return theta.numpy() - theta0


def test_the_run_stops_at_the_first_step_without_unsatisfied_patterns():
    data = oracle.dataset(10, 8)
    run = train(data, Architecture(8, 8, 2), with_options(TrainingOptions(), lr=1e-3, steps=5000), seed=0)
    assert run.info["status"] == "satisfied"
    assert run.info["steps"] < 5000
    assert (run.gaps <= 0).all()
    assert run.info["final_loss"] == 0
    before = train(
        data,
        Architecture(8, 8, 2),
        with_options(TrainingOptions(), lr=1e-3, steps=run.info["steps"] - 1),
        seed=0,
    )
    assert before.info["status"] == "budget"
    assert (before.gaps > 0).any()


def test_no_stop_spends_the_whole_budget():
    run = train(
        oracle.dataset(10, 8),
        Architecture(8, 8, 2),
        with_options(TrainingOptions(), lr=1e-3, steps=3000, stop=False),
        seed=0,
    )
    assert (run.info["steps"], run.info["status"]) == (3000, "satisfied")


def test_the_record_says_what_theta_says():
    data, arch = oracle.dataset(80, 4, test=30), Architecture(4, 5, 2)
    run = train(data, arch, with_options(TrainingOptions(), lr=1e-3, steps=300), seed=1)
    net = oracle.module(arch, torch.from_numpy(run.theta))
    f = net(torch.from_numpy(data.x))[:, 0].detach().numpy()
    gaps = 0.5 - data.y * f
    assert np.abs(run.gaps - gaps).max() < 1e-14
    assert run.info["n_unsatisfied"] == (gaps > 0).sum() == run.history["n_unsatisfied"][-1]
    assert run.info["n_misclassified"] == (data.y * f < 0).sum()
    assert run.info["final_loss"] == pytest.approx((np.maximum(gaps, 0) ** 2).sum() / 160, rel=1e-13)
    test_f = net(torch.from_numpy(data.x_test))[:, 0].detach().numpy()
    assert run.history["test_error"][-1] == (data.y_test * test_f < 0).mean()
    held = np.maximum(0.5 - data.y_test * test_f, 0) ** 2 / 2
    assert run.history["test_loss"][-1] == pytest.approx(held.mean(), rel=1e-13)
    assert run.history["distance"][-1] == pytest.approx(np.linalg.norm(run.theta - run.theta0), rel=1e-13)
    assert run.history["distance"][0] == 0
    exact = torch.func.grad(
        lambda t: oracle.hinge(oracle.f(arch, t, torch.from_numpy(data.x)), torch.from_numpy(data.y)[:, None])
    )(torch.from_numpy(run.theta))
    assert run.info["grad_norm"] == pytest.approx(exact.norm().item(), rel=1e-12)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_existing_run_measured_on_its_test_set_is_what_its_history_says(batch_norm):
    data, arch = oracle.dataset(80, 4, test=30), Architecture(4, 5, 2, batch_norm=batch_norm)
    run = train(data, arch, with_options(TrainingOptions(), lr=1e-3, steps=100), seed=1)
    found = measure(run, data, Dataset(data.x_test, data.y_test))
    assert found["error"] == run.history["test_error"][-1]
    assert found["loss"] == pytest.approx(run.history["test_loss"][-1], rel=1e-14)
    assert found["P"] == 30
    with pytest.raises(InputError, match="expected d=4"):
        measure(run, data, oracle.dataset(10, 5))


def test_a_run_does_not_depend_on_the_patterns_beyond_its_own():
    data = oracle.dataset(80, 4)
    settings = with_options(TrainingOptions(), steps=50)
    alone = train(data.first(50), Architecture(4, 5, 2), settings, seed=0)
    assert np.array_equal(
        alone.theta, train(oracle.dataset(80, 4).first(50), Architecture(4, 5, 2), settings, seed=0).theta
    )


def test_divergence_is_a_status_and_never_satisfied():
    """NaN is not above zero: a count of Δ > 0 alone would call this run satisfied."""
    settings = with_options(TrainingOptions(), steps=2000, optimizer="sgd", batch=0, lr=1e6)
    run = train(oracle.dataset(40, 4), Architecture(4, 5, 3), settings, seed=0)
    assert run.info["status"] == "diverged"
    assert run.info["steps"] < 2000


def test_measured_steps_are_log_spaced_and_hold_both_ends():
    steps = measured_steps(100_000, 150)
    assert steps[0] == 0
    assert steps[-1] == 100_000
    assert len(steps) <= 150
    assert steps == sorted(set(steps))
    ratios = np.diff(np.log(steps[60:]))
    assert ratios.max() < 2 * ratios.min()
    assert measured_steps(0, 10) == [0]
    assert measured_steps(1, 10) == [0, 1]
    assert measured_steps(1000, 3, (300, 5000)) == [0, 1, 300, 1000]


def test_snapshots_are_the_points_the_history_was_measured_at():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2)
    settings = with_options(TrainingOptions(), steps=40, lr=1e-3, measurements=5, snapshots=True)
    run = train(data, arch, settings, seed=0)
    thetas = run.history["theta"]
    assert thetas.shape == (len(run.history["step"]), arch.n_parameters)
    assert np.array_equal(thetas[0], run.theta0)
    assert np.array_equal(thetas[-1], run.theta)
    shorter = train(
        data, arch, with_options(settings, steps=int(run.history["step"][2]), snapshots=False), seed=0
    )
    assert np.array_equal(thetas[2], shorter.theta)


def test_the_schedule_divides_down_to_its_floor():
    schedule = Schedule(lr=1e-4, every=250_000, factor=10, floor=1e-7)
    assert [schedule.rate(s) for s in (0, 249_999, 250_000, 500_000)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-6]
    )
    assert schedule.rate(10_000_000) == 1e-7
    assert Schedule(lr=1e-8).rate(0) == 1e-8


def test_paper_hinge_is_the_table_of_the_paper():
    p = PROTOCOLS["paper-hinge"]
    assert (p.loss, p.epsilon, p.init, p.optimizer, p.steps) == (
        "hinge",
        0.5,
        "orthogonal",
        "adam",
        2_000_000,
    )
    assert p.schedule == Schedule(1e-4, 250_000, 10, 1e-7)
    assert p.resolve(1000).batch == 0


def test_sgd_takes_the_paper_s_batches():
    settings = with_options(TrainingOptions(), optimizer="sgd")
    assert settings.resolve(100).batch == 50
    assert settings.resolve(10_000).batch == 1024


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="expected one of adam"):
        with_options(TrainingOptions(), optimizer="lbfgs")


@pytest.mark.gpu
def test_the_gpu_follows_the_cpu():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, "tanh")
    settings = with_options(TrainingOptions(), steps=200)
    here, there = train(data, arch, settings, 0), train(data, arch, settings, 0, Compute(device="cuda"))
    assert np.abs(here.theta - there.theta).max() < 1e-12
