"""The second-order dynamics: what it ends on is checked by means that share nothing with it."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.errors import InputError
from jamtools.minima.cusp_newton import polish
from jamtools.minima.newton import NewtonEngine
from jamtools.minima.verification import verify
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.problem import Problem
from jamtools.protocols import NEWTON_DEFAULT_STEPS, TrainingOptions, with_options
from jamtools.records import CONTACT_TOLERANCE, Dataset
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.run import RunInProgress
from tests.support.jobs import make_job

ARCH = Architecture(4, 4, 2)


def newton(**options):
    return with_options(TrainingOptions(), optimizer="newton", **options)


def problem_of(data, arch):
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    return Problem(x, y, arch, Loss("hinge", 0.5, data.P, arch.outputs))


@functools.cache
def jammed():
    """A certified run in the jammed phase, its patterns."""
    for seed in range(6):
        data = random_sphere(170, 4, seed)
        run = train(data, ARCH, newton(), seed)
        if run.info["certified"] and run.info["final_loss"] > 0:
            return run, data
    raise AssertionError("no seed of six ended on a certified minimum with L > 0")


def test_a_jammed_run_is_stationary_certified_and_verified_from_its_arrays_alone():
    run, data = jammed()
    assert run.info["status"] == "stationary" and run.info["optimizer"] == "newton"
    assert run.info["n_unsatisfied"] == (run.gaps > 0).sum() > 0
    assert verify(run, data).holds
    assert run.info["certificate"]["n_cusps"] == len(run.certificate["multipliers"]) > 0


def test_no_point_nearby_is_lower():
    """Kicks of all sizes in all directions: L is at least that of the minimum, but for its round-off, P eps max Δ²."""
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta)
    here = problem.value_and_gradient(theta)[0]
    rng = np.random.default_rng(5)
    for size in (1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        for _ in range(100):
            kick = torch.from_numpy(rng.standard_normal(len(theta)))
            there = problem.value_and_gradient(theta + size * kick)[0]
            assert there >= here * (1 - 1e-12)


@pytest.mark.parametrize("size", [1e-7, 1e-6])
def test_newton_on_the_cusps_returns_to_the_minimum_it_was_pushed_from(size):
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta)
    kick = torch.from_numpy(np.random.default_rng(1).standard_normal(len(theta)))
    found = polish(theta + size * kick, problem)
    assert found is not None and found.downward is None
    value, before = (problem.value_and_gradient(t)[0] for t in (found.theta, theta))
    assert value == pytest.approx(before, rel=1e-12)


def test_newton_on_the_cusps_of_a_smooth_network_knows_a_saddle_and_which_way_is_down():
    """One tanh neuron with all weights zero fits labels of mean zero no better than the constant: a saddle."""
    arch = Architecture(1, 1, 1, "tanh")
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    y = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    theta = torch.zeros(4, dtype=torch.float64)
    found = polish(theta, Problem(x, y, arch, Loss("hinge", 0.5, 2)))
    assert found is not None and found.downward is not None
    w, b, a, c = found.downward.tolist()  # L = ⅛(1 - 2 a tanh w)² to this order: lower where a w > 0
    assert w * a > 0 and abs(b) < 1e-12 and abs(c) < 1e-12


def test_far_from_any_minimum_newton_on_the_cusps_says_so():
    data = random_sphere(170, 4, 0)
    theta = torch.from_numpy(initial_parameters(ARCH, "torch", 0))
    assert polish(theta, problem_of(data, ARCH)) is None


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_few_patterns_are_all_satisfied_strictly(activation):
    arch = Architecture(4, 4, 2, activation)
    data = random_sphere(4 if activation == "linear" else 40, 4, 3)
    run = train(data, arch, newton(), 3)
    assert run.info["status"] == "satisfied" and run.info["certified"]
    assert run.info["n_unsatisfied"] == 0 and (run.gaps <= 0).all()


def test_a_linear_network_that_cannot_fit_ends_on_the_minimum_that_least_squares_knows():
    """L of an affine map is convex: scipy's minimum of the same loss over w, b is its only one."""
    from scipy.optimize import minimize

    data = random_sphere(60, 3, 2)
    run = train(data, Architecture(3, 3, 1, "linear"), newton(), 0)

    def loss(v):
        gaps = np.maximum(0.5 - data.y * (data.x @ v[:3] + v[3]), 0)
        slope = -data.y * gaps / 60
        return 0.5 * np.mean(gaps**2), np.append(data.x.T @ slope, slope.sum())

    best = minimize(loss, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-12})
    assert run.info["status"] == "stationary"
    assert run.info["final_loss"] == pytest.approx(best.fun, rel=1e-12)


def test_contacts_are_satisfied_by_the_output_layer_alone():
    """A theta whose largest Δ is a little above zero, as round-off leaves it."""
    data = random_sphere(30, 4, 3)
    solved = train(data, ARCH, newton(), 3)
    problem = problem_of(data, ARCH)
    theta = torch.from_numpy(solved.theta.copy())
    f = 0.5 - torch.from_numpy(solved.gaps)  # y f
    theta[-5:] *= float(
        0.5 * (1 - 0.1 * CONTACT_TOLERANCE) / f.min()
    )  # the least y f is now ε less a tenth of a contact
    assert 0 < problem.largest_gap(theta) < CONTACT_TOLERANCE * 0.5
    before = theta.clone()
    engine = NewtonEngine(problem, theta, finish=True)
    assert engine.advance(0, 10)[1] == "satisfied"
    assert problem.largest_gap(theta) <= 0
    assert (theta / before - 1).abs().max() < CONTACT_TOLERANCE


