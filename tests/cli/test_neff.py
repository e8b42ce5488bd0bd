"""jam-neff, as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import torch

from jamtools.io.write import dataset_bytes, runs_bytes
from jamtools.network.passes import layers_of
from jamtools.records import Runs
from tests.support import artefacts, oracle
from tests.support.commands import jam, refusal
from tests.support.networks import healthy


def runs_file(path) -> str:
    """Two runs, the second with a dead neuron, and a third that diverged."""
    arch, theta, _ = healthy("relu", 1)
    data = oracle.dataset(400, arch.d)
    fields = {
        "d": arch.d, "width": arch.width, "depth": 1, "P": 400, "n_parameters": arch.n_parameters,
        "n_hidden": arch.n_hidden, "n_effective_expected": arch.n_effective,
    }  # fmt: skip
    dead = theta.clone()
    layers_of(dead, arch)[0][1][4] = -100.0
    members = [
        replace(artefacts.run(**fields, seed=seed), theta=parameters.numpy())
        for seed, parameters in enumerate((theta, dead, theta * torch.nan))
    ]
    path.write_bytes(runs_bytes(Runs(data, tuple(members)), []))
    return str(path)


def test_jam_neff_writes_one_line_per_run(tmp_path):
    file = runs_file(tmp_path / "runs.safetensors")
    done = jam("neff", file, "--all", check=True)
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert list(first)[:2] == ["kind", "run"] and first["kind"] == "neff" and second["run"] == "r0001"
    arch = healthy("relu", 1)[0]
    assert first["n_effective"] == first["n_effective_expected"] == arch.n_parameters - 12
    assert first["rank_gap"] > 1e9 and first["n_columns"] == 2800 and first["stopped_early"] is False
    assert second["n_effective"] == first["n_effective"] - arch.d - 1
    assert (second["dead"], second["always_on"]) == ([[1, 4]], [])
    assert third["n_effective"] is None and "r0002" in done.stderr
    assert "N_eff" in done.stderr and "1: 1.4" in done.stderr


def test_jam_neff_takes_networks_of_several_outputs(tmp_path):
    arch, theta, _ = healthy("relu", 1, outputs=3)
    data = oracle.dataset(400, arch.d, outputs=3)
    sizes = {
        name: getattr(arch, name) for name in ("d", "width", "depth", "outputs", "n_parameters", "n_hidden")
    }
    info = sizes | {"P": 400, "n_effective_expected": arch.n_effective}
    run = replace(artefacts.run(**info), theta=theta.numpy(), gaps=np.zeros((400, 3)))
    file = tmp_path / "runs.safetensors"
    file.write_bytes(runs_bytes(Runs(data, (run,)), []))
    line = json.loads(jam("neff", file, check=True).stdout)
    assert line["n_effective"] == arch.n_parameters - arch.n_hidden
    assert line["n_columns"] == line["n_patterns"] * (arch.d + 1) * 3 and line["stopped_early"]


def test_jam_neff_warns_of_a_tolerance_within_the_continuum(tmp_path):
    file = runs_file(tmp_path / "runs.safetensors")
    done = jam("neff", file, file, "--tolerance", "0.05", "-o", tmp_path / "out.jsonl", check=True)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["run"] for line in lines] == [f"r{i:04d}" for i in range(6)]
    assert lines[0]["tolerance"] == 0.05 and lines[0]["rank_gap"] < 10
    assert "r0000: rank_gap" in done.stderr and done.stdout == b""


def test_jam_neff_refuses_a_dataset(tmp_path):
    data = dataset_bytes(oracle.dataset(5, 3), [])
    assert "got a dataset, expected runs" in refusal(jam("neff", input=data))
