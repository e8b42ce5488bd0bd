"""jam-gaps as users run it: conditions, lines per run, plain numbers, and what it says in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jamtools.exponents.distributions import fit_distributions
from jamtools.exponents.exponent import FitOptions
from jamtools.io.write import runs_bytes
from jamtools.records import Run, Runs
from tests.support import artefacts
from tests.support.commands import jam, refusal

P = 900


def planted(seed: int, **fields: Any) -> Run:
    """Δ/√L ~ z^0.42 e^−z and −Δ ~ x^−0.3 e^−x, a third of the patterns unsatisfied."""
    rng = np.random.default_rng(seed)
    delta = np.concatenate([0.1 * rng.gamma(1.42, size=P // 3), -rng.gamma(0.7, size=P - P // 3)])
    run = artefacts.run(P=P, seed=seed, n_unsatisfied=P // 3, **fields)
    settled = run.history | {"loss": np.array([0.5, 0.01 * (1 + 1e-4), 0.01])}
    return Run(run.theta, run.theta0, delta, settled, run.info)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two files: eight certified runs of depth 1, and four of another size that nobody certified."""
    ours = [planted(seed, certified=True, status="stationary", certificate=CERTIFICATE) for seed in range(8)]
    others = [planted(10 + seed, depth=2, n_effective_expected=300, n_parameters=11) for seed in range(4)]
    for name, runs in (("a", ours), ("b", others)):
        (tmp_path / f"{name}.safetensors").write_bytes(
            runs_bytes(Runs(artefacts.dataset(P), runs), artefacts.PROVENANCE)
        )
    return tmp_path


CERTIFICATE = {"gradient": 1e-14, "scale": 1e-2}


def record(*args: object, **options: Any) -> dict[str, Any]:
    done = jam("gaps", *args, check=True, **options)
    (line,) = done.stdout.decode().splitlines()
    return json.loads(line)


def test_one_object_of_all_files_says_what_the_library_says(files: Path) -> None:
    found = record("a.safetensors", "b.safetensors", "-q", cwd=files)
    assert (found["kind"], found["n_runs"], found["fits"]["depth"]) == ("gaps", 12, [1, 2])
    for half, t in (("overlaps", 0.42), ("gaps", 0.3)):
        its = found[half]
        assert its["interval"][0] <= t <= its["interval"][1]
        assert its["n_clusters"] == 12 and its["settled"]
        assert {
            "p_null",
            "p_fit",
            "verdict",
            "references",
            "stability",
            "histogram",
            "curve",
            "reach",
        } <= set(its)
    assert [row["N"] for row in found["gaps"]["sizes"]] == [9, 300]


def test_a_condition_chooses_runs_across_files(files: Path) -> None:
    where = "final_loss < 0.1 and status == 'certified'"
    done = jam("gaps", "a.safetensors", "b.safetensors", "--where", where, cwd=files, check=True)
    found = json.loads(done.stdout)
    assert found["n_runs"] == 8 and found["fits"]["depth"] == [1]
    assert "8 of 12 runs fulfil the condition" in done.stderr
    assert found == record("a.safetensors", "-q", cwd=files)


def test_a_line_per_run(files: Path) -> None:
    done = jam("gaps", "b.safetensors", "--per-run", "-q", cwd=files, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["run"], line["seed"], line["N"], line["P"]) for line in lines] == [
        (f"r{k:04d}", 10 + k, 300, P) for k in range(4)
    ]
    assert all(line["overlaps"]["exponent"] is not None for line in lines)


def test_runs_keep_their_names_when_others_are_left_out(files: Path) -> None:
    args = ("a.safetensors", "b.safetensors", "--per-run", "--where", "depth == 2", "-q")
    lines = jam("gaps", *args, cwd=files, check=True).stdout.splitlines()
    assert [json.loads(line)["run"] for line in lines] == ["r0008", "r0009", "r0010", "r0011"]


def test_a_field_that_some_runs_have_not_is_null_for_them(files: Path) -> None:
    found = record("a.safetensors", "b.safetensors", "--where", "certificate.scale > 0", "-q", cwd=files)
    assert found["n_runs"] == 8


