"""jam-show: JSON lines equal to the metadata, arrays as text that restores every bit, tables."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from jamtools.cli import show
from jamtools.cli.common.tables import show_columns
from jamtools.errors import InputError
from jamtools.io.artefact import Artefact
from jamtools.io.write import dataset_bytes, runs_bytes, spectra_bytes
from jamtools.records import RUN_FIELDS, Dataset
from tests.support.artefacts import PROVENANCE, dataset, refit, run, run_info, runs, spectrum
from tests.support.commands import ROOT, jam, refusal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a dataset, two files of runs, and spectra."""
    (tmp_path / "data.safetensors").write_bytes(dataset_bytes(dataset(test=4), PROVENANCE))
    trained = [*PROVENANCE, {"command": "jam-train", "argv": ["--width", "2"]}]
    (tmp_path / "a.safetensors").write_bytes(runs_bytes(runs(run(), run(seed=1)), trained))
    (tmp_path / "b.safetensors").write_bytes(runs_bytes(runs(run(seed=2)), trained))
    made = spectrum([0, 0, 1e-3, 2], [-0.5, -0.0, 0.1, 0.5], [-0.1, 0, 1, 2])
    (tmp_path / "spectra.safetensors").write_bytes(spectra_bytes([made], trained))
    return tmp_path


def lines(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess:
    program = f"{shlex.quote(sys.executable)} -m jamtools.cli.show"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command.replace('jam-show', program)}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


# --- JSON lines ---------------------------------------------------------------------------------------


def test_runs_are_numbered_through_all_files(folder):
    done = jam("show", "a.safetensors", "b.safetensors", cwd=folder, check=True)
    named = {"kind": "runs", "data": "by hand d=3"}
    assert lines(done.stdout) == [{**named, "run": f"r{i:04d}", **run_info(seed=i)} for i in range(3)]
    assert done.stderr == ""


def test_standard_input_is_the_default(folder):
    data = (folder / "spectra.safetensors").read_bytes()
    (line,) = lines(jam("show", input=data, check=True).stdout)
    info = Artefact("-", data).infos[0]
    assert line == {"kind": "spectra", "run": "r0000", **info}
    assert line["n_negative_Hp"] == 1


def test_a_dataset_is_one_line_with_shapes_and_label_balance(folder):
    (line,) = show.records([str(folder / "data.safetensors")])
    assert line.pop("shapes") == {"x": [6, 3], "y": [6], "x_test": [4, 3], "y_test": [4]}
    assert line.pop("balance") == {"y": {"-1": 3, "1": 3}, "y_test": {"-1": 2, "1": 2}}
    assert line == {"kind": "dataset", **dataset().info}


def test_the_label_balance_counts_the_patterns_of_each_class(tmp_path):
    y = 2 * np.eye(3)[[0, 2, 2, 2]] - 1
    (tmp_path / "d").write_bytes(dataset_bytes(Dataset(np.ones((4, 2)), y), []))
    (line,) = show.records([str(tmp_path / "d")])
    assert line["balance"] == {"y": {"0": 1, "1": 0, "2": 3}}


def test_a_run_is_numbered_by_its_place_even_if_its_metadata_differ(tmp_path):
    written = refit(runs_bytes(runs(run()), []), lambda _, metadata: metadata["runs"][0].update(run="x"))
    (tmp_path / "a").write_bytes(written)
    assert [line["run"] for line in show.records([str(tmp_path / "a")])] == ["r0000"]


def test_json_lines_are_passed_through(tmp_path):
    records = [{"run": "r0000", "n_effective": 9}, {"run": "r0001", "n_effective": None, "dead": [[1, 2]]}]
    text = "".join(json.dumps(record, indent=1) for record in records)
    (tmp_path / "a.jsonl").write_text(text)
    assert list(show.records([str(tmp_path / "a.jsonl")])) == records


# --- arrays -------------------------------------------------------------------------------------------

dtypes = st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.bool_])


@settings(deadline=None)
@given(dtypes.flatmap(lambda dtype: arrays(dtype, array_shapes(max_dims=3, max_side=4))))
def test_the_text_of_an_array_restores_every_bit(array):
    rows = [line.split(" ") for line in show.array_text(array).decode().splitlines()]
    assert len(rows) == (array.size if array.ndim == 1 else np.prod(array.shape[:-1]))
    read = {"f": float, "i": int, "u": int, "b": lambda word: bool(int(word))}[array.dtype.kind]
    back = np.array([[read(word) for word in row] for row in rows], dtype=array.dtype).reshape(array.shape)
    same = (
        (back == array) & (np.signbit(back) == np.signbit(array))
        if array.dtype.kind == "f"
        else back == array
    )
    assert (same | ((back != back) & (array != array))).all()


