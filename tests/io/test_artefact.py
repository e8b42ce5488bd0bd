"""Artefacts that are opened, additions that are ignored, and files that are refused with one line."""

import json
import os
import struct
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from jamtools.errors import InputError, Remedy
from jamtools.io.artefact import Artefact, open_any
from jamtools.io.read import read_dataset, read_runs
from jamtools.io.write import dataset_bytes, runs_bytes
from tests.support.artefacts import PROVENANCE, dataset, identical, opened, refit, run, run_info, runs


def test_a_group_holds_the_arrays_of_one_run_also_beyond_ten_thousand_runs():
    tensors = {f"r{i:04d}/history/step": np.array([i]) for i in (1000, 9999, 10000)}
    artefact = opened(save(tensors, {"jamtools": '{"kind": "runs", "version": 1}'}))
    assert all(list(artefact.group(f"r{i}/history")) == ["step"] for i in (1000, 9999, 10000))
    assert artefact.group("r100/history") == {}


def test_opening_an_artefact_reads_no_array(tmp_path):
    """A file of 2 GB that is sparse on the disk stays sparse."""
    path = tmp_path / "large.safetensors"
    metadata = json.dumps({"kind": "runs", "version": 1, "provenance": PROVENANCE, "runs": [run_info()]})
    header = {"r0000/theta": {"dtype": "F64", "shape": [2**28], "data_offsets": [0, 2**31]}}
    text = json.dumps({"__metadata__": {"jamtools": metadata}, **header}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 2**31)
    artefact = Artefact(str(path))
    assert artefact.infos == [run_info()]
    assert artefact.shape("r0000/theta") == (2**28,)
    assert os.stat(path).st_blocks * 512 < 2**20


# --- additions of other programs ----------------------------------------------------------------------


def test_unknown_tensors_and_metadata_are_ignored():
    def change(tensors, metadata):
        tensors |= {"r0000/extra": np.arange(3, dtype=np.int8), "notes": np.zeros((2, 2), dtype=np.float16)}
        metadata |= {"colour": "blue"}
        metadata["runs"][0]["mood"] = "calm"

    back, _ = read_runs(opened(refit(runs_bytes(runs(run()), PROVENANCE), change)))
    assert identical(back.runs[0].theta, run().theta)
    assert back.runs[0].info["mood"] == "calm"


def test_another_version_of_the_format_is_refused():
    data = refit(dataset_bytes(dataset(), PROVENANCE), lambda _, metadata: metadata.update(version=2))
    with pytest.raises(
        InputError, match="got dataset of format version 2, expected version 1; use the jamtools"
    ):
        opened(data)


# --- refused files ------------------------------------------------------------------------------------


def test_a_file_that_is_cut_anywhere_is_refused():
    whole = runs_bytes(runs(run()), PROVENANCE)
    for length in range(0, len(whole), 5):
        with pytest.raises(InputError, match="empty input|not a whole safetensors file") as caught:
            read_runs(opened(whole[:length], "a.safetensors"))
        assert str(caught.value).startswith("a.safetensors: ")
        assert "\n" not in str(caught.value)


def test_a_header_longer_than_the_file_is_refused():
    for length in (10**3, 10**7, 2**40, 2**64 - 1):
        with pytest.raises(InputError, match="not a whole safetensors file"):
            opened(struct.pack("<Q", length) + b"{}")


def test_bytes_after_the_last_tensor_are_refused():
    with pytest.raises(InputError, match="not a whole safetensors file"):
        opened(dataset_bytes(dataset(), []) + b"more")


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: struct.pack("<Q", len(tail)) + tail))
def test_random_bytes_in_place_of_an_artefact_are_refused(data):
    with pytest.raises(InputError):
        opened(data)


def test_the_message_for_json_in_place_of_an_artefact_names_json():
    with pytest.raises(InputError, match="got JSON, expected an artefact in safetensors"):
        opened(b'{"run": "r0000"}\n')


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"jamtools": "{"}, {"jamtools": "[1]"}, {"jamtools": "{}"},
                                      {"jamtools": '{"kind": 3, "version": 1}'}])  # fmt: skip
