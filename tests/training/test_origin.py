"""A training that begins at the theta of a run: the steps of a plain loop from there, a minimum that stays, and norms."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.data.sphere import random_sphere
from jamtools.errors import InputError
from jamtools.io.request import request_of
from jamtools.minima.verification import verify
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.approaches import ApproachJob, approach_many
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute, Job, job_from
from jamtools.training.origin import Origin
from tests.support import oracle
from tests.support.fixed_norm import tanh_minimum
from tests.support.jammed import newton

RELU = Architecture(4, 4, 2)
DATA, OTHER = random_sphere(60, 4, 0), random_sphere(80, 4, 1)
STEPS = 100

#: What a training from a run does that its start did not: another margin, rate and number of steps.
AGAIN = with_options(TrainingOptions(), steps=STEPS, lr=1e-2, epsilon=0.3, measurements=5)


@functools.cache
def first(arch=RELU, seed=3):
    """A run on its way."""
    return train(DATA, arch, with_options(TrainingOptions(), steps=30, lr=1e-2), seed)


def from_run(run, data=OTHER, options=AGAIN, compute=None, name="r0000"):
    """The record of a training that begins at a run."""
    job = replace(job_from(Origin(run, name), data, options), compute=compute or Compute())
    return train_many([job])[0]


def plain_steps(theta, data, arch, make, norm):
    """The theta [Ñ] after STEPS steps of torch's own optimiser at ε = 0.3, on the sphere ‖W‖ = norm where there is one."""
    theta = theta.clone().requires_grad_()
    optimizer = make([theta])
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)[:, None]
    for _ in range(STEPS):
        optimizer.zero_grad()
        oracle.hinge(oracle.f(arch, theta, x), y, 0.3).backward()
        with torch.no_grad():
            if norm:
                theta.grad -= (theta.grad @ theta) * theta / norm**2
            optimizer.step()
            if norm:
                theta *= norm / theta.norm()
    return theta.detach().numpy()


MAKERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-2),
}


