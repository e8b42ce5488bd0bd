"""The bound of stability from spectra: means over the jammed ones, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from jamtools.errors import InputError
from jamtools.transition.bound import measured
from jamtools.transition.scaling import fit


def spectrum(
    c0: float | None, n_cusps: int, depth: int = 3, n_unsatisfied: int = 50, **fields: Any
) -> dict[str, Any]:
    counts = {"c0": c0, "n_cusps": n_cusps, "n_unsatisfied": n_unsatisfied, "n_effective_expected": 100}
    return {"depth": depth, **counts, **fields}


def search(P: int, n: float, depth: int = 3, **fields: Any) -> dict[str, Any]:
    return {"kind": "nstar", "P": P, "n_star": n, "interval": [n / 1.1, n * 1.1], "depth": depth, **fields}


SPECTRA = [spectrum(0.5, 20), spectrum(0.48, 22), spectrum(0.5, 27, depth=5), spectrum(0.46, 25, depth=5)]


def test_the_bound_is_the_mean_of_c0_less_cusps_per_parameter():
    found = measured(SPECTRA)
    each = np.array([0.5 - 0.2, 0.48 - 0.22, 0.5 - 0.27, 0.46 - 0.25])
    error = each.std(ddof=1) / 2
    assert found["P_over_N"] == pytest.approx(each.mean())
    assert found["error"] == pytest.approx(error)
    assert found["interval"] == pytest.approx(list(ttest_1samp(each, 0).confidence_interval(0.95)))
    assert (found["c0"], found["cusps_per_parameter"], found["n_runs"]) == (
        pytest.approx(0.485),
        pytest.approx(0.235),
        4,
    )
    assert (
        found["depths"]["5"]["P_over_N"] == pytest.approx(each[2:].mean())
        and found["depths"]["5"]["n_runs"] == 2
    )


def test_only_jammed_runs_whose_signs_are_counted_enter():
    more = [spectrum(0.1, 90, n_unsatisfied=10), spectrum(0.1, 90, n_unsatisfied=0), spectrum(None, 90)]
    assert measured([*SPECTRA, *more]) == measured(SPECTRA)
    with pytest.raises(InputError, match="spectra of 3 runs, none jammed"):
        measured(more)


def test_convex_cusps_count_where_they_are_told_apart():
    assert measured([spectrum(0.5, 30, n_convex_cusps=20)])["P_over_N"] == pytest.approx(0.3)


def test_one_run_has_no_interval():
    found = measured(SPECTRA[:1])
    assert found["interval"] is None and found["n_runs"] == 1


def test_a_fit_is_held_against_the_bound_in_standard_errors_of_both():
    found = fit([search(P, P / 2, L) for P in (100, 200) for L in (3, 5)], spectra=SPECTRA)
    bound = found["bound"]
    error = np.hypot(np.log(1.1) / 2, bound["error"] / bound["P_over_N"])
    assert found["against"]["P/N* = C0 - N_c/N"] == pytest.approx(
        (np.log(2) - np.log(bound["P_over_N"])) / error
    )
    assert "bound" not in fit([search(100, 50)])


def test_a_bound_below_zero_is_no_line_to_be_held_against():
    found = fit([search(100, 50), search(200, 90)], spectra=[spectrum(0.2, 30), spectrum(0.2, 31)])
    assert found["bound"]["P_over_N"] < 0 and found["against"]["P/N* = C0 - N_c/N"] is None


def test_spectra_of_other_networks_than_the_searches_are_refused():
    with pytest.raises(InputError, match="spectra of depth 3 and 5 beside searches of 3"):
        fit([search(100, 50)], spectra=SPECTRA)
    with pytest.raises(InputError, match="spectra of activation tanh beside searches of relu"):
        fit([search(100, 50, activation="relu")], spectra=[spectrum(0.5, 20, activation="tanh")])
