"""jam-train --optimizer newton, --finish and --verify: exit codes, what is written, what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jamtools.data.sphere import random_sphere
from jamtools.io.read import read_runs
from jamtools.io.write import dataset_bytes, runs_bytes
from tests.support import artefacts
from tests.support.commands import jam, refusal
from tests.support.contract import header, objects, tensors

#: A network far on either side of its transition: Ñ = 25.
NETWORK = ["--width", 4, "--depth", 1]
FEW, MANY = 25, 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Data, runs of Adam that are not at a minimum, and these finished."""
    folder = tmp_path_factory.mktemp("minima")
    (folder / "data").write_bytes(dataset_bytes(random_sphere(MANY, 4, 1), artefacts.PROVENANCE))
    few = ["--patterns", f"{FEW},{MANY}", "--seeds", "0:2", "--steps", 300, "--lr", "1e-2"]
    jam("train", "data", *NETWORK, *few, "-o", "adam", cwd=folder, check=True)
    done = jam("train", "--finish", "adam", "-o", "finished", cwd=folder, check=True)
    (folder / "said").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def solved(folder):
    """newton on both sides of the transition, and what the command said."""
    line = ["--patterns", f"{FEW},{MANY}", "--optimizer", "newton"]
    return jam("train", "data", *NETWORK, *line, "-o", "newton", cwd=folder, check=True)


def infos(path: Path) -> list[dict]:
    return header(path.read_bytes())["runs"]


# --- newton -------------------------------------------------------------------------------------------


def test_newton_is_certified_on_both_sides_of_the_transition(solved, folder):
    few, many = infos(folder / "newton")
    assert (few["optimizer"], few["status"], few["n_unsatisfied"]) == ("newton", "satisfied", 0)
    assert (few["certified"], few["certificate"]["kind"]) == (True, "satisfied")
    assert (many["status"], many["certified"], many["certificate"]["kind"]) == ("stationary", True, "jammed")
    assert many["final_loss"] > 0 and many["certificate"]["obstacle"] is None
    n = many["certificate"]["n_cusps"]
    shapes = {name: tensors(folder / "newton")[f"r0001/certificate/{name}"].shape for name in CERTIFICATE}
    assert shapes == {"cusps": (n, 3), "multipliers": (n,), "forces": (n,)}


CERTIFICATE = ("cusps", "multipliers", "forces")


def test_newton_s_table_says_which_are_certified(solved):
    assert "certified" in solved.stderr.splitlines()[1]
    assert solved.stderr.count(" yes ") == 2


def test_adam_s_table_is_as_it_was(folder):
    done = jam("train", "data", *NETWORK, "--steps", 1, "-o", "/dev/null", cwd=folder, check=True)
    assert "certified" not in done.stderr


@pytest.mark.parametrize(
    ("require", "code"), [("satisfied", 3), ("stationary", 0), ("certified", 0)], ids=lambda value: str(value)
)
def test_require_tells_satisfied_from_stationary_and_certified(require, code, folder):
    line = ["--patterns", f"{FEW},{MANY}", "--optimizer", "newton", "--require", require]
    done = jam("train", "data", *NETWORK, *line, "-q", cwd=folder)
    assert (done.returncode, done.stderr) == (code, "")
    assert [run["P"] for run in header(done.stdout)["runs"]] == [FEW, MANY]


def test_a_run_that_is_not_certified_names_its_obstacle(folder):
    line = ["--patterns", MANY, "--optimizer", "newton", "--steps", 2, "--require", "certified"]
    done = jam("train", "data", *NETWORK, *line, cwd=folder)
    assert done.returncode == 3
    (run,) = header(done.stdout)["runs"]
    assert (run["status"], run["certified"], run["steps"]) == ("budget", False, 2)
    obstacle = run["certificate"]["obstacle"]
    assert obstacle and f"(width 4, P {MANY}, seed 0) is not certified: {obstacle}" in done.stderr


def test_adam_is_never_certified_whatever_it_reached(folder):
    done = jam("train", "data", *NETWORK, "--steps", 1, "--require", "certified", "-q", cwd=folder)
    assert done.returncode == 3
    assert header(done.stdout)["runs"][0]["certified"] is None


# --- finish -------------------------------------------------------------------------------------------


