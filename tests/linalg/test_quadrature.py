"""Counts and traces by stochastic Lanczos quadrature against spectra that are known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from jamtools.errors import CheckError
from jamtools.hessian.assembly import hessian
from jamtools.hessian.products import Products
from jamtools.linalg.lanczos import probe
from jamtools.linalg.operator import dense
from jamtools.linalg.subspace import project_out
from jamtools.network.symmetry import ScaleGenerators, scale_generators
from tests.support.spectra import (
    FAILURE_PROBABILITY,
    assert_counts_hold,
    between,
    diagonal,
    kernel_gap_continuum,
    network,
    planted,
)

# --- networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["H0", "Hp", "H"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_counts_of_a_network_agree_with_the_exact_ones_within_their_intervals(activation, name):
    case, exact = network(activation)
    quadrature = probe(Products(*case).operator(name), probes=8, steps=60)
    assert_counts_hold(quadrature, exact[name])
    x = np.linspace(exact[name][0], exact[name][-1], 42)[1:-1]
    counts = assert_counts_hold(quadrature, exact[name], x)
    assert (counts.high - counts.low).mean() < 0.1 * len(exact[name]), "the intervals are narrow"


def test_negative_eigenvalues_are_counted_without_the_scale_generators():
    case, _ = network("relu")
    operator = Products(*case).operator("Hp", generators=ScaleGenerators(case[0], case[1].arch))
    quadrature = probe(operator, 8, 60)
    projected = project_out(hessian(*case).Hp, scale_generators(case[0], case[1].arch)).numpy()
    assert quadrature.dimension == len(projected)
    assert quadrature.counts(1.0 + 2 * quadrature.norm).value == pytest.approx(quadrature.dimension)
    assert_counts_hold(quadrature, np.linalg.eigvalsh(projected))


def test_the_estimated_traces_of_a_network_pass_the_check():
    products = Products(*network("relu")[0])
    H0, Hp = (probe(products.operator(name), 4, 30) for name in ("H0", "Hp"))
    H0.check_trace(sum(products.traces_h0()), "H0", nonnegative=True)
    Hp.check_trace(0.0, "Hp")
    for layer, trace in enumerate(products.traces_h0()):
        probe(products.operator("H0", layer), 4, 20).check_trace(trace, f"layer {layer}", nonnegative=True)


def test_a_trace_that_is_many_times_too_large_fails_the_check():
    products = Products(*network("relu")[0])
    H0, Hp = (probe(products.operator(name), 4, 30) for name in ("H0", "Hp"))
    with pytest.raises(CheckError, match="trace of H0"):
        H0.check_trace(30 * sum(products.traces_h0()), "H0", nonnegative=True)
    with pytest.raises(CheckError, match="trace of Hp"):
        Hp.check_trace(20 * Hp.trace(np.abs)[0], "Hp")


@pytest.mark.gpu
def test_the_intervals_of_counts_on_a_gpu_contain_the_exact_counts():
    case, exact = network("relu")
    theta, problem = case
    on_gpu = replace(problem, x=problem.x.cuda(), y=problem.y.cuda())
    quadrature = probe(Products(theta.cuda(), on_gpu).operator("Hp"), 8, 60)
    assert_counts_hold(quadrature, exact["Hp"])


# --- planted spectra --------------------------------------------------------------------------------


def test_the_intervals_contain_the_counts_of_a_spectrum_with_a_kernel_a_gap_and_degenerate_eigenvalues():
    values = kernel_gap_continuum()
    quadrature = probe(dense(planted(values)), 10, 50)
    largest_above = quadrature.dimension - quadrature.counts(1.5, 1 - FAILURE_PROBABILITY).low[0]
    above = quadrature.dimension - quadrature.counts(1.5).value[0]
    assert above < largest_above and largest_above >= 30
    assert_counts_hold(quadrature, values)


@pytest.mark.parametrize("scale", [1e-12, 1e-200, 1e200])
def test_a_scaled_matrix_has_the_same_counts(scale):
    matrix = planted(np.concatenate([kernel_gap_continuum(), -np.linspace(0.1, 0.5, 50)]))
    plain, scaled = (probe(dense(a), 3, 40) for a in (matrix, matrix * scale))
    x = np.array([-0.3, -1e-3, 1e-3, 0.15, 0.5, 1.5])
    expected, counts = plain.counts(x), scaled.counts(x * scale)
    assert np.allclose(counts.x / scale, expected.x, rtol=1e-6)
    for name in ("value", "error", "low", "high"):
        assert np.allclose(getattr(counts, name), getattr(expected, name), rtol=1e-6)


def test_the_bound_on_the_error_of_the_steps_holds_for_one_probe():
    """|μ_v(x) - G(x)| ≤ ρ(x), with μ_v from the exact eigenvectors."""
    values, vectors = np.linalg.eigh(planted(np.linspace(-1, 1, 150) ** 3).numpy())
    operator = dense(torch.from_numpy((vectors * values) @ vectors.T))
    v = operator.draw(5, 0, 1)[:, 0].numpy()
    measure = (vectors.T @ v) ** 2 / (v @ v)
    x = between(values, 60)
    exact = np.array([measure[values < point].sum() for point in x])
    quadrature = probe(operator, 1, 25, seed=5)
    gauss, rho = quadrature.counts(x).value / 150, quadrature.step_error(x / quadrature.unit)
    assert (np.abs(exact - gauss) <= rho + 1e-12).all()
    assert np.abs(exact - gauss).max() > rho.max() / 10, "the bound is not far from the error"


@pytest.mark.statistical
def test_the_standard_error_of_a_trace_is_that_of_its_deviations_over_200_seeds():
    values = kernel_gap_continuum(60, 24)
    operator, seeds = dense(planted(values)), 200
    estimates = [probe(operator, 2, 30, seed).trace() for seed in range(seeds)]
    chi2 = sum(((trace - values.sum()) / error) ** 2 for trace, error in estimates)
    assert FAILURE_PROBABILITY / 2 < stats.chi2.cdf(chi2, seeds) < 1 - FAILURE_PROBABILITY / 2


@pytest.mark.statistical
def test_the_interval_of_a_small_count_contains_it_and_stays_above_zero():
    """Three eigenvalues of 2000 are below 2: an interval from a standard error would reach below zero."""
    operator = diagonal(torch.cat([torch.ones(3), torch.linspace(5, 6, 1997)]))
    intervals = [probe(operator, 1, 15, seed).counts(2.0) for seed in range(60)]
    n_containing = sum(bool(c.low[0] <= 3 <= c.high[0]) for c in intervals)
    assert stats.binomtest(n_containing, 60, 0.95).pvalue > FAILURE_PROBABILITY
    assert all(c.low[0] > 0 for c in intervals)
