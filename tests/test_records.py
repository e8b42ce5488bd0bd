"""The records: their sizes as properties, and the contradictions that they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamtools.errors import InputError, Remedy
from jamtools.records import (
    Dataset,
    Run,
    Runs,
    Spectrum,
    check_finite,
    sha256,
)
from tests.support import artefacts


def test_the_sizes_of_a_run_are_properties():
    run = artefacts.run(P=20, n_effective_expected=8, n_unsatisfied=4)
    assert (run.P, run.N, run.alpha, run.epsilon, run.n_unsatisfied) == (20, 8, 2.5, 0.5, 4)


def test_the_sizes_of_a_dataset_are_those_of_its_arrays():
    one_hot = 2 * np.eye(3)[[0, 1, 2, 0]] - 1
    data = Dataset(np.ones((4, 2)), one_hot)
    assert (data.P, data.d, data.outputs) == (4, 2, 3)
    assert artefacts.dataset().outputs == 1


def test_the_first_patterns_keep_the_whole_test_set():
    data = artefacts.dataset(6, test=4)
    part = data.first(2)
    assert np.array_equal(part.x, data.x[:2]) and part.x_test is data.x_test
    assert data.first(6) is data
    assert np.array_equal(data.first(4, [0, 2]).x, data.x[[1, 3]])


def test_the_patterns_of_a_run_are_those_that_it_did_not_leave_out():
    data = artefacts.dataset(6)
    run = replace(artefacts.run(P=3, set_aside=[1, 4]), gaps=np.zeros(3))
    assert np.array_equal(Runs(data, (run,)).patterns(run).x, data.x[[0, 2, 3]])
    longer = replace(artefacts.run(P=5, set_aside=[1, 4]), gaps=np.zeros(5))
    with pytest.raises(InputError, match="inconsistent"):
        Runs(data, (longer,))


def test_more_patterns_than_a_dataset_has_are_refused():
    with pytest.raises(InputError, match="asked for 7 patterns, the dataset has 6") as caught:
        artefacts.dataset(6).first(7)
    assert caught.value.remedy == Remedy.LARGER_DATASET


def test_arrays_in_float32_are_refused_with_the_advice_to_convert_them():
    with pytest.raises(InputError, match="x is float32, expected float64; convert it to float64") as caught:
        Dataset(np.ones((2, 2), np.float32), np.ones(2))
    assert caught.value.remedy == Remedy.CONVERT_ARRAYS


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1.0, 0.5]), "y holds 0.5"),
        (np.ones((2, 1)), "not one-hot"),
        (np.ones((2, 2)), "not one-hot"),
    ],
)
def test_labels_other_than_signs_or_one_hot_rows_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        Dataset(np.ones((2, 2)), labels)


def test_a_test_set_of_another_dimension_is_refused():
    with pytest.raises(InputError, match="does not fit the training set"):
        Dataset(np.ones((2, 2)), np.ones(2), np.ones((2, 3)), np.ones(2))


def test_the_arrays_of_a_run_have_the_names_of_its_file():
    run = replace(artefacts.run(), certificate={"cusps": np.zeros((0, 3), np.int64)})
    names = {"theta", "theta0", "gaps", "history/step", "history/loss", "certificate/cusps"}
    assert names <= set(run.arrays())


@pytest.mark.parametrize(
    ("field", "value"),
    [("theta", np.zeros(3)), ("theta0", np.zeros(3)), ("gaps", np.zeros(3))],
)
def test_an_array_that_contradicts_the_metadata_of_its_run_is_refused(field, value):
    with pytest.raises(InputError, match=f"{field} has shape"):
        replace(artefacts.run(), **{field: value})


def test_snapshots_in_a_history_need_one_row_per_measurement():
    run = artefacts.run()
    snapshots = np.zeros((3, len(run.theta)))
    assert replace(run, history={**run.history, "theta": snapshots}).history["theta"].shape == (3, 11)
    with pytest.raises(InputError, match="history columns"):
        replace(run, history={**run.history, "theta": snapshots[:2]})


def test_a_run_of_more_patterns_than_its_dataset_is_refused():
    with pytest.raises(InputError, match="a run of P=7, d=3 on a dataset of P=6, d=3"):
        Runs(artefacts.dataset(6), (artefacts.run(P=7),))


def test_the_patterns_of_a_run_are_the_first_of_the_dataset():
    runs = artefacts.runs(artefacts.run(P=4))
    assert runs.patterns(runs.runs[0]).P == 4


def test_eigenvalues_that_were_not_computed_are_refused_by_name():
    spectrum = artefacts.spectrum([0, 1], [-1, 1], [-1, 2])
    assert spectrum["H0"].tolist() == [0, 1]
    with pytest.raises(InputError, match="without the eigenvalues of Hp") as caught:
        Spectrum({}, spectrum.info)["Hp"]
    assert caught.value.remedy == Remedy.EXACT_SPECTRUM


def test_a_spectrum_of_fixed_norm_has_one_eigenvalue_less_than_parameters():
    free = artefacts.spectrum([0, 1], [-1, 1], [-1, 2])
    fixed = {**free.info, "n_parameters": 3, "norm": 2.0}
    assert Spectrum(free.eigenvalues, fixed)["H"].shape == (2,)
    with pytest.raises(InputError, match="less one at fixed norm"):
        Spectrum(free.eigenvalues, {**fixed, "n_parameters": 2})
    with pytest.raises(InputError, match="as many eigenvalues as parameters"):
        Spectrum(free.eigenvalues, {**free.info, "n_parameters": 3})


@pytest.mark.parametrize("field", ["theta", "gaps"])
def test_a_run_that_diverged_is_not_finite(field):
    run = artefacts.run()
    check_finite(run)
    diverged: Run = replace(run, **{field: np.full_like(getattr(run, field), np.nan)})
    with pytest.raises(InputError, match="not finite"):
        check_finite(diverged)


@pytest.mark.parametrize(("loss", "epsilon", "contact"), [("hinge", -0.5, 5e-11), ("hinge", 0.0, 1e-10)])
def test_the_contacts_of_a_run_are_measured_in_the_size_of_its_margin(loss, epsilon, contact):
    run = replace(artefacts.run(epsilon=epsilon, loss=loss), gaps=contact * np.array([2, 0.5, -1, 0, 3, -3]))
    assert run.contact == pytest.approx(contact, rel=1e-15)
    assert run.unsatisfied.tolist() == [True, False, False, False, True, False]
    assert artefacts.run(epsilon=0.0, loss="cross-entropy").contact == 0


def test_the_digest_depends_on_types_shapes_values_and_text():
    arrays = [np.zeros(4), np.zeros(4, np.float32), np.zeros((2, 2)), np.ones(4)]
    assert len({*(sha256([array]) for array in arrays), sha256(arrays[:1], "text")}) == 5


def test_an_error_keeps_its_kind_and_remedy_behind_a_prefix():
    error = InputError("x is bad", Remedy.FLOAT64).with_prefix("file: ")
    assert isinstance(error, InputError)
    assert (str(error), error.remedy) == ("file: x is bad; use dtype float64", Remedy.FLOAT64)
