"""jam-gaps as users run it: conditions, lines per run, plain numbers, and its messages."""

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
    """Two files: eight certified runs of depth 1, and four jammed runs of another size without certificates."""
    ours = [planted(seed, certified=True, status="stationary", certificate=CERTIFICATE) for seed in range(8)]
    others = [
        planted(10 + seed, depth=2, n_effective_expected=300, n_parameters=11, status="stationary")
        for seed in range(4)
    ]
    for name, runs in (("a", ours), ("b", others)):
        (tmp_path / f"{name}.safetensors").write_bytes(
            runs_bytes(Runs(artefacts.dataset(P), runs), artefacts.PROVENANCE)
        )
    return tmp_path


FIT_FIELDS = {"p_null", "p_fit", "verdict", "references", "stability", "histogram", "curve", "reach"}

CERTIFICATE = {"gradient": 1e-14, "scale": 1e-2}


def record(*args: object, **options: Any) -> dict[str, Any]:
    done = jam("gaps", *args, check=True, **options)
    (line,) = done.stdout.decode().splitlines()
    return json.loads(line)


def test_one_object_for_all_files_contains_the_planted_exponents(files: Path) -> None:
    found = record("a.safetensors", "b.safetensors", "-q", cwd=files)
    assert (found["kind"], found["n_runs"], found["fits"]["depth"]) == ("gaps", 12, [1, 2])
    for half, t in (("overlaps", 0.42), ("gaps", 0.3)):
        fit = found[half]
        assert fit["interval"][0] <= t <= fit["interval"][1]
        assert fit["n_clusters"] == 12 and fit["settled"]
        assert set(fit) >= FIT_FIELDS
    assert [row["N"] for row in found["gaps"]["sizes"]] == [9, 300]


def test_a_condition_chooses_runs_across_files(files: Path) -> None:
    where = "final_loss < 0.1 and status == 'certified'"
    done = jam("gaps", "a.safetensors", "b.safetensors", "--where", where, cwd=files, check=True)
    found = json.loads(done.stdout)
    assert found["n_runs"] == 8 and found["fits"]["depth"] == [1]
    assert "8 of 12 runs kept by" in done.stderr
    assert found == record("a.safetensors", "-q", cwd=files)


def test_per_run_prints_a_line_for_each_run(files: Path) -> None:
    done = jam("gaps", "b.safetensors", "--per-run", "-q", cwd=files, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["run"], line["seed"], line["N"], line["P"]) for line in lines] == [
        (f"r{k:04d}", 10 + k, 300, P) for k in range(4)
    ]
    assert all(line["overlaps"]["exponent"] is not None for line in lines)


def test_runs_keep_their_numbers_when_a_condition_leaves_out_others(files: Path) -> None:
    args = ("a.safetensors", "b.safetensors", "--per-run", "--where", "depth == 2", "-q")
    lines = jam("gaps", *args, cwd=files, check=True).stdout.splitlines()
    assert [json.loads(line)["run"] for line in lines] == ["r0008", "r0009", "r0010", "r0011"]


def test_a_field_that_only_some_runs_have_is_null_for_the_others(files: Path) -> None:
    found = record("a.safetensors", "b.safetensors", "--where", "certificate.scale > 0", "-q", cwd=files)
    assert found["n_runs"] == 8


def test_a_file_given_twice_counts_once_with_a_note(files: Path) -> None:
    done = jam("gaps", "a.safetensors", "a.safetensors", cwd=files, check=True)
    assert "8 of the runs were given more than once and count once" in done.stderr
    assert json.loads(done.stdout)["overlaps"] == record("a.safetensors", "-q", cwd=files)["overlaps"]


def test_the_line_of_a_run_with_too_few_values_has_the_reason(files: Path) -> None:
    few = artefacts.run(P=6, seed=1)
    (files / "few.safetensors").write_bytes(
        runs_bytes(Runs(artefacts.dataset(6), [few]), artefacts.PROVENANCE)
    )
    found = record("few.safetensors", "--per-run", "-q", cwd=files)
    assert found["gaps"]["exponent"] is None and "expected at least 50" in found["gaps"]["refused"]


def test_plain_numbers_have_an_exponent_compared_with_known_ones(tmp_path: Path) -> None:
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


def test_the_verdict_and_a_table_are_printed_on_stderr(files: Path) -> None:
    messages = jam("gaps", "a.safetensors", cwd=files, check=True).stderr
    for words in ("8 jammed runs, N = 9", "not near jamming", "no claim about spheres", "θ", "γ", "order 2"):
        assert words in messages


