"""The paper's protocols by name: their tables, what overrides them, and the four corners under them."""

from __future__ import annotations

import json
from typing import get_args, get_type_hints

import numpy as np
import pytest

from jamtools.cli.common.groups import TrainingGroup
from jamtools.io.read import read_runs
from jamtools.network.architecture import Architecture
from jamtools.protocols import (
    BATCH_NORM_PROTOCOLS,
    OPTIMIZERS,
    PROTOCOLS,
    Schedule,
    default_success,
    uses_batch_norm,
    with_options,
)
from jamtools.training.ensemble import train
from jamtools.transition.options import TrialSpec
from jamtools.transition.search import search_transition
from tests.support import oracle
from tests.support.commands import jam, refusal

ENTROPY = PROTOCOLS["paper-cross-entropy"]


def test_paper_cross_entropy_is_the_table_of_the_paper():
    p = ENTROPY.resolve(10_000)
    assert (p.loss, p.init, p.optimizer, p.momentum, p.steps, p.stop) == (
        "cross-entropy", "torch", "sgd", 0.0, 1_000_000, False,
    )  # fmt: skip
    assert (p.batch, ENTROPY.resolve(600).batch) == (1024, 300)
    rates = [p.schedule.rate(step) for step in (0, 499_999, 500_000, 999_999)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3], rel=1e-15)
    assert uses_batch_norm("paper-cross-entropy")
    assert not uses_batch_norm("paper-hinge")
    assert not uses_batch_norm(None)


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_the_halves_scale_with_the_steps(steps):
    schedule = with_options(ENTROPY, steps=steps).schedule
    rates = [schedule.rate(step) for step in range(steps)]
    half = (steps + 1) // 2
    assert rates == pytest.approx([1e-2] * half + [1e-3] * (steps - half), rel=1e-15)


def test_an_option_beside_a_protocol_overrides_one_thing():
    assert with_options(ENTROPY, steps=1000, every=10).schedule == Schedule(1e-2, 10, 10)
    assert with_options(ENTROPY, lr=0.5).schedule == Schedule(0.5, 500_000, 10)
    assert with_options(ENTROPY, optimizer="adam").resolve(100).batch == 0
    assert with_options(ENTROPY, loss="hinge").resolve(100).epsilon == 0.5
    assert not uses_batch_norm("paper-cross-entropy", given=False)
    assert uses_batch_norm("paper-hinge", given=True)
    assert with_options(PROTOCOLS["paper-hinge"], steps=1000).schedule == Schedule()


def test_the_commands_know_every_protocol_and_optimizer():
    def choices(option):
        return set(get_args(get_args(get_type_hints(TrainingGroup)[option])[0]))

    assert choices("protocol") == set(PROTOCOLS)
    assert choices("optimizer") == set(OPTIMIZERS)
    assert set(BATCH_NORM_PROTOCOLS) <= set(PROTOCOLS)
    assert all(settings.protocol == name for name, settings in PROTOCOLS.items())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("protocol", ["paper-hinge", "paper-cross-entropy"])
def test_the_four_corners_train_under_their_protocol(protocol, activation):
    """Small and short: the loss falls, steps are spent or N_Δ = 0, and the record names what was done."""
    data = oracle.dataset(60, 6)
    arch = Architecture(6, 10, 2, activation, batch_norm=uses_batch_norm(protocol))
    run = train(data, arch, with_options(PROTOCOLS[protocol], steps=3000), seed=0)
    assert (run.info["protocol"], run.info["loss"]) == (protocol, protocol.removeprefix("paper-"))
    assert run.info["batch_norm"] is (protocol == "paper-cross-entropy")
    assert run.history["loss"][-1] < 0.7 * run.history["loss"][0]
    assert run.info["n_misclassified"] < 0.2 * 60
    assert (run.info["steps"] == 3000) or run.info["status"] == "satisfied"
    if protocol == "paper-cross-entropy":
        assert run.info["steps"] == 3000
        assert run.info["n_unsatisfied"] == run.info["n_misclassified"]


@pytest.mark.parametrize("loss", ["hinge", "cross-entropy"])
def test_one_hot_labels_train_with_batch_normalisation(loss):
    data, arch = oracle.dataset(60, 6, outputs=3), Architecture(6, 10, 2, outputs=3, batch_norm=True)
    run = train(data, arch, with_options(ENTROPY, loss=loss, steps=2000), seed=0)
    assert run.history["loss"][-1] < 0.8 * run.history["loss"][0]


def test_n_star_of_separable_data_under_the_cross_entropy_protocol():
    data = oracle.dataset(30, 3)
    x = data.x.copy()
    x[:, 0] += np.where(x[:, 0] > 0, 1.0, -1.0)
    data = type(data)(x, np.where(x[:, 0] > 0, 1.0, -1.0))
    spec = TrialSpec(1, "tanh", with_options(ENTROPY, steps=2000, lr=0.1), (0, 1, 2), "classified", 8, True)
    found = search_transition(data, spec, [30])[0]
    assert (found["width"], found["success"], found["batch_norm"]) == (1, "classified", True)
    assert found["n_star"] == Architecture(3, 1, 1, "tanh").n_effective


def test_success_is_read_by_the_loss():
    assert default_success("hinge") == "satisfied"
    assert default_success("cross-entropy") == "classified"


def test_the_file_records_the_resolved_set(tmp_path):
    data, runs = tmp_path / "data.safetensors", tmp_path / "runs.safetensors"
    jam("data", "random", "-P", 40, "-d", 4, "-o", data, check=True)
    common = (data, "--width", 4, "--depth", 2, "-q", "--protocol", "paper-cross-entropy", "--steps", 100)
    jam("train", *common, "--momentum", 0.5, "-o", runs, check=True)
    info = read_runs(str(runs))[0].runs[0].info
    assert info["batch_norm"] is True
    resolved = info["settings"]
    assert (resolved["batch"], resolved["steps"], resolved["momentum"]) == (20, 100, 0.5)
    assert (resolved["schedule"]["lr"], resolved["schedule"]["every"]) == (1e-2, 50)
    for command in ("hessian", "neff", "cusps"):
        assert "--no-batch-norm" in refusal(jam(command, runs)), command
    plain = jam("train", *common, "--no-batch-norm", check=True).stdout
    assert json.loads(jam("show", input=plain, check=True).stdout)["batch_norm"] is False
    found = json.loads(
        jam("nstar", "search", data, "--protocol", "paper-cross-entropy", "--steps", 50, "--seeds", 0,
            "--max-width", 4, "-q", check=True).stdout
    )  # fmt: skip
    assert (found["success"], found["batch_norm"], found["protocol"]) == (
        "classified",
        True,
        "paper-cross-entropy",
    )
    assert "below 1" in refusal(jam("train", data, "--optimizer", "sgd", "--momentum", 1, "-q"), 2)
