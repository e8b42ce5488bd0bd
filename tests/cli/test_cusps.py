"""The command jam-cusps: counts, subgradients and curvature of runs whose cusps are planted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from jamtools.io.write import dataset_bytes, runs_bytes
from jamtools.network.architecture import Architecture
from jamtools.records import Dataset, Runs
from tests.support import artefacts, oracle
from tests.support.commands import jam, refusal
from tests.support.curvature import curvature_of, planted
from tests.support.cusps import made_run, network, plant


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The lines of jam-cusps for a ReLU run with a planted zero, and a tanh, a satisfied and a diverged run."""
    folder = tmp_path_factory.mktemp("cusps")
    arch, theta, _, _, _ = network(2)
    data = oracle.dataset(60, 4)
    plant(theta, arch, torch.from_numpy(data.x), 2, 8, 2)
    smooth = Architecture(4, 5, 2, "tanh")
    members = (
        made_run(arch, theta, data),
        made_run(smooth, theta, data),
        made_run(arch, theta, data, n_unsatisfied=0, status="satisfied"),
        made_run(arch, theta * torch.nan, data),
        made_run(arch, theta, data, loss="cross-entropy", epsilon=0.0),
    )
    (folder / "runs.safetensors").write_bytes(runs_bytes(Runs(data, members), []))
    done = jam("cusps", folder / "runs.safetensors", "--tolerance", "1e-9", "--fresh", "2k", check=True)
    assert "N_c/N" in done.stderr and "r0003: the run diverged: its parameters are not finite" in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_line_of_jam_cusps_has_the_counts_and_the_layers(records):
    line = records[0]
    assert list(line)[:2] == ["kind", "run"] and line["kind"] == "cusps"
    assert [record["run"] for record in records] == [f"r{i:04d}" for i in range(5)]
    assert line["n_cusps"] == 1 and line["tolerance"] == 1e-9 and line["background"] == 0
    assert line["n_cusps_per_parameter"] == 1 / line["n_effective_expected"]
    assert line["fresh"] == {"source": "sphere", "n": 2000}
    assert [layer["layer"] for layer in line["layers"]] == [1, 2]
    assert [layer["mass_train"] for layer in line["layers"]] == [0, 1 / 300]
    assert [layer["mass_fresh"] for layer in line["layers"]] == [0, 0]


def test_the_histograms_of_jam_cusps_integrate_to_one(records):
    for layer in records[0]["layers"]:
        histogram = layer["histogram"]
        assert len(histogram["edges"]) == len(histogram["train"]) + 1 == len(histogram["fresh"]) + 1
        for which in ("train", "fresh"):
            assert 0.9 < sum(histogram[which]) * 0.1 < 1 + 1e-5


def test_a_count_that_no_network_can_hold_is_null_with_the_reason(tmp_path):
    """A neuron without weights is at zero at all 60 patterns; cusps of d = 4, h = 5, L = 1 hold 20 directions."""
    arch, theta, _, _, _ = network(1)
    data = oracle.dataset(60, 4)
    theta[:4], theta[20] = 0, 0
    file = tmp_path / "runs.safetensors"
    file.write_bytes(runs_bytes(Runs(data, (made_run(arch, theta, data, epsilon=100.0),)), []))
    done = jam("cusps", file, check=True)
    line = json.loads(done.stdout)
    nulls = ("n_cusps", "n_convex", "n_cusps_per_parameter", "clarke_norm", "lagrangian")
    assert [line[name] for name in nulls] == [None] * 5 and line["layers"][0]["n_cusps"] is None
    assert line["n_with_gradient"] >= 60 and "more than the 20 directions" in line["cusps_refused"]
    assert f"r0000: no N_c: {line['cusps_refused']}" in done.stderr


def test_jam_cusps_gives_the_clarke_norm_of_unsatisfied_hinge_runs_alone(records):
    relu, tanh, satisfied, diverged, entropy = records
    assert 0 < relu["clarke_norm"] <= relu["gradient_norm"]
    assert tanh["clarke_norm"] == tanh["gradient_norm"] and tanh["n_cusps"] == 0
    assert satisfied["clarke_norm"] is None and satisfied["n_cusps"] == 0
    assert diverged["n_cusps"] is None and diverged["layers"] == []
    assert entropy["clarke_norm"] is None and entropy["n_with_gradient"] == 1