def test_runs_of_several_sizes_have_a_table_of_sizes(files: Path) -> None:
    messages = jam("gaps", "a.safetensors", "b.safetensors", cwd=files, check=True).stderr
    assert "N = 9" in messages and "N = 300" in messages


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--where", "depth > 7"], 1, "none of 8 runs fulfils 'depth > 7'"),
        (["--where", "dept > 7"], 1, "a.safetensors: no field 'dept'; did you mean depth?"),
        (["--where", "open('x')"], 1, "neither field, number, word nor comparison"),
        (["--order", "4"], 1, "order is 4"),
        (["--order", "x"], 2, "expected an integer"),
        (["--share", "0"], 2, "above 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_one_line(
    files: Path, args: list[str], code: int, message: str
) -> None:
    assert message in refusal(jam("gaps", "a.safetensors", *args, "-q", cwd=files), code)


def test_naming_the_exponent_of_plain_numbers_is_refused_for_runs(files: Path) -> None:
    assert "expected both" in refusal(jam("gaps", "a.safetensors", "--as", "theta", cwd=files), 2)


@pytest.mark.parametrize("option", [["--where", "depth == 1"], ["--per-run"], ["--dead", "keep"]])
def test_plain_numbers_refuse_the_options_of_runs(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "x.txt").write_text("1\n")
    assert "which are for runs" in refusal(jam("gaps", "--values", "x.txt", *option, cwd=tmp_path), 2)


def test_the_library_and_the_command_agree(files: Path) -> None:
    named = {"certified": True, "status": "stationary", "certificate": CERTIFICATE, "data": "by hand d=3"}
    runs = [planted(seed, **named) for seed in range(8)]
    found = record("a.safetensors", "-q", "--seed", 3, cwd=files)
    assert found == json.loads(json.dumps(fit_distributions(runs, FitOptions(seed=3)).as_dict()))


def with_dead(run: Run, n: int) -> Run:
    """The run with its first n patterns dead and unsatisfied, all with one Δ."""
    delta = np.concatenate([np.full(n, 0.05), run.gaps[n:]])
    return Run(
        run.theta, run.theta0, delta, run.history, {**run.info, "n_dead": n}, run.certificate, np.arange(n)
    )


def test_dead_runs_and_patterns_are_left_out_with_a_note_unless_they_are_kept(tmp_path: Path) -> None:
    alive = [with_dead(planted(seed, status="stationary"), 40) for seed in range(8)]
    dead = with_dead(planted(9, status="dead"), 5)
    (tmp_path / "r.safetensors").write_bytes(
        runs_bytes(Runs(artefacts.dataset(P), [*alive, dead]), artefacts.PROVENANCE)
    )
    fast = ("r.safetensors", "--order", 1, "--share", 0.8)
    done = jam("gaps", *fast, cwd=tmp_path, check=True)
    found = json.loads(done.stdout)
    assert (found["n_runs"], found["n_dead_runs"], found["n_dead_patterns"]) == (8, 1, 320)
    assert (found["runs"]["n_runs"], found["runs"]["n_jammed"], found["runs"]["n_dead"]) == (9, 8, 1)
    assert found["overlaps"]["n_total"] == 8 * (P // 3 - 40) and "differ" not in found["overlaps"]["note"]
    assert "1 dead run(s) and 320 dead pattern(s) of other runs are left out" in done.stderr
    kept = jam("gaps", *fast, "--dead", "keep", cwd=tmp_path, check=True)
    found = json.loads(kept.stdout)
    assert (found["n_runs"], found["n_dead_runs"], found["keep_dead"]) == (9, 1, True)
    assert found["overlaps"]["n_total"] == 8 * (P // 3)
    assert "of other runs are used" in kept.stderr and "a layer is dead" in found["overlaps"]["note"]


def test_dead_runs_alone_are_refused_with_the_option_that_keeps_them(tmp_path: Path) -> None:
    dead = with_dead(planted(9, status="dead"), 5)
    (tmp_path / "r.safetensors").write_bytes(
        runs_bytes(Runs(artefacts.dataset(P), [dead]), artefacts.PROVENANCE)
    )
    message = refusal(jam("gaps", "r.safetensors", "-q", cwd=tmp_path), 1)
    assert "the run is dead" in message and "add --dead keep" in message


def test_the_verdict_on_plain_numbers_says_so(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "x.txt", np.random.default_rng(1).gamma(1.42, size=3000))
    found = record("--values", "x.txt", "--order", 1, "--share", 0.8, "-q", cwd=tmp_path)
    assert found["verdict"].startswith("plain numbers: t = ")
    assert "(spheres)" in found["verdict"] and found["no_claim"] is None


def test_numbers_without_a_power_law_have_an_interval_without_end(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.exp(2 * np.random.default_rng(1).standard_normal(10_000)))
    done = jam("gaps", "--values", "x.npy", cwd=tmp_path, check=True)
    found = json.loads(done.stdout)
    assert (found["interval"], found["settled"], found["p_null"]) == ([-1.0, None], False, None)
    assert found["verdict"].startswith("plain numbers: no power law can be told: the exponent drifts from")
    assert "no power law can be told" in done.stderr
