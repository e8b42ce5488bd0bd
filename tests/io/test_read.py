"""Readers of artefacts: several files as one ensemble, other kinds and damaged records refused; plain numbers."""

import numpy as np
import pytest

from jamtools.errors import InputError, Remedy
from jamtools.io.read import read_dataset, read_ensemble, read_numbers, read_runs, read_spectra
from jamtools.io.write import dataset_bytes, runs_bytes
from tests.support.artefacts import PROVENANCE, dataset, opened, refit, run, run_info, runs


def test_the_runs_of_several_files_are_numbered_as_one_ensemble(tmp_path):
    second = [*PROVENANCE, {"command": "jam-train", "argv": ["--seed", "2"]}]
    (tmp_path / "a").write_bytes(runs_bytes(runs(run(), run(seed=1, P=4)), PROVENANCE))
    (tmp_path / "b").write_bytes(runs_bytes(runs(run(seed=2)), second))
    members, steps = read_ensemble([str(tmp_path / "a"), str(tmp_path / "b")])
    names_and_seeds = [(member.name, member.run.info["seed"]) for member in members]
    assert names_and_seeds == [("r0000", 0), ("r0001", 1), ("r0002", 2)]
    assert [member.data.P for member in members] == [6, 4, 6]
    assert steps == second


@pytest.mark.parametrize(
    ("read", "data", "message", "remedy"),
    [
        (read_runs, dataset_bytes(dataset(), []), "got a dataset, expected runs", Remedy.TRAIN_FIRST),
        (
            read_spectra,
            dataset_bytes(dataset(), []),
            "got a dataset, expected spectra",
            Remedy.COMPUTE_SPECTRA_FIRST,
        ),
        (read_dataset, runs_bytes(runs(run()), []), "got runs, expected a dataset", Remedy.MAKE_DATASET),
    ],
)
def test_another_kind_of_artefact_is_refused_with_the_way_to_the_expected_kind(read, data, message, remedy):
    with pytest.raises(InputError, match=message) as caught:
        read(opened(data))
    assert caught.value.remedy == remedy


def replaced(name, array):
    return lambda tensors, metadata: tensors.update({name: array})


def without(name):
    return lambda tensors, metadata: tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("x", np.zeros((6, 3), np.float32)), "x is F32, expected F64"),
        (replaced("y", np.ones(6, np.int64)), "y is I64, expected F64"),
        (replaced("x", np.full((6, 3), np.nan)), "x is not finite .NaN or infinity in pattern 0."),
        (replaced("x", np.full((6, 3), -np.inf)), "x is not finite"),
        (replaced("y", np.array([1, -1, 1, -1, 1, 0.0])), "y holds 0, expected labels .1 and -1 only"),
        (replaced("y", np.full(6, np.nan)), "y holds nan"),
        (replaced("y", np.ones(5)), "x has 6 patterns and y has shape .5,., expected as many labels"),
        (replaced("x", np.zeros(6)), "x has shape .6,., expected .P, d."),
        (without("x"), "a dataset file without x"),
        (replaced("x_test", np.zeros((2, 3))), "got one of x_test and y_test"),
    ],
)
def test_a_damaged_dataset_is_refused_with_the_name_of_its_file(change, message):
    data = refit(dataset_bytes(dataset(), PROVENANCE), change)
    with pytest.raises(InputError, match=f"^a.safetensors: {message}"):
        read_dataset(opened(data, "a.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            replaced("r0000/theta", np.zeros(10)),
            "theta has shape .10,., expected 11 parameters as in the metadata",
        ),
        (replaced("r0000/gaps", np.zeros(5)), "gaps has shape .5,., expected 6 patterns as in the metadata"),
        (replaced("r0000/theta", np.zeros(11, np.float32)), "r0000/theta is F32, expected F64"),
        (replaced("r0000/history/loss", np.zeros(2)), "history columns of shapes"),
        (without("r0000/theta0"), "runs file without r0000/theta0"),
        (without("r0000/history/loss"), "a run without history/loss"),
        (lambda _, metadata: metadata["runs"][0].pop("status"), "a run without the field status"),
        (lambda _, metadata: metadata.pop("runs"), "a runs file without its metadata"),
        (lambda _, metadata: metadata.update(runs=[3]), "a runs file without its metadata"),
        (lambda _, metadata: metadata["runs"].append(run_info()), "runs file without r0001/theta"),
        (lambda _, metadata: metadata["runs"][0].update(P=7), "gaps has shape"),
        (lambda _, metadata: metadata["runs"][0].update(d=2), "a run of P=6, d=2 on a dataset of P=6, d=3"),
    ],
)
def test_damaged_runs_are_refused_with_the_name_of_their_file(change, message):
    data = refit(runs_bytes(runs(run()), PROVENANCE), change)
    with pytest.raises(InputError, match=f"^a.safetensors: {message}"):
        read_runs(opened(data, "a.safetensors"))


def test_the_message_for_a_damaged_record_has_the_name_of_its_file_and_its_remedy():
    data = refit(runs_bytes(runs(run()), PROVENANCE), without("r0000/history/loss"))
    with pytest.raises(InputError) as caught:
        read_runs(opened(data, "a.safetensors"))
    assert caught.value.remedy == Remedy.TRAIN_AGAIN


# --- plain numbers ------------------------------------------------------------------------------------


def test_numbers_are_read_from_text_without_its_comments(tmp_path):
    (tmp_path / "a").write_text("1 2.5 # three\n-3e1\n")
    assert read_numbers(str(tmp_path / "a")).tolist() == [1, 2.5, -30]


def test_numbers_of_an_array_of_any_shape_are_read_as_a_vector(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.int32).reshape(2, 3))
    assert read_numbers(str(tmp_path / "a.npy")).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("data", [b"1 two 3", b"\xff", b"\x93NUMPY"])
def test_a_source_that_holds_no_plain_numbers_is_refused(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InputError, match="a: .*expected numbers as text or .npy"):
        read_numbers(str(tmp_path / "a"))


def test_complex_numbers_in_place_of_plain_numbers_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(2, dtype=complex))
    with pytest.raises(InputError, match="complex numbers"):
        read_numbers(str(tmp_path / "a.npy"))
