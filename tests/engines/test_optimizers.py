"""Optimisers against torch.optim, and FIRE against the algorithm in its paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jamtools.engines import constants
from jamtools.engines.optimizers import FIRE, SGD, Adam, make_optimizer
from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from tests.support import oracle

CURVATURES = np.array([1.0, 0.3, 7.0, 0.02])


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_takes_the_steps_of_torch_optim(momentum):
    start = torch.from_numpy(np.random.default_rng(0).standard_normal(4))
    ours, theirs = start.clone(), start.clone().requires_grad_()
    mine, reference = SGD(ours, momentum), torch.optim.SGD([theirs], lr=0.1, momentum=momentum)
    curvatures = torch.from_numpy(CURVATURES)
    for _ in range(50):
        mine.step(ours, curvatures * ours, 0.1)
        reference.zero_grad()
        (0.5 * curvatures * theirs.square()).sum().backward()
        reference.step()
    assert (ours - theirs.detach()).abs().max() < 1e-13


def test_a_run_with_momentum_takes_the_steps_of_torch_optim():
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, "tanh")
    settings = with_options(TrainingOptions(), steps=50, optimizer="sgd", batch=0, lr=0.05, momentum=0.9)
    theirs = oracle.module(arch, torch.from_numpy(train(data, arch, settings, 0).theta0))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)[:, None]
    for _ in range(50):
        optimizer.zero_grad()
        oracle.hinge(theirs(x), y).backward()
        optimizer.step()
    end = torch.nn.utils.parameters_to_vector(theirs.parameters()).detach().numpy()
    for engine in ("compiled", "torch"):
        run = train(data, arch, settings, 0, Compute(engine=engine))
        assert np.abs(run.theta - end).max() < 1e-12
        assert run.info["settings"]["momentum"] == 0.9


def fire(x, curvatures, dt, steps):
    """The path [steps, n] of FIRE as in PRL 97, 170201, in Python floats: F1 to F4 after each step of the dynamics."""
    n_min, f_inc, f_dec, alpha_start, f_alpha = 5, 1.1, 0.5, 0.1, 0.99
    dt_max, alpha, positive = 10 * dt, alpha_start, 0
    v = [0.0] * len(x)
    path = []
    for _ in range(steps):
        force = [-k * q for k, q in zip(curvatures, x)]
        v = [p + dt * f for p, f in zip(v, force)]
        x = [q + dt * p for q, p in zip(x, v)]
        path.append(list(x))
        force = [-k * q for k, q in zip(curvatures, x)]
        power = sum(f * p for f, p in zip(force, v))  # F1
        speed, size = math.hypot(*v), math.hypot(*force)
        v = [(1 - alpha) * p + alpha * speed * f / size for p, f in zip(v, force)]  # F2
        if power > 0:  # F3
            positive += 1
            if positive > n_min:
                dt, alpha = min(dt * f_inc, dt_max), alpha * f_alpha
        else:  # F4
            dt, v, alpha, positive = dt * f_dec, [0.0] * len(v), alpha_start, 0
    return path


def descend(optimizer, theta, curvatures, lr, steps):
    """The path [steps, n] on the quadratic ½ Σ k_i θ_i² with curvatures k [n]."""
    path = []
    for _ in range(steps):
        optimizer.step(theta, curvatures * theta, lr)
        path.append(theta.clone())
    return torch.stack(path)


def test_fire_takes_the_steps_of_its_paper_on_a_quadratic():
    start = [1.0, -2.0, 0.5, 3.0]
    theta = torch.tensor(start, dtype=torch.float64)
    ours = descend(FIRE(theta), theta, torch.from_numpy(CURVATURES), 0.1, 300)
    theirs = np.array(fire(start, CURVATURES.tolist(), 0.1, 300))
    assert np.abs(ours.numpy() - theirs).max() < 1e-10
    assert np.abs(theirs[-1]).max() < 0.05


def test_fire_is_faster_than_gradient_descent_on_an_ill_conditioned_quadratic():
    """Condition number 10⁴. Gradient descent at its best rate 2/(λ₁ + λ_n) gains a factor e in 5000 steps."""
    curvatures = torch.logspace(-4, 0, 20, dtype=torch.float64)
    ends = []
    for optimizer, lr in ((FIRE, 0.1), (SGD, 2 / 1.0001)):
        theta = torch.ones(20, dtype=torch.float64)
        descend(optimizer(theta), theta, curvatures, lr, 3000)
        ends.append((0.5 * curvatures * theta.square()).sum().item())
    assert ends[0] < 1e-6 * ends[1]


@pytest.mark.parametrize("scale", [1e-12, 1e-60, 1e12])
def test_fire_takes_the_same_steps_for_any_scale_of_the_loss(scale):
    curvatures = torch.from_numpy(CURVATURES)
    start = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    plain, scaled = start.clone(), start.clone()
    expected = descend(FIRE(plain), plain, curvatures, 0.1, 200)
    path = descend(FIRE(scaled), scaled, scale * curvatures, 0.1 / math.sqrt(scale), 200)
    assert torch.allclose(path, expected, rtol=0, atol=1e-10)


def test_fire_does_not_move_without_a_gradient():
    theta = torch.ones(3, dtype=torch.float64)
    optimizer = FIRE(theta)
    for _ in range(2000):
        optimizer.step(theta, torch.zeros(3, dtype=torch.float64), 0.1)
    assert (theta == 1).all()
    assert all(tensor.isfinite().all() for tensor in optimizer.state.values())


@pytest.mark.parametrize("name", ["adam", "sgd", "fire"])
def test_the_next_step_of_an_optimiser_depends_only_on_t_and_state(name):
    curvatures = torch.from_numpy(CURVATURES)
    theta = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    first = make_optimizer(name, theta, 0.9 if name == "sgd" else 0.0)
    descend(first, theta, curvatures, 0.1, 37)
    copy = theta.clone()
    second = make_optimizer(name, copy, 0.9 if name == "sgd" else 0.0)
    second.t = first.t
    for key, tensor in first.state.items():
        second.state[key].copy_(torch.from_numpy(tensor.numpy().copy()))
    assert torch.equal(descend(second, copy, curvatures, 0.1, 40), descend(first, theta, curvatures, 0.1, 40))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_fire_trains_a_network_faster_than_gradient_descent(batch_norm):
    data, arch = oracle.dataset(100, 6), Architecture(6, 8, 2, "tanh", batch_norm=batch_norm)
    options = {"steps": 400, "stop": False}
    run = train(data, arch, with_options(TrainingOptions(), optimizer="fire", **options), seed=0)
    plain = train(
        data, arch, with_options(TrainingOptions(), optimizer="sgd", batch=0, lr=0.1, **options), seed=0
    )
    assert run.info["settings"]["schedule"]["lr"] == 0.1
    assert run.info["engine"] == ("torch" if batch_norm else "compiled")
    assert run.info["final_loss"] < 0.2 * plain.info["final_loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "fire", "batch": 10}, "all patterns"),
        ({"optimizer": "adam", "momentum": 0.9}, "sgd"),
        ({"optimizer": "sgd", "momentum": 1.0}, "below 1"),
    ],
    ids=str,
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        with_options(TrainingOptions(), **options)


def test_the_gains_of_adam_are_one_minus_its_decays():
    assert pytest.approx(1 - constants.ADAM_BETA1, rel=1e-15) == constants.ADAM_GAIN1
    assert pytest.approx(1 - constants.ADAM_BETA2, rel=1e-13) == constants.ADAM_GAIN2


def test_adam_takes_the_steps_of_torch_optim():
    """torch adds ε to √v̂ as here; the two differ by round-off only."""
    curvatures = torch.from_numpy(CURVATURES)
    ours = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    adam, reference = Adam(ours), torch.optim.Adam([theirs], lr=0.05)
    for _ in range(100):
        adam.step(ours, curvatures * ours, 0.05)
        reference.zero_grad()
        (0.5 * curvatures * theirs.square()).sum().backward()
        reference.step()
    assert (ours - theirs.detach()).abs().max() < 1e-12