@pytest.mark.parametrize("engine", ["compiled", "batch", "torch"])
@pytest.mark.parametrize("optimizer", list(MAKERS))
@pytest.mark.parametrize("norm", [None, 5.0])
def test_every_engine_takes_the_steps_of_a_plain_loop_from_theta_of_the_run(norm, optimizer, engine):
    start = first()
    options = with_options(AGAIN, optimizer=optimizer, batch=0, norm=norm and f"{norm:g}")
    run = from_run(start, options=options, compute=Compute(engine=engine))
    theta = torch.from_numpy(start.theta)
    theta0 = theta * (norm / theta.norm()) if norm else theta
    # each of 100 steps adds a round-off of some 1e-16, which grows little in a smooth descent
    expected = plain_steps(theta0, OTHER, RELU, MAKERS[optimizer], norm)
    np.testing.assert_allclose(run.theta, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(run.theta0, theta0.numpy(), rtol=1e-14)
    assert np.abs(run.theta - run.theta0).max() > 0.01
    assert (run.info["engine"], run.info["steps"], run.info["norm"]) == (engine, STEPS, norm)


def test_distances_and_the_history_begin_at_theta_of_the_run():
    run = from_run(first())
    assert (run.history["step"][0], run.history["distance"][0]) == (0, 0)
    moved = np.linalg.norm(run.theta - first().theta)
    assert run.history["distance"][-1] == pytest.approx(moved, rel=1e-12)
    out = oracle.f(RELU, torch.from_numpy(first().theta), torch.from_numpy(OTHER.x))
    loss = oracle.hinge(out, torch.from_numpy(OTHER.y)[:, None], 0.3)
    assert run.history["loss"][0] == pytest.approx(float(loss), rel=1e-12)


def test_the_record_has_the_network_and_seed_of_the_run_and_the_settings_of_the_options():
    info, start = from_run(first(), name="r0007").info, first().info
    same = ("d", "width", "depth", "activation", "n_parameters", "bias", "batch_norm", "norm", "seed")
    assert {name: info[name] for name in same} == {name: start[name] for name in same}
    assert (info["P"], info["epsilon"], info["settings"]["schedule"]["lr"]) == (80, 0.3, 1e-2)
    assert (info["settings"]["init"], info["settings"]["norm"]) == ("run", "free")
    origin = info["origin"]
    kept = ("P", "loss", "epsilon", "norm", "optimizer", "status", "n_unsatisfied", "final_loss", "data")
    assert {name: origin[name] for name in kept} == {name: start[name] for name in kept}
    assert (origin["run"], origin["scale"]) == ("r0007", 1.0)
    assert origin["weight_norm"] == pytest.approx(float(np.linalg.norm(first().theta)), rel=1e-15)


@functools.cache
def relu_minimum():
    """A certified run of ReLU with L > 0 on cusps, with free weights."""
    data = random_sphere(30, 3, 1)
    run = train(data, Architecture(3, 3, 1), newton(), 1)
    assert run.info["certified"] and run.info["n_unsatisfied"] and len(run.certificate["cusps"])
    return run, data


@pytest.mark.parametrize("minimum", [relu_minimum, tanh_minimum], ids=["relu, free", "tanh, fixed norm"])
def test_newton_from_a_minimum_on_the_same_data_stays_there(minimum):
    start, data = minimum()
    run = from_run(start, data, newton(epsilon=start.epsilon))
    assert run.info["steps"] <= 20  # those in which BFGS finds that nothing is lower
    assert run.info["certified"] and run.info["status"] == "stationary"
    np.testing.assert_allclose(run.theta, start.theta, rtol=0, atol=1e-10 * np.linalg.norm(start.theta))
    assert verify(run, data).holds, verify(run, data).findings


def test_newton_goes_on_to_a_minimum_on_a_subset_of_the_patterns_and_is_verified():
    start, data = relu_minimum()
    run = from_run(start, data.first(25), newton())
    assert run.P == 25 and run.info["certified"] and run.info["steps"] > 5
    assert run.info["final_loss"] * 25 <= start.info["final_loss"] * 30  # fewer terms, from the same theta
    assert verify(run, data.first(25)).holds


def test_newton_at_another_margin_and_at_a_new_norm_is_verified():
    start, data = tanh_minimum()
    run = from_run(start, data, newton(epsilon=2.9, norm="4.1"))
    assert (run.info["norm"], run.info["epsilon"], run.info["certified"]) == (4.1, 2.9, True)
    assert run.info["origin"]["scale"] == pytest.approx(4.1 / 4.0, rel=1e-12)
    assert verify(run, data).holds, verify(run, data).findings


@pytest.mark.parametrize(
    ("rule", "radius"), [("2", lambda size: 2.0), ("3x", lambda size: 3 * size), ("1x", lambda size: size)]
)
def test_a_norm_scales_theta_and_a_multiple_is_one_of_the_norm_of_the_run(rule, radius):
    size = float(np.linalg.norm(first().theta))
    run = from_run(first(), options=with_options(AGAIN, norm=rule))
    R = radius(size)
    assert run.info["norm"] == pytest.approx(R, rel=1e-14)
    assert float(run.info["settings"]["norm"]) == run.info["norm"]
    np.testing.assert_allclose(run.theta0, first().theta * (R / size), rtol=1e-14)
    assert np.linalg.norm(run.theta) == pytest.approx(R, rel=1e-14)


def test_a_scaled_relu_network_is_multiplied_by_a_power_of_the_scale_only_without_biases():
    x = torch.from_numpy(OTHER.x)
    for arch, is_multiple in ((replace(RELU, bias=False), True), (RELU, False)):
        start = first(arch)
        origin = Origin(start)
        scale = origin.scale(9.0)
        f, before = (
            oracle.f(arch, torch.from_numpy(theta), x) for theta in (origin.theta0(9.0), start.theta)
        )
        assert torch.allclose(f, scale**3 * before, rtol=1e-12) == is_multiple


def test_a_norm_is_kept_to_the_bit_unless_another_one_is_given():
    fixed = first(replace(RELU, norm=5.0))
    for options in (AGAIN, with_options(AGAIN, norm="5")):
        run = from_run(fixed, options=options)
        np.testing.assert_array_equal(run.theta0, fixed.theta)
        assert (run.info["norm"], run.info["settings"]["norm"], run.info["origin"]["scale"]) == (
            5.0,
            "5",
            1.0,
        )
        assert run.info["n_effective_expected"] == fixed.info["n_effective_expected"]


def test_at_fixed_norm_a_run_goes_on_at_any_margin_and_with_free_weights_only_above_0():
    negative = with_options(AGAIN, epsilon=-0.2)
    assert from_run(first(replace(RELU, norm=5.0)), options=negative).info["epsilon"] == -0.2
    with pytest.raises(InputError, match="a margin of -0.2 with free weights"):
        from_run(first(), options=negative)


def test_batch_normalisation_comes_from_the_run_and_refuses_a_norm():
    normalised = first(replace(RELU, batch_norm=True))
    assert from_run(normalised).info["batch_norm"] is True
    with pytest.raises(InputError, match="a fixed norm with batch normalisation"):
        from_run(normalised, options=with_options(AGAIN, norm="5"))


def test_mini_batches_fire_and_single_precision_begin_at_the_run():
    for more in ({"optimizer": "sgd", "batch": 16}, {"optimizer": "fire", "lr": None}):
        run = from_run(first(), options=with_options(AGAIN, **more))
        assert run.history["loss"][-1] < run.history["loss"][0]
        np.testing.assert_array_equal(run.theta0, first().theta)
    single = from_run(first(), compute=Compute(dtype=torch.float32))
    assert single.history["distance"][0] == 0
    np.testing.assert_allclose(single.theta, from_run(first()).theta, atol=1e-3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (random_sphere(20, 5, 0), "d = 4 and outputs = 1, expected d = 5 and outputs = 1"),
        (oracle.dataset(20, 4, outputs=3), "d = 4 and outputs = 1, expected d = 4 and outputs = 3"),
    ],
)
def test_data_of_other_dimensions_or_outputs_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        job_from(Origin(first()), data, AGAIN)