def test_finish_keeps_the_order_and_lowers_every_loss(folder):
    before, after = infos(folder / "adam"), infos(folder / "finished")
    assert len(before) == len(after) == 4
    for old, new in zip(before, after):
        kept = ("width", "depth", "P", "seed", "optimizer", "protocol", "settings", "n_parameters", "epsilon")
        assert {name: new[name] for name in kept} == {name: old[name] for name in kept}
        done = new["finish"]
        assert new["final_loss"] <= old["final_loss"] == done["final_loss_before"]
        assert old["n_unsatisfied"] == done["n_unsatisfied_before"]
        assert done["change_n_unsatisfied"] == new["n_unsatisfied"] - old["n_unsatisfied"]
        assert new["steps"] == old["steps"] + done["steps"]
        assert new["certified"] is True


def test_finish_says_how_far_theta_went_and_goes_on_with_the_history(folder):
    before, after = tensors(folder / "adam"), tensors(folder / "finished")
    for i, run in enumerate(infos(folder / "finished")):
        old, new = before[f"r{i:04d}/theta"], after[f"r{i:04d}/theta"]
        moved = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert run["finish"]["relative_change"] == pytest.approx(moved, rel=1e-6)
        np.testing.assert_array_equal(after[f"r{i:04d}/theta0"], before[f"r{i:04d}/theta0"])
        steps, earlier = after[f"r{i:04d}/history/step"], before[f"r{i:04d}/history/step"]
        assert (np.diff(steps) > 0).all() and steps[-1] == run["steps"]
        np.testing.assert_array_equal(steps[: len(earlier)], earlier)


def test_finish_s_table_shows_before_and_after(folder):
    said = (folder / "said").read_text()
    for old, new in zip(infos(folder / "adam"), infos(folder / "finished")):
        assert f" {old['n_unsatisfied']} → {new['n_unsatisfied']} " in said
        assert f" {old['final_loss']:.4g} → {new['final_loss']:.4g} " in said


def test_provenance_is_chained_through_the_finish(folder):
    steps = header((folder / "finished").read_bytes())["provenance"]
    assert [step["command"] for step in steps] == ["jam-data", "jam-train", "jam-train"]
    assert steps[-1]["argv"] == ["--finish", "adam"]


def test_finish_through_a_pipe_of_several_depths_is_the_same(folder):
    """Runs of two depths in one file, which the library may write, keep their order."""
    runs, chain = read_runs(str(folder / "adam"))
    deep = ["--width", 2, "--depth", 2, "--patterns", 8, "--steps", 100, "--lr", "1e-2"]
    jam("train", "data", *deep, "-o", "one", cwd=folder, check=True)
    (other,) = read_runs(str(folder / "one"))[0].runs
    both = runs_bytes(type(runs)(runs.dataset, (other, runs.runs[0])), chain)
    done = jam("train", "--finish", "-", "--steps", "2k", "-q", input=both, cwd=folder, check=True)
    assert [run["depth"] for run in header(done.stdout)["runs"]] == [2, 1]
    from safetensors.numpy import load

    theta = load(done.stdout)["r0001/theta"]
    np.testing.assert_array_equal(theta, tensors(folder / "finished")["r0000/theta"])


def test_snapshots_go_on_through_the_finish(folder):
    line = ["--patterns", FEW, "--steps", 50, "--lr", "1e-2", "--snapshots", "--measurements", 3]
    jam("train", "data", *NETWORK, *line, "-o", "snapshots", cwd=folder, check=True)
    finish = ["--finish", "snapshots", "--measurements", 3, "-o", "gone-on"]
    jam("train", *finish, cwd=folder, check=True)
    before, after = tensors(folder / "snapshots"), tensors(folder / "gone-on")
    thetas = after["r0000/history/theta"]
    assert len(thetas) > 3
    np.testing.assert_array_equal(thetas[:3], before["r0000/history/theta"])
    np.testing.assert_array_equal(thetas[-1], after["r0000/theta"])


