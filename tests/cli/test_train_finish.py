"""jam-train --finish: runs continued to the minimum of their basin, certified there, and their record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from jamtools.io.read import read_runs
from jamtools.io.write import runs_bytes
from jamtools.records import Run, Runs
from tests.support.commands import jam, refusal
from tests.support.contract import header, tensors
from tests.support.small_runs import NETWORK, P_JAMMED, P_SATISFIED


@pytest.fixture(scope="module")
def folder(minima) -> Path:
    return minima.folder


def infos(path: Path) -> list[dict]:
    return header(path.read_bytes())["runs"]


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


def test_finish_records_the_relative_change_of_theta_and_continues_the_history(folder):
    before, after = tensors(folder / "adam"), tensors(folder / "finished")
    for i, run in enumerate(infos(folder / "finished")):
        old, new = before[f"r{i:04d}/theta"], after[f"r{i:04d}/theta"]
        moved = np.linalg.norm(new - old) / np.linalg.norm(old)
        assert run["finish"]["relative_change"] == pytest.approx(moved, rel=1e-6)
        np.testing.assert_array_equal(after[f"r{i:04d}/theta0"], before[f"r{i:04d}/theta0"])
        steps, earlier = after[f"r{i:04d}/history/step"], before[f"r{i:04d}/history/step"]
        assert (np.diff(steps) > 0).all() and steps[-1] == run["steps"]
        np.testing.assert_array_equal(steps[: len(earlier)], earlier)


def test_the_table_of_finish_shows_n_unsatisfied_and_loss_before_and_after(minima):
    folder, messages = minima.folder, minima.finish_messages
    for old, new in zip(infos(folder / "adam"), infos(folder / "finished")):
        assert f" {old['n_unsatisfied']} → {new['n_unsatisfied']} " in messages
        assert f" {old['final_loss']:.4g} → {new['final_loss']:.4g} " in messages


def test_the_provenance_of_finished_runs_holds_all_three_commands(folder):
    steps = header((folder / "finished").read_bytes())["provenance"]
    assert [step["command"] for step in steps] == ["jam-data", "jam-train", "jam-train"]
    assert steps[-1]["argv"] == ["--finish", "adam"]


def test_runs_of_two_depths_in_one_pipe_keep_their_order_through_finish(folder):
    """The library may write such a file; jam-train itself writes runs of one depth."""
    runs, chain = read_runs(str(folder / "adam"))
    deep = ["--width", 2, "--depth", 2, "--patterns", 8, "--steps", 100, "--lr", "1e-2"]
    jam("train", "data", *deep, "-o", "one", cwd=folder, check=True)
    (other,) = read_runs(str(folder / "one"))[0].runs
    both = runs_bytes(Runs(runs.dataset, (other, runs.runs[0])), chain)
    done = jam("train", "--finish", "-", "--steps", "2k", "-q", input=both, cwd=folder, check=True)
    assert [run["depth"] for run in header(done.stdout)["runs"]] == [2, 1]
    theta = load(done.stdout)["r0001/theta"]
    np.testing.assert_array_equal(theta, tensors(folder / "finished")["r0000/theta"])


def test_a_history_with_snapshots_continues_with_snapshots(folder):
    line = ["--patterns", P_SATISFIED, "--steps", 50, "--lr", "1e-2", "--snapshots", "--measurements", 3]
    jam("train", "data", *NETWORK, *line, "-o", "snapshots", cwd=folder, check=True)
    finish = ["--finish", "snapshots", "--measurements", 3, "-o", "continued"]
    jam("train", *finish, cwd=folder, check=True)
    before, after = tensors(folder / "snapshots"), tensors(folder / "continued")
    thetas = after["r0000/history/theta"]
    assert len(thetas) > 3
    np.testing.assert_array_equal(thetas[:3], before["r0000/history/theta"])
    np.testing.assert_array_equal(thetas[-1], after["r0000/theta"])


def diverged(run: Run) -> Run:
    """The run as it would be recorded if its parameters had become infinite."""
    return replace(
        run,
        theta=np.full_like(run.theta, np.nan),
        gaps=np.full_like(run.gaps, np.nan),
        info={**run.info, "status": "diverged", "final_loss": None},
    )


def test_finish_leaves_a_diverged_run_unchanged(folder):
    runs, chain = read_runs(str(folder / "adam"))
    both = runs_bytes(Runs(runs.dataset, (diverged(runs.runs[1]), runs.runs[0])), chain)
    done = jam("train", "--finish", "-", "--require", "certified", input=both, cwd=folder)
    assert done.returncode == 3
    note = f"r0000 (width 4, P {P_SATISFIED}, seed 1) diverged: there is nothing to finish, it stays as it is"
    assert note in done.stderr
    first, second = header(done.stdout)["runs"]
    assert (first["status"], first["certified"]) == ("diverged", None)
    assert second["certified"] is True


def test_finish_refuses_a_file_of_diverged_runs(folder):
    runs, chain = read_runs(str(folder / "adam"))
    alone = runs_bytes(Runs(runs.dataset, (diverged(runs.runs[1]),)), chain)
    assert "all of them diverged" in refusal(jam("train", "--finish", "-", input=alone, cwd=folder))


def test_a_finish_that_was_stopped_resumes_to_the_same_bytes(folder):
    kept = ["--finish", "adam", "--checkpoint", "c", "--resume", "-q", "-o", "again"]
    codes = []
    for limit in ("0.01s", "0.02s"):
        codes.append(jam("train", *kept, "--time-limit", limit, cwd=folder).returncode)
    codes.append(jam("train", *kept, cwd=folder).returncode)
    assert codes[0] == 75 and codes[-1] == 0
    assert (folder / "again").read_bytes() == (folder / "finished").read_bytes()


def test_a_checkpoint_made_from_other_runs_is_refused(folder):
    path = folder / "c-of-others"
    jam("train", "--finish", "adam", "--checkpoint", path, "-q", "-o", "/dev/null", cwd=folder, check=True)
    patterns = ["--patterns", f"{P_SATISFIED},{P_JAMMED}", "--seeds", "0:2"]
    options = [*NETWORK, *patterns, "--steps", 200, "--lr", "1e-2", "-q", "-o", "others"]
    jam("train", "data", *options, cwd=folder, check=True)
    message = refusal(jam("train", "--finish", "others", "--checkpoint", path, "--resume", cwd=folder))
    assert "the checkpoint is of start" in message


def test_finish_refuses_a_dataset(folder):
    assert "got a dataset, expected runs" in refusal(jam("train", "--finish", "data", cwd=folder))
