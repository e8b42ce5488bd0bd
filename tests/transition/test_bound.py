"""The bound of stability as the mean over jammed spectra made by hand, and as a line that a fit is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from jamtools.errors import InputError
from jamtools.transition.bound import stability_bound
from jamtools.transition.scaling import MEASURED_BOUND, fit_scaling
from tests.support.searches import scaling_point


def spectrum(
    c0: float | None, n_cusps: int, depth: int = 3, n_unsatisfied: int = 50, **fields: Any
) -> dict[str, Any]:
    """The metadata of a spectrum with N = 100."""
    counts = {"c0": c0, "n_cusps": n_cusps, "n_unsatisfied": n_unsatisfied, "n_effective_expected": 100}
    return {"depth": depth, **counts, **fields}


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
    assert list(record) == [*keys, "depths"]
    assert list(record["depths"]["3"]) == keys and isinstance(record["interval"], list)


def test_only_jammed_runs_with_counted_signs_enter_the_bound():
    others = [spectrum(0.1, 90, n_unsatisfied=10), spectrum(0.1, 90, n_unsatisfied=0), spectrum(None, 90)]
    assert stability_bound([*SPECTRA, *others]) == stability_bound(SPECTRA)


def test_spectra_without_a_jammed_run_are_refused():
    others = [spectrum(0.1, 90, n_unsatisfied=10), spectrum(0.1, 90, n_unsatisfied=0), spectrum(None, 90)]
    with pytest.raises(InputError, match="spectra of 3 runs, none jammed"):
        stability_bound(others)


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
