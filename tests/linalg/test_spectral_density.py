"""The smeared density against densities that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jamtools.errors import InputError
from jamtools.hessian.products import Products
from jamtools.linalg.lanczos import probe
from jamtools.linalg.operator import dense
from jamtools.linalg.spectral_density import smeared_density
from jamtools.linalg.spectral_mass import zero_mass
from tests.support.spectra import kernel_gap_continuum, network, planted


@pytest.mark.parametrize("name", ["H0", "Hp", "H"])
def test_the_density_of_a_network_agrees_with_the_exact_one_within_its_error_bars(name):
    """Both are smeared alike, so that only the error of the probes is left; 5 standard errors are exceeded once in 10⁶."""
    case, exact = network("tanh")
    products, eigenvalues = Products(*case), exact[name]
    quadrature = probe(products.operator(name), probes=8, steps=100)
    known = max(0, len(eigenvalues) - products.n_unsatisfied) if name == "H0" else 0
    zero = zero_mass(quadrature, at_least=known)
    density = smeared_density(quadrature, 200, zero=zero)
    integral = len(eigenvalues) - zero.value * zero.resolved
    assert np.trapezoid(density.y, density.x) == pytest.approx(integral, rel=1e-5)
    values = eigenvalues[np.abs(eigenvalues) > (zero.threshold if zero.resolved else -1)]
    expected = stats.norm.pdf(density.x[:, None], values, density.width).sum(1)
    # The Gauss rule has an error of e⁻⁸ of the height n/(√2π width) of a kernel, and the error bar is an estimate.
    error_of_steps = np.exp(-8) * len(values) / (np.sqrt(2 * np.pi) * density.width)
    assert (np.abs(density.y - expected) <= 5 * density.error + error_of_steps).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-200, 1e200])
def test_a_scaled_matrix_has_a_scaled_density(scale):
    matrix = planted(np.concatenate([kernel_gap_continuum(), -np.linspace(0.1, 0.5, 50)]))
    plain, scaled = (smeared_density(probe(dense(a), 3, 40), 50) for a in (matrix, matrix * scale))
    assert np.allclose(scaled.x / scale, plain.x)
    assert np.allclose(scaled.y * scale, plain.y, atol=1e-9 * plain.y.max())


def test_a_density_needs_two_points():
    with pytest.raises(InputError, match="points"):
        smeared_density(probe(dense(planted(np.ones(4))), 1, 2), 1)
