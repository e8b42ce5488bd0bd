"""Stochastic Lanczos quadrature against spectra that are known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from jamtools.errors import CheckError, InputError
from jamtools.hessian.assembly import hessian
from jamtools.hessian.products import Products
from jamtools.linalg.lanczos import probe
from jamtools.linalg.operator import Operator, dense
from jamtools.linalg.subspace import project_out
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.symmetry import ScaleGenerators, scale_generators
from tests.support import oracle
from tests.support.spectra import network, planted

#: All the counts of one test leave their intervals together with this chance at most, if the intervals hold.
CHANCE = 1e-3


def kernel_gap_continuum(n=300, kernel=120):
    """A kernel, a gap, a continuum, and an eigenvalue 30 times degenerate."""
    return np.concatenate([np.zeros(kernel), np.linspace(0.3, 1, n - kernel - 30), np.full(30, 2.0)])


def between(values, number):
    """Points off the eigenvalues, spread over their ranks, and out to both sides."""
    gaps = np.flatnonzero(np.diff(values) > 1e-9 * np.abs(values).max())
    chosen = gaps[np.unique(np.linspace(0, len(gaps) - 1, number).astype(int))]
    inside = (values[chosen] + values[chosen + 1]) / 2
    spread = values[-1] - values[0]
    return np.concatenate([[values[0] - spread], inside, [values[-1] + spread]])


def assert_counts_hold(found, values, number=40):
    x = between(values, number)
    exact = np.searchsorted(values, x)
    counts = found.counts(x, confidence=1 - CHANCE / len(x))
    assert ((counts.low <= exact) & (exact <= counts.high)).all()
    assert ((counts.low <= counts.value) & (counts.value <= counts.high)).all()
    return counts


# --- networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["H0", "Hp", "H"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_integrated_density_agrees_with_the_exact_counts_within_its_error_bars(activation, name):
    case, exact = network(activation)
    found = probe(Products(*case).operator(name), probes=8, steps=60)
    assert_counts_hold(found, exact[name])
    x = np.linspace(exact[name][0], exact[name][-1], 42)[1:-1]
    counts = found.counts(x, 1 - CHANCE / len(x))
    want = np.searchsorted(exact[name], x)
    assert ((counts.low <= want) & (want <= counts.high)).all()
    assert (counts.high - counts.low).mean() < 0.1 * len(exact[name]), "and they are no empty words"


@pytest.mark.parametrize("name", ["H0", "Hp", "H"])
def test_the_smeared_density_agrees_with_the_exact_one_within_its_error_bars(name):
    """Both smeared alike, so that only the probes are left; a Gaussian of 5 standard errors fails once in 10⁶."""
    case, exact = network("tanh")
    found = probe(Products(*case).operator(name), probes=8, steps=100)
    zero = found.zero(
        at_least=max(0, len(exact[name]) - Products(*case).n_unsatisfied) if name == "H0" else 0
    )
    density = found.density(200, zero=zero)
    values = exact[name][np.abs(exact[name]) > (zero.threshold if zero.resolved else -1)]
    assert np.trapezoid(density.y, density.x) == pytest.approx(
        len(exact[name]) - zero.value * zero.resolved, rel=1e-5
    )
    want = stats.norm.pdf(density.x[:, None], values, density.width).sum(1)
    # the Gauss rule leaves e⁻⁸ of a kernel's height n/(√2π width) open, and the error is itself an estimate
    open_ = np.exp(-8) * len(values) / (np.sqrt(2 * np.pi) * density.width)
    assert (np.abs(density.y - want) <= 5 * density.error + open_).all()


def test_the_kernel_of_h0_is_reported_as_a_mass():
    case, exact = network("relu", 1, 30, 0.3)
    n, products = len(exact["H0"]), Products(*case)
    kernel = int((exact["H0"] <= n * np.finfo(float).eps * exact["H0"][-1]).sum())
    found = probe(products.operator("H0"), probes=8, steps=150).zero(1 - CHANCE, n - products.n_unsatisfied)
    assert found.resolved and found.low <= kernel <= found.high
    assert 0 < found.threshold < exact["H0"][kernel]
    assert found.high - found.low < 0.15 * n


def test_a_gap_that_the_steps_do_not_resolve_is_said_to_be_so_and_bounded_from_above():
    case, exact = network("relu", 3, 14, 1.0)
    n, products = len(exact["H0"]), Products(*case)
    kernel = int((exact["H0"] <= n * np.finfo(float).eps * exact["H0"][-1]).sum())
    found = [probe(products.operator("H0"), 8, steps).zero(1 - CHANCE) for steps in (20, 60)]
    assert not any(mass.resolved for mass in found)
    assert all(mass.low <= kernel <= mass.high for mass in found)
    assert found[1].value < found[0].value


def test_negative_modes_are_counted_without_the_scale_generators():
    case, exact = network("relu")
    operator = Products(*case).operator("Hp", generators=ScaleGenerators(case[0], case[1].arch))
    found = probe(operator, 8, 60)
    assert found.dimension == len(exact["Hp"]) - case[1].arch.n_hidden
    assert found.counts(1.0 + 2 * found.norm).value == pytest.approx(found.dimension)
    assert_counts_hold(found, np.linalg.eigvalsh(_projected(case)))


def _projected(case):
    return project_out(hessian(*case).Hp, scale_generators(case[0], case[1].arch)).numpy()


def test_the_trace_checks_hold_and_a_wrong_trace_is_an_error():
    case, _ = network("relu")
    products = Products(*case)
    H0, Hp = (probe(products.operator(name), 4, 30) for name in ("H0", "Hp"))
    exact = sum(products.traces_h0())
    H0.check_trace(exact, "H0", nonnegative=True)
    Hp.check_trace(0.0, "Hp")
    for layer, trace in enumerate(products.traces_h0()):
        probe(products.operator("H0", layer), 4, 20).check_trace(trace, f"layer {layer}", nonnegative=True)
    with pytest.raises(CheckError, match="trace of H0"):
        H0.check_trace(30 * exact, "H0", nonnegative=True)
    with pytest.raises(CheckError, match="trace of Hp"):
        Hp.check_trace(20 * Hp.trace(np.abs)[0], "Hp")


def test_a_satisfied_network_has_all_its_mass_at_zero():
    theta, problem = network("relu")[0]
    y = torch.sign(oracle.f(problem.arch, theta, problem.x))
    satisfied = replace(problem, y=y, loss=replace(problem.loss, epsilon=1e-9))
    found = probe(Products(theta, satisfied).operator("H"), 2, 10)
    mass = found.zero(at_least=found.dimension)
    assert (mass.value, mass.low, mass.high, mass.resolved) == (*[found.dimension] * 3, True)
    assert len(found.density().x) == 0
    found.check_trace(0.0)


# --- planted spectra --------------------------------------------------------------------------------


def test_a_kernel_a_gap_and_a_degenerate_eigenvalue_are_found():
    values = kernel_gap_continuum()
    found = probe(dense(planted(values)), 10, 50)
    mass = found.zero(1 - CHANCE)
    assert mass.resolved and mass.low <= 120 <= mass.high and mass.threshold < 0.3
    assert mass.value == pytest.approx(found.counts(0.15).value[0])
    above = (
        found.dimension - found.counts(1.5, 1 - CHANCE).low[0],
        found.dimension - found.counts(1.5).value[0],
    )
    assert above[1] < above[0] and above[0] >= 30
    assert_counts_hold(found, values)


def test_no_kernel_is_no_mass():
    found = probe(dense(planted(np.linspace(1, 2, 200))), 4, 40).zero()
    assert found.resolved and found.value == 0 and found.high < 1


@pytest.mark.parametrize("scale", [1e-12, 1e-200, 1e200])
def test_a_scaled_matrix_has_the_same_counts(scale):
    values = np.concatenate([kernel_gap_continuum(), -np.linspace(0.1, 0.5, 50)])
    matrix = planted(values)
    plain, scaled = (probe(dense(a), 3, 40) for a in (matrix, matrix * scale))
    x = np.array([-0.3, -1e-3, 1e-3, 0.15, 0.5, 1.5])
    for a, b in zip(vars(plain.counts(x)).values(), vars(scaled.counts(x * scale)).values()):
        assert np.allclose(b / (scale if b[0] < 0 else 1), a, rtol=1e-6)
    a, b = plain.zero(), scaled.zero()
    assert a.resolved and b.resolved
    assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high))
    assert b.threshold == pytest.approx(scale * a.threshold)
    one, other = plain.density(50), scaled.density(50)
    assert np.allclose(other.x / scale, one.x) and np.allclose(
        other.y * scale, one.y, atol=1e-9 * one.y.max()
    )


def test_a_scale_that_is_a_power_of_two_changes_no_bit_of_the_rule():
    matrix = planted(np.linspace(-1, 2, 100))
    plain, scaled = (probe(dense(a), 2, 30) for a in (matrix, matrix * 2.0**-700))
    assert scaled.unit == plain.unit * 2.0**-700
    for a, b in zip(plain.alpha + plain.beta, scaled.alpha + scaled.beta):
        assert (a == b).all()


def test_the_bound_on_what_the_steps_leave_open_holds_for_one_probe():
    """|μ_v(x) - G(x)| ≤ ρ(x), with μ_v from the exact eigenvectors."""
    values, vectors = np.linalg.eigh(planted(np.linspace(-1, 1, 150) ** 3).numpy())
    operator = dense(torch.from_numpy((vectors * values) @ vectors.T))
    v = operator.draw(5, 0, 1)[:, 0].numpy()
    share = (vectors.T @ v) ** 2 / (v @ v)
    x = between(values, 60)
    exact = np.array([share[values < one].sum() for one in x])
    found = probe(operator, 1, 25, seed=5)
    gauss, unknown = found.counts(x).value / 150, found._unknown(x / found.unit)
    assert (np.abs(exact - gauss) <= unknown + 1e-12).all()
    assert np.abs(exact - gauss).max() > unknown.max() / 10, "a bound worth its name"


def test_intervals_and_standard_errors_cover_over_repeated_seeds():
    """200 seeds; the interval of nominal 95% and |deviation| ≤ error of 68% both hold their level."""
    values = kernel_gap_continuum(60, 24)
    operator, seeds = dense(planted(values)), 200
    inside = within = 0
    trace_deviations = []
    for seed in range(seeds):
        found = probe(operator, 2, 30, seed)
        mass, (trace, error) = found.zero(), found.trace()
        inside += mass.low <= 24 <= mass.high
        within += abs(mass.value - 24) <= mass.error
        trace_deviations.append((trace - values.sum()) / error)
    assert stats.binomtest(inside, seeds, 0.95).pvalue > CHANCE
    assert stats.binomtest(within, seeds, 0.6827).pvalue > CHANCE
    chi2 = np.square(trace_deviations).sum()
    assert CHANCE / 2 < stats.chi2.cdf(chi2, seeds) < 1 - CHANCE / 2


def test_few_eigenvalues_get_a_skew_interval_that_holds_them():
    """Three of 2000: an interval by a standard error would reach below zero."""
    diagonal = torch.cat([torch.ones(3), torch.linspace(5, 6, 1997)]).double()
    operator = Operator(lambda V: diagonal[:, None] * V, 2000)
    intervals = [probe(operator, 1, 15, seed).counts(2.0) for seed in range(60)]
    held = sum(bool(c.low[0] <= 3 <= c.high[0]) for c in intervals)
    assert stats.binomtest(held, 60, 0.95).pvalue > CHANCE
    assert all(c.low[0] > 0 for c in intervals)


def test_known_eigenvalues_at_zero_are_held_against_the_probes():
    found = probe(dense(planted(kernel_gap_continuum())), 4, 40)
    assert found.zero(at_least=110).low >= 110
    with pytest.raises(CheckError, match="at least 290 are known"):
        found.zero(at_least=290)


# --- the recurrence ---------------------------------------------------------------------------------


def test_an_exhausted_space_is_exact():
    values = np.repeat([0.0, 1.0, 3.0], 10)
    found = probe(dense(planted(values)), 3, 3)
    assert np.allclose(np.sort(found.nodes), np.repeat([0, 1, 3], 3), atol=1e-14)
    diagonal = torch.tensor([0.0, 1.0, 1.0, 2.0], dtype=torch.float64)
    found = probe(Operator(lambda V: diagonal[:, None] * V, 4), 3, 50)
    assert found.steps <= 4
    multiple = probe(Operator(lambda V: 7 * V, 5), 2, 5)
    assert (multiple.steps, multiple.exhausted) == (1, (True, True))
    assert multiple.zero().value == 0
    assert multiple.density(11).width == pytest.approx(7)


def test_probes_are_the_same_in_any_company():
    operator = dense(planted(np.linspace(-1, 1, 80)))
    together, apart = probe(operator, 5, 20, seed=3), probe(operator, 5, 20, seed=3, at_once=2)
    assert np.allclose(together.nodes, apart.nodes) and np.allclose(together.weights, apart.weights)
    again = probe(operator, 5, 20, seed=3)
    assert (again.nodes == together.nodes).all() and (again.weights == together.weights).all()
    assert not np.allclose(probe(operator, 5, 20, seed=4).nodes, together.nodes)


def test_probes_are_no_stream_that_made_the_network_or_its_data():
    """Two independent Gaussian vectors have a cosine of order 1/√n."""
    n, seed = 2000, 3
    arch = Architecture(10, 22, 5)
    others = [initial_parameters(arch, "normal", seed)[:n], oracle.sphere(200, 10, seed)[0].numpy().ravel()]
    others += [np.random.default_rng([seed, i]).standard_normal(n) for i in range(20)]
    probes = Operator(lambda V: V, n).draw(seed, 0, 20).numpy()
    cosines = [other[:n] @ probes / np.linalg.norm(other[:n]) / np.sqrt(n) for other in others]
    assert np.abs(cosines).max() < 6 / np.sqrt(n)


def test_float32_works_with_scalars_in_float64():
    matrix = planted(np.linspace(-1, 1, 100))
    found, want = probe(dense(matrix.float()), 3, 20), probe(dense(matrix), 3, 20)
    assert all(a.dtype == np.float64 for a in found.alpha)
    assert found.trace(np.square)[0] == pytest.approx(want.trace(np.square)[0], rel=1e-4)


def test_bad_numbers_and_products_are_refused():
    operator = dense(planted(np.ones(4)))
    for numbers in ((0, 5), (5, 0)):
        with pytest.raises(InputError, match="at least one of each"):
            probe(operator, *numbers)
    with pytest.raises(InputError, match="points"):
        probe(operator, 1, 2).density(1)
    with pytest.raises(CheckError, match="not finite"):
        probe(Operator(lambda V: V * torch.nan, 4), 1, 2)


@pytest.mark.gpu
def test_the_gpu_gives_the_cpu_s_counts():
    case, exact = network("relu")
    theta, problem = case
    there = replace(problem, x=problem.x.cuda(), y=problem.y.cuda())
    found = probe(Products(theta.cuda(), there).operator("Hp"), 8, 60)
    assert_counts_hold(found, exact["Hp"])
