"""Symmetric matrices of any origin: eigenvalues, their signs, and densities by Lanczos."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.linalg.bounded_least_squares import box_least_squares as box_least_squares
    from jamtools.linalg.eigenvalues import Eigenvalues as Eigenvalues
    from jamtools.linalg.eigenvalues import symmetric_eigenvalues as symmetric_eigenvalues
    from jamtools.linalg.extreme_eigenvalues import Extremes as Extremes
    from jamtools.linalg.extreme_eigenvalues import RitzPairs as RitzPairs
    from jamtools.linalg.extreme_eigenvalues import extremes as extremes
    from jamtools.linalg.inertia import Inertia as Inertia
    from jamtools.linalg.inertia import inertia_of as inertia_of
    from jamtools.linalg.inertia import n_below as n_below
    from jamtools.linalg.lanczos import probe as probe
    from jamtools.linalg.operator import Operator as Operator
    from jamtools.linalg.operator import dense as dense
    from jamtools.linalg.quadrature import Quadrature as Quadrature
    from jamtools.linalg.spectral_density import smeared_density as smeared_density
    from jamtools.linalg.spectral_mass import zero_mass as zero_mass

_OWNERS = {
    "Eigenvalues": "eigenvalues",
    "Extremes": "extreme_eigenvalues",
    "Inertia": "inertia",
    "Operator": "operator",
    "Quadrature": "quadrature",
    "RitzPairs": "extreme_eigenvalues",
    "box_least_squares": "bounded_least_squares",
    "dense": "operator",
    "extremes": "extreme_eigenvalues",
    "inertia_of": "inertia",
    "n_below": "inertia",
    "probe": "lanczos",
    "smeared_density": "spectral_density",
    "symmetric_eigenvalues": "eigenvalues",
    "zero_mass": "spectral_mass",
}

__all__ = list(_OWNERS)
__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