def test_a_run_left_with_contacts_is_finished_by_a_factor_alone():
    """What a first-order run that hovers at L ~ 10⁻³² leaves: its last row counts a contact."""
    data = random_sphere(30, 4, 3)
    solved = train(data, ARCH, newton(), 3)
    theta = solved.theta.copy()
    theta[-5:] *= 0.5 * (1 - 1e-14) / (0.5 - solved.gaps).min()
    here = problem_of(data, ARCH).evaluate(torch.from_numpy(theta))
    assert here.n_unsatisfied > 0, "the planted state"
    history = {name: column.copy() for name, column in solved.history.items()}
    history["n_unsatisfied"][-1] = here.n_unsatisfied
    info = {**solved.info, "status": "budget", "n_unsatisfied": here.n_unsatisfied}
    left = replace(solved, theta=theta, gaps=here.gaps[:, 0].numpy(), history=history, info=info)
    run = train_many([make_job(data, ARCH, 3, newton(), start=left)])[0]
    assert run.info["status"] == "satisfied" and (run.gaps <= 0).all()
    assert run.info["finish"]["steps"] == 1 and run.info["finish"]["relative_change"] < 1e-12


def test_a_finish_keeps_what_the_run_was_and_says_how_far_it_went():
    data = random_sphere(170, 4, 1)
    settings = TrainingOptions(steps=3000, measurements=20)
    start = train(data, ARCH, settings, 1)
    run = train_many([make_job(data, ARCH, 1, newton(), start=start)])[0]
    said, info = run.info["finish"], run.info
    assert info["optimizer"] == "adam" and info["settings"] == start.info["settings"] and info["seed"] == 1
    assert info["steps"] == 3000 + said["steps"] and info["final_loss"] <= start.info["final_loss"]
    assert said["n_unsatisfied_before"] == start.info["n_unsatisfied"]
    assert said["change_n_unsatisfied"] == info["n_unsatisfied"] - start.info["n_unsatisfied"]
    change = np.linalg.norm(run.theta - start.theta) / np.linalg.norm(start.theta)
    assert said["relative_change"] == pytest.approx(change, rel=1e-12)
    assert (run.theta0 == start.theta0).all()
    T = len(start.history["step"])
    assert (run.history["loss"][:T] == start.history["loss"]).all()
    assert run.history["step"][-1] == info["steps"] and (np.diff(run.history["step"]) > 0).all()


def test_finishing_a_certified_minimum_leaves_it_where_it_is():
    run, data = jammed()
    again = train_many([make_job(data, ARCH, run.info["seed"], newton(), start=run)])[0]
    assert again.info["certified"] and again.info["status"] == "stationary"
    assert again.info["final_loss"] == pytest.approx(run.info["final_loss"], rel=1e-12)
    assert again.info["finish"]["change_n_unsatisfied"] == 0
    assert again.info["optimizer"] == "newton"


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("cut", [7, 60, 300])
def test_a_run_goes_on_from_its_state_to_the_same_bytes(activation, cut):
    arch = replace(ARCH, activation=activation)
    data = random_sphere(150, 4, 2)
    settings = newton(steps=500, measurements=5)

    def to(training, until):
        while training.step < until and training.advance():
            pass

    whole = RunInProgress(make_job(data, arch, 2, settings))
    to(whole, cut)
    state = whole.snapshot()
    again = RunInProgress(make_job(data, arch, 2, settings))
    again.restore(state)
    for training in (whole, again):
        to(training, 500)
    assert whole.step == again.step and whole.status == again.status
    assert torch.equal(whole.theta, again.theta)


def test_newton_says_what_it_does_not_take():
    data = random_sphere(20, 4, 0)
    assert newton().steps == NEWTON_DEFAULT_STEPS and newton(steps=7).steps == 7
    with pytest.raises(InputError, match="batches"):
        newton(batch=5)
    with pytest.raises(InputError, match="cross-entropy, expected hinge"):
        train(data, ARCH, newton(loss="cross-entropy"), 0)
    with pytest.raises(InputError, match="float64"):
        train(data, ARCH, newton(), 0, Compute(dtype=torch.float32))
    with pytest.raises(InputError, match="batch normalisation"):
        train(data, Architecture(4, 4, 2, batch_norm=True), newton(), 0)
    with pytest.raises(InputError, match="compiled engine with newton"):
        train(data, ARCH, newton(), 0, Compute(engine="compiled"))
    run, its = jammed()
    with pytest.raises(InputError, match="expected the optimiser newton"):
        train_many([make_job(its, ARCH, 0, TrainingOptions(), start=run)])


def test_several_classes_are_fitted_too():
    rng = np.random.default_rng(0)
    y = -np.ones((40, 3))
    y[np.arange(40), rng.integers(0, 3, 40)] = 1.0
    data = Dataset(random_sphere(40, 4, 0).x, y)
    run = train(data, Architecture(4, 8, 2, outputs=3), newton(), 0)
    assert run.info["status"] == "satisfied" and (run.gaps <= 0).all()


@pytest.mark.gpu
def test_on_a_card_the_run_is_certified_too():
    data = random_sphere(170, 4, 0)
    run = train(data, ARCH, newton(), 0, Compute(device="cuda"))
    assert run.info["certified"] and verify(run, data).holds