def test_finish_leaves_a_diverged_run_as_it_is(folder):
    runs, chain = read_runs(str(folder / "adam"))
    broken = runs.runs[1]
    lost = type(broken)(
        np.full_like(broken.theta, np.nan), broken.theta0, np.full_like(broken.gaps, np.nan), broken.history,
        {**broken.info, "status": "diverged", "final_loss": None},
    )  # fmt: skip
    both = runs_bytes(type(runs)(runs.dataset, (lost, runs.runs[0])), chain)
    done = jam("train", "--finish", "-", "--require", "certified", input=both, cwd=folder)
    assert done.returncode == 3
    assert (
        f"r0000 (width 4, P {FEW}, seed 1) diverged: there is nothing to finish, it stays as it is"
        in done.stderr
    )
    first, second = header(done.stdout)["runs"]
    assert (first["status"], first["certified"]) == ("diverged", None)
    assert second["certified"] is True
    alone = runs_bytes(type(runs)(runs.dataset, (lost,)), chain)
    assert "all of them diverged" in refusal(jam("train", "--finish", "-", input=alone, cwd=folder))


def test_a_finish_that_was_stopped_goes_on_to_the_same_bytes(folder):
    kept = ["--finish", "adam", "--checkpoint", "c", "--resume", "-q", "-o", "again"]
    codes = []
    for limit in ("0.01s", "0.02s"):
        codes.append(jam("train", *kept, "--time-limit", limit, cwd=folder).returncode)
    codes.append(jam("train", *kept, cwd=folder).returncode)
    assert codes[0] == 75 and codes[-1] == 0
    assert (folder / "again").read_bytes() == (folder / "finished").read_bytes()


def test_a_checkpoint_of_other_runs_is_refused(folder):
    path = folder / "c-of-others"
    jam("train", "--finish", "adam", "--checkpoint", path, "-q", "-o", "/dev/null", cwd=folder, check=True)
    jam("train", "data", *NETWORK, "--patterns", f"{FEW},{MANY}", "--seeds", "0:2", "--steps", 200, "--lr", "1e-2",
        "-q", "-o", "others", cwd=folder, check=True)  # fmt: skip
    said = refusal(jam("train", "--finish", "others", "--checkpoint", path, "--resume", cwd=folder))
    assert "the checkpoint is of start" in said


# --- verify -------------------------------------------------------------------------------------------


def test_verify_confirms_what_was_finished(folder):
    done = jam("train", "--verify", "finished", "--require", "certified", cwd=folder, check=True)
    records = objects(done.stdout)
    assert [record["run"] for record in records] == [f"r{i:04d}" for i in range(4)]
    for record, run in zip(records, infos(folder / "finished")):
        assert (record["kind"], record["P"], record["status"]) == ("verification", run["P"], run["status"])
        assert (record["claimed"], record["certified"], record["holds"], record["findings"]) == (
            True,
            True,
            True,
            [],
        )
        assert record["certificate"]["kind"] == run["certificate"]["kind"]
    assert "holds" in done.stderr


def test_verify_finds_that_adam_claims_nothing(folder):
    done = jam("train", "--verify", "adam", cwd=folder, check=True)
    records = objects(done.stdout)
    assert {record["claimed"] for record in records} == {None}
    assert not any(record["holds"] for record in records)
    assert records[-1]["certified"] is False and records[-1]["certificate"]["obstacle"]
    assert jam("train", "--verify", "adam", "--require", "certified", "-q", cwd=folder).returncode == 3


def nudged(arrays, metadata):
    """theta of the last, jammed run by 1e-6 of itself, along a direction of no symmetry."""
    theta = arrays["r0003/theta"]
    arrays["r0003/theta"] = theta + 1e-6 * np.linalg.norm(theta) * np.random.default_rng(0).standard_normal(
        len(theta)
    ) / np.sqrt(len(theta))


def moved(arrays, metadata):
    """A pattern of the last run across Δ = 0."""
    gaps = arrays["r0003/gaps"].copy()
    gaps[np.argmin(gaps)] *= -1
    arrays["r0003/gaps"] = gaps


def claimed(arrays, metadata):
    """A certificate for a run that is at no minimum."""
    metadata["runs"][3]["certified"] = True


