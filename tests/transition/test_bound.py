"""The bound of stability as the mean over jammed spectra made by hand, and as a line that a fit is compared with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from jamtools.errors import InputError
from jamtools.transition.bound import stability_bound
from jamtools.transition.scaling import MEASURED_BOUND, fit_scaling
from tests.support.searches import scaling_point


def spectrum(
    c0: float | None, n_cusps: int | None, depth: int = 3, status: str = "stationary", **fields: Any
) -> dict[str, Any]:
    """The metadata of a spectrum with N = 100."""
    counts = {"c0": c0, "n_cusps": n_cusps, "n_unsatisfied": 50, "n_effective_expected": 100}
    return {"depth": depth, "status": status, **counts, **fields}


SPECTRA = [spectrum(0.5, 20), spectrum(0.48, 22), spectrum(0.5, 27, depth=5), spectrum(0.46, 25, depth=5)]
C0_LESS_CUSPS = np.array([0.5 - 0.2, 0.48 - 0.22, 0.5 - 0.27, 0.46 - 0.25])


def test_the_bound_is_the_mean_of_c0_minus_cusps_per_parameter():
    bound = stability_bound(SPECTRA)
    assert bound.P_over_N == pytest.approx(C0_LESS_CUSPS.mean())
    assert bound.error == pytest.approx(C0_LESS_CUSPS.std(ddof=1) / 2)
    assert bound.interval == pytest.approx(ttest_1samp(C0_LESS_CUSPS, 0).confidence_interval(0.95))
    assert (bound.c0, bound.cusps_per_parameter) == pytest.approx((0.485, 0.235))
    assert bound.n_runs == 4


def test_each_depth_has_its_own_bound():
    bound = stability_bound(SPECTRA)
    assert list(bound.depths) == [3, 5]
    assert bound.depths[5].P_over_N == pytest.approx(C0_LESS_CUSPS[2:].mean())
    assert bound.depths[5].n_runs == 2


def test_the_json_object_of_a_bound_has_these_keys_in_this_order():
    keys = ["c0", "cusps_per_parameter", "P_over_N", "interval", "error", "n_runs"]
    record = stability_bound(SPECTRA).as_dict()
    assert list(record) == [*keys, "depths", "left_out"]
    assert list(record["depths"]["3"]) == keys and isinstance(record["interval"], list)


#: Spectra of runs that are at no minimum, whatever their N_Δ, or lack a number of the bound.
OTHERS = [
    spectrum(0.1, 90, status="budget"), spectrum(0.0, 0, status="satisfied"), spectrum(0.1, 90, status="dead"),
    spectrum(None, 90), spectrum(0.5, None), spectrum(0.1, 90, status="escaping"),
]  # fmt: skip


def test_only_jammed_runs_with_counted_signs_and_cusps_enter_the_bound():
    bound = stability_bound([*SPECTRA, *OTHERS])
    assert bound.left_out == {
        "at no minimum": 2, "satisfied": 1, "dead": 1, "without signs": 1, "without N_c": 1,
    }  # fmt: skip
    assert replace(bound, left_out={}) == stability_bound(SPECTRA)


def test_dead_runs_enter_the_bound_on_request():
    dead = spectrum(0.1, 5, status="dead")
    assert stability_bound([*SPECTRA, dead], keep_dead=True).n_runs == 5
    searches = [scaling_point(P, P / 2, depth=L) for P in (100, 200) for L in (3, 5)]
    fit = fit_scaling(searches, spectra=[*SPECTRA, dead], keep_dead=True)
    assert fit["bound"]["n_runs"] == 5 and fit["bound"]["left_out"] == {}


def test_spectra_without_a_jammed_run_are_refused_with_what_they_are():
    with pytest.raises(
        InputError, match="spectra of 6 runs, none jammed .*2 at no minimum, 1 satisfied, 1 dead"
    ):
        stability_bound(OTHERS)


def test_a_fit_with_spectra_of_no_jammed_run_has_no_bound_and_the_reason():
    fit = fit_scaling([scaling_point(100, 50)], spectra=[spectrum(0.1, 90, status="budget")])
    assert "bound" not in fit and MEASURED_BOUND not in fit["against"]
    assert "none jammed with the signs of Hp counted (1 at no minimum)" in fit["bound_refused"]


def test_only_convex_cusps_count_where_a_spectrum_counts_them():
    assert stability_bound([spectrum(0.5, 30, n_convex_cusps=20)]).P_over_N == pytest.approx(0.3)


def test_the_bound_of_one_run_has_no_interval():
    bound = stability_bound(SPECTRA[:1])
    assert bound.interval is None and bound.n_runs == 1


def test_a_fit_is_compared_with_the_bound_in_standard_errors_of_both():
    fit = fit_scaling([scaling_point(P, P / 2, depth=L) for P in (100, 200) for L in (3, 5)], spectra=SPECTRA)
    bound = fit["bound"]
    error = np.hypot(np.log(1.1) / 2, bound["error"] / bound["P_over_N"])
    distance = (np.log(2) - np.log(bound["P_over_N"])) / error
    assert fit["against"][MEASURED_BOUND] == pytest.approx(distance)


def test_a_fit_without_spectra_has_no_bound():
    assert "bound" not in fit_scaling([scaling_point(100, 50)])


def test_a_fit_has_no_distance_from_a_bound_below_zero():
    fit = fit_scaling(
        [scaling_point(100, 50), scaling_point(200, 90)], spectra=[spectrum(0.2, 30), spectrum(0.2, 31)]
    )
    assert fit["bound"]["P_over_N"] < 0 and fit["against"][MEASURED_BOUND] is None


def test_spectra_of_other_depths_than_the_searches_are_refused():
    with pytest.raises(InputError, match="spectra of depth 3 and 5 beside searches of 3"):
        fit_scaling([scaling_point(100, 50)], spectra=SPECTRA)


def test_spectra_of_another_activation_than_the_searches_are_refused():
    with pytest.raises(InputError, match="spectra of activation tanh beside searches of relu"):
        fit_scaling(
            [scaling_point(100, 50, activation="relu")], spectra=[spectrum(0.5, 20, activation="tanh")]
        )
