"""Datasets from the user's own arrays."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.data.arrays import array_dataset
from jamtools.errors import InputError, Remedy


@pytest.mark.parametrize("kind", [np.int8, np.float32, np.float64, ">f8"])
def test_numbers_of_any_type_become_float64(kind: type) -> None:
    x = np.array([[1, 2], [3, 4], [5, 6]], dtype=kind)
    data = array_dataset({"x": x, "y": np.array([1, -1, 1], dtype=kind)})
    assert data.x.dtype == data.y.dtype == np.float64
    assert data.x.tolist() == x.tolist() and data.y.tolist() == [1, -1, 1]
    assert data.info["P"] == 3 and data.info["d"] == 2 and data.info["classes"] == 2


def test_labels_zero_and_one_need_the_rule_parity() -> None:
    arrays = {"x": np.eye(2), "y": np.array([False, True])}
    with pytest.raises(
        InputError, match=r"y holds 0, expected labels \+1 and -1; .*labels='parity'"
    ) as refusal:
        array_dataset(arrays)
    assert refusal.value.remedy is Remedy.LABEL_RULE
    assert array_dataset(arrays, "parity").y.tolist() == [-1, 1]


def test_a_one_hot_matrix_of_zeros_and_ones_becomes_signs() -> None:
    data = array_dataset({"x": np.eye(2), "y": np.array([[0, 0, 1], [1, 0, 0]])}, "parity")
    assert data.y.tolist() == [[-1, -1, 1], [1, -1, -1]]
    assert data.outputs == data.info["classes"] == 3


def test_training_and_test_labels_share_their_classes() -> None:
    arrays = {"x": np.eye(2), "y": np.array([0, 1]), "x_test": np.eye(2), "y_test": np.array([2, 0])}
    data = array_dataset(arrays, "classes")
    assert data.y.tolist() == [[1, -1, -1], [-1, 1, -1]]
    assert data.y_test.tolist() == [[-1, -1, 1], [1, -1, -1]]


def test_labels_in_one_column_become_a_list() -> None:
    assert array_dataset({"x": np.eye(2), "y": np.array([[1.0], [-1.0]])}).y.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.eye(3), "y": np.ones(2)}, "x has 3 patterns and y has shape"),
        ({"x": np.ones(3), "y": np.ones(3)}, r"x has shape \(3,\), expected \[P, d\]"),
        ({"x": np.ones((3, 2, 2)), "y": np.ones(3)}, r"expected \[P, d\]"),
        ({"x": np.array([[1.0, np.nan]]), "y": np.ones(1)}, "x is not finite"),
        ({"x": np.array([[1.0, -np.inf]]), "y": np.ones(1)}, "x is not finite"),
        ({"x": np.eye(2), "y": np.array([1.0, np.nan])}, "y holds nan"),
        ({"x": np.eye(2), "y": np.array([1.0, 2.0])}, "y holds 2"),
        ({"x": np.empty((0, 2)), "y": np.empty(0)}, "at least one"),
        ({"x": np.eye(2) * 1j, "y": np.ones(2)}, "complex128, expected real numbers"),
        ({"x": np.array([["a"]]), "y": np.ones(1)}, "expected real numbers"),
        ({"x": np.eye(2), "y": np.ones(2), "x_test": np.eye(3), "y_test": np.ones(3)}, "does not fit"),
    ],
)
def test_arrays_that_are_no_dataset_are_refused(arrays: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        array_dataset(arrays)