def test_jam_cusps_without_a_source_of_fresh_patterns_writes_the_same_bytes_twice():
    data = replace(oracle.dataset(60, 4), info={"source": "arrays"})
    arch, theta, _, _, _ = network(2)
    runs = runs_bytes(Runs(data, (made_run(arch, theta, data),)), [])
    first = jam("cusps", "--quiet", input=runs, check=True)
    line = json.loads(first.stdout)
    assert line["fresh"] is None and line["layers"][0]["mass_fresh"] is None
    assert line["layers"][1]["histogram"]["fresh"] is None
    assert first.stderr == ""
    assert jam("cusps", "-q", "-", input=runs, check=True).stdout == first.stdout


def test_jam_cusps_refuses_bad_options_and_artefacts_of_another_kind():
    refusal(jam("cusps", "--tolerance", "-1"), 2)
    refusal(jam("cusps", "--fresh", "0"), 2)
    data = dataset_bytes(oracle.dataset(5, 3), [])
    assert "got a dataset, expected runs" in refusal(jam("cusps", input=data))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> str:
    """A run on planted cusps, a smooth run, a satisfied run, and one with too many parameters for the default."""
    theta, problem = planted(2)
    arch, data = problem.arch, Dataset(problem.x.numpy(), problem.y[:, 0].numpy(), info={"source": "arrays"})
    smooth, wide = Architecture(4, 5, 2, "tanh"), Architecture(4, 53, 2)
    members = (
        made_run(arch, theta, data, epsilon=3.0, n_unsatisfied=40),
        made_run(smooth, oracle.random_theta(smooth), data),
        made_run(arch, theta, data, n_unsatisfied=0, status="satisfied"),
        made_run(wide, oracle.random_theta(wide), data),
    )
    file = tmp_path_factory.mktemp("tangent") / "runs.safetensors"
    file.write_bytes(runs_bytes(Runs(data, members), []))
    return str(file)


def lines(*args: object) -> tuple[list[dict], str]:
    done = jam("cusps", *args, "--tolerance", "1e-9", check=True)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_jam_cusps_gives_the_curvature_of_jammed_runs(runs):
    (cusped, smooth, satisfied, wide), table = lines(runs)
    _, expected = curvature_of(*planted(2))
    found = cusped["lagrangian"]
    for got, space in ((found, expected.held), (found["free"], expected.free)):
        assert (got["dimension"], got["n_negative"], got["n_zero"]) == (
            space.dimension, space.n_negative, space.n_zero,
        )  # fmt: skip
        assert got["relative"] == pytest.approx(space.relative) == got["smallest"] / got["largest"]
    assert found["n_at_bound"] == expected.n_at_bound and found["stable"] is False
    assert cusped["n_with_gradient"] + cusped["n_without_gradient"] == cusped["n_cusps"] == 6
    assert smooth["lagrangian"]["dimension"] == 61 and smooth["lagrangian"]["stable"] is False
    assert satisfied["lagrangian"] is None
    assert wide["lagrangian"] is None and wide["clarke_norm"] is not None
    assert "r0003: 3181 parameters, and above 3000 the curvature needs --curvature" in table
    assert "N_-" in table and "stable" in table


def test_jam_cusps_takes_networks_of_several_outputs(tmp_path):
    theta, problem = planted(2, outputs=3)
    arch, data = problem.arch, Dataset(problem.x.numpy(), problem.y.numpy(), info={"source": "arrays"})
    sizes = {
        name: getattr(arch, name) for name in ("d", "width", "depth", "outputs", "n_parameters", "n_hidden")
    }
    info = sizes | {"P": 40, "n_effective_expected": arch.n_effective, "epsilon": 3.0, "n_unsatisfied": 100}
    run = replace(artefacts.run(**info), theta=theta.numpy(), gaps=np.ones((40, 3)))
    file = tmp_path / "runs.safetensors"
    file.write_bytes(runs_bytes(Runs(data, (run,)), []))
    (line,), _ = lines(file)
    end, expected = curvature_of(theta, problem)
    assert line["n_cusps"] == 6 and line["clarke_norm"] == pytest.approx(end.norm)
    assert line["lagrangian"]["n_negative"] == expected.held.n_negative
    assert line["lagrangian"]["smallest"] == pytest.approx(expected.held.smallest)


def test_jam_cusps_leaves_the_curvature_out_on_request(runs):
    found, notes = lines(runs, "--no-curvature")
    assert [line["lagrangian"] for line in found] == [None] * 4
    assert found[0]["clarke_norm"] is not None and "no curvature" not in notes