def test_a_run_that_diverged_or_vanished_is_no_origin():
    with pytest.raises(InputError, match="diverged"):
        Origin(replace(first(), theta=np.full_like(first().theta, np.nan)))
    with pytest.raises(InputError, match="theta = 0"):
        Origin(replace(first(), theta=np.zeros_like(first().theta))).architecture("2x")


def test_a_request_names_what_the_record_keeps_of_the_origin():
    other_end = replace(first(), theta=first().theta + 1e-9)
    other_state = replace(first(), info={**first().info, "status": "satisfied"})
    origins = [
        Origin(first()),
        Origin(first()),
        Origin(first(), "r0001"),
        Origin(other_end),
        Origin(other_state),
    ]
    rows = request_of([job_from(origin, OTHER, AGAIN) for origin in origins])
    starts = [row["start"] for row in rows]
    assert starts[0] == starts[1] and len(set(starts)) == 4
    new = request_of([Job(OTHER, RELU, 3, AGAIN.resolve(OTHER.P))])
    assert new[0]["start"] == "none"


def test_newton_that_finishes_such_a_run_and_the_stages_of_its_approach_keep_its_origin():
    start, data = tanh_minimum()
    run = from_run(start, data, with_options(AGAIN, epsilon=2.95))
    job = Job(
        data, Architecture.of(run.info), run.info["seed"], newton(epsilon=2.95).resolve(data.P), start=run
    )
    (finished,) = train_many([job])
    (stages,) = approach_many([ApproachJob(finished, data, 1e-2)])
    assert len(stages) > 1
    for record in (finished, stages[0], stages[-1]):
        assert record.info["origin"] == run.info["origin"]
        assert record.info["certified"] and verify(record, data).holds, verify(record, data).findings
