"""The request of a set of runs: what changes it, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jamtools.errors import InputError
from jamtools.io.checkpoint import pack, read
from jamtools.io.request import DIGEST_LENGTH, compressed, data_digests, expanded, request_of
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import Dataset
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from jamtools.training.run import RunInProgress
from tests.support import oracle
from tests.support.jobs import CPU, PLAIN, make_job

ARCH = Architecture(5, 6, 2)


def state_at(job, step):
    """A snapshot that claims to be at this step."""
    return replace(RunInProgress(job).snapshot(), step=step)


@pytest.mark.parametrize(
    ("options", "compute", "message"),
    [
        ({"lr": 2e-3}, {}, "lr 0.001, the request is for 0.002"),
        ({"every": 10}, {}, "lr-schedule 250000:10, the request is for 10:10"),
        ({"steps": 7}, {}, "steps 100000, the request is for 7"),
        ({"stop": False}, {}, "stop on, the request is for off"),
        ({"batch": 5}, {}, "batch full, the request is for 5"),
        ({"epsilon": 0.25}, {}, "epsilon 0.5, the request is for 0.25"),
        ({}, {"engine": "torch"}, "engine compiled, the request is for torch"),
        ({}, {"dtype": torch.float32}, "dtype float64, the request is for float32"),
    ],
)
def test_a_request_with_other_settings_is_refused_by_name(options, compute, message, tmp_path):
    data, base = oracle.dataset(40, 5), with_options(TrainingOptions(), lr=1e-3)
    path = tmp_path / "c"
    path.write_bytes(pack(request_of([make_job(data, ARCH, 0, base)]), [None]))
    other = make_job(data, ARCH, 0, with_options(base, **options), Compute(**compute))
    with pytest.raises(InputError, match=message) as error:
        read(str(path), request_of([other]))
    assert str(error.value).startswith(f"{path}: ")


def test_a_request_of_networks_without_biases_is_refused_by_name(tmp_path):
    data, path = oracle.dataset(40, 5), tmp_path / "c"
    path.write_bytes(pack(request_of([make_job(data, ARCH)]), [None]))
    with pytest.raises(InputError, match="bias on, the request is for off"):
        read(str(path), request_of([make_job(data, replace(ARCH, bias=False))]))


def test_a_request_with_other_runs_or_patterns_is_refused_by_name(tmp_path):
    data, path = oracle.dataset(40, 5, test=10), tmp_path / "c"
    path.write_bytes(pack(request_of([make_job(data, ARCH)]), [None]))
    other = oracle.dataset(40, 5, seed=1)
    labels = type(data)(data.x, -data.y, data.x_test, data.y_test)
    test = type(data)(data.x, data.y, data.x_test, -data.y_test)
    for jobs, message in [
        ([make_job(data, ARCH, 1)], "seeds 0, the request is for 1"),
        ([make_job(data, Architecture(5, 7, 2), 0)], "width 6, the request is for 7"),
        ([make_job(data, Architecture(5, 6, 2, "tanh"), 0)], "activation relu, the request is for tanh"),
        ([make_job(data.first(30), ARCH, 0)], "patterns 40, the request is for 30"),
        ([make_job(other, ARCH, 0)], "training set"),
        ([make_job(labels, ARCH, 0)], "training set"),
        ([make_job(test, ARCH, 0)], "test set"),
    ]:
        with pytest.raises(InputError, match=message):
            read(str(path), request_of(jobs))


def test_a_larger_request_finds_every_run_of_the_checkpoint(tmp_path):
    """More seeds, widths and P, a longer dataset with the same first patterns: each state stays with its own run."""
    longer = oracle.dataset(60, 5, test=10)
    data = Dataset(longer.x[:40].copy(), longer.y[:40].copy(), longer.x_test, longer.y_test)
    path = tmp_path / "c"
    few = [make_job(data.first(P), ARCH, seed) for P in (30, 40) for seed in (1, 2)]
    steps = {(30, 1): 11, (30, 2): 12, (40, 1): 13, (40, 2): 14}
    path.write_bytes(pack(request_of(few), [state_at(job, steps[job.data.P, job.seed]) for job in few]))
    many = [
        make_job(longer.first(P), Architecture(5, width, 2), seed)
        for width in (4, 6, 7)
        for P in (20, 30, 40, 60)
        for seed in range(4)
    ]
    found = {
        (job.arch.width, job.data.P, job.seed): state.step
        for job, state in zip(many, read(str(path), request_of(many)))
        if state
    }
    assert found == {(6, *key): step for key, step in steps.items()}


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"seeds": (0, 1)}, "is of seeds 0,1,2, the request is for 0,1; ask for all runs of the checkpoint"),
        ({"seeds": (1, 2, 3, 4)}, "is of seeds 0,1,2, the request is for 1,2,3,4; ask for all"),
        ({"patterns": (40, 50)}, "is of patterns 30,40, the request is for 40,50; ask for all"),
        ({"lr": 2e-3}, "is of lr 0.0001, the request is for 0.002; remove it"),
        ({"seeds": range(9), "lr": 2e-3}, "is of lr 0.0001, the request is for 0.002; remove it"),
        ({"seeds": range(9), "seed": 1}, "is of training set [0-9a-f]{12}, the request is for .*; remove it"),
    ],
)
def test_a_smaller_request_and_a_larger_one_with_other_settings_are_refused(of, message, tmp_path):
    def request(patterns=(30, 40), seeds=(0, 1, 2), lr=1e-4, seed=0):
        data, options = oracle.dataset(60, 5, seed=seed), with_options(PLAIN, lr=lr)
        return request_of([make_job(data.first(P), ARCH, i, options) for P in patterns for i in seeds])

    path, full = tmp_path / "c", request()
    path.write_bytes(pack(full, [None] * len(full)))
    with pytest.raises(InputError, match=message):
        read(str(path), request(**of))


def test_a_request_that_lacks_one_run_of_a_product_names_that_run(tmp_path):
    data, path = oracle.dataset(40, 5), tmp_path / "c"
    jobs = [make_job(data.first(P), ARCH, seed) for P in (30, 40) for seed in (0, 1)]
    path.write_bytes(pack(request_of(jobs), [None] * 4))
    with pytest.raises(InputError, match="a run of width 6, patterns 40, seeds 0, start none, which is not"):
        read(str(path), request_of([*jobs[:2], jobs[3]]))


def test_equal_runs_keep_their_order_and_their_number(tmp_path):
    """A file to finish may hold a run twice."""
    path, job = tmp_path / "c", make_job(oracle.dataset(40, 5), ARCH)
    path.write_bytes(pack(request_of([job, job]), [state_at(job, 1), state_at(job, 2)]))
    assert [state and state.step for state in read(str(path), request_of([job] * 3))] == [1, 2, None]
    with pytest.raises(InputError, match="which is not asked for"):
        read(str(path), request_of([job]))


def test_a_request_is_restored_from_its_short_form():
    rows = [{"seeds": seed, "lr": 0.1, "momentum": None} for seed in (0, 1, 1)]
    assert compressed(rows) == {"seeds": [0, 1, 1], "lr": 0.1, "momentum": None}
    assert expanded(compressed(rows), 3) == rows


def test_steps_to_measure_at_are_one_entry_of_a_request():
    data, options = oracle.dataset(40, 5), with_options(PLAIN, measure_at=(5, 7))
    rows = request_of([make_job(data, ARCH, seed, options) for seed in (0, 1)])
    assert [row["measure-at"] for row in rows] == ["5,7", "5,7"]
    assert expanded({"measure-at": [5, 7, 9]}, 2) == [{"measure-at": "5,7,9"}] * 2  # of an earlier version


def test_options_that_resolve_to_the_same_settings_make_the_same_request():
    data = oracle.dataset(40, 5)

    def request(options=PLAIN, compute=CPU):
        return request_of([make_job(data.first(P), ARCH, 0, options, compute) for P in (30, 40)])

    default = request()
    assert request(with_options(TrainingOptions(), batch=40, stop=True), Compute(threads=3)) == default
    assert [row["patterns"] for row in default] == [30, 40]
    assert [row["batch"] for row in request(with_options(TrainingOptions(), optimizer="sgd"))] == [15, 20]


def test_a_request_names_the_run_that_is_finished():
    """A start with another history or other fields makes another record, even where theta is the same."""
    data = oracle.dataset(40, 5)
    run = train(data, ARCH, with_options(PLAIN, steps=3), 0)
    newton = with_options(PLAIN, optimizer="newton")
    renamed = replace(run, info={**run.info, "protocol": "another"})
    rows = request_of([make_job(data, ARCH, 0, newton, start=start) for start in (None, run, run, renamed)])
    starts = [row["start"] for row in rows]
    assert starts[0] == "none" and len(starts[1]) == DIGEST_LENGTH
    assert starts[1] == starts[2] != starts[3]


def test_a_digest_is_that_of_the_training_set_and_of_the_test_set():
    data, other = oracle.dataset(40, 5, test=10), oracle.dataset(40, 5, seed=1)
    digests, others = data_digests(data), data_digests(other)
    assert digests["training set"] != others["training set"]
    assert len(digests["test set"]) == DIGEST_LENGTH and others["test set"] == "none"
