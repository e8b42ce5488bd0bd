"""jam-train --from as users type it: a pipe, the order of the runs, notes, a stop and a resume, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from jamtools.data.sphere import random_sphere
from jamtools.io.read import read_runs
from jamtools.io.write import dataset_bytes, runs_bytes
from jamtools.records import Run, Runs
from tests.support import artefacts
from tests.support.commands import jam, refusal
from tests.support.contract import header, objects, tensors

STEPS = ("--steps", 200, "--lr", "1e-2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """`data` of P = 60, `other` of P = 80, and `start`: two widths and seeds, 200 steps of Adam on 50 of `data`."""
    path = tmp_path_factory.mktemp("from")
    (path / "data").write_bytes(dataset_bytes(random_sphere(60, 4, 1), artefacts.PROVENANCE))
    (path / "other").write_bytes(dataset_bytes(random_sphere(80, 4, 2), artefacts.PROVENANCE))
    network = ("--width", "4,5", "--depth", 1, "--seeds", "0:2", "-P", 50)
    jam("train", "data", *network, *STEPS, "-o", "start", cwd=path, check=True)
    return path


def infos(content: bytes) -> list[dict]:
    return header(content)["runs"]


def test_each_run_begins_at_each_p_and_the_output_is_ordered_by_width_p_and_seed(folder):
    line = ("other", "--from", "start", "--patterns", "70,40", "--epsilon", 0.3, *STEPS, "-o", "on")
    done = jam("train", *line, cwd=folder, check=True)
    runs = infos((folder / "on").read_bytes())
    expected = [(width, P, seed) for width in (4, 5) for P in (40, 70) for seed in (0, 1)]
    assert [(run["width"], run["P"], run["seed"]) for run in runs] == expected
    assert [run["origin"]["run"] for run in runs] == ["r0000", "r0001"] * 2 + ["r0002", "r0003"] * 2
    assert {run["origin"]["P"] for run in runs} == {50} and {run["epsilon"] for run in runs} == {0.3}
    arrays, before = tensors(folder / "on"), tensors(folder / "start")
    for i, run in enumerate(runs):
        np.testing.assert_array_equal(arrays[f"r{i:04d}/theta0"], before[f"{run['origin']['run']}/theta"])
    assert "runs of hinge, ε = 0.5 go on with hinge, ε = 0.3" in done.stderr


def test_the_provenance_lists_what_made_the_dataset_and_the_runs(folder):
    jam("train", "other", "--from", "start", *STEPS, "-q", "-o", "plain", cwd=folder, check=True)
    steps = header((folder / "plain").read_bytes())["provenance"]
    assert [step["command"] for step in steps] == ["jam-data", "jam-train", "jam-train"]
    assert steps[-1]["argv"][:3] == ["other", "--from", "start"]
    assert steps[1]["argv"][0] == "data"


def test_runs_and_data_may_come_from_pipes_and_where_chooses_among_the_runs(folder):
    line = ("--where", "width == 5 and seed == 1", *STEPS, "-q")
    runs, data = (folder / "start").read_bytes(), (folder / "other").read_bytes()
    by_runs = jam("train", "other", "--from", "-", *line, input=runs, cwd=folder, check=True).stdout
    by_data = jam("train", "--from", "start", *line, input=data, cwd=folder, check=True).stdout
    for content in (by_runs, by_data):
        (run,) = infos(content)
        assert (run["width"], run["seed"], run["origin"]["run"]) == (5, 1, "r0003")


def test_free_weights_go_to_a_fixed_norm_with_a_note_and_newton_there_is_verified(folder):
    line = (
        "data",
        "--from",
        "start",
        "--norm",
        "6",
        "--optimizer",
        "newton",
        "--where",
        "width == 4",
        "-P",
        10,
    )
    done = jam("train", *line, "-o", "fixed", cwd=folder, check=True)
    runs = infos((folder / "fixed").read_bytes())
    scales = sorted(run["origin"]["scale"] for run in runs)
    assert f"theta is scaled by {scales[0]:.4g} to {scales[1]:.4g} to the norm asked for" in done.stderr
    arrays = tensors(folder / "fixed")
    for i, run in enumerate(runs):
        assert run["norm"] == 6 and run["certified"]
        assert np.linalg.norm(arrays[f"r{i:04d}/theta0"]) == pytest.approx(6, rel=1e-14)
    verified = objects(jam("train", "--verify", "fixed", "-q", cwd=folder, check=True).stdout)
    assert [line["findings"] for line in verified] == [[], []]


@pytest.mark.parametrize(
    "options",
    [
        ("--engine", "compiled"),
        ("--engine", "batch"),
        ("--optimizer", "sgd", "--batch", "20"),
        ("--optimizer", "newton"),
    ],
    ids=" ".join,
)
def test_a_training_from_runs_that_was_stopped_resumes_to_the_same_bytes(folder, options):
    newton = "newton" in options
    steps = () if newton else ("--steps", 400, "--lr", "1e-3", "--no-stop")
    P, more = (12, "12,13") if newton else (70, "70,80")
    line = ("other", "--from", "start", "--where", "width == 4", *options, *steps, "-q", "-o", "again")
    jam("train", *line, "-P", P, cwd=folder, check=True)
    whole, kept = (folder / "again").read_bytes(), ("--checkpoint", f"c-{options[1]}", "--resume")
    first = jam("train", *line, "-P", P, *kept, "--time-limit", "0.01s", cwd=folder)
    assert first.returncode == 75
    jam("train", *line, "-P", P, *kept, cwd=folder, check=True)
    assert (folder / "again").read_bytes() == whole
    jam("train", *line, "-P", more, *kept, cwd=folder, check=True)
    np.testing.assert_array_equal(tensors(folder / "again")["r0000/theta"], load(whole)["r0000/theta"])
    assert len(infos((folder / "again").read_bytes())) == 4


def test_a_checkpoint_of_other_starts_is_refused(folder):
    line = ("other", *STEPS, "-q", "--checkpoint", "c-starts", "-o", "/dev/null", "--resume")
    jam("train", *line, "--from", "start", cwd=folder, check=True)
    jam("train", "data", "--from", "start", *STEPS, "-q", "-o", "later", cwd=folder, check=True)
    assert "the checkpoint is of start" in refusal(jam("train", *line, "--from", "later", cwd=folder))


def diverged(run: Run) -> Run:
    """The run as it would be recorded if its parameters had become infinite."""
    nan = {name: np.full_like(getattr(run, name), np.nan) for name in ("theta", "gaps")}
    return replace(run, **nan, info={**run.info, "status": "diverged", "final_loss": None})


def test_a_run_that_diverged_is_left_out_with_a_note(folder):
    runs, chain = read_runs(str(folder / "start"))
    both = runs_bytes(Runs(runs.dataset, (diverged(runs.runs[0]), runs.runs[1])), chain)
    done = jam("train", "other", "--from", "-", *STEPS, input=both, cwd=folder, check=True)
    assert "r0000 (width 4, P 50, seed 0) diverged: no training begins there, it is left out" in done.stderr
    (run,) = infos(done.stdout)
    assert run["origin"]["run"] == "r0001"
    alone = runs_bytes(Runs(runs.dataset, (diverged(runs.runs[0]),)), chain)
    line = ("other", "--from", "-", "-q")
    assert "all of them diverged" in refusal(jam("train", *line, input=alone, cwd=folder))


def test_data_of_another_dimension_and_too_few_patterns_are_refused_by_name(folder):
    jam("data", "random", "-P", 20, "-d", 3, "-o", "flat", cwd=folder, check=True)
    message = refusal(jam("train", "flat", "--from", "start", cwd=folder))
    assert "start: r0000: a run of d = 4 and outputs = 1, expected d = 3 and outputs = 1" in message
    message = refusal(jam("train", "other", "--from", "start", "-P", 81, cwd=folder))
    assert "other: asked for 81 patterns, the dataset has 80" in message
    assert "data: got a dataset, expected runs" in refusal(
        jam("train", "other", "--from", "data", cwd=folder)
    )
    message = refusal(jam("train", "other", "--from", "start", "--epsilon", "-1", cwd=folder))
    assert "start: r0000: a margin of -1 with free weights" in message


def test_the_help_says_what_comes_from_the_runs(folder):
    words = " ".join(jam("train", "--help", cwd=folder, check=True).stdout.decode().split())
    assert "--from RUNS" in words and "the network, the seed and theta are those of the run" in words
