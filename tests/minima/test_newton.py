"""The second-order dynamics: independent methods check its end points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.errors import InputError
from jamtools.minima.newton import NewtonEngine
from jamtools.minima.verification import verify
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.protocols import NEWTON_DEFAULT_STEPS, TrainingOptions
from jamtools.records import CONTACT_TOLERANCE, Dataset
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute
from jamtools.training.run import RunInProgress
from tests.support.jammed import ARCH, jammed, newton, problem_of
from tests.support.jobs import make_job


def test_a_jammed_run_of_newton_is_certified_and_can_be_verified():
    run, data = jammed()
    assert run.info["status"] == "stationary" and run.info["optimizer"] == "newton"
    assert run.info["n_unsatisfied"] == (run.gaps > 0).sum() > 0
    assert verify(run, data).holds
    assert run.info["certificate"]["n_cusps"] == len(run.certificate["multipliers"]) > 0


def test_no_random_point_near_a_certified_minimum_has_a_lower_loss():
    """After displacements of all sizes L is at least that of the minimum, up to its round-off, P eps max Δ²."""
    run, data = jammed()
    problem, theta = problem_of(data, ARCH), torch.from_numpy(run.theta)
    lowest = problem.value_and_gradient(theta)[0]
    rng = np.random.default_rng(5)
    for size in (1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        for _ in range(100):
            kick = torch.from_numpy(rng.standard_normal(len(theta)))
            value = problem.value_and_gradient(theta + size * kick)[0]
            assert value >= lowest * (1 - 1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_newton_satisfies_few_patterns_strictly(activation):
    arch = Architecture(4, 4, 2, activation)
    data = random_sphere(4 if activation == "linear" else 40, 4, 3)
    run = train(data, arch, newton(), 3)
    assert run.info["status"] == "satisfied" and run.info["certified"]
    assert run.info["n_unsatisfied"] == 0 and (run.gaps <= 0).all()


def test_newton_on_a_linear_network_finds_the_minimum_of_the_convex_problem():
    """L of an affine map is convex, so that scipy's minimum of the same loss over w, b is the only one."""
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


def test_the_newton_engine_removes_contacts_by_scaling_the_output_layer():
    """The largest Δ at theta is slightly above zero, as round-off can leave it."""
    data = random_sphere(30, 4, 3)
    solved = train(data, ARCH, newton(), 3)
    problem = problem_of(data, ARCH)
    theta = torch.from_numpy(solved.theta.copy())
    f = 0.5 - torch.from_numpy(solved.gaps)  # y f
    theta[-5:] *= float(
        0.5 * (1 - 0.1 * CONTACT_TOLERANCE) / f.min()
    )  # the smallest y f is now ε minus a tenth of a contact
    assert 0 < problem.largest_gap(theta) < CONTACT_TOLERANCE * 0.5
    before = theta.clone()
    engine = NewtonEngine(problem, theta, theta, finish=True)
    assert engine.advance(0, 10)[1] == "satisfied"
    assert problem.largest_gap(theta) <= 0
    assert (theta / before - 1).abs().max() < CONTACT_TOLERANCE


def test_a_run_with_contacts_is_finished_in_one_step():
    """A first-order run may end at L ~ 10⁻³² with a contact in its last row."""
    data = random_sphere(30, 4, 3)
    solved = train(data, ARCH, newton(), 3)
    theta = solved.theta.copy()
    theta[-5:] *= 0.5 * (1 - 1e-14) / (0.5 - solved.gaps).min()
    evaluation = problem_of(data, ARCH).evaluate(torch.from_numpy(theta))
    assert evaluation.gaps.max() > 0 and evaluation.n_unsatisfied == 0, "the planted state"
    left = replace(solved, theta=theta, gaps=evaluation.gaps[:, 0].numpy())
    run = train_many([make_job(data, ARCH, 3, newton(), start=left)])[0]
    assert run.info["status"] == "satisfied" and (run.gaps <= 0).all()
    assert run.info["finish"]["steps"] == 1 and run.info["finish"]["relative_change"] < 1e-12


def test_a_finished_run_keeps_its_optimiser_and_history_and_records_the_change():
    data = random_sphere(170, 4, 1)
    settings = TrainingOptions(steps=3000, measurements=20)
    start = train(data, ARCH, settings, 1)
    run = train_many([make_job(data, ARCH, 1, newton(), start=start)])[0]
    finish, info = run.info["finish"], run.info
    assert info["optimizer"] == "adam" and info["settings"] == start.info["settings"] and info["seed"] == 1
    assert info["steps"] == 3000 + finish["steps"] and info["final_loss"] <= start.info["final_loss"]
    assert finish["n_unsatisfied_before"] == start.info["n_unsatisfied"]
    assert finish["change_n_unsatisfied"] == info["n_unsatisfied"] - start.info["n_unsatisfied"]
    change = np.linalg.norm(run.theta - start.theta) / np.linalg.norm(start.theta)
    assert finish["relative_change"] == pytest.approx(change, rel=1e-12)
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
def test_newton_continues_from_its_state_to_the_same_bytes(activation, cut):
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