def test_an_array_without_elements_is_an_empty_text():
    assert show.array_text(np.empty((0, 3))) == b""


def test_an_array_is_printed_as_a_column(folder):
    done = jam("show", "--array", "r0000/Hp", "spectra.safetensors", cwd=folder, check=True)
    assert done.stdout == b"-0.5\n-0.0\n0.1\n0.5\n"


def test_a_matrix_is_printed_with_one_row_per_line(folder):
    text = show.array_text(show.find_array([str(folder / "data.safetensors")], "x"))
    assert (np.loadtxt(text.decode().splitlines()) == dataset().x).all()


def test_an_array_is_found_by_the_number_of_its_run_through_all_files(folder):
    files = [str(folder / name) for name in ("a.safetensors", "b.safetensors")]
    assert (show.find_array(files, "r0002/theta") == run(seed=2).theta).all()
    assert (show.find_array(files, "r0001/theta") == run(seed=1).theta).all()


def test_an_array_unknown_to_jamtools_is_printed(tmp_path):
    data = refit(
        runs_bytes(runs(run()), []),
        lambda tensors, _: tensors.update(mine=np.arange(2, dtype=np.int16)),
    )
    (tmp_path / "a").write_bytes(data)
    assert show.array_text(show.find_array([str(tmp_path / "a")], "mine")) == b"0\n1\n"


@pytest.mark.parametrize(
    ("names", "array", "message"),
    [
        (
            ["a"],
            "r0000/H",
            "a.safetensors: no array r0000/H; it holds r0000/gaps, .*r0000/theta, r0000/theta0, x, y",
        ),
        (["a", "b"], "r0003/theta", "no run r0003: the files hold 3 runs"),
        (["a", "b"], "x", "got --array x and 2 files, expected the array of a run or one file"),
    ],
)
def test_a_missing_array_is_refused_with_the_names_of_those_that_exist(folder, names, array, message):
    with pytest.raises(InputError, match=message):
        show.find_array([str(folder / f"{name}.safetensors") for name in names], array)


def test_arrays_are_listed_by_name_dtype_and_shape(folder):
    listed = list(show.inventory([str(folder / "spectra.safetensors")]))
    assert [(line["array"], line["dtype"], line["shape"]) for line in listed] == [
        ("r0000/H", "F64", [4]), ("r0000/H0", "F64", [4]), ("r0000/Hp", "F64", [4])
    ]  # fmt: skip


# --- tables and provenance ----------------------------------------------------------------------------


def test_the_provenance_of_several_files_holds_each_command_once(folder):
    done = jam("show", "--provenance", "a.safetensors", "b.safetensors", cwd=folder, check=True)
    assert lines(done.stdout) == [*PROVENANCE, {"command": "jam-train", "argv": ["--width", "2"]}]


def test_a_table_is_aligned_and_has_a_cell_for_each_column(folder):
    done = jam("show", "--table", "a.safetensors", "b.safetensors", cwd=folder, check=True)
    head, *rows = done.stdout.decode().splitlines()
    assert len({len(row) for row in (head, *rows)}) == 1
    assert head.endswith("data") and all(row.endswith("by hand d=3") for row in rows)
    head, *rows = (line.removesuffix("by hand d=3").removesuffix("data") for line in (head, *rows))
    cells = [dict(zip(head.split(), row.split(), strict=True)) for row in rows]
    assert [cell["run"] for cell in cells] == ["r0000", "r0001", "r0002"]
    assert cells[0] | {"P/N": "0.6667", "N_Δ/N": "0.3333", "loss": "0.01", "status": "budget"} == cells[0]


def test_each_kind_has_a_table_of_its_own(folder):
    records = show.records([str(folder / f"{name}.safetensors") for name in ("data", "a", "spectra")])
    tables = show.table_text(records).decode().split("\n\n")
    assert [table.split()[0] for table in tables] == ["source", "run", "run"]
    assert tables[0].splitlines()[1].split()[-5:] == ["4", "-1:3,1:3", "by", "hand", "d=3"]
    assert "rank_H0" in tables[2]


def test_the_table_of_runs_has_the_test_error_if_one_of_them_has_it():
    record = {**dict.fromkeys(RUN_FIELDS, 1), "kind": "runs", "run": "r0000"}
    without = show.table_text([record]).decode().splitlines()
    one_has = show.table_text([record, {**record, "test_error": 0.25}]).decode().splitlines()
    assert "test error" not in without[0]
    assert one_has[0].endswith("test error")
    assert [line.split()[-1] for line in one_has[1:]] == ["-", "0.25"]


