"""The record of a run against a network of torch at the same theta."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from jamtools.errors import InputError
from jamtools.network.architecture import Architecture
from jamtools.network.problem import measure
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.training.ensemble import train, train_many
from jamtools.training.record import finish_fields
from tests.support import oracle
from tests.support.jobs import make_job


def test_a_record_holds_what_a_network_of_torch_computes_at_its_theta():
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
    assert list(run.info)[-2:] == ["test_error", "test_loss"]
    assert run.info["test_error"] == (data.y_test * test_f < 0).mean()
    assert run.info["test_loss"] == pytest.approx(held.mean(), rel=1e-13)
    assert run.history["distance"][-1] == pytest.approx(np.linalg.norm(run.theta - run.theta0), rel=1e-13)
    assert run.history["distance"][0] == 0
    exact = torch.func.grad(
        lambda t: oracle.hinge(oracle.f(arch, t, torch.from_numpy(data.x)), torch.from_numpy(data.y)[:, None])
    )(torch.from_numpy(run.theta))
    assert run.info["grad_norm"] == pytest.approx(exact.norm().item(), rel=1e-12)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_measuring_a_run_on_its_test_set_gives_the_last_row_of_its_history(batch_norm):
    data, arch = oracle.dataset(80, 4, test=30), Architecture(4, 5, 2, batch_norm=batch_norm)
    run = train(data, arch, with_options(TrainingOptions(), lr=1e-3, steps=100), seed=1)
    measurement = measure(run, data, Dataset(data.x_test, data.y_test))
    assert measurement["error"] == run.history["test_error"][-1]
    assert measurement["loss"] == pytest.approx(run.history["test_loss"][-1], rel=1e-14)
    assert measurement["P"] == 30
    with pytest.raises(InputError, match="expected d=4"):
        measure(run, data, oracle.dataset(10, 5))


def test_a_run_without_a_test_set_has_no_test_error():
    run = train(oracle.dataset(20, 4), Architecture(4, 3, 1), with_options(TrainingOptions(), steps=2), 0)
    assert not {"test_error", "test_loss"} & set(run.info)


def test_a_finished_run_has_the_test_error_of_its_own_theta():
    data, arch = oracle.dataset(40, 4, test=500), Architecture(4, 3, 1)
    start = train(data, arch, with_options(TrainingOptions(), lr=1e-2, steps=20), 0)
    newton = with_options(TrainingOptions(), optimizer="newton")
    (end,) = train_many([make_job(data, arch, 0, newton, start=start)])
    measured = measure(end, data, Dataset(data.x_test, data.y_test))
    assert end.info["test_error"] == measured["error"] != start.info["test_error"]
    assert end.info["test_loss"] == pytest.approx(measured["loss"], rel=1e-12)


def test_a_finish_is_described_by_its_steps_and_the_relative_change_of_theta():
    data, arch = oracle.dataset(40, 4), Architecture(4, 5, 2)
    start, end = (train(data, arch, with_options(TrainingOptions(), steps=steps), 0) for steps in (2, 30))
    fields = finish_fields(start, end)
    change = np.linalg.norm(end.theta - start.theta) / np.linalg.norm(start.theta)
    assert fields["relative_change"] == pytest.approx(change, rel=1e-13)
    assert (fields["steps"], fields["status_before"]) == (28, "budget")
    assert fields["final_loss_before"] == start.info["final_loss"]


def test_a_finish_that_starts_at_zero_has_no_relative_change():
    data, arch = oracle.dataset(40, 4), Architecture(4, 5, 2)
    run = train(data, arch, with_options(TrainingOptions(), steps=2), 0)
    assert finish_fields(replace(run, theta=0 * run.theta), run)["relative_change"] == 0.0


def test_the_settings_of_a_record_are_those_of_its_job():
    data, options = oracle.dataset(40, 4), with_options(TrainingOptions(), steps=2, optimizer="sgd")
    run = train(data, Architecture(4, 5, 2), options, 0)
    assert run.info["settings"] == asdict(options.resolve(40))
    assert (run.info["engine"], run.info["protocol"]) == ("torch", "custom")
