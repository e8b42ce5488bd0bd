"""Estimated spectra of runs beside the exact ones."""

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


def jammed(activation="relu", depth=2):
    data = oracle.dataset(200, 5)
    settings = with_options(TrainingOptions(), steps=1500, lr=3e-3, measurements=3)
    run = train(data, Architecture(5, 7, depth, activation), settings, seed=0)
    assert run.info["n_unsatisfied"] > 0
    return run, data


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_estimates_hold_the_exact_counts(activation):
    """With as many steps as dimensions the probes are the only error; three of three intervals of 95% contain the value."""
    run, data = jammed(activation)
    exact, found = (
        exact_spectrum(run, data).info,
        estimate_density(run, data, options=LanczosOptions(probes=30, steps=400)).info,
    )
    of = found["estimates"]
    for value, (low, high) in (
        (exact["n_negative_Hp"], of["Hp"]["negative"]["interval"]),
        (exact["n_negative_H"], of["H"]["negative"]["interval"]),
        (exact["n_zero_H0"], of["H0"]["zero"]["interval"]),
    ):
        assert low <= value <= high


def test_extremes_are_those_of_the_exact_spectrum():
    run, data = jammed("tanh")
    exact = exact_spectrum(run, data)
    found = estimate_density(run, data, options=LanczosOptions(probes=2, steps=20, extremes=3)).info[
        "estimates"
    ]
    for part in ("H", "Hp"):
        scale = np.abs(exact[part]).max()
        for end, values in (("lowest", exact[part][:3]), ("highest", exact[part][-3:])):
            for one, value in zip(found[part][end], values):
                # an eigenvalue is within the residual; the lower end of H is dense and may not converge
                assert abs(one["value"] - value) <= one["residual"] + 1e-13 * scale
                assert one["converged"] or (part, end) == ("H", "lowest")


def test_exact_names_are_not_taken_by_estimates():
    run, data = jammed()
    info = estimate_density(run, data, options=LanczosOptions(probes=2, steps=20)).info
    own = set(SPECTRUM_FIELDS) - set(run.info) - {"n_cusps"}
    assert all(info[name] is None for name in own)
    assert info["n_unsatisfied"] == run.info["n_unsatisfied"]


def test_layers_have_blocks_of_their_own():
    run, data = jammed()
    found = estimate_density(
        run, data, options=LanczosOptions(("H0",), probes=2, steps=20, extremes=0, layers=True)
    )
    assert set(found.densities) == {"H0", "H0/layer1", "H0/layer2", "H0/layer3"}
    sizes = [found.info["estimates"][f"H0/layer{j}"]["dimension"] for j in (1, 2, 3)]
    assert sum(sizes) == run.info["n_parameters"]


def test_a_density_integrates_to_what_is_not_at_zero():
    run, data = jammed()
    found = estimate_density(run, data, options=LanczosOptions(("H0",), probes=10, steps=400))
    one, density = found.info["estimates"]["H0"], found.densities["H0"]
    at_zero = one["zero"]["value"] if one["zero"]["resolved"] else 0.0
    area = np.trapezoid(density["y"], density["x"])
    assert area == pytest.approx(one["dimension"] - at_zero, rel=1e-3)


def test_a_wrong_product_is_withheld(monkeypatch):
    """Half of H0 has half its trace, which contradicts the exact one."""
    run, data = jammed()
    whole = Products.product
    monkeypatch.setattr(Products, "product", lambda self, name, V: whole(self, name, V) / 4)
    with pytest.raises(CheckError, match="trace"):
        estimate_density(run, data, options=LanczosOptions(("H0",), probes=100, steps=20, extremes=0))
