"""Artefacts that are written and read again hold the same records, bit for bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jamtools.io.read import read_dataset, read_runs, read_spectra
from jamtools.io.write import dataset_bytes, runs_bytes, spectra_bytes
from jamtools.records import DENSITY_ARRAYS, HESSIAN_PARTS, HISTORY_FIELDS, Dataset, Run, Runs, Spectrum
from tests.support.artefacts import PROVENANCE, dataset, identical, opened, run, run_info, runs, spectrum

finite = st.floats(allow_nan=False, allow_infinity=False)
any_float = st.floats()  # a diverged run holds NaN and infinities
words = st.text(st.characters(codec="utf-8"), max_size=8)
json_value = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | words
info = st.dictionaries(words, json_value | st.lists(json_value, max_size=3), max_size=4)
hundred_examples = settings(deadline=None, max_examples=100)


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

    def one_run():
        size, P, T = draw(st.integers(1, 5)), draw(st.integers(1, data.P)), draw(st.integers(1, 4))
        column = arrays(np.float64, T, elements=any_float) | arrays(np.int64, T)
        columns = {name: draw(column) for name in HISTORY_FIELDS}
        theta, theta0 = draw(arrays(np.float64, (2, size), elements=any_float))
        gaps = draw(arrays(np.float64, (P, *data.y.shape[1:]), elements=any_float))
        return Run(theta, theta0, gaps, columns, draw(info) | run_info(d=data.d, P=P, n_parameters=size))

    return Runs(data, tuple(one_run() for _ in range(draw(st.integers(0, 3)))))


@st.composite
def spectra_of_one_file(draw):
    size = draw(st.integers(1, 5))
    parts = draw(st.lists(st.sampled_from(HESSIAN_PARTS), unique=True))
    values = {part: draw(arrays(np.float64, size, elements=any_float)) for part in parts}
    matrices = draw(arrays(np.float64, (2, size, size), elements=any_float))
    fields = draw(info) | spectrum([0, 1], [-1, 1], [0, 1]).info | {"n_parameters": size}
    densities = {"H0": {name: draw(arrays(np.float64, 4, elements=any_float)) for name in DENSITY_ARRAYS}}
    vectors = {part: draw(arrays(np.float64, (2, size), elements=any_float)) for part in parts}
    return [Spectrum(values, fields, dict(zip(("H0", "Hp"), matrices)), vectors, densities)]


@hundred_examples
@given(datasets())
def test_a_dataset_that_is_written_and_read_is_the_same(data):
    back, steps = read_dataset(opened(dataset_bytes(data, PROVENANCE)))
    assert all(identical(getattr(back, name), getattr(data, name)) for name in ("x", "y", "x_test", "y_test"))
    assert back.info == data.info
    assert steps == PROVENANCE


@hundred_examples
@given(runs_of_one_file())
def test_runs_that_are_written_and_read_are_the_same(written):
    back, steps = read_runs(opened(runs_bytes(written, PROVENANCE)))
    assert identical(back.dataset.x, written.dataset.x)
    for read, original in zip(back.runs, written.runs, strict=True):
        assert {**read.info, **original.info} == read.info
        assert set(read.info) - set(original.info) <= {"data"}, "the name of the data is derived at reading"
    for read, original in zip(back.runs, written.runs, strict=True):
        assert all(
            identical(getattr(read, name), getattr(original, name)) for name in ("theta", "theta0", "gaps")
        )
        assert read.history.keys() == original.history.keys()
        assert all(identical(read.history[name], original.history[name]) for name in original.history)
    assert steps == PROVENANCE


@hundred_examples
@given(spectra_of_one_file())
def test_spectra_that_are_written_and_read_are_the_same(written):
    artefact = opened(spectra_bytes(written, PROVENANCE))
    back, _ = read_spectra(artefact)
    assert [spectrum.info for spectrum in back] == [spectrum.info for spectrum in written]
    for read, original in zip(back, written, strict=True):
        assert read.eigenvalues.keys() == original.eigenvalues.keys()
        assert all(identical(read[part], original[part]) for part in original.eigenvalues)
        for part, density in original.densities.items():
            assert all(identical(read.densities[part][name], array) for name, array in density.items())
    for part, rows in written[0].vectors.items():
        assert identical(artefact.any_tensor(f"r0000/vectors/{part}"), rows)
    matrices = written[0].matrices
    assert all(identical(artefact.any_tensor(f"r0000/matrix/{name}"), matrices[name]) for name in matrices)


def test_equal_records_give_equal_bytes_whatever_the_order_of_their_fields():
    original = run()
    reordered = Run(
        original.theta,
        original.theta0,
        original.gaps,
        original.history,
        dict(reversed(original.info.items())),
    )
    assert runs_bytes(runs(original), PROVENANCE) == runs_bytes(runs(reordered), PROVENANCE)


def test_metadata_is_one_key_with_kind_version_and_provenance():
    metadata = opened(dataset_bytes(dataset(), PROVENANCE)).metadata
    assert (metadata["kind"], metadata["version"], metadata["provenance"]) == ("dataset", 1, PROVENANCE)


def test_metadata_that_are_not_finite_become_null():
    back, _ = read_runs(opened(runs_bytes(runs(run(final_loss=float("nan"))), PROVENANCE)))
    assert back.runs[0].info["final_loss"] is None


def test_a_strided_array_is_written_in_the_order_of_its_elements():
    x = np.arange(12.0).reshape(2, 6).T[:, ::-1]
    back, _ = read_dataset(opened(dataset_bytes(Dataset(x, np.ones(6)), [])))
    assert (back.x == x).all()
