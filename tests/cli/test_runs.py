"""jam-runs as users run it: merged, sorted, split and lighter files, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from jamtools.io.read import read_runs
from jamtools.io.write import dataset_bytes, runs_bytes
from jamtools.records import Run, Runs
from tests.support import artefacts
from tests.support.commands import jam, refusal
from tests.support.contract import header

DATA = artefacts.dataset(P=9)

STATES = ("satisfied", "stationary", "budget")


def member(seed: int, **fields) -> Run:
    """A run with snapshots in its history."""
    run = artefacts.run(seed=seed, **fields)
    snapshots = np.random.default_rng(seed).normal(size=(3, len(run.theta)))
    return replace(run, history={**run.history, "theta": snapshots})


#: File -> its runs; all train on the first 4 to 9 patterns of one dataset.
CONTENT = {
    "a": [member(k, status=status, final_loss=0.3 - k / 10) for k, status in enumerate(STATES)],
    "b": [member(k + 5, status=status, depth=2, P=4, final_loss=0.25) for k, status in enumerate(STATES)],
    "foreign": [member(9, depth=3)],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files on 9 and on the first 6 patterns of the same data, one on other data, and a dataset."""
    sets = {"a": DATA.first(6), "b": DATA, "foreign": artefacts.dataset(P=7, seed=1)}
    for name, runs in CONTENT.items():
        made_by = [*artefacts.PROVENANCE, {"command": "jam-train", "argv": [name]}]
        (tmp_path / name).write_bytes(runs_bytes(Runs(sets[name], tuple(runs)), made_by))
    (tmp_path / "data").write_bytes(dataset_bytes(DATA, artefacts.PROVENANCE))
    return tmp_path


def made(folder: Path, *args: object) -> bytes:
    """The output of a jam-runs that succeeds."""
    return jam("runs", *args, cwd=folder, check=True).stdout


def seeds(data: bytes) -> list[int]:
    return [info["seed"] for info in header(data)["runs"]]


def same_run(tensors: dict[str, np.ndarray], number: int, run: Run) -> bool:
    """Whether a file has exactly the arrays of a run under this number, bit for bit."""
    prefix = f"r{number:04d}/"
    found = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    return found.keys() == run.arrays().keys() and all(
        artefacts.identical(array, run.arrays()[name]) for name, array in found.items()
    )


def test_merged_files_hold_every_run_as_it_was_and_the_longer_training_set(folder):
    data = made(folder, "a", "b")
    tensors, metadata = load(data), header(data)
    members = [*CONTENT["a"], *CONTENT["b"]]
    assert all(same_run(tensors, i, run) for i, run in enumerate(members))
    named = [{"data": "by hand d=3", **run.info} for run in members]
    assert metadata["runs"] == named, "a file without the name of its data gets it when it is read"
    assert artefacts.identical(tensors["x"], DATA.x) and artefacts.identical(tensors["y"], DATA.y)
    assert metadata["dataset"] == dict(DATA.info)
    assert len([name for name in tensors if name.startswith("r0006")]) == 0


def test_the_provenance_has_each_step_of_the_files_once_and_then_this_one(folder):
    steps = header(made(folder, "a", "b", "--where", "jammed"))["provenance"]
    assert [step["command"] for step in steps] == ["jam-data", "jam-train", "jam-train", "jam-runs"]
    assert steps[-1]["argv"] == ["a", "b", "--where", "jammed"]


def test_a_merged_file_is_read_by_the_library(folder):
    made(folder, "a", "b", "-o", "c")
    runs, _ = read_runs(str(folder / "c"))
    assert [run.info["seed"] for run in runs.runs] == [0, 1, 2, 5, 6, 7]
    assert runs.patterns(runs.runs[3]).P == 4


def test_a_condition_selects_across_files_and_other_data_do_not_matter_where_no_run_is_kept(folder):
    done = jam("runs", "a", "b", "foreign", "--where", "jammed", cwd=folder, check=True)
    assert seeds(done.stdout) == [1, 6]
    assert "jam-runs: 2 of 7 runs kept by 'jammed'" in done.stderr


def test_a_pipe_passes_runs_on(folder):
    data = jam("runs", "--where", "satisfied", input=(folder / "a").read_bytes(), check=True).stdout
    assert seeds(data) == [0]
    assert seeds(jam("runs", "-", input=data, check=True).stdout) == [0]


def test_a_run_that_is_there_twice_is_kept_once_with_a_note(folder):
    done = jam("runs", "a", "b", "a", cwd=folder, check=True)
    assert seeds(done.stdout) == [0, 1, 2, 5, 6, 7]
    assert "3 of 9 runs are there more than once and are kept once" in done.stderr


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--sort", "final_loss"], [2, 1, 5, 6, 7, 0]),
        (["--sort", "-final_loss"], [0, 5, 6, 7, 1, 2]),
        (["--sort", "status,-seed"], [7, 2, 5, 0, 6, 1]),
        (["--sort", "P/N,-loss"], [5, 6, 7, 0, 1, 2]),
        (["--sort", "-seed", "--first", "2"], [7, 6]),
        (["--sort", "-seed", "--where", "depth == 1", "--first", "9"], [2, 1, 0]),
    ],
)
def test_runs_are_sorted_by_fields_and_expressions(folder, args, expected):
    assert seeds(made(folder, "a", "b", *args)) == expected


