"""The fit of N*(P) on planted power laws."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.transition.scaling import fit_groups, fit_scaling
from tests.support.artefacts import run_info
from tests.support.searches import scaling_point, scattered_points


def test_a_planted_power_law_is_recovered():
    fit = fit_scaling([scaling_point(P, 0.4 * P**0.9) for P in (100, 300, 1000, 3000)])
    assert fit["slope"] == pytest.approx(0.9, abs=1e-12)
    assert fit["prefactor"] == pytest.approx(0.4, rel=1e-10)
    assert fit["slope_interval"][0] < 0.9 < fit["slope_interval"][1]


def test_the_ratio_of_a_proportional_law_is_recovered():
    fit = fit_scaling([scaling_point(P, P / 2.8) for P in (100, 1000)])
    assert fit["P_over_N"] == pytest.approx(2.8)
    assert fit["P_over_N_interval"][0] < 2.8 < fit["P_over_N_interval"][1]


def test_the_slope_is_that_of_a_weighted_fit_by_numpy():
    rng = np.random.default_rng(0)
    P = np.geomspace(100, 3000, 6)
    n = P * np.exp(0.05 * rng.standard_normal(6))
    spread = rng.uniform(1.05, 1.5, 6)
    expected = np.polyfit(np.log(P), np.log(n), 1, w=1 / np.log(spread))
    fit = fit_scaling([scaling_point(*point) for point in zip(P, n, spread)])
    assert fit["slope"] == pytest.approx(expected[0], rel=1e-10)


@pytest.mark.statistical
def test_the_interval_of_the_slope_covers_at_its_level():
    """The scatter is as large as the errors: 95% of 200 tries is 190 ± 3.1."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        points = scattered_points(rng, [3], lambda P, L: P / 2.8, at=np.geomspace(100, 3000, 8))
        low, high = fit_scaling(points)["slope_interval"]
        hits += low < 1 < high
    assert hits >= 190 - 4 * 3.1


@pytest.mark.statistical
def test_the_slope_and_the_test_of_depth_keep_their_level_where_points_scatter_more_than_their_errors():
    """The scatter is three times the errors, with five P for each depth: 5% of 300 is 15 ± 3.8, and 95% is 285."""
    rng = np.random.default_rng(5)
    hits = differ = 0
    for _ in range(300):
        points = scattered_points(
            rng, (2, 3), lambda P, L: P / 2.8, error=0.05, scatter=0.15, at=(100, 200, 400, 800, 1600)
        )
        low, high = fit_scaling(points[:5])["slope_interval"]
        hits += low < 1 < high
        differ += fit_scaling(points)["depth"]["p_value"] < 0.05
    assert hits >= 285 - 4 * 3.8
    assert differ <= 15 + 4 * 3.8


def test_one_point_gives_a_ratio_and_no_slope():
    fit = fit_scaling([scaling_point(100, 40)])
    assert fit["slope"] is None and fit["n_points"] == 1
    assert fit["P_over_N"] == pytest.approx(2.5)


def test_searches_without_an_n_star_are_counted():
    fit = fit_scaling([scaling_point(100, 40), scaling_point(200, None)])
    assert (fit["n_points"], fit["n_without"]) == (1, 1)


def test_points_at_one_p_have_no_slope():
    assert fit_scaling([scaling_point(300, n) for n in (100, 107, 95)])["slope"] is None


def test_a_fit_is_refused_if_no_search_found_an_n_star():
    with pytest.raises(InputError, match="found an N"):
        fit_scaling([scaling_point(100, None)])


def test_the_ratio_is_compared_with_both_lines_in_standard_errors():
    """The mean of four points with standard errors log 1.1 each."""
    fit = fit_scaling([scaling_point(P, P / 2) for P in (100, 200, 300, 400)])
    error = np.log(1.1) / 2
    assert fit["against"]["N* = P"] == pytest.approx(np.log(2) / error)
    assert fit["against"]["N* = 4P"] == pytest.approx(np.log(8) / error)


def test_an_n_star_with_an_open_end_is_counted_and_has_no_weight():
    closed = [scaling_point(100, 40), scaling_point(200, 80)]
    fit, without = (
        fit_scaling([*closed, {**scaling_point(400, 9000), "interval": [8000, None]}]),
        fit_scaling(closed),
    )
    assert fit["n_open"] == 1 and fit["n_points"] == 2 and fit["slope"] == without["slope"]


def test_if_all_intervals_have_open_ends_the_error_is_a_factor_e():
    fit = fit_scaling([{**scaling_point(400, 9000), "interval": [8000, None]}])
    assert fit["n_open"] == fit["n_points"] == 1
    low, high = fit["P_over_N_interval"]
    assert high / low == pytest.approx(np.exp(2 * 1.96), rel=1e-3)


def test_medians_are_fitted_where_the_searches_have_them():
    finer = [
        {**scaling_point(P, 99), "median": P / 2.5, "median_interval": [P / 2.6, P / 2.4], "level": 0.95}
        for P in (100, 400)
    ]
    assert fit_scaling(finer)["P_over_N"] == pytest.approx(2.5)
    assert fit_scaling(finer)["slope"] == pytest.approx(1)


