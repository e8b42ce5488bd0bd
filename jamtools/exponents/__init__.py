"""The exponents θ and γ of overlaps and gaps, with intervals, tests and verdicts."""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.exponents.curves import fitted_density as fitted_density
    from jamtools.exponents.curves import log_histogram as log_histogram
    from jamtools.exponents.distributions import DistributionFits as DistributionFits
    from jamtools.exponents.distributions import fit_distributions as fit_distributions
    from jamtools.exponents.distributions import fit_each_run as fit_each_run
    from jamtools.exponents.exponent import FitOptions as FitOptions
    from jamtools.exponents.exponent import FittedExponent as FittedExponent
    from jamtools.exponents.exponent import RefusedExponent as RefusedExponent
    from jamtools.exponents.exponent import fit_exponent as fit_exponent
    from jamtools.exponents.finite_size import Trend as Trend
    from jamtools.exponents.finite_size import extrapolate as extrapolate
    from jamtools.exponents.powerlaw import PowerLaw as PowerLaw
    from jamtools.exponents.powerlaw import fit_power_law as fit_power_law
    from jamtools.exponents.references import MeasuredExponent as MeasuredExponent
    from jamtools.exponents.references import compare_with_references as compare_with_references
    from jamtools.exponents.samples import Sample as Sample
    from jamtools.exponents.samples import pool_gaps as pool_gaps
    from jamtools.exponents.samples import pool_overlaps as pool_overlaps

_OWNERS = {
    "fitted_density": "curves",
    "log_histogram": "curves",
    "DistributionFits": "distributions",
    "fit_distributions": "distributions",
    "fit_each_run": "distributions",
    "FitOptions": "exponent",
    "FittedExponent": "exponent",
    "RefusedExponent": "exponent",
    "fit_exponent": "exponent",
    "Trend": "finite_size",
    "extrapolate": "finite_size",
    "PowerLaw": "powerlaw",
    "fit_power_law": "powerlaw",
    "MeasuredExponent": "references",
    "compare_with_references": "references",
    "Sample": "samples",
    "pool_gaps": "samples",
    "pool_overlaps": "samples",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
