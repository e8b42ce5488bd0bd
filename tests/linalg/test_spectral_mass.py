"""The estimated number of zero eigenvalues against spectra that are known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from jamtools.errors import CheckError
from jamtools.hessian.products import Products
from jamtools.linalg.lanczos import probe
from jamtools.linalg.operator import dense
from jamtools.linalg.spectral_density import smeared_density
from jamtools.linalg.spectral_mass import zero_mass
from tests.support import oracle
from tests.support.spectra import FAILURE_PROBABILITY, kernel_gap_continuum, network, planted


def kernel_of_h0(eigenvalues: np.ndarray) -> int:
    return int((eigenvalues <= len(eigenvalues) * np.finfo(float).eps * eigenvalues[-1]).sum())


def test_the_kernel_of_h0_lies_in_a_narrow_interval():
    case, exact = network("relu", 1, 30, 0.3)
    n, products, kernel = len(exact["H0"]), Products(*case), kernel_of_h0(exact["H0"])
    quadrature = probe(products.operator("H0"), probes=8, steps=150)
    mass = zero_mass(quadrature, 1 - FAILURE_PROBABILITY, n - products.n_unsatisfied)
    assert mass.resolved and mass.low <= kernel <= mass.high
    assert 0 < mass.threshold < exact["H0"][kernel]
    assert mass.high - mass.low < 0.15 * n


def test_a_gap_that_the_steps_do_not_resolve_gives_an_upper_bound_that_more_steps_lower():
    case, exact = network("relu", 3, 14, 1.0)
    products, kernel = Products(*case), kernel_of_h0(exact["H0"])
    masses = [
        zero_mass(probe(products.operator("H0"), 8, steps), 1 - FAILURE_PROBABILITY) for steps in (20, 60)
    ]
    assert not any(mass.resolved for mass in masses)
    assert all(mass.low <= kernel <= mass.high for mass in masses)
    assert masses[1].value < masses[0].value


def test_a_satisfied_network_has_zero_eigenvalues_only():
    theta, problem = network("relu")[0]
    y = torch.sign(oracle.f(problem.arch, theta, problem.x))
    satisfied = replace(problem, y=y, loss=replace(problem.loss, epsilon=1e-9))
    quadrature = probe(Products(theta, satisfied).operator("H"), 2, 10)
    mass = zero_mass(quadrature, at_least=quadrature.dimension)
    assert (mass.value, mass.low, mass.high, mass.resolved) == (*[quadrature.dimension] * 3, True)
    assert len(smeared_density(quadrature).x) == 0
    quadrature.check_trace(0.0)


def test_a_planted_kernel_is_found_and_equals_the_count_in_the_gap():
    quadrature = probe(dense(planted(kernel_gap_continuum())), 10, 50)
    mass = zero_mass(quadrature, 1 - FAILURE_PROBABILITY)
    assert mass.resolved and mass.low <= 120 <= mass.high and mass.threshold < 0.3
    assert mass.value == pytest.approx(quadrature.counts(0.15).value[0])


def test_a_matrix_without_a_kernel_has_no_zero_eigenvalues():
    mass = zero_mass(probe(dense(planted(np.linspace(1, 2, 200))), 4, 40))
    assert mass.resolved and mass.value == 0 and mass.high < 1


@pytest.mark.parametrize("scale", [1e-12, 1e-200, 1e200])
def test_a_scaled_matrix_has_the_same_number_of_zero_eigenvalues(scale):
    matrix = planted(np.concatenate([kernel_gap_continuum(), -np.linspace(0.1, 0.5, 50)]))
    plain, scaled = (zero_mass(probe(dense(a), 3, 40)) for a in (matrix, matrix * scale))
    assert plain.resolved and scaled.resolved
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((plain.value, plain.low, plain.high))
    assert scaled.threshold == pytest.approx(scale * plain.threshold)


@pytest.mark.statistical
def test_intervals_and_standard_errors_have_their_nominal_coverage_over_200_seeds():
    """The interval of 95% and |deviation| ≤ error of 68%."""
    operator, seeds, kernel = dense(planted(kernel_gap_continuum(60, 24))), 200, 24
    masses = [zero_mass(probe(operator, 2, 30, seed)) for seed in range(seeds)]
    in_interval = sum(mass.low <= kernel <= mass.high for mass in masses)
    within_error = sum(abs(mass.value - kernel) <= mass.error for mass in masses)
    assert stats.binomtest(in_interval, seeds, 0.95).pvalue > FAILURE_PROBABILITY
    assert stats.binomtest(within_error, seeds, 0.6827).pvalue > FAILURE_PROBABILITY


def test_a_known_lower_bound_raises_the_interval():
    quadrature = probe(dense(planted(kernel_gap_continuum())), 4, 40)
    assert zero_mass(quadrature, at_least=110).low >= 110


def test_a_lower_bound_that_the_probes_contradict_is_an_error():
    quadrature = probe(dense(planted(kernel_gap_continuum())), 4, 40)
    with pytest.raises(CheckError, match="at least 290 are known"):
        zero_mass(quadrature, at_least=290)
