"""Which records of searches are points of a fit, and which are refused."""

from __future__ import annotations

import math

import pytest

from jamtools.errors import InputError
from jamtools.grouping import SEARCH_GROUP_FIELDS
from jamtools.transition.points import at_time, check_one_quantity, check_searches, is_open, log_point
from tests.support.searches import scaling_point


@pytest.mark.parametrize("name", ["dataset", "loss", "success", "optimizer", "protocol", "steps"])
def test_searches_of_different_quantities_are_refused(name):
    with pytest.raises(InputError, match="different quantities"):
        check_one_quantity(
            [scaling_point(100, 40, **{name: "a"}), scaling_point(200, 80, **{name: "b"})],
            SEARCH_GROUP_FIELDS,
        )


def test_searches_of_different_activations_are_refused():
    with pytest.raises(InputError, match="activation relu and tanh"):
        check_one_quantity(
            [scaling_point(100, 40, activation="relu"), scaling_point(200, 80, activation="tanh")],
            SEARCH_GROUP_FIELDS,
        )


def test_a_search_that_names_no_activation_agrees_with_all():
    check_one_quantity(
        [scaling_point(100, 40, activation="relu"), scaling_point(200, 80)], SEARCH_GROUP_FIELDS
    )


@pytest.mark.parametrize("without", [{"certify": False}, {}], ids=str)
def test_searches_with_and_without_certificates_are_refused_together(without):
    with pytest.raises(InputError, match="of certify False and True"):
        check_one_quantity(
            [scaling_point(100, 40, certify=True), scaling_point(200, 80, **without)], SEARCH_GROUP_FIELDS
        )


@pytest.mark.parametrize("certify", [True, False])
def test_searches_that_agree_in_their_certificates_pass(certify):
    check_one_quantity(
        [scaling_point(100, 40, certify=certify), scaling_point(200, 80, certify=certify)],
        SEARCH_GROUP_FIELDS,
    )


def test_a_search_that_does_not_mention_certificates_was_made_without_certificates():
    check_one_quantity([scaling_point(100, 40, certify=False), scaling_point(200, 80)], SEARCH_GROUP_FIELDS)


def test_objects_of_another_kind_are_refused():
    with pytest.raises(InputError, match="got gaps"):
        check_searches([{"kind": "gaps"}])


@pytest.mark.parametrize(
    "wrong",
    [
        {"P": "800"},
        {"P": None},
        {"n_star": float("inf")},
        {"interval": 3},
        {"interval": ["a", 2]},
        {"median": "x"},
    ],
    ids=str,
)
def test_values_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(InputError, match="no number"):
        check_searches([{**scaling_point(100, 40), **wrong}])


@pytest.mark.parametrize(
    "wrong",
    [
        {"P": 0}, {"n_star": 0}, {"interval": [40, 40]}, {"interval": [50, 30]}, {"median": -1.0},
        {"interval": [1, 2, 3]},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_without_a_logarithm_and_empty_intervals_are_refused(wrong):
    with pytest.raises(InputError, match="no number"):
        check_searches([{**scaling_point(100, 40), **wrong}])


def test_the_standard_error_of_a_median_is_that_of_a_normal_interval():
    search = {**scaling_point(100, 40), "median": 39.0, "median_interval": [30.0, 50.0], "level": 0.95}
    log_p, log_n, sigma = log_point(search)
    assert (log_p, log_n) == (math.log(100), math.log(39))
    assert sigma == pytest.approx(math.log(50 / 30) / (2 * 1.959964))


def test_the_median_of_a_search_in_patterns_is_a_number_of_patterns():
    search = {
        **scaling_point(100, 40), "vary": "patterns", "median": 104.0, "median_interval": [90.0, 120.0],
        "level": 0.95,
    }  # fmt: skip
    assert log_point(search)[:2] == (math.log(104), math.log(40))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"interval": [None, 50]}, True),
        ({"interval": [None, 50], "median": 40, "median_interval": [30, 50]}, False),
        ({"median": 40, "median_interval": [30, None]}, True),
    ],
    ids=str,
)
def test_an_n_star_is_open_where_the_interval_that_is_fitted_has_an_open_end(fields, expected):
    assert is_open(scaling_point(100, 40, **fields)) is expected


def test_a_search_has_the_n_star_of_each_of_its_times():
    search = scaling_point(100, 40, at_times=[{"steps": 10, "n_star": 60}, {"steps": 90, "n_star": 40}])
    assert at_time(search, 10)["n_star"] == 60


def test_a_time_that_the_search_does_not_have_is_refused_with_a_list_of_its_times():
    search = scaling_point(100, 40, at_times=[{"steps": 10, "n_star": 60}])
    with pytest.raises(InputError, match=r"times 10, expected 50; search with times=\(50,\)"):
        at_time(search, 50)
