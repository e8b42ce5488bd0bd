"""Artefacts come back from their bytes exactly, and what is not one is refused in one line."""

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
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save

from jamtools.errors import InputError
from jamtools.io.artefact import Artefact, open_any
from jamtools.io.read import read_dataset, read_ensemble, read_runs, read_spectra
from jamtools.io.write import dataset_bytes, runs_bytes, spectra_bytes
from jamtools.records import DENSITY_ARRAYS, HESSIAN_PARTS, HISTORY_FIELDS, Dataset, Run, Runs, Spectrum
from tests.support.artefacts import STEPS, dataset, refit, run, run_info, runs, spectrum

finite = st.floats(allow_nan=False, allow_infinity=False)
number = st.floats()  # a diverged run holds NaN and infinities
words = st.text(st.characters(codec="utf-8"), max_size=8)
json_value = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | words
info = st.dictionaries(words, json_value | st.lists(json_value, max_size=3), max_size=4)
quick = settings(deadline=None, max_examples=100)


def opened(data: bytes, source: str = "-") -> Artefact:
    return Artefact(source, data)


def identical(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """The same bits: NaN equals NaN and -0.0 is not 0.0."""
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- round trips --------------------------------------------------------------------------------------


@st.composite
def datasets(draw):
    d, C = draw(st.integers(1, 4)), draw(st.integers(1, 3))

    def part():
        P = draw(st.integers(1, 6))
        x = draw(arrays(np.float64, (P, d), elements=finite))
        if C == 1:
            return x, draw(arrays(np.float64, P, elements=st.sampled_from([1.0, -1.0])))
        return x, 2 * np.eye(C)[draw(arrays(np.int64, P, elements=st.integers(0, C - 1)))] - 1

    test = part() if draw(st.booleans()) else (None, None)
    return Dataset(*part(), *test, draw(info))


@st.composite
def runs_of_one_file(draw):
    data = draw(datasets())

    def one():
        size, P, T = draw(st.integers(1, 5)), draw(st.integers(1, data.P)), draw(st.integers(1, 4))
        column = arrays(np.float64, T, elements=number) | arrays(np.int64, T)
        columns = {name: draw(column) for name in HISTORY_FIELDS}
        theta, theta0 = draw(arrays(np.float64, (2, size), elements=number))
        gaps = draw(arrays(np.float64, (P, *data.y.shape[1:]), elements=number))
        return Run(theta, theta0, gaps, columns, draw(info) | run_info(d=data.d, P=P, n_parameters=size))

    return Runs(data, tuple(one() for _ in range(draw(st.integers(0, 3)))))


@st.composite
def spectra_of_one_file(draw):
    size = draw(st.integers(1, 5))
    parts = draw(st.lists(st.sampled_from(HESSIAN_PARTS), unique=True))
    values = {part: draw(arrays(np.float64, size, elements=number)) for part in parts}
    matrices = draw(arrays(np.float64, (2, size, size), elements=number))
    fields = draw(info) | spectrum([0, 1], [-1, 1], [0, 1]).info | {"n_parameters": size}
    densities = {"H0": {name: draw(arrays(np.float64, 4, elements=number)) for name in DENSITY_ARRAYS}}
    vectors = {part: draw(arrays(np.float64, (2, size), elements=number)) for part in parts}
    return [Spectrum(values, fields, dict(zip(("H0", "Hp"), matrices)), vectors, densities)]


@quick
@given(datasets())
def test_a_dataset_comes_back(data):
    back, steps = read_dataset(opened(dataset_bytes(data, STEPS)))
    assert all(identical(getattr(back, name), getattr(data, name)) for name in ("x", "y", "x_test", "y_test"))
    assert back.info == data.info
    assert steps == STEPS


@quick
@given(runs_of_one_file())
def test_runs_come_back(written):
    back, steps = read_runs(opened(runs_bytes(written, STEPS)))
    assert identical(back.dataset.x, written.dataset.x)
    assert [one.info for one in back.runs] == [one.info for one in written.runs]
    for one, other in zip(back.runs, written.runs, strict=True):
        assert all(
            identical(getattr(one, name), getattr(other, name)) for name in ("theta", "theta0", "gaps")
        )
        assert one.history.keys() == other.history.keys()
        assert all(identical(one.history[name], other.history[name]) for name in other.history)
    assert steps == STEPS


@quick
@given(spectra_of_one_file())
def test_spectra_come_back(written):
    artefact = opened(spectra_bytes(written, STEPS))
    back, _ = read_spectra(artefact)
    assert [one.info for one in back] == [one.info for one in written]
    for one, other in zip(back, written, strict=True):
        assert one.eigenvalues.keys() == other.eigenvalues.keys()
        assert all(identical(one[part], other[part]) for part in other.eigenvalues)
        for part, density in other.densities.items():
            assert all(identical(one.densities[part][name], array) for name, array in density.items())
    for part, rows in written[0].vectors.items():
        assert identical(artefact.any_tensor(f"r0000/vectors/{part}"), rows)
    matrices = written[0].matrices
    assert all(identical(artefact.any_tensor(f"r0000/matrix/{name}"), matrices[name]) for name in matrices)


def test_the_same_records_make_the_same_bytes_whatever_the_order_of_their_fields():
    one = run()
    turned = Run(one.theta, one.theta0, one.gaps, one.history, dict(reversed(one.info.items())))
    assert runs_bytes(runs(one), STEPS) == runs_bytes(runs(turned), STEPS)


def test_metadata_is_one_key_with_kind_version_and_provenance():
    metadata = opened(dataset_bytes(dataset(), STEPS)).metadata
    assert (metadata["kind"], metadata["version"], metadata["provenance"]) == ("dataset", 1, STEPS)


def test_what_is_not_finite_in_metadata_is_null():
    back, _ = read_runs(opened(runs_bytes(runs(run(final_loss=float("nan"))), STEPS)))
    assert back.runs[0].info["final_loss"] is None


def test_strided_arrays_are_written_as_they_look():
    x = np.arange(12.0).reshape(2, 6).T[:, ::-1]
    back, _ = read_dataset(opened(dataset_bytes(Dataset(x, np.ones(6)), [])))
    assert (back.x == x).all()


def test_the_histories_of_more_than_ten_thousand_runs_stay_apart():
    tensors = {f"r{i:04d}/history/step": np.array([i]) for i in (1000, 9999, 10000)}
    artefact = opened(save(tensors, {"jamtools": '{"kind": "runs", "version": 1}'}))
    assert all(list(artefact.group(f"r{i}/history")) == ["step"] for i in (1000, 9999, 10000))
    assert artefact.group("r100/history") == {}


# --- what other programs may add ----------------------------------------------------------------------


def test_unknown_tensors_and_metadata_are_passed_over():
    def change(tensors, metadata):
        tensors |= {"r0000/extra": np.arange(3, dtype=np.int8), "notes": np.zeros((2, 2), dtype=np.float16)}
        metadata |= {"colour": "blue"}
        metadata["runs"][0]["mood"] = "calm"

    back, _ = read_runs(opened(refit(runs_bytes(runs(run()), STEPS), change)))
    assert identical(back.runs[0].theta, run().theta)
    assert back.runs[0].info["mood"] == "calm"


def test_a_second_version_is_refused():
    data = refit(dataset_bytes(dataset(), STEPS), lambda _, metadata: metadata.update(version=2))
    with pytest.raises(
        InputError, match="got dataset of format version 2, expected version 1; use the jamtools"
    ):
        opened(data)


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (read_runs, "got a dataset, expected runs; pipe it through jam-train first"),
        (read_spectra, "got a dataset, expected spectra; pipe it through jam-hessian first"),
    ],
)
def test_another_kind_is_told_which_command_comes_between(read, message):
    with pytest.raises(InputError, match=message):
        read(opened(dataset_bytes(dataset(), STEPS)))