@pytest.mark.parametrize(("name", "change"), [("finished", nudged), ("finished", moved), ("adam", claimed)])
def test_verify_refuses_what_was_tampered_with(name, change, folder):
    (folder / "false").write_bytes(artefacts.refit((folder / name).read_bytes(), change))
    done = jam("train", "--verify", "false", "--require", "certified", cwd=folder)
    assert done.returncode == 3
    last = objects(done.stdout)[3]
    assert (last["claimed"], last["holds"]) == (True, False)
    assert last["findings"] and f"jam-train: r0003: {last['findings'][0]}" in done.stderr


def test_show_has_a_table_of_verifications(folder):
    line = jam("train", "--verify", "finished", "-q", cwd=folder, check=True).stdout
    head, *rows = jam("show", "--table", "-", input=line, check=True).stdout.decode().splitlines()
    assert head.split()[-4:] == ["claimed", "certified", "holds", "findings"]
    assert all(row.split()[-4:] == ["yes", "yes", "yes", "0"] for row in rows) and len(rows) == 4


# --- usage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("data --finish adam", "got a dataset with --finish"),
        ("--finish adam --width 3", "got --width with --finish"),
        ("--finish adam --seeds 0", "got --seeds with --finish"),
        ("--finish adam --lr 1e-3", "got --lr with --finish"),
        ("--finish adam --no-stop", "got --stop with --finish"),
        ("--finish adam --verify adam", "got --verify with --finish"),
        ("--finish adam --evaluate adam", "got --evaluate with --finish"),
        ("--verify adam --steps 9", "got --steps with --verify"),
        ("--verify adam --require satisfied", "expected --require certified"),
        ("data --optimizer newton --lr 1e-3", "got --lr with --optimizer newton"),
        ("data --optimizer newton --lr-schedule 1k:10", "got --lr-schedule with --optimizer newton"),
        ("data --optimizer newton --lr-floor 1e-9", "got --lr-floor with --optimizer newton"),
        ("data --optimizer newton --momentum 0.5", "got --momentum with --optimizer newton"),
        ("data --optimizer newton --neighbour-list", "got --neighbour-list with --optimizer newton"),
    ],
)
def test_contradictions_are_usage_errors(line, said, folder):
    assert said in refusal(jam("train", *line.split(), cwd=folder), 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--loss cross-entropy", "newton"),
        ("--batch 5", "newton"),
        ("--dtype float32", "newton"),
        ("--batch-norm", "batch normalisation"),
    ],
)
def test_newton_refuses_what_it_cannot_take(line, said, folder):
    done = jam("train", "data", *NETWORK, "--optimizer", "newton", *line.split(), "-q", cwd=folder)
    assert said in refusal(done)


def test_finish_and_verify_want_runs(folder):
    for mode in ("--finish", "--verify"):
        assert "got a dataset, expected runs" in refusal(jam("train", mode, "data", cwd=folder))


def test_a_search_with_newton_refuses_certify_and_rates(folder):
    line = ["search", "data", "--optimizer", "newton"]
    assert "got --certify with --optimizer newton" in refusal(jam("nstar", *line, "--certify", cwd=folder), 2)
    assert "got --lr with --optimizer newton" in refusal(jam("nstar", *line, "--lr", 1, cwd=folder), 2)


def test_searches_of_different_dynamics_are_told_apart_and_not_fitted_together(folder):
    common = ["search", "data", "--patterns", 20, "--depth", 1, "--seeds", "0:2"]
    for name, options in {
        "by-newton": ["--optimizer", "newton"],
        "by-adam": ["--steps", 200, "--lr", "1e-2"],
        "by-both": ["--steps", 200, "--lr", "1e-2", "--certify"],
    }.items():
        jam("nstar", *common, *options, "-q", "-o", name, cwd=folder, check=True)
    found = {name: objects((folder / name).read_bytes())[0] for name in ("by-newton", "by-adam", "by-both")}
    assert [(r["optimizer"], r["certify"]) for r in found.values()] == [
        ("newton", False), ("adam", False), ("adam", True)
    ]  # fmt: skip
    assert all(trial["certified"] is None for trial in found["by-adam"]["trials"])
    for trial in found["by-newton"]["trials"]:
        assert (trial["outcome"] in ("success", "stationary")) == trial["certified"]
    assert "different quantities" in refusal(jam("nstar", "fit", "by-newton", "by-adam", cwd=folder))
    assert "of certify False and True" in refusal(jam("nstar", "fit", "by-adam", "by-both", cwd=folder))
