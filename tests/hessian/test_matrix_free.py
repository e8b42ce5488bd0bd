"""Estimated spectra of runs compared with the exact spectra."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.errors import CheckError
from jamtools.hessian.exact import exact_spectrum
from jamtools.hessian.matrix_free import LanczosOptions, estimate_density
from jamtools.hessian.products import Products
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.records import SPECTRUM_FIELDS
from jamtools.training.ensemble import train
from tests.support import oracle
from tests.support.fixed_norm import run_of_fixed_norm


def jammed(activation="relu", depth=2):
    data = oracle.dataset(200, 5)
    settings = with_options(TrainingOptions(), steps=1500, lr=3e-3, measurements=3)
    run = train(data, Architecture(5, 7, depth, activation), settings, seed=0)
    assert run.info["n_unsatisfied"] > 0
    return run, data


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_estimated_counts_are_the_exact_ones_within_their_errors(activation):
    """Within four standard errors, and within the worst-case bounds; what is known of H0 is exact."""
    run, data = jammed(activation)
    exact, estimate = (
        exact_spectrum(run, data).info,
        estimate_density(run, data, options=LanczosOptions(probes=10, steps=60)).info,
    )
    of = estimate["estimates"]
    for part in ("H", "Hp"):
        negative, number = of[part]["negative"], exact[f"n_negative_{part}"]
        assert abs(negative["value"] - number) <= 4 * negative["error"]
        assert negative["bounds"][0] <= number <= negative["bounds"][1]
        assert (
            negative["bounds"][0]
            <= negative["interval"][0]
            < negative["interval"][1]
            <= negative["bounds"][1]
        )
    n_zero = exact["n_zero_H0"]
    assert (of["H0"]["zero"]["value"], of["H0"]["zero"]["interval"]) == (n_zero, [n_zero, n_zero])
    assert of["H0"]["zero"]["exact"] and of["H0"]["negative"]["interval"] == [0, 0]


def test_estimated_extreme_eigenvalues_are_those_of_the_exact_spectrum():
    run, data = jammed("tanh")
    exact = exact_spectrum(run, data)
    estimate = estimate_density(run, data, options=LanczosOptions(probes=2, steps=20, extremes=3)).info[
        "estimates"
    ]
    for part in ("H", "Hp"):
        scale = np.abs(exact[part]).max()
        for end, values in (("lowest", exact[part][:3]), ("highest", exact[part][-3:])):
            for number, value in zip(estimate[part][end], values):
                # an eigenvalue is within the residual; the lower end of H is dense and may not converge
                assert abs(number["value"] - value) <= number["residual"] + 1e-13 * scale
                assert number["converged"] or (part, end) == ("H", "lowest")


def test_an_estimate_leaves_the_fields_of_exact_counts_empty():
    run, data = jammed()
    info = estimate_density(run, data, options=LanczosOptions(probes=2, steps=20)).info
    own = set(SPECTRUM_FIELDS) - set(run.info) - {"n_cusps"}
    assert all(info[name] is None for name in own)
    assert info["n_unsatisfied"] == run.info["n_unsatisfied"]


def test_each_layer_gets_an_estimate_of_its_own_block():
    run, data = jammed()
    estimate = estimate_density(
        run, data, options=LanczosOptions(("H0",), probes=2, steps=20, extremes=0, layers=True)
    )
    assert set(estimate.densities) == {"H0", "H0/layer1", "H0/layer2", "H0/layer3"}
    sizes = [estimate.info["estimates"][f"H0/layer{j}"]["dimension"] for j in (1, 2, 3)]
    assert sum(sizes) == run.info["n_parameters"]


def test_a_density_integrates_to_the_number_of_eigenvalues_that_are_not_zero():
    run, data = jammed()
    estimate = estimate_density(run, data, options=LanczosOptions(("H0",), probes=10, steps=400))
    number, density = estimate.info["estimates"]["H0"], estimate.densities["H0"]
    at_zero = number["zero"]["value"] if number["zero"]["resolved"] else 0.0
    area = np.trapezoid(density["y"], density["x"])
    assert area == pytest.approx(number["dimension"] - at_zero, rel=1e-3)


def test_a_product_that_contradicts_the_exact_trace_is_an_error(monkeypatch):
    """A quarter of H0 has a quarter of its trace, which contradicts the exact one."""
    run, data = jammed()
    whole = Products.product
    monkeypatch.setattr(Products, "product", lambda self, name, V: whole(self, name, V) / 4)
    with pytest.raises(CheckError, match="trace"):
        estimate_density(run, data, options=LanczosOptions(("H0",), probes=100, steps=20, extremes=0))


@pytest.mark.parametrize(("activation", "outputs"), [("relu", 1), ("tanh", 3)])
def test_estimates_at_fixed_norm_are_those_of_the_exact_spectrum_on_the_sphere(activation, outputs):
    run, data = run_of_fixed_norm(activation, outputs)
    exact = exact_spectrum(run, data)
    estimate = estimate_density(
        run, data, options=LanczosOptions(probes=20, steps=60, extremes=2, layers=True)
    ).info
    assert estimate["norm_multiplier"] == exact.info["norm_multiplier"]
    of = estimate["estimates"]
    for part in ("H0", "Hp", "H"):
        assert of[part]["dimension"] == len(exact[part]) == run.info["n_parameters"] - 1
        trace = of[part]["trace"]
        assert abs(trace["value"] - exact[part].sum()) <= 5 * trace["error"]
        scale = np.abs(exact[part]).max()
        assert of[part]["highest"][-1]["value"] == pytest.approx(exact[part][-1], abs=1e-9 * scale)
        if part != "H0":
            negative, number = of[part]["negative"], exact.info[f"n_negative_{part}"]
            assert negative["bounds"][0] <= number <= negative["bounds"][1]
            assert abs(negative["value"] - number) <= 4 * negative["error"]
    assert of["H0"]["zero"]["value"] == exact.info["n_zero_H0"] and of["H0"]["zero"]["exact"]
    if activation == "relu":
        assert of["Hp"]["trace"]["exact"] == pytest.approx(exact["Hp"].sum(), abs=1e-12)
    assert sum(of[f"H/layer{j}"]["dimension"] for j in (1, 2, 3)) == run.info["n_parameters"]
