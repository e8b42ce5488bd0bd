"""The density of eigenvalues, smeared by a Gaussian, from a Lanczos quadrature.

    density(x) = n Σ_i w_i δ_σ(x - θ_i),        δ_σ(t) = exp(-t²/2σ²) / (σ √2π)

A resolved mass at zero is left out: it is a number of eigenvalues, not a density.

Source: Lin, Saad, Yang, SIAM Review 58, 34 (2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jamtools.errors import InputError
from jamtools.linalg.quadrature import Quadrature
from jamtools.linalg.spectral_mass import ZeroMass, zero_mass
from jamtools.records import Array

#: Distance from the outermost nodes to the ends of the grid, in units of σ. 6e-7 of a Gaussian lies beyond it.
GRID_MARGIN = 5.0


@dataclass(frozen=True)
class Density:
    """Eigenvalues per unit of λ, smeared by a Gaussian of standard deviation `width`, without a resolved mass at zero.

    x, y and the standard error of y over probes, all [points]; empty when there is nothing but the mass at zero.
    """

    x: Array
    y: Array
    error: Array
    width: float


def resolution(quadrature: Quadrature) -> float:
    """The smallest useful width: (largest - smallest θ) / m, where 0 is counted as one of the θ.

    The Chebyshev coefficients of a Gaussian of this width are below e⁻⁸ beyond the degree 2m, up to which the rule is
    exact. A narrower Gaussian shows the nodes, not the spectrum.
    """
    nodes = quadrature.scaled_nodes
    return (max(nodes.max(), 0.0) - min(nodes.min(), 0.0)) / quadrature.steps * quadrature.unit


def smeared_density(
    quadrature: Quadrature, points: int = 512, width: float | None = None, zero: ZeroMass | None = None
) -> Density:
    """The smeared density on a grid of `points`. width: by default `resolution`. zero: by default `zero_mass`.

    The integral is n - zero.value if the mass at zero is resolved, and n otherwise. Raises InputError for fewer than two
    points or a negative width.
    """
    zero = zero_mass(quadrature) if zero is None else zero
    width = resolution(quadrature) if width is None else width
    if points < 2 or width < 0:
        raise InputError(
            f"got {points} points and a width of {width}, expected at least 2 and a positive one"
        )
    unit = quadrature.unit
    nonzero = np.abs(quadrature.scaled_nodes) > (zero.threshold / unit if zero.resolved else -1.0)
    nodes, weights = quadrature.scaled_nodes[nonzero], quadrature.weights[nonzero]
    if not nonzero.any():
        return Density(np.empty(0), np.empty(0), np.empty(0), width)
    sigma = width / unit
    x = np.linspace(nodes.min() - GRID_MARGIN * sigma, nodes.max() + GRID_MARGIN * sigma, points)
    mean, mean_square = np.empty(points), np.empty(points)
    for i, centre in enumerate(x):
        kernel = np.exp(-0.5 * ((centre - nodes) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
        mean[i], mean_square[i] = weights @ kernel, weights @ kernel**2
    n_nonzero = quadrature.dimension - (zero.value if zero.resolved else 0.0)
    factor = n_nonzero / float(weights.sum()) / unit
    return Density(x * unit, mean * factor, quadrature.probe_error(mean, mean_square) * factor, width)
