"""jam-train with newton: exit codes, certificates, the table, refused settings; and messages on memory and precision."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jamtools.cli import train
from jamtools.cli.common.app import run as run_command
from jamtools.io.write import dataset_bytes
from jamtools.training import memory
from tests.support import oracle
from tests.support.commands import jam, refusal
from tests.support.contract import header, objects, tensors
from tests.support.small_runs import NETWORK, P_JAMMED, P_SATISFIED

BOTH_SIDES = ("--patterns", f"{P_SATISFIED},{P_JAMMED}", "--optimizer", "newton")


@pytest.fixture(scope="module")
def folder(minima) -> Path:
    return minima.folder


@pytest.fixture(scope="module")
def solved(folder) -> subprocess.CompletedProcess:
    """newton on both sides of the transition, with its output in `newton`."""
    return jam("train", "data", *NETWORK, *BOTH_SIDES, "-o", "newton", cwd=folder, check=True)


def test_newton_is_certified_on_both_sides_of_the_transition(solved, folder):
    few, many = header((folder / "newton").read_bytes())["runs"]
    assert (few["optimizer"], few["status"], few["n_unsatisfied"]) == ("newton", "satisfied", 0)
    assert (few["certified"], few["certificate"]["kind"]) == (True, "satisfied")
    assert (many["status"], many["certified"], many["certificate"]["kind"]) == ("stationary", True, "jammed")
    assert many["final_loss"] > 0 and many["certificate"]["obstacle"] is None


def test_a_certificate_has_a_multiplier_and_a_force_for_each_cusp(solved, folder):
    n = header((folder / "newton").read_bytes())["runs"][1]["certificate"]["n_cusps"]
    arrays = tensors(folder / "newton")
    names = ("cusps", "multipliers", "forces")
    shapes = {name: arrays[f"r0001/certificate/{name}"].shape for name in names}
    assert shapes == {"cusps": (n, 3), "multipliers": (n,), "forces": (n,)}


def test_the_table_of_newton_has_a_column_of_certificates(solved):
    assert "certified" in solved.stderr.splitlines()[1]
    assert solved.stderr.count(" yes ") == 2


def test_the_table_of_adam_has_no_column_of_certificates(folder):
    done = jam("train", "data", *NETWORK, "--steps", 1, "-o", "/dev/null", cwd=folder, check=True)
    assert "certified" not in done.stderr


@pytest.mark.parametrize(
    ("require", "code"), [("satisfied", 3), ("stationary", 0), ("certified", 0)], ids=lambda value: str(value)
)
def test_require_distinguishes_satisfied_stationary_and_certified_runs(require, code, folder):
    done = jam("train", "data", *NETWORK, *BOTH_SIDES, "--require", require, "-q", cwd=folder)
    assert (done.returncode, done.stderr) == (code, "")
    assert [run["P"] for run in header(done.stdout)["runs"]] == [P_SATISFIED, P_JAMMED]


def test_a_run_that_is_not_certified_names_its_obstacle(folder):
    options = ["--patterns", P_JAMMED, "--optimizer", "newton", "--steps", 2, "--require", "certified"]
    done = jam("train", "data", *NETWORK, *options, cwd=folder)
    assert done.returncode == 3
    (run,) = header(done.stdout)["runs"]
    assert (run["status"], run["certified"], run["steps"]) == ("budget", False, 2)
    obstacle = run["certificate"]["obstacle"]
    assert obstacle and f"(width 4, P {P_JAMMED}, seed 0) is not certified: {obstacle}" in done.stderr


def test_a_run_of_adam_is_never_certified(folder):
    done = jam("train", "data", *NETWORK, "--steps", 1, "--require", "certified", "-q", cwd=folder)
    assert done.returncode == 3
    assert header(done.stdout)["runs"][0]["certified"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--loss cross-entropy", "newton"),
        ("--batch 5", "newton"),
        ("--dtype float32", "newton"),
        ("--batch-norm", "batch normalisation"),
    ],
)
def test_newton_refuses_settings_that_it_cannot_solve(options, message, folder):
    done = jam("train", "data", *NETWORK, "--optimizer", "newton", *options.split(), "-q", cwd=folder)
    assert message in refusal(done)


def test_jam_train_refuses_in_one_line_a_run_that_needs_too_much_memory(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data"
    path.write_bytes(dataset_bytes(oracle.dataset(300, 5), []))
    monkeypatch.setattr(memory, "available", lambda device: 10_000)
    monkeypatch.setattr(sys, "argv", ["jam-train", str(path), "--device", "cpu", "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        run_command(train.app, train.NAME)
    assert left.value.code == 1
    assert re.fullmatch(
        r"jam-train: P=300 .* needs .* GiB, got .* GiB available in memory; .*\n", capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_jam_train_notes_that_float32_is_coarse(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data"
    path.write_bytes(dataset_bytes(oracle.dataset(30, 5), []))
    line = ["jam-train", str(path), "--device", "cpu", "--dtype", "float32", "--steps", "5", "-o", "out"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_command(train.app, train.NAME)
    assert "near the transition" in capsys.readouterr().err


def test_the_spherical_perceptron_is_trained_recorded_and_verified(tmp_path):
    """N = d - 1; the certificate of newton holds at a negative margin, as the gradient of Adam vanishes there."""
    jam("data", "random", "--gaussian", "-P", 60, "-d", 10, "-o", "data", cwd=tmp_path, check=True)
    spherical = ["--depth", 0, "--no-bias", "--norm", 1, "--epsilon", -0.5]
    for optimizer in ("newton", "adam"):
        steps = ["--optimizer", optimizer, "--steps", 2000, "-q", "-o", optimizer]
        jam("train", "data", *spherical, *steps, cwd=tmp_path, check=True)
        (run,) = header((tmp_path / optimizer).read_bytes())["runs"]
        assert (run["n_effective_expected"], run["n_parameters"], run["n_hidden"]) == (9, 10, 0)
        assert (run["width"], run["depth"], run["activation"]) == (10, 0, "linear")
        assert (run["bias"], run["norm"], run["epsilon"], run["dead_by_layer"]) == (False, 1.0, -0.5, [])
    (run,) = header((tmp_path / "newton").read_bytes())["runs"]
    assert run["status"] == "stationary" and run["certified"] and run["final_loss"] > 0
    done = jam("train", "--verify", "newton", "--require", "certified", cwd=tmp_path, check=True)
    (verification,) = objects(done.stdout)
    assert verification["holds"] and verification["findings"] == []