def test_runs_without_a_value_come_last_in_either_direction(tmp_path):
    runs = [artefacts.run(seed=k, final_loss=loss) for k, loss in enumerate([None, 0.2, 0.1])]
    (tmp_path / "x").write_bytes(runs_bytes(artefacts.runs(*runs), artefacts.PROVENANCE))
    assert seeds(made(tmp_path, "x", "--sort", "loss")) == [2, 1, 0]
    assert seeds(made(tmp_path, "x", "--sort", "-loss")) == [1, 2, 0]


def test_split_writes_a_file_for_each_value_and_together_they_hold_every_run(folder):
    done = jam("runs", "a", "b", "--split", "depth", "-o", "L{depth}.safetensors", cwd=folder, check=True)
    assert done.stdout == b""
    assert [seeds((folder / f"L{depth}.safetensors").read_bytes()) for depth in (1, 2)] == [
        [0, 1, 2],
        [5, 6, 7],
    ]
    tensors = load((folder / "L2.safetensors").read_bytes())
    assert all(same_run(tensors, i, run) for i, run in enumerate(CONTENT["b"]))
    assert "L1.safetensors: 3 runs" in done.stderr


def test_split_by_two_fields_names_both(folder):
    made(folder, "a", "b", "--split", "depth,status", "-o", "{status}-{depth}")
    names = {f"{status}-{depth}" for status in STATES for depth in (1, 2)}
    assert names <= {path.name for path in folder.iterdir()}


def test_a_lighter_file_has_no_snapshots_and_short_histories(folder):
    tensors = load(made(folder, "a", "--drop", "history"))
    assert tensors["r0000/history/step"].tolist() == [10, 100]
    assert "r0000/history/theta" not in tensors
    assert artefacts.identical(tensors["r0001/theta"], CONTENT["a"][1].theta)
    tensors = load(made(folder, "a", "--drop", "snapshots"))
    assert tensors["r0000/history/step"].tolist() == [0, 10, 100] and "r0000/history/theta" not in tensors


def test_test_sets_that_differ_can_be_left_out(tmp_path):
    for name, test in (("a", 3), ("b", 4)):
        runs = Runs(artefacts.dataset(P=6, test=test), (artefacts.run(seed=test),))
        (tmp_path / name).write_bytes(runs_bytes(runs, artefacts.PROVENANCE))
    message = refusal(jam("runs", "a", "b", "-q", cwd=tmp_path))
    assert message == "jam-runs: a and b: their test sets differ; leave them out with --drop test"
    merged = made(tmp_path, "a", "b", "--drop", "test")
    assert seeds(merged) == [3, 4] and "x_test" not in load(merged)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["a", "foreign"], 1, "foreign and a: pattern 0 of their training sets differs; choose runs of one dataset"),
        (["a", "data"], 1, "data: got a dataset, expected runs"),
        (["a", "--where", "depth == 7"], 1, "a: none of 3 runs fulfils 'depth == 7'; depth is 1"),
        (["a", "--sort", "dept"], 1, "no field 'dept'; did you mean depth?"),
        (["a", "--sort", "near(0.1)"], 1, "near(…) needs all runs"),
        (["a", "--split", "dept", "-o", "{dept}"], 1, "no field 'dept'; did you mean depth?"),
        (["a", "--split", "depth"], 2, "expected a name with {depth} in it"),
        (["a", "--split", "depth", "-o", "x"], 2, "expected a name with {depth} in it"),
        (["a", "--sort", "depth,"], 2, "expected names with commas between them"),
        (["a", "--first", "0"], 2, "at least 1"),
        (["a", "--drop", "theta0"], 2, "cannot leave out 'theta0', every run has it"),
        (["a", "--drop", "weights"], 2, "expected some of snapshots, history, test"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line_and_writes_nothing(folder, args, code, message):
    before = {path.name for path in folder.iterdir()}
    assert message in refusal(jam("runs", *args, "-q", cwd=folder), code)
    assert {path.name for path in folder.iterdir()} == before


def test_a_run_that_does_not_fit_its_own_file_is_refused_though_the_longest_data_would_do(folder):
    def more_patterns(tensors, metadata):
        tensors["x"], tensors["y"] = tensors["x"][:5], tensors["y"][:5]

    (folder / "bad").write_bytes(artefacts.refit((folder / "a").read_bytes(), more_patterns))
    message = refusal(jam("runs", "b", "bad", "-q", cwd=folder))
    assert "bad: a run of P=6, d=3 on a dataset of P=5, d=3" in message


def test_a_file_may_replace_itself(folder):
    made(folder, "a", "--first", 1, "-o", "a")
    assert seeds((folder / "a").read_bytes()) == [0]