def test_the_order_of_the_files_changes_no_digit():
    rng = np.random.default_rng(6)
    points = scattered_points(rng, (2, 3, 5), lambda P, L: P / 2.8)
    shuffled = [points[i] for i in rng.permutation(len(points))]
    assert fit_scaling(points) == fit_scaling(points[::-1]) == fit_scaling(shuffled)


MNIST, RANDOM = "mnist parity pca 10", "random d=10"


def two_data() -> list[dict]:
    """MNIST with P/N* = 2.58 and random data with P/N* = 1.45, at P = 50 and 100."""
    return [
        scaling_point(P, P / ratio, dataset=name, d=10)
        for name, ratio in ((MNIST, 2.58), (RANDOM, 1.45))
        for P in (50, 100)
    ]


def test_different_data_are_fitted_each_alone():
    assert [(fit["dataset"], fit["P_over_N"], fit["n_points"]) for fit in fit_groups(two_data())] == [
        (MNIST, pytest.approx(2.58), 2), (RANDOM, pytest.approx(1.45), 2),
    ]  # fmt: skip


def test_one_fit_of_different_data_is_refused_unless_that_is_asked_for():
    with pytest.raises(InputError, match=f"of data {MNIST} and {RANDOM}, expected one"):
        fit_scaling(two_data())
    (fit,) = fit_groups(two_data(), by=())
    assert fit["P_over_N"] == pytest.approx((2.58 * 1.45) ** 0.5)
    assert fit["dataset"] is None and fit["pooled"] == {"data": [MNIST, RANDOM]}


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "cross-entropy"}, {"success": "classified"}, {"optimizer": "newton"}, {"certify": True}, {"steps": 7},
        {"activation": "tanh"}, {"batch_norm": True}, {"protocol": "paper-hinge"}, {"settings": {"lr": 0.5}},
        {"keep_dead": True}, {"d": 11},
    ],
    ids=str,
)  # fmt: skip
def test_each_field_of_the_quantity_makes_groups(change):
    usual = {
        "dataset": RANDOM, "d": 10, "optimizer": "adam", "certify": False, "steps": 5, "activation": "relu",
        "batch_norm": False, "protocol": "custom", "settings": {"lr": 0.1},
    }  # fmt: skip
    records = [scaling_point(P, P / 2, **(usual | more)) for more in ({}, change) for P in (100, 200)]
    fits = fit_groups(records)
    assert [fit["n_points"] for fit in fits] == [2, 2] and "pooled" not in fits[0]


def test_depths_are_compared_within_a_group_unless_they_make_the_groups():
    records = [scaling_point(P, P / 2, depth=depth) for depth in (2, 3) for P in (100, 200, 400)]
    (fit,) = fit_groups(records)
    assert fit["depths"] == [2, 3] and fit["depth"]["P_over_N"] == {
        "2": pytest.approx(2),
        "3": pytest.approx(2),
    }
    assert [fit["depths"] for fit in fit_groups(records, by=("depth",))] == [[2], [3]]


def test_a_group_without_an_n_star_has_a_fit_without_numbers():
    records = [*two_data(), scaling_point(50, None, dataset="arrays d=3", d=3)]
    first, *others = fit_groups(records)
    assert (first["dataset"], first["n_points"], first["n_without"], first["P_over_N"]) == (
        "arrays d=3",
        0,
        1,
        None,
    )
    assert [fit["n_points"] for fit in others] == [2, 2]
    with pytest.raises(InputError, match="none of the 2 searches found an N"):
        fit_groups([scaling_point(50, None, dataset=name) for name in "ab"])


def test_n_star_after_a_time_does_not_depend_on_the_steps_that_followed():
    records = [
        scaling_point(
            P, P / 3, steps=steps, at_times=[{"steps": 10, "n_star": P / 2, "interval": [P / 3, P]}]
        )
        for P, steps in ((100, 10), (200, 90))
    ]
    assert len(fit_groups(records)) == 2
    (fit,) = fit_groups(records, time=10)
    assert fit["P_over_N"] == pytest.approx(2)


def test_each_group_has_the_bound_of_its_own_spectra():
    def spectrum(data: str, c0: float) -> dict:
        return run_info(data=data, depth=3, c0=c0, n_cusps=0, status="stationary")

    fits = fit_groups(two_data(), spectra=[spectrum(MNIST, 0.3), spectrum(RANDOM, 0.5)])
    assert [fit["bound"]["P_over_N"] for fit in fits] == [0.3, 0.5]
    with pytest.raises(InputError, match=f"got spectra of data {MNIST} beside searches of {RANDOM}"):
        fit_scaling(two_data()[2:], spectra=[spectrum(MNIST, 0.3)])


def test_an_unknown_field_of_groups_is_refused():
    with pytest.raises(InputError, match="no field 'dept'; did you mean depth"):
        fit_groups(two_data(), by=("dept",))
