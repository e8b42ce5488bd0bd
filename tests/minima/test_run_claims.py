"""An adversary fakes one claim of a run at a time. Verification refuses each fake, whatever fields a record has.

The fields are those of real records, so that a new field is refused too, or is named here with the reason why not.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from jamtools.data.sphere import random_sphere
from jamtools.errors import InputError
from jamtools.minima.verification import verify
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions
from jamtools.records import Dataset, Run
from jamtools.training.ensemble import train, train_many
from jamtools.training.job import Compute, job_from
from jamtools.training.origin import Origin
from tests.support import fakes
from tests.support.jammed import newton
from tests.support.jobs import make_job

#: Fields that claim nothing which the run could contradict, with the reason.
NOTHING_TO_CHECK = {
    "settings.schedule": "decides the way to the end; only a new training shows it",
    "settings.schedule.lr": "as above",
    "settings.schedule.every": "as above",
    "settings.schedule.factor": "as above",
    "settings.schedule.floor": "as above",
    "settings.stop": "as above",
    "settings.neighbour_list": "as above",
    "settings.measurements": "says which rows a history may have; rows may have been removed",
    "settings.measure_at": "as above",
    "settings.snapshots": "as above",
    "settings.steps": "a budget; only an end that is later contradicts it",
    "finish.relative_change": "the start of the finish is not in the file",
    "finish.status_before": "as above; only satisfied is told from the others, by its row of the history",
    "origin.run": "the origin is not in the file; only the form of the name is checked",
    "origin.data": "as above",
    "origin.P": "as above",
    "origin.epsilon": "as above",
    "origin.loss": "as above",
    "origin.optimizer": "as above",
    "origin.status": "as above",
    "origin.n_unsatisfied": "as above",
    "origin.final_loss": "as above",
}

#: Fields of first-order runs that only a new training shows, beside their type.
WAY_OF_A_FIRST_ORDER_RUN = {
    "engine": "which engine took the steps",
    "n_missed_crossings": "a count of the engine",
    "settings.batch": "how many patterns a step had",
}

#: Fields of a run that began at another one.
OF_AN_ORIGIN = {
    "seed": "theta0 does not follow from it",
    "n_dead_at_start": "at a minimum on cusps round-off decides whether a pattern is dead",
}

#: Numbers that consist of round-off, or of the outcome of random trials: another machine gives another value of the same
#: order, which is all that is checked.
ROUND_OFF = {
    "subgradient_share",
    "certificate.gradient",
    "certificate.cusp_distance",
    "certificate.lowest_change",
    "certificate.trial_error",
    "certificate.smallest_curvature",  # where there are zeros
    "certificate.newton_gain",
    "certificate.newton_length",
    "certificate.residual",
    "certificate.next_residual",
    "certificate.residual_rounding",
}


def contradictory(P: int, d: int, seed: int) -> Dataset:
    """P patterns on the sphere, and the first of them once more with the other label: L > 0, by one pair alone."""
    data = random_sphere(P, d, seed)
    return Dataset(np.r_[data.x, data.x[:1]], np.r_[data.y, -data.y[:1]], info=data.info)


@functools.cache
def real(name: str) -> tuple[Run, Dataset]:
    """A certified run as it is recorded, and its patterns."""
    relu, tanh = Architecture(3, 3, 1), Architecture(3, 3, 1, "tanh")
    if name == "relu, jammed":
        data = random_sphere(30, 3, 1)
        return train(data, relu, newton(), 1), data
    if name == "relu, satisfied":
        data = random_sphere(8, 3, 0)
        return train(data, relu, newton(), 0), data
    if name == "tanh, jammed":
        data = contradictory(8, 3, 1)
        return train(data, tanh, newton(), 1), data
    if name == "relu, from a run":
        start, data = real("relu, jammed")
        return train_many([job_from(Origin(start), data, newton())])[0], data
    data = random_sphere(30, 3, 1)
    start = train(data, relu, TrainingOptions(steps=200), 1)
    return train_many([make_job(data, relu, 1, newton(), start=start)])[0], data


NAMES = ["relu, jammed", "relu, satisfied", "tanh, jammed", "relu, finished", "relu, from a run"]


@pytest.fixture(params=NAMES)
def kept(request, monkeypatch) -> tuple[Run, Dataset]:
    fakes.remember_certificates(monkeypatch)
    return real(request.param)


def holds(run: Run, data: Dataset, **changes) -> bool:
    """Whether a run holds after changes of its record; a record that cannot be read does not."""
    try:
        return verify(replace(run, **changes), data).holds
    except InputError:
        return False


def test_the_real_runs_hold_and_are_what_their_names_say(kept):
    run, data = kept
    verification = verify(run, data)
    assert verification.holds, verification.findings
    assert run.info["certified"] and run.info["settings"]["optimizer"] in ("newton", "adam")


def test_the_real_runs_have_cusps_dead_patterns_and_a_start():
    assert len(real("relu, jammed")[0].certificate["cusps"]) > 1
    assert len(real("relu, jammed")[0].dead) > 0
    assert real("relu, satisfied")[0].info["final_loss"] == 0
    assert real("tanh, jammed")[0].info["status"] == "stationary"
    assert real("relu, finished")[0].info["finish"]["steps"] > 0
    assert real("relu, from a run")[0].info["origin"]["status"] == "stationary"


def test_every_fake_of_a_field_is_refused_or_the_field_claims_nothing(kept):
    run, data = kept
    nothing = NOTHING_TO_CHECK | (WAY_OF_A_FIRST_ORDER_RUN if "finish" in run.info else {})
    nothing |= OF_AN_ORIGIN if "origin" in run.info else {}
    accepted = []
    for path in fakes.leaves(run.info):
        name, value = ".".join(path), fakes.value_at(run.info, path)
        if name in nothing:
            continue
        for fake in [*fakes.other_types(value), *fakes.other_values(value, small=name not in ROUND_OFF)]:
            if holds(run, data, info=fakes.with_value(run.info, path, fake)):
                accepted.append(f"{name} {value!r}, fake {fake!r}")
    assert not accepted, "\n".join(accepted)


def test_every_fake_of_an_array_is_refused(kept):
    """Of the history the last row is faked, which repeats the end; nothing is known about the rows between."""
    run, data = kept
    accepted = []
    for name, array in run.arrays().items():
        if not array.size:
            continue
        for i, fake in enumerate(fakes.other_arrays(array)):
            try:
                found = verify(fakes.with_array(run, name, fake), data).holds
            except InputError:
                continue
            if found:
                accepted.append(f"{name}, fake {i}")
    assert not accepted, "\n".join(accepted)


@functools.cache
def escaping() -> tuple[Run, Dataset]:
    """A run that stopped because its weights grow for ever; it claims no certificate."""
    data = random_sphere(75, 4, 0)
    return train(data, Architecture(4, 4, 1, "tanh"), newton(), 0), data


def test_of_a_run_that_escapes_nothing_is_wrong_but_it_claims_no_certificate(monkeypatch):
    fakes.remember_certificates(monkeypatch)
    run, data = escaping()
    assert run.info["status"] == "escaping" and run.info["escape"] is not None
    assert len(verify(run, data).findings) == 1


@pytest.mark.parametrize(
    "fake",
    [
        lambda trace: None,
        lambda trace: {**trace, "initial_norm": 0.9 * trace["initial_norm"]},
        lambda trace: {**trace, "norm": [*trace["norm"][:-1], trace["norm"][-1] * 1.001]},
        lambda trace: {**trace, "loss": [*trace["loss"][:-1], trace["loss"][-1] * (1 - 1e-9)]},
        lambda trace: {**trace, "norm": trace["norm"][-1:], "loss": trace["loss"][-1:]},
        lambda trace: {**trace, "norm": trace["norm"][::-1]},
        lambda trace: {**trace, "loss": [0.0, *trace["loss"][1:]]},
        lambda trace: {**trace, "more": 1},
        lambda trace: "none",
    ],
)
def test_a_faked_trace_of_an_escape_is_found(fake, monkeypatch):
    fakes.remember_certificates(monkeypatch)
    run, data = escaping()
    info = {**run.info, "escape": fake(run.info["escape"])}
    assert len(verify(replace(run, info=info), data).findings) > 1


@pytest.mark.parametrize("name", ["theta", "theta0", "gaps", "dead", "history/step", "certificate/cusps"])
def test_an_array_of_another_type_is_refused_even_with_the_same_numbers(kept, name):
    run, data = kept
    array = run.arrays().get(name, run.dead)
    for other in {"float64", "int64", "complex128"} - {str(array.dtype)}:
        if array.size and (other != "int64" or name in ("dead", "history/step", "certificate/cusps")):
            with pytest.raises(InputError, match=name):
                verify(fakes.with_array(run, name, array.astype(other)), data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_row_of_the_history_that_no_training_has_is_refused(kept, value):
    run, data = kept
    for name in ("loss", "grad_norm", "distance"):
        column = run.history[name].copy()
        if len(column) > 2:
            column[1] = value
            findings = verify(replace(run, history={**run.history, name: column}), data).findings
            assert f"history/{name} with a row that is not finite or negative, expected none" in findings


def test_gaps_of_another_shape_are_refused(kept):
    run, data = kept
    (finding,) = verify(replace(run, gaps=run.gaps[:, None]), data).findings
    assert finding == f"gaps of shape {(data.P, 1)}, expected {(data.P,)}"


def test_the_end_of_another_run_is_refused_even_with_its_certificate(kept):
    """Everything that is said of the end is that of the other run; the last row of the history is not."""
    run, data = real("relu, jammed")
    other, _ = real("relu, finished")
    own = ("optimizer", "engine", "n_missed_crossings", "settings", "finish", "protocol", "steps", "seed")
    info = {**other.info, **{name: run.info[name] for name in own if name in run.info}}
    info.pop("finish")
    end = {name: getattr(other, name) for name in ("theta", "gaps", "certificate", "dead")}
    findings = verify(replace(run, info=info, **end), data).findings
    assert findings and all(line.startswith("history/") for line in findings)


def test_a_jammed_run_that_is_relabelled_satisfied_is_refused(monkeypatch):
    fakes.remember_certificates(monkeypatch)
    run, data = real("relu, jammed")
    certificate = run.info["certificate"] | {
        "loss": 0.0,
        "n_unsatisfied": 0,
        "n_cusps": 99,
        "certified": False,
    }
    info = run.info | {"status": "satisfied", "n_misclassified": 0, "certificate": certificate}
    findings = verify(replace(run, info=info), data).findings
    assert "status 'satisfied', expected 'stationary'" in findings
    assert f"n_misclassified 0, expected {run.info['n_misclassified']}" in findings
    assert "certificate.certified false, expected true" in findings
    assert any(line.startswith("certificate.n_cusps 99, expected ") for line in findings)


def test_a_run_in_single_precision_claims_nothing_and_has_no_other_finding():
    """Bounds of the errors of single precision hold for a real run, from its first row to its last."""
    import torch

    data = random_sphere(30, 3, 1)
    run = train(data, Architecture(3, 3, 1), TrainingOptions(steps=200), 1, Compute(dtype=torch.float32))
    assert len(verify(run, data).findings) == 1
    history = {**run.history, "loss": run.history["loss"] * (1 + fakes.SMALL_CHANGE)}
    assert len(verify(replace(run, history=history), data).findings) > 1


def test_a_test_set_is_measured_again():
    data = replace(
        random_sphere(30, 3, 1), x_test=random_sphere(20, 3, 2).x, y_test=random_sphere(20, 3, 2).y
    )
    run = train(data, Architecture(3, 3, 1), newton(), 1)
    assert verify(run, data).holds
    for name in ("test_error", "test_loss"):
        info = run.info | {name: run.info[name] + 1 / 20}
        assert any(line.startswith(name) for line in verify(replace(run, info=info), data).findings)


def test_snapshots_are_measured_again():
    data = random_sphere(8, 3, 0)
    run = train(data, Architecture(3, 3, 1), newton(snapshots=True), 0)
    assert verify(run, data).holds
    theta = run.history["theta"].copy()
    theta[1] *= 1.001
    findings = verify(replace(run, history={**run.history, "theta": theta}), data).findings
    assert findings and all(line.startswith("history/") for line in findings)


def test_theta0_is_that_of_the_seed_and_of_the_initialisation():
    run, data = real("relu, satisfied")
    (finding,) = verify(replace(run, theta0=run.theta0 + 1e-6), data).findings[:1]
    assert finding == "theta0 off by 1.0e-06, expected the orthogonal parameters of seed 0"
