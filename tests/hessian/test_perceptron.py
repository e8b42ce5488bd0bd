"""H0 of the spherical perceptron in its convex jammed phase: a Marchenko–Pastur law of ratio q = N_Δ/N.

    P H0 = Σ_{µ unsatisfied} x_µ x_µᵀ  on the tangent space of N = d - 1 dimensions,       Hp + μ 1 = (W·Σ Δ_µ y_µ x_µ/P) 1
    density of the eigenvalues of P H0/N:  √((λ_+ - λ)(λ - λ_-)) / (2π λ),    λ_± = (√q ± 1)²,  and (1 - q) δ(λ) for q < 1

Which patterns are unsatisfied depends on their components along W alone. Those across it are independent N(0, 1), but for
the N conditions of a stationary point, Σ Δ_µ x_µ = 0 on the tangent space: the matrix of unsatisfied patterns [N_Δ, N] is
one of N_Δ - 1 independent rows. A minimum is also weighted with det(P H0 + P μ) (Kac and Rice). At μ = 0 this is the weight
of two more rows; for μ → ∞ that of none. So P H0 lies between Wishart matrices of N_Δ - 1 and N_Δ + 1 rows.

Source: V. Marchenko and L. Pastur 1967; S. Franz, G. Parisi, P. Urbani and F. Zamponi, PNAS 112, 14539 (2015), for the
perceptron; I. Johnstone, Ann. Statist. 29, 295 (2001), for the edges.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.integrate import quad

from tests.support.commands import jam
from tests.support.contract import header, tensors

D = 100

#: κ and P: a little above the capacity at positive margin, where q < 1, and far above it at both signs.
JAMMED = [(0.5, 130), (0.5, 300), (-0.3, 700)]

#: Quantiles of the Tracy–Widom law (β = 1): less than 1e-4 of it lies outside.
TRACY_WIDOM = (-5.5, 4.0)


@functools.cache
def spectrum(kappa, P, folder):
    """The record of jam-hessian at the minimum, its eigenvalues of P H0/N and of Hp, and W, x, y."""
    jam("data", "random", "--gaussian", "-P", P, "-d", D, "-o", "data", cwd=folder, check=True)
    network = ("--depth", 0, "--no-bias", "--norm", 1, "--epsilon", kappa, "--optimizer", "newton")
    jam("train", "data", *network, "-o", "run", cwd=folder, check=True)
    jam("hessian", "run", "-o", "spectrum", cwd=folder, check=True)
    (info,) = header((folder / "spectrum").read_bytes())["spectra"]
    arrays = tensors(folder / "spectrum")
    values = {name: arrays[f"r0000/{name}"] for name in ("H0", "Hp")}
    data = tensors(folder / "data")
    return info, values, tensors(folder / "run")["r0000/theta"], data["x"], data["y"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("perceptron")


def marchenko_pastur(at, q):
    """The share of the eigenvalues of (1/N) Σ x xᵀ that are at most `at` [n], with N_Δ/N = q patterns."""
    low, high = (np.sqrt(q) - 1) ** 2, (np.sqrt(q) + 1) ** 2
    grid = np.linspace(
        0, np.pi, 4001
    )  # λ = (λ_+ + λ_-)/2 - (λ_+ - λ_-)/2 cos φ removes the roots at the edges
    points = (high + low) / 2 - (high - low) / 2 * np.cos(grid)
    density = ((high - low) / 2 * np.sin(grid)) ** 2 / (2 * np.pi * points)
    bulk = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
    return max(0.0, 1 - q) + np.interp(at, points, bulk)


def distance(values, q):
    """The Kolmogorov distance of eigenvalues [N] from the law, outside its mass at zero."""
    values, n = np.sort(values), len(values)
    law = marchenko_pastur(values, q)
    kept = values > 1e-9 * values[-1]
    below, above = np.arange(n) / n, np.arange(1, n + 1) / n
    return max(np.abs(law - below)[kept].max(), np.abs(law - above)[kept].max())


def wishart_distances(n_rows, N, q, samples=40):
    """The distances of Wishart matrices of n_rows independent rows from the law of ratio q [samples]."""
    rng = np.random.default_rng(n_rows)
    rows = rng.standard_normal((samples, n_rows, N))
    return np.array([distance(np.linalg.eigvalsh(x.T @ x / N), q) for x in rows])


def test_the_law_of_this_module_has_mass_one_and_mean_q():
    for q in (0.7, 3.0):
        low, high = (np.sqrt(q) - 1) ** 2, (np.sqrt(q) + 1) ** 2
        assert marchenko_pastur(high, q) == pytest.approx(1, abs=1e-6)
        tail, _ = quad(lambda t, q=q: 1 - marchenko_pastur(t, q), 0, high, limit=200, points=[low])
        assert tail == pytest.approx(q, rel=1e-5)


@pytest.mark.parametrize(("kappa", "P"), JAMMED)
def test_the_bulk_of_h0_is_marchenko_pastur(kappa, P, folder):
    """No farther from the law than the farthest of 40 Wishart matrices at either end, and one eigenvalue, 1/N, more."""
    info, values, *_ = spectrum(kappa, P, folder)
    N, n = D - 1, info["n_unsatisfied"]
    assert info["certified"] and info["n_effective_expected"] == N == len(values["H0"])
    farthest = max(wishart_distances(rows, N, n / N).max() for rows in (n - 1, n + 1))
    assert distance(P * values["H0"] / N, n / N) <= farthest + 1 / N
    # the tolerance tells the law from that of a tenth more or fewer patterns
    assert all(distance(P * values["H0"] / N, q) > farthest + 1 / N for q in (0.9 * n / N, 1.1 * n / N))


@pytest.mark.parametrize(("kappa", "P"), JAMMED)
def test_the_edges_of_h0_are_those_of_the_law(kappa, P, folder):
    """λ_± of n rows in N dimensions fluctuate by the Tracy–Widom law on the scale of Johnstone."""
    info, values, *_ = spectrum(kappa, P, folder)
    N, n = D - 1, info["n_unsatisfied"]
    bulk = np.sort(P * values["H0"])[max(0, N - n) :]
    low, high = TRACY_WIDOM
    for rows in (n - 1, n + 1):
        a, b = np.sqrt(max(rows, N)), np.sqrt(min(rows, N))
        width = (a + b) * (1 / a + 1 / b) ** (1 / 3)
        assert (a + b) ** 2 + low * width < bulk[-1] < (a + b) ** 2 + high * width
    if n > 1.5 * N:  # nearer to q = 1 the lower edge is a hard one
        width = (a - b) * (1 / b - 1 / a) ** (1 / 3)
        assert (a - b) ** 2 - high * width < bulk[0] < (a - b) ** 2 - low * width


@pytest.mark.parametrize(("kappa", "P"), JAMMED)
def test_h0_has_the_kernel_that_counting_gives_and_hp_is_the_multiplier(kappa, P, folder):
    """Patterns with components of a continuous law are independent: the rank is min(N, N_Δ), or N_Δ - 1 by stationarity."""
    info, values, W, x, y = spectrum(kappa, P, folder)
    N, n = D - 1, info["n_unsatisfied"]
    assert info["n_zero_H0"] == max(0, N - (n - 1))
    f = y * (x @ W)
    mu = float(np.clip(kappa - f, 0, None) @ f) / P
    assert values["Hp"] == pytest.approx(np.full(N, mu), rel=1e-9, abs=1e-15)
