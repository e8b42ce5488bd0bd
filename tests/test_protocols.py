"""Options and settings of a training, the rate, and the paper's protocols by name."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import get_args, get_type_hints

import numpy as np
import pytest

from jamtools.cli.common.groups import TrainingGroup
from jamtools.errors import InputError
from jamtools.io.read import read_runs
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import INITIALISATIONS
from jamtools.protocols import (
    BATCH_NORM_PROTOCOLS,
    FIRE_DEFAULT_LR,
    NEWTON_DEFAULT_STEPS,
    OPTIMIZERS,
    PROTOCOLS,
    InitName,
    Schedule,
    Settings,
    TrainingOptions,
    changed_settings,
    default_success,
    measured_steps,
    uses_batch_norm,
    with_options,
)
from jamtools.training.ensemble import train
from jamtools.transition.options import TrialSpec
from jamtools.transition.search import search_transition
from tests.support import oracle
from tests.support.commands import jam, refusal

ENTROPY = PROTOCOLS["paper-cross-entropy"]


def test_the_type_of_an_initialisation_lists_what_can_be_initialised():
    assert get_args(InitName) == (*INITIALISATIONS, "run"), "a training may begin at another run"
    assert set(get_args(get_args(get_type_hints(TrainingGroup)["init"])[0])) == set(INITIALISATIONS)


def test_a_rate_is_divided_down_to_its_floor():
    schedule = Schedule(lr=1e-4, every=250_000, factor=10, floor=1e-7)
    assert [schedule.rate(s) for s in (0, 249_999, 250_000, 500_000)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-6]
    )
    assert schedule.rate(10_000_000) == 1e-7
    assert Schedule(lr=1e-8).rate(0) == 1e-8


def test_measured_steps_are_log_spaced_between_both_ends():
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


def test_the_default_batch_of_sgd_is_that_of_the_paper():
    options = with_options(TrainingOptions(), optimizer="sgd")
    assert options.resolve(100).batch == 50
    assert options.resolve(10_000).batch == 1024


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="expected one of adam"):
        with_options(TrainingOptions(), optimizer="lbfgs")


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
def test_a_rate_that_falls_halfway_does_so_for_any_number_of_steps(steps):
    schedule = with_options(ENTROPY, steps=steps).schedule
    rates = [schedule.rate(step) for step in range(steps)]
    half = (steps + 1) // 2
    assert rates == pytest.approx([1e-2] * half + [1e-3] * (steps - half), rel=1e-15)


def test_an_option_overrides_one_field_of_a_protocol():
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
    assert all(options.protocol == name for name, options in PROTOCOLS.items())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("protocol", ["paper-hinge", "paper-cross-entropy"])
def test_both_activations_train_under_both_protocols(protocol, activation):
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
        assert run.info["n_unsatisfied"] is None


@pytest.mark.parametrize("loss", ["hinge", "cross-entropy"])
def test_one_hot_labels_train_with_batch_normalisation(loss):
    data, arch = oracle.dataset(60, 6, outputs=3), Architecture(6, 10, 2, outputs=3, batch_norm=True)
    run = train(data, arch, with_options(ENTROPY, loss=loss, steps=2000), seed=0)
    assert run.history["loss"][-1] < 0.8 * run.history["loss"][0]


def test_one_neuron_separates_separable_data_under_the_cross_entropy_protocol():
    data = oracle.dataset(30, 3)
    x = data.x.copy()
    x[:, 0] += np.where(x[:, 0] > 0, 1.0, -1.0)
    data = type(data)(x, np.where(x[:, 0] > 0, 1.0, -1.0))
    spec = TrialSpec(1, "tanh", with_options(ENTROPY, steps=2000, lr=0.1), (0, 1, 2), "classified", 8, True)
    found = search_transition(data, spec, [30])[0]
    assert (found["width"], found["success"], found["batch_norm"]) == (1, "classified", True)
    assert found["n_star"] == Architecture(3, 1, 1, "tanh").n_effective


def test_the_loss_decides_what_counts_as_success():
    assert default_success("hinge") == "satisfied"
    assert default_success("cross-entropy") == "classified"


def test_a_file_records_the_resolved_settings(tmp_path):
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


def test_settings_have_the_fields_of_the_options_in_the_same_order():
    names = [[item.name for item in fields(kind)] for kind in (Settings, TrainingOptions)]
    assert names[0] == names[1]


def test_resolving_leaves_nothing_open():
    for options in (TrainingOptions(), *PROTOCOLS.values()):
        assert None not in asdict(options.resolve(100)).values()


def test_a_batch_of_all_patterns_is_a_full_batch():
    assert with_options(TrainingOptions(), batch=100).resolve(100).batch == 0
    assert with_options(TrainingOptions(), batch=99).resolve(100).batch == 99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.5}, "expected the optimizer sgd"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "below 1"),
        ({"batch": 5, "optimizer": "fire"}, "expected all patterns in every step"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        with_options(TrainingOptions(), **options)


def test_fire_and_newton_have_defaults_of_their_own():
    assert with_options(TrainingOptions(), optimizer="fire").schedule.lr == FIRE_DEFAULT_LR
    assert with_options(TrainingOptions(), optimizer="fire", lr=0.5).schedule.lr == 0.5
    assert with_options(TrainingOptions(), optimizer="newton").steps == NEWTON_DEFAULT_STEPS


@pytest.mark.parametrize(
    ("base", "options", "changed"),
    [
        (TrainingOptions(), {}, {}),
        (TrainingOptions(), {"steps": 10, "optimizer": "fire"}, {}),
        (TrainingOptions(), {"optimizer": "newton"}, {}),
        (ENTROPY, {"steps": 10}, {}),
        (TrainingOptions(), {"epsilon": 0.3, "floor": 1e-5}, {"epsilon": 0.3, "floor": 1e-5}),
        (TrainingOptions(), {"every": 5, "factor": 2.0, "lr": 1e-2}, {"every": 5, "factor": 2.0, "lr": 1e-2}),
        (TrainingOptions(), {"loss": "cross-entropy", "epsilon": 0.3}, {}),
        (ENTROPY, {"batch": 7, "momentum": 0.5, "init": "normal"}, {"batch": 7, "momentum": 0.5, "init": "normal"}),
    ],
)  # fmt: skip
def test_changed_settings_are_those_that_the_protocol_loss_and_optimizer_do_not_imply(base, options, changed):
    assert changed_settings(with_options(base, **options)) == changed


def test_what_decides_a_trajectory_is_either_named_by_a_search_or_among_the_changed_settings():
    """The first row are fields of the record of a search; the second row decides no outcome of a trial of it."""
    elsewhere = {"loss", "optimizer", "steps", "protocol"} | {
        "stop", "measurements", "measure_at", "snapshots", "neighbour_list",
    }  # fmt: skip
    other = TrainingOptions(
        epsilon=0.1,
        init="torch",
        optimizer="sgd",
        momentum=0.5,
        batch=3,
        norm="3x",
        schedule=Schedule(1.0, 2, 3.0, 4.0),
    )
    names = {item.name for item in fields(TrainingOptions)} - elsewhere - {"schedule"}
    assert set(changed_settings(other)) == names | {item.name for item in fields(Schedule)}
