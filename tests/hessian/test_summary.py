"""The numbers that summarise spectra, from eigenvalues that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jamtools.hessian import summary
from jamtools.hessian.exact import exact_spectrum
from jamtools.network.architecture import Architecture
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from tests.support import oracle
from tests.support.spectra import adam_jammed


def test_the_summary_of_a_jammed_run_follows_from_its_eigenvalues():
    run, data = adam_jammed(depth=3)
    spectrum = exact_spectrum(run, data)
    info, H0, Hp, N = spectrum.info, spectrum["H0"], spectrum["Hp"], spectrum.info["n_effective_expected"]
    assert info["n_symmetries"] == run.info["n_hidden"]
    assert info["delta_weight_H0"] == (N - info["rank_H0"]) / N
    assert info["largest_H0"] == H0[-1]
    rank = info["rank_H0"]
    assert info["relative_gap_H0"] == pytest.approx(H0[len(H0) - rank] / np.abs(H0[: len(H0) - rank]).max())
    assert info["relative_gap_H0"] > 1e3
    assert info["scale_Hp"] == pytest.approx(math.sqrt(np.mean(Hp**2) / run.info["final_loss"]))
    m3 = (Hp**3).sum() / math.sqrt((Hp**2).sum() * (Hp**4).sum())
    assert info["odd_moment_3_Hp"] == pytest.approx(m3)
    assert abs(info["odd_moment_3_Hp"]) < 1
    assert info["bound"] == info["n_negative_Hp"] - info["n_convex_cusps"]
    assert info["smooth_bound_holds"] == (info["n_unsatisfied"] >= info["n_negative_Hp"])


def test_the_summary_of_one_hidden_relu_layer_is_symmetric():
    run, data = adam_jammed(depth=1)
    info = exact_spectrum(run, data).info
    assert abs(info["odd_moment_3_Hp"]) < 1e-12
    assert abs(info["odd_moment_5_Hp"]) < 1e-12
    # both sides have the same number of values, pairwise equal to round-off, so that D is at most one step of 1/n
    assert info["asymmetry_Hp"] <= 1.01 / run.info["width"]


def test_asymmetry_is_the_kolmogorov_smirnov_distance():
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    values = np.concatenate([rng.exponential(1, 200), -rng.exponential(1.5, 150), np.zeros(20)])
    expected = ks_2samp(values[values > 0], -values[values < 0]).statistic
    assert summary.asymmetry(values, 0.0) == pytest.approx(expected)
    assert summary.asymmetry(np.array([1.0, 2.0]), 0.0) is None


def test_the_summary_of_a_satisfied_run_has_no_numbers_of_a_spectrum():
    data = oracle.dataset(10, 4)
    run = train(data, Architecture(4, 10, 2), with_options(TrainingOptions(), steps=5000, lr=1e-2), seed=0)
    assert run.info["status"] == "satisfied"
    info = exact_spectrum(run, data).info
    assert (info["rank_H0"], info["n_negative_Hp"], info["n_negative_H"]) == (0, 0, 0)
    assert info["gap_H0"] is info["relative_gap_H0"] is info["asymmetry_Hp"] is info["scale_Hp"] is None
    assert info["bound_holds"]
