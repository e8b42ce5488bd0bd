"""The Hessian H = H0 + Hp: assembled, as products, its exact spectra, its estimated densities."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.hessian.assembly import Hessian as Hessian
    from jamtools.hessian.assembly import convex_part as convex_part
    from jamtools.hessian.assembly import hessian as hessian
    from jamtools.hessian.exact import ExactOptions as ExactOptions
    from jamtools.hessian.exact import exact_spectrum as exact_spectrum
    from jamtools.hessian.matrix_free import LanczosOptions as LanczosOptions
    from jamtools.hessian.matrix_free import estimate_density as estimate_density
    from jamtools.hessian.products import Products as Products

_OWNERS = {
    "Hessian": "assembly",
    "convex_part": "assembly",
    "hessian": "assembly",
    "ExactOptions": "exact",
    "exact_spectrum": "exact",
    "LanczosOptions": "matrix_free",
    "estimate_density": "matrix_free",
    "Products": "products",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
