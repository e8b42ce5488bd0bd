"""The request of a set of runs: what changes it, and what does not."""

from __future__ import annotations

import pytest
import torch

from jamtools.errors import InputError
from jamtools.io.checkpoint import pack, read
from jamtools.io.request import DIGEST_LENGTH, data_digests, request_of
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from tests.support import oracle
from tests.support.jobs import CPU, PLAIN, make_job

ARCH = Architecture(5, 6, 2)


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


def test_a_request_with_other_runs_or_patterns_is_refused_by_name(tmp_path):
    data, path = oracle.dataset(40, 5, test=10), tmp_path / "c"
    path.write_bytes(pack(request_of([make_job(data, ARCH)]), [None]))
    other = oracle.dataset(40, 5, seed=1)
    labels = type(data)(data.x, -data.y, data.x_test, data.y_test)
    test = type(data)(data.x, data.y, data.x_test, -data.y_test)
    for jobs, message in [
        ([make_job(data, ARCH, 1)], "seeds 0, the request is for 1"),
        ([make_job(data, ARCH, 0), make_job(data, ARCH, 1)], "seeds 0, the request is for 0,1"),
        ([make_job(data, Architecture(5, 7, 2), 0)], "width 6, the request is for 7"),
        ([make_job(data, Architecture(5, 6, 2, "tanh"), 0)], "activation relu, the request is for tanh"),
        ([make_job(data.first(30), ARCH, 0)], "patterns 40, the request is for 30"),
        ([make_job(other, ARCH, 0)], "training set"),
        ([make_job(labels, ARCH, 0)], "training set"),
        ([make_job(test, ARCH, 0)], "test set"),
    ]:
        with pytest.raises(InputError, match=message):
            read(str(path), request_of(jobs))


def test_options_that_resolve_to_the_same_settings_make_the_same_request():
    data = oracle.dataset(40, 5)

    def request(options=PLAIN, compute=CPU):
        return request_of([make_job(data.first(P), ARCH, 0, options, compute) for P in (30, 40)])

    default = request()
    assert request(with_options(TrainingOptions(), batch=40, stop=True), Compute(threads=3)) == default
    assert default["patterns"] == [30, 40]
    assert request(with_options(TrainingOptions(), optimizer="sgd"))["batch"] == [15, 20]


def test_a_request_names_the_run_that_is_finished():
    data = oracle.dataset(40, 5)
    run = train(data, ARCH, with_options(PLAIN, steps=3), 0)
    newton = with_options(PLAIN, optimizer="newton")
    starts = [request_of([make_job(data, ARCH, 0, newton, start=start)])["start"] for start in (None, run)]
    assert starts[0] == "none" and len(starts[1]) == DIGEST_LENGTH


def test_arrays_that_runs_share_count_once_in_a_digest():
    data, other = oracle.dataset(40, 5, test=10), oracle.dataset(40, 5, seed=1)
    assert data_digests([data, data]) == data_digests([data])
    assert data_digests([data, other]) != data_digests([data])
    assert data_digests([other])["test set"] == "none"
