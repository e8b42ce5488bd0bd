"""A job: its loss, and which engine takes its steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jamtools.errors import InputError, Remedy
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from tests.support import oracle
from tests.support.jobs import PLAIN, make_job

ARCH = Architecture(5, 6, 2)
GPU = Compute(device="cuda")
NEWTON = with_options(PLAIN, optimizer="newton")


def job(options=PLAIN, compute=None, arch=ARCH, start=None):
    return make_job(oracle.dataset(40, 5), arch, 0, options, compute or Compute(), start)


@pytest.mark.parametrize(
    ("options", "compute", "engine"),
    [
        (PLAIN, Compute(), "compiled"),
        (with_options(PLAIN, batch=5), Compute(), "torch"),
        (PLAIN, Compute(dtype=torch.float32), "torch"),
        (PLAIN, GPU, "batch"),
        (with_options(PLAIN, batch=5), GPU, "torch"),
        (PLAIN, Compute(engine="torch"), "torch"),
        (PLAIN, Compute(engine="batch"), "batch"),
        (NEWTON, Compute(), "newton"),
    ],
)
def test_a_job_gets_the_fastest_engine_that_can_take_its_steps(options, compute, engine):
    assert job(options, compute).engine == engine


def test_the_torch_engine_takes_the_steps_with_batch_normalisation():
    assert job(arch=Architecture(5, 6, 2, batch_norm=True)).engine == "torch"


@pytest.mark.parametrize("engine", ["compiled", "batch"])
def test_an_engine_that_cannot_take_mini_batches_is_refused(engine):
    with pytest.raises(InputError, match=f"the {engine} engine takes full batches") as refused:
        _ = job(with_options(PLAIN, batch=5), Compute(engine=engine)).engine
    assert refused.value.remedy is Remedy.TORCH_ENGINE


def test_newton_is_refused_with_another_engine_than_its_own():
    with pytest.raises(InputError, match="the torch engine with newton, expected auto"):
        _ = job(NEWTON, Compute(engine="torch")).engine


def test_a_neighbour_list_is_refused_outside_the_compiled_engine():
    with pytest.raises(InputError, match="a neighbour list with the torch engine") as refused:
        _ = job(with_options(PLAIN, neighbour_list=True), Compute(engine="torch")).engine
    assert refused.value.remedy is Remedy.NO_NEIGHBOUR_LIST


def test_an_optimiser_other_than_newton_is_refused_for_a_run_to_finish():
    run = train(oracle.dataset(40, 5), ARCH, with_options(PLAIN, steps=2), 0)
    assert job(NEWTON, start=run).engine == "newton"
    with pytest.raises(InputError, match="expected the optimiser newton"):
        _ = job(start=run).engine


def test_the_engine_of_a_job_is_chosen_once(monkeypatch):
    chosen = job()
    assert chosen.engine == "compiled"
    monkeypatch.setattr("jamtools.training.job.fits_compiled", lambda *_: pytest.fail("chosen again"))
    assert chosen.engine == "compiled"


@pytest.mark.parametrize(("loss", "epsilon"), [("hinge", 0.5), ("cross-entropy", 0.0)])
def test_the_loss_of_a_job_is_the_mean_over_its_patterns(loss, epsilon):
    resolved_loss = job(with_options(TrainingOptions(), loss=loss)).loss
    assert (resolved_loss.name, resolved_loss.epsilon, resolved_loss.P) == (loss, epsilon, 40)


@pytest.mark.parametrize("epsilon", [0.0, -0.5, float("nan")])
def test_a_margin_that_w_0_satisfies_is_refused_for_free_weights_and_taken_at_fixed_norm(epsilon):
    options = with_options(PLAIN, epsilon=epsilon)
    with pytest.raises(InputError, match="with free weights, expected one above 0"):
        job(options)
    if epsilon == epsilon:
        assert job(options, arch=replace(ARCH, norm=2.0)).loss.epsilon == epsilon
    assert job(with_options(options, loss="cross-entropy")).loss.epsilon == 0