def test_newton_refuses_batches_other_losses_float32_and_batch_normalisation():
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
    for epsilon in (1e-200, 1e200):
        with pytest.raises(InputError, match="expected 1e-100 to 1e\\+100"):
            train(data, ARCH, newton(epsilon=epsilon), 0)
    run, run_data = jammed()
    with pytest.raises(InputError, match="expected the optimiser newton"):
        train_many([make_job(run_data, ARCH, 0, TrainingOptions(), start=run)])


def test_newton_satisfies_patterns_of_several_classes():
    rng = np.random.default_rng(0)
    y = -np.ones((40, 3))
    y[np.arange(40), rng.integers(0, 3, 40)] = 1.0
    data = Dataset(random_sphere(40, 4, 0).x, y)
    run = train(data, Architecture(4, 8, 2, outputs=3), newton(), 0)
    assert run.info["status"] == "satisfied" and (run.gaps <= 0).all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("epsilon", "scale"), [(0.5e-30, 1.0), (0.5e30, 1.0), (0.5, 1e-10), (0.5, 1e10)])
def test_the_path_is_the_same_for_every_scale_of_the_margin_and_of_the_inputs(activation, epsilon, scale):
    """L is in units of ε². The first steps agree up to round-off, which grows along the path."""
    arch, data = replace(ARCH, activation=activation), random_sphere(150, 4, 2)
    scaled = Dataset(data.x * scale, data.y)
    for steps, agreement in ((40, 1e-6), (300, 1e-2)):
        plain = train(data, arch, newton(steps=steps), 2).info
        other = train(scaled, arch, newton(steps=steps, epsilon=epsilon), 2).info
        assert other["final_loss"] / epsilon**2 == pytest.approx(plain["final_loss"] / 0.25, rel=agreement)
        assert other["n_unsatisfied"] == pytest.approx(plain["n_unsatisfied"], rel=0.05)


def test_a_run_whose_weights_grow_for_ever_is_escaping_and_holds_its_evidence():
    """tanh, d = h = 4, P/N = 3: neurons become sharper without end. The trace spans a decade from the initial norm."""
    data, arch = random_sphere(75, 4, 0), Architecture(4, 4, 1, "tanh")
    run = train(data, arch, newton(), 0)
    trace = run.info["escape"]
    assert run.info["status"] == "escaping" and not run.info["certified"]
    assert run.info["steps"] < NEWTON_DEFAULT_STEPS / 10
    assert run.info["certificate"]["obstacle"].startswith("escapes, ‖W‖ from ")
    assert trace["initial_norm"] == pytest.approx(np.linalg.norm(run.theta0), rel=1e-12)
    assert trace["norm"][-1] == pytest.approx(np.linalg.norm(run.theta), rel=1e-9)
    assert trace["norm"][-1] >= 10 * trace["initial_norm"]
    assert trace["loss"][-1] == pytest.approx(run.info["final_loss"], rel=1e-9)
    assert (np.diff(trace["norm"]) > 0).all() and (np.diff(trace["loss"]) <= 0).all()


@pytest.mark.parametrize("epsilon", [0.5, 0.3])
def test_an_engine_that_stands_at_an_end_has_the_trace_of_the_descent_there(epsilon):
    """Also where the margin has another unit, in which theta is not the same to its last bit."""
    data, arch = random_sphere(26, 2, 0), Architecture(2, 2, 1, "tanh")
    problem = problem_of(data, arch)
    problem = replace(problem, loss=replace(problem.loss, epsilon=epsilon))
    theta0 = torch.from_numpy(initial_parameters(arch, "orthogonal", 0))
    end = theta0.clone()
    engine = NewtonEngine(problem, end, theta0, finish=True)
    assert engine.advance(0, 5000)[1] == "escaping"
    trace = engine.seen_escape
    other = NewtonEngine(problem, theta0.clone(), theta0, finish=False)
    other.stand_at(end, trace)
    seen = other.seen_escape
    assert seen is not None and trace is not None and len(seen.norms) == len(trace.norms)
    np.testing.assert_allclose(seen.norms, trace.norms, rtol=1e-12)
    np.testing.assert_allclose(seen.losses, trace.losses, rtol=1e-10)
    assert torch.equal(other.theta, end)
    other.stand_at(theta0, None)
    assert other.seen_escape is None


def test_a_satisfied_or_certified_run_has_no_trace_of_an_escape():
    run, _ = jammed()
    assert run.info["escape"] is None
    assert train(random_sphere(30, 4, 3), ARCH, newton(), 3).info["escape"] is None


@pytest.mark.gpu
def test_newton_on_a_gpu_ends_on_a_certified_minimum():
    data = random_sphere(170, 4, 0)
    run = train(data, ARCH, newton(), 0, Compute(device="cuda"))
    assert run.info["certified"] and verify(run, data).holds