def test_a_file_given_twice_counts_once_and_that_is_said(files: Path) -> None:
    done = jam("gaps", "a.safetensors", "a.safetensors", cwd=files, check=True)
    assert "8 of the runs were given more than once and count once" in done.stderr
    assert json.loads(done.stdout)["overlaps"] == record("a.safetensors", "-q", cwd=files)["overlaps"]


def test_a_run_with_too_few_values_says_so_in_its_line(files: Path) -> None:
    few = artefacts.run(P=6, seed=1)
    (files / "few.safetensors").write_bytes(
        runs_bytes(Runs(artefacts.dataset(6), [few]), artefacts.PROVENANCE)
    )
    found = record("few.safetensors", "--per-run", "-q", cwd=files)
    assert found["gaps"]["exponent"] is None and "expected at least 50" in found["gaps"]["refused"]


def test_plain_numbers_are_judged_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).gamma(1.42, size=5000)
    np.savetxt(tmp_path / "x.txt", x)
    np.save(tmp_path / "x.npy", x)
    found = record("--values", "x.txt", "-q", cwd=tmp_path)
    assert found["kind"] == "exponent"
    assert found["interval"][0] <= 0.42 <= found["interval"][1]
    assert [row["value"] for row in found["references"]] == [0.42311, 0.3, 0.2]
    as_gaps = record("--values", "x.txt", "--as", "gamma", "-q", cwd=tmp_path)
    assert [row["value"] for row in as_gaps["references"]] == [-0.41269, -0.2, -0.16, -0.25]
    assert record("--values", "x.npy", "-q", cwd=tmp_path)["exponent"] == pytest.approx(
        found["exponent"], rel=1e-9
    )
    given = record("--values", "x.npy", "--order", 1, "--share", 0.5, "--lower-cut", 0.1, "-q", cwd=tmp_path)
    assert (given["order"], given["share"], given["lower_cut"], given["settled"]) == (1, 0.5, 0.1, None)


def test_people_are_told_the_verdict_and_the_table(files: Path) -> None:
    said = jam("gaps", "a.safetensors", cwd=files, check=True).stderr
    assert "cannot separate" in said and "needed" in said
    assert "θ" in said and "γ" in said and "order 2" in said


def test_the_table_of_sizes_is_shown(files: Path) -> None:
    said = jam("gaps", "a.safetensors", "b.safetensors", cwd=files, check=True).stderr
    assert "N = 9" in said and "N = 300" in said


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--where", "depth > 7"], 1, "none of 8 runs fulfils 'depth > 7'"),
        (["--where", "dept > 7"], 1, "no field 'dept'; there are"),
        (["--where", "open('x')"], 1, "neither field, number, word nor comparison"),
        (["--order", "4"], 1, "order is 4"),
        (["--order", "x"], 2, "expected an integer"),
        (["--share", "0"], 2, "above 0"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(files: Path, args: list[str], code: int, words: str) -> None:
    assert words in refusal(jam("gaps", "a.safetensors", *args, "-q", cwd=files), code)


def test_what_plain_numbers_are_is_asked_of_plain_numbers_only(files: Path) -> None:
    assert "expected both" in refusal(jam("gaps", "a.safetensors", "--as", "theta", cwd=files), 2)


@pytest.mark.parametrize("option", [["--where", "depth == 1"], ["--per-run"]])
def test_conditions_are_for_runs(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "x.txt").write_text("1\n")
    assert "which are for runs" in refusal(jam("gaps", "--values", "x.txt", *option, cwd=tmp_path), 2)


def test_the_library_and_the_command_agree(files: Path) -> None:
    runs = [planted(seed, certified=True, status="stationary", certificate=CERTIFICATE) for seed in range(8)]
    found = record("a.safetensors", "-q", "--seed", 3, cwd=files)
    assert found == json.loads(json.dumps(fit_distributions(runs, FitOptions(seed=3)).as_dict()))