def test_the_table_of_gaps_has_a_row_for_each_distribution():
    fit = {"exponent": 0.3, "interval": [0.2, 0.4], "n": 100, "p_null": 0.01}
    overlaps = {**fit, "histogram": {"edges": [1, 2]}}
    record = {"kind": "gaps", "overlaps": overlaps, "gaps": {"exponent": None, "refused": "3 values", "n": 3}}
    rows = show.table_text([record]).decode().splitlines()
    assert rows[0].split() == list(show_columns("gaps"))
    assert rows[1].split()[:4] == ["θ", "0.3", "[0.2,0.4]", "100"]
    assert rows[2].endswith("3 values")


def test_the_table_of_other_records_has_the_fields_that_fit_a_cell():
    records = [
        {"a": 1, "b": {"c": True, "d": None}, "e": [1.5, 2], "f": [1, 2, 3, 4], "g": [{"x": 1}]},
        {"a": 2},
    ]
    cells = [line.split() for line in show.table_text(records).decode().splitlines()]
    assert cells == [["a", "b.c", "b.d", "e"], ["1", "yes", "-", "[1.5,2]"], ["2", "-", "-", "-"]]


# --- bad input, bad output ----------------------------------------------------------------------------


def test_empty_input_is_refused_in_one_line():
    line = refusal(jam("show"))
    assert line == "jam-show: empty input, expected an artefact; did the command before it fail?"


def test_an_array_of_json_lines_is_refused():
    line = refusal(jam("show", "--array", "x", input=b'{"P": 1}'))
    assert line.startswith("jam-show: got JSON lines, which hold neither arrays nor provenance")


def test_two_views_together_are_a_usage_error(folder):
    assert "expected one" in refusal(jam("show", "--table", "--provenance", folder / "a.safetensors"), code=2)


def test_a_failure_leaves_an_existing_output_unchanged(folder):
    (folder / "out").write_text("old")
    refusal(jam("show", "a.safetensors", "nowhere", "-o", "out", cwd=folder))
    assert (folder / "out").read_text() == "old"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("> /dev/full", "no space left on device"),
        ("-o /dev/full", "no space left on device"),
        (">&-", "bad file descriptor"),
    ],
)
def test_an_output_that_takes_no_bytes_is_reported_in_one_line(folder, target, reason):
    done = shell(f"jam-show a.safetensors {target}", folder)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr


def test_messages_for_a_closed_stderr_do_not_appear_on_stdout(folder):
    done = shell("jam-show nowhere 2>&-", folder)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_closed_pipe_causes_no_message(tmp_path):
    (tmp_path / "a").write_bytes(dataset_bytes(dataset(P=20000), []))
    done = shell("jam-show --array x a | head -c 10", tmp_path)
    assert (len(done.stdout), done.stderr) == (10, "")
    assert done.returncode == 128 + 13, "like other filters, it ends by SIGPIPE"


def test_a_table_is_at_most_120_wide_and_a_note_names_what_it_leaves_out():
    notes = []
    record = {"kind": "another", **{f"field_{i}": 1.5 for i in range(40)}}
    lines = show.table_text([record], notes.append).decode().splitlines()
    labels = lines[0].split()
    assert labels == [f"field_{i}" for i in range(len(labels))]
    # one more column of eight characters, with two spaces before it, would not fit
    assert 120 - 10 < max(map(len, lines)) <= 120
    (note,) = notes
    left = 40 - len(labels)
    assert (
        note.startswith(f"left out of the table: field_{len(labels)}, ") and f" and {left - 4} more; " in note
    )


def test_the_table_of_cusps_fits_120_characters():
    record = {
        "kind": "cusps", "run": "r0000", "width": 100, "depth": 10, "P": 10000, "n_effective_expected": 8000,
        "n_unsatisfied": 7500, "n_cusps": 1800, "n_cusps_per_parameter": 0.22512, "n_convex": 1700,
        "gradient_norm": 1.2345e-05, "clarke_norm": 1.2345e-12,
        "lagrangian": {"dimension": 6200, "n_negative": 10, "relative": -1.2345e-11, "stable": False},
    }  # fmt: skip
    notes = []
    table = show.table_text([record], notes.append).decode()
    assert max(map(len, table.splitlines())) <= 120 and notes == []
    assert table.splitlines()[0].split()[-1] == "stable"