def test_safetensors_of_other_programs_are_refused(metadata):
    with pytest.raises(InputError, match="that jamtools did not write") as caught:
        opened(save({"x": np.zeros(2)}, metadata))
    assert caught.value.remedy == Remedy.READ_ARRAYS


def test_the_message_for_a_missing_array_lists_the_arrays_that_exist():
    with pytest.raises(InputError, match="no array r0000/H; it holds r0000/gaps, .*, x, y$"):
        opened(runs_bytes(runs(run(), run()), PROVENANCE)).any_tensor("r0000/H")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("r0000/tehta", "r0000/theta"),
        ("r0000/histroy/loss", "r0000/history/loss"),
        ("gaps", "r0000/gaps"),
        ("X", "x"),
    ],
)
def test_a_misspelt_array_is_answered_with_the_nearest_one(name, nearest):
    artefact = opened(runs_bytes(runs(run()), PROVENANCE))
    with pytest.raises(InputError, match=f"no array {name}; it holds .*; did you mean {nearest}[?]$"):
        artefact.any_tensor(name)


@pytest.mark.parametrize("name", ["r0007/theta", "r0000/eigenvectors"])
def test_another_run_and_a_name_like_no_other_are_answered_with_the_list_alone(name):
    artefact = opened(runs_bytes(runs(run()), PROVENANCE))
    with pytest.raises(InputError, match=f"no array {name}; it holds [^;]*$"):
        artefact.any_tensor(name)


def test_an_array_of_a_dtype_that_numpy_does_not_have_is_refused():
    header = {"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]},
              "__metadata__": {"jamtools": '{"kind": "dataset", "version": 1}'}}  # fmt: skip
    text = json.dumps(header).encode()
    with pytest.raises(InputError, match="x is BF16, which numpy does not know"):
        opened(struct.pack("<Q", len(text)) + text + b"\0\0").any_tensor("x")


# --- sources ------------------------------------------------------------------------------------------


def test_an_artefact_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="nowhere: no such file or directory; check the path"):
        read_dataset("nowhere")


def test_a_folder_in_place_of_an_artefact_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a directory; check the path"):
        read_dataset(str(tmp_path))


@pytest.mark.parametrize("read", [read_dataset, open_any])
def test_an_empty_artefact_is_refused_with_advice_to_check_the_command_that_wrote_it(tmp_path, read):
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match="empty input, expected an artefact") as caught:
        read(str(tmp_path / "empty"))
    assert caught.value.remedy == Remedy.CHECK_WHAT_WROTE_IT


def test_a_fifo_is_read_and_leaves_no_temporary_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    (tmp_path / "copies").mkdir()
    os.mkfifo(tmp_path / "fifo")
    data = dataset_bytes(dataset(), PROVENANCE)
    writer = threading.Thread(target=lambda: Path(tmp_path / "fifo").write_bytes(data))
    writer.start()
    back, _ = read_dataset(str(tmp_path / "fifo"))
    writer.join()
    assert identical(back.x, dataset().x)
    assert not list((tmp_path / "copies").iterdir())


def test_a_source_is_opened_as_an_artefact_or_as_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\n {"P": 3}\n{"P":\n 4}\n')
    (tmp_path / "a.safetensors").write_bytes(dataset_bytes(dataset(), PROVENANCE))
    assert open_any(str(tmp_path / "a.jsonl")) == [{"P": 3}, {"P": 4}]
    assert open_any(str(tmp_path / "a.safetensors")).kind == "dataset"


def test_a_run_of_an_older_file_has_the_name_of_its_data_and_one_that_has_a_name_keeps_it():
    """The name follows from the metadata of the training set."""
    data = runs_bytes(runs(run(), run(seed=1, data="mine")), PROVENANCE)
    assert [info["data"] for info in opened(data).infos] == ["by hand d=3", "mine"]
    back, _ = read_runs(opened(data))
    assert [member.info["data"] for member in back.runs] == ["by hand d=3", "mine"]
