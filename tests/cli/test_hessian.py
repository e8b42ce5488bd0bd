"""jam-hessian, as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from jamtools.io.write import runs_bytes
from jamtools.records import Runs
from tests.support import artefacts, oracle
from tests.support.commands import jam, refusal
from tests.support.fixed_norm import run_of_fixed_norm
from tests.support.networks import healthy


@pytest.fixture
def runs_file(tmp_path):
    """Two runs with random parameters, and a third that diverged."""
    arch, theta, _ = healthy("relu", 1, width=3)
    fields = {
        "d": arch.d, "width": arch.width, "depth": 1, "P": 60, "n_parameters": arch.n_parameters,
        "n_hidden": arch.n_hidden, "n_effective_expected": arch.n_effective,
    }  # fmt: skip
    ends = ("budget", "budget", "diverged")
    members = [
        replace(artefacts.run(**fields, seed=seed, status=status), theta=theta.numpy())
        for seed, status in enumerate(ends)
    ]
    path = tmp_path / "runs.safetensors"
    path.write_bytes(runs_bytes(Runs(oracle.dataset(60, arch.d), tuple(members)), []))
    return path


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--inertia", "--vectors", "1"], "got --inertia with --vectors"),
        (["--inertia", "--dtype", "float32"], "got --inertia with --dtype float32"),
        (["--method", "lanczos", "--inertia"], "got --method lanczos with --inertia"),
        (["--method", "lanczos", "--matrices"], "got --method lanczos with --matrices"),
        (["--probes", "3"], "with --method exact, expected --method lanczos"),
        (["--only", "H1"], "H1"),
    ],
)
def test_jam_hessian_refuses_options_that_contradict_each_other(options, complaint, runs_file):
    assert complaint in refusal(jam("hessian", runs_file, *options), code=2)


def test_jam_hessian_leaves_diverged_runs_out_and_notes_it(runs_file, tmp_path):
    done = jam("hessian", runs_file, "-o", tmp_path / "out", check=True)
    assert "1 diverged run(s) left out" in done.stderr
    assert [json.loads(line)["seed"] for line in jam("show", tmp_path / "out").stdout.splitlines()] == [0, 1]


def test_the_means_after_the_table_are_of_jammed_runs_alone(tmp_path):
    arch, theta, _ = healthy("relu", 1, width=3)
    fields = {
        "d": arch.d, "width": arch.width, "depth": 1, "P": 60, "n_parameters": arch.n_parameters,
        "n_hidden": arch.n_hidden, "n_effective_expected": arch.n_effective,
    }  # fmt: skip
    ends = ("budget", "stationary", "dead", "stationary", "satisfied")
    members = [
        replace(artefacts.run(**fields, seed=seed, status=status), theta=theta.numpy())
        for seed, status in enumerate(ends)
    ]
    path = tmp_path / "runs.safetensors"
    path.write_bytes(runs_bytes(Runs(oracle.dataset(60, arch.d), tuple(members)), []))
    done = jam("hessian", path, "--inertia", "-o", tmp_path / "out", check=True)
    assert "2 jammed run(s): C0 = " in done.stderr
    assert "left out: 1 at no minimum, 1 dead, 1 satisfied" in done.stderr
    kept = jam("hessian", path, "--inertia", "--dead", "keep", "-o", tmp_path / "out", check=True)
    assert "3 jammed run(s): C0 = " in kept.stderr
    assert "left out: 1 at no minimum, 1 satisfied" in kept.stderr
    none = jam(
        "hessian", path, "--inertia", "--where", "seed == 0 or seed == 4", "-o", tmp_path / "out", check=True
    )
    assert "no jammed run, and no mean of C0 and N_c/N; left out: 1 at no minimum, 1 satisfied" in none.stderr


def test_jam_hessian_refuses_work_beyond_the_memory_that_it_may_use(runs_file):
    complaint = refusal(jam("hessian", runs_file, "--max-memory", "1k", "--quiet"))
    assert "allowed" in complaint and "--method lanczos" in complaint and "--max-memory" in complaint


def test_the_signs_alone_are_those_of_the_eigenvalues(runs_file, tmp_path):
    for name, options in (("all", []), ("signs", ["--inertia"])):
        jam("hessian", runs_file, *options, "-q", "-o", tmp_path / name, check=True)
    lines = [jam("show", tmp_path / name, check=True).stdout.splitlines() for name in ("all", "signs")]
    fields = ("n_negative_H", "n_negative_Hp", "c0", "n_unsatisfied")
    of_all, of_signs = ([{f: json.loads(line)[f] for f in fields} for line in some] for some in lines)
    assert of_all == of_signs


def test_runs_of_fixed_norm_go_through_the_commands(tmp_path):
    run, data = run_of_fixed_norm("relu")
    n, hidden = run.info["n_parameters"], run.info["n_hidden"]
    (tmp_path / "runs").write_bytes(runs_bytes(Runs(data, (run,)), []))
    done = jam("hessian", tmp_path / "runs", "-o", tmp_path / "spectra", check=True)
    record = json.loads(jam("show", tmp_path / "spectra", check=True).stdout)
    assert record["n_symmetries"] == hidden and record["n_effective_expected"] == n - hidden - 1
    assert f"{record['norm_multiplier']:.4g}" in done.stderr and "μ of the norm" in done.stderr
    values = jam("show", tmp_path / "spectra", "--array", "r0000/Hp", check=True).stdout.split()
    assert len(values) == n - 1
    table = jam("show", tmp_path / "spectra", "--table", check=True).stdout.decode()
    assert "μ" in table.splitlines()[0]
    jam("plot", tmp_path / "spectra", "-o", tmp_path / "figure.png", check=True)
    assert (tmp_path / "figure.png").stat().st_size > 0
    line = json.loads(jam("neff", tmp_path / "runs", check=True).stdout)
    assert line["n_effective"] <= n - hidden and line["n_effective_expected"] == n - hidden - 1


def test_tables_of_free_weights_have_no_multiplier(runs_file, tmp_path):
    done = jam("hessian", runs_file, "-o", tmp_path / "out", check=True)
    assert "μ" not in done.stderr