def test_runs_are_not_a_dataset():
    with pytest.raises(InputError, match="got runs, expected a dataset; make one with jam-data"):
        read_dataset(opened(runs_bytes(runs(run()), STEPS)))


def test_a_file_cut_anywhere_is_refused():
    whole = runs_bytes(runs(run()), STEPS)
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


@quick
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: struct.pack("<Q", len(tail)) + tail))
def test_noise_is_refused(data):
    with pytest.raises(InputError):
        opened(data)


def test_json_is_named_as_such():
    with pytest.raises(InputError, match="got JSON, expected an artefact in safetensors"):
        opened(b'{"run": "r0000"}\n')


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"jamtools": "{"}, {"jamtools": "[1]"}, {"jamtools": "{}"},
                                      {"jamtools": '{"kind": 3, "version": 1}'}])  # fmt: skip
def test_safetensors_of_other_programs_are_refused(metadata):
    with pytest.raises(InputError, match="that jamtools did not write; load arrays with jam-data arrays"):
        opened(save({"x": np.zeros(2)}, metadata))


def flawed(name, array):
    return lambda tensors, metadata: tensors.update({name: array})


def without(name):
    return lambda tensors, metadata: tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flawed("x", np.zeros((6, 3), np.float32)), "x is F32, expected F64"),
        (flawed("y", np.ones(6, np.int64)), "y is I64, expected F64"),
        (flawed("x", np.full((6, 3), np.nan)), "x is not finite .NaN or infinity in pattern 0."),
        (flawed("x", np.full((6, 3), -np.inf)), "x is not finite"),
        (flawed("y", np.array([1, -1, 1, -1, 1, 0.0])), "y holds 0, expected labels .1 and -1 only"),
        (flawed("y", np.full(6, np.nan)), "y holds nan"),
        (flawed("y", np.ones(5)), "x has 6 patterns and y has shape .5,., expected as many labels"),
        (flawed("x", np.zeros(6)), "x has shape .6,., expected .P, d."),
        (without("x"), "a dataset file without x"),
        (flawed("x_test", np.zeros((2, 3))), "got one of x_test and y_test"),
    ],
)
def test_a_flawed_dataset_is_refused_with_its_name(change, message):
    data = refit(dataset_bytes(dataset(), STEPS), change)
    with pytest.raises(InputError, match=f"^a.safetensors: {message}"):
        read_dataset(opened(data, "a.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flawed("r0000/theta", np.zeros(10)), "theta has shape .10,., its run says 11 parameters"),
        (flawed("r0000/gaps", np.zeros(5)), "gaps has shape .5,., its run says 6 patterns"),
        (flawed("r0000/theta", np.zeros(11, np.float32)), "r0000/theta is F32, expected F64"),
        (flawed("r0000/history/loss", np.zeros(2)), "history columns of shapes"),
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
def test_flawed_runs_are_refused_with_their_name(change, message):
    data = refit(runs_bytes(runs(run()), STEPS), change)
    with pytest.raises(InputError, match=f"^a.safetensors: {message}"):
        read_runs(opened(data, "a.safetensors"))


def test_a_missing_array_is_told_what_there_is():
    with pytest.raises(InputError, match="no array r0000/H; it holds r0000/gaps, .*, x, y$"):
        opened(runs_bytes(runs(run(), run()), STEPS)).any_tensor("r0000/H")


def test_an_array_numpy_does_not_know_is_refused():
    header = {"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]},
              "__metadata__": {"jamtools": '{"kind": "dataset", "version": 1}'}}  # fmt: skip
    text = json.dumps(header).encode()
    with pytest.raises(InputError, match="x is BF16, which numpy does not know"):
        opened(struct.pack("<Q", len(text)) + text + b"\0\0").any_tensor("x")


# --- sources ------------------------------------------------------------------------------------------


def test_several_files_are_one_ensemble(tmp_path):
    second = [*STEPS, {"command": "jam-train", "argv": ["--seed", "2"]}]
    (tmp_path / "a").write_bytes(runs_bytes(runs(run(), run(seed=1, P=4)), STEPS))
    (tmp_path / "b").write_bytes(runs_bytes(runs(run(seed=2)), second))
    members, steps = read_ensemble([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [(member.name, member.run.info["seed"]) for member in members] == [
        ("r0000", 0),
        ("r0001", 1),
        ("r0002", 2),
    ]
    assert [member.data.P for member in members] == [6, 4, 6]
    assert steps == second


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or directory; check the path"):
        read_dataset("nowhere")
    with pytest.raises(InputError, match="is a directory; check the path"):
        read_dataset(str(tmp_path))


def test_an_empty_file_is_told_to_look_at_the_command_before(tmp_path):
    (tmp_path / "empty").touch()
    for read in (read_dataset, open_any):
        with pytest.raises(
            InputError, match="empty input, expected an artefact; did the command before it fail?"
        ):
            read(str(tmp_path / "empty"))


def test_a_fifo_is_read_and_leaves_no_copy_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    (tmp_path / "copies").mkdir()
    os.mkfifo(tmp_path / "fifo")
    data = dataset_bytes(dataset(), STEPS)
    writer = threading.Thread(target=lambda: Path(tmp_path / "fifo").write_bytes(data))
    writer.start()
    back, _ = read_dataset(str(tmp_path / "fifo"))
    writer.join()
    assert identical(back.x, dataset().x)
    assert not list((tmp_path / "copies").iterdir())


def test_any_source_is_an_artefact_or_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\n {"P": 3}\n{"P":\n 4}\n')
    (tmp_path / "a.safetensors").write_bytes(dataset_bytes(dataset(), STEPS))
    assert open_any(str(tmp_path / "a.jsonl")) == [{"P": 3}, {"P": 4}]
    assert open_any(str(tmp_path / "a.safetensors")).kind == "dataset"


def test_reading_metadata_reads_no_array(tmp_path):
    """A file of 2 GB, sparse on the disk, shows what it holds without being read."""
    path = tmp_path / "large.safetensors"
    metadata = json.dumps({"kind": "runs", "version": 1, "provenance": STEPS, "runs": [run_info()]})
    header = {"r0000/theta": {"dtype": "F64", "shape": [2**28], "data_offsets": [0, 2**31]}}
    text = json.dumps({"__metadata__": {"jamtools": metadata}, **header}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 2**31)
    artefact = Artefact(str(path))
    assert artefact.infos == [run_info()]
    assert artefact.shape("r0000/theta") == (2**28,)
    assert os.stat(path).st_blocks * 512 < 2**20
