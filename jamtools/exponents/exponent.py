"""The exponent of one sample: its fit, its comparison with known values, a histogram and the fitted curve.

    p(x) ~ x^t as x → 0;        the exponent is t, or -t where the power law is written x^-γ

Source: arXiv:1809.09349, section IV, fig. 8, for the distributions; for the method of the fit, see powerlaw.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from jamtools.errors import InputError, JamError, Remedy
from jamtools.exponents.curves import Curve, Histogram, fitted_curve, log_histogram
from jamtools.exponents.powerlaw import PowerLaw, fit_power_law
from jamtools.exponents.references import (
    THETA_REFERENCES,
    Comparison,
    MeasuredExponent,
    Origin,
    Reference,
    compare_with_references,
    is_sound,
    too_long,
)
from jamtools.exponents.resampling import MIN_RUNS_FOR_BOOTSTRAP
from jamtools.exponents.samples import CutBy, Sample
from jamtools.exponents.tilted import MIN_VALUES_FITTED

#: The smallest number of values of fewer than eight runs. If the fit is chosen from the data, half of the interval of 10³
#: independent values is 0.5 long (docs/exponents.md), so that of 250 values has the length 2.
MIN_VALUES_OF_FEW_RUNS = 250


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit, as in `fit_power_law`. Where `lower_cut` is None, the lower cut of the sample is used."""

    order: int | None = None
    share: float | None = None
    level: float = 0.95
    lower_cut: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class FittedExponent:
    """The exponent of one sample.

    fit: the fitted power law, negated where the exponent is γ of x^-γ; lowest: the smallest fitted value; cut_by: what set
    the lower cut; n_equal: as in `Sample`.
    """

    fit: PowerLaw
    cut_by: CutBy
    lowest: float
    comparison: Comparison
    histogram: Histogram
    curve: Curve
    n_equal: int = 0

    @property
    def sound(self) -> bool:
        """Whether no test contradicts the fit."""
        return is_sound(self.fit.settled, self.fit.p_fit)

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` is not used, since there is no refusal."""
        return {
            **self.fit.as_dict(),
            "n_equal": self.n_equal,
            "cut_by": self.cut_by,
            "range": [self.lowest, self.fit.upper_cut],
            **self.comparison.as_dict(),
            "histogram": self.histogram.as_dict(),
            "curve": self.curve.as_dict(),
        }


@dataclass(frozen=True)
class RefusedExponent:
    """A sample of n values that could not be fitted, the reason, and the histogram of the values, if there are any."""

    reason: InputError
    n: int
    histogram: Histogram | None = None

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` puts the reason into words."""
        return {
            "exponent": None,
            "interval": None,
            "n": self.n,
            "refused": wording(self.reason),
            "histogram": self.histogram.as_dict() if self.histogram else None,
        }


def fit_or_refuse(
    sample: Sample,
    options: FitOptions,
    sign: Literal[1, -1],
    references: Sequence[Reference],
    origin: Origin | None = None,
) -> FittedExponent | RefusedExponent:
    """The exponent of a sample, or the reason why there is none. The arguments are those of `fit_exponent`."""
    try:
        return fit_exponent(sample, options, sign, references, origin)
    except InputError as error:
        histogram = log_histogram(sample.values) if len(sample.values) else None
        return RefusedExponent(error, len(sample.values), histogram)


def fit_exponent(
    sample: Sample,
    options: FitOptions,
    sign: Literal[1, -1] = 1,
    references: Sequence[Reference] = THETA_REFERENCES,
    origin: Origin | None = None,
) -> FittedExponent:
    """The exponent of a sample: t of p(x) ~ x^t for sign = 1, and γ = -t of p(x) ~ x^-γ for sign = -1.

    references: known values, with which the exponent is compared; origin: what the values are, for the verdict.
    Raises InputError where `fit_power_law` does, for a sample without values, for runs that still descend so much that half
    of their values lie below the noise. With fewer than eight runs also for few values, and for an interval that says
    nothing (`too_long`). With eight runs or more such an interval comes from their scatter, and the verdict says so.
    """
    values = sample.values
    cut, cut_by = _lower_cut(sample, options)
    fit = fit_power_law(
        values,
        order=options.order,
        share=options.share,
        level=options.level,
        lower_cut=cut,
        clusters=sample.runs,
        seed=options.seed,
    )
    signed = fit if sign > 0 else fit.negated()
    reason = None if fit.drift else too_long(signed.interval, len(values), fit.standard_error)
    if (sample.n_runs or 0) < MIN_RUNS_FOR_BOOTSTRAP:
        _check_few_runs(sample, reason)
    if origin and reason:
        origin = replace(origin, no_claim=", ".join(filter(None, (reason, origin.no_claim))))
    return FittedExponent(
        fit=signed,
        cut_by=cut_by,
        lowest=float(values[values > cut].min()),
        comparison=compare_with_references(_measured(signed, len(values)), references, origin),
        histogram=log_histogram(values),
        curve=fitted_curve(values, fit),
        n_equal=sample.n_equal,
    )


def _check_few_runs(sample: Sample, reason: str | None) -> None:
    """Raises InputError for a sample of few runs with a long interval (for the `reason` given) or few values."""
    if reason:
        raise InputError(reason)
    n, n_runs = len(sample.values), sample.n_runs
    if n_runs and n < MIN_VALUES_OF_FEW_RUNS:
        raise InputError(
            f"got {n} values of {n_runs} run{'s' * (n_runs > 1)}, expected {MIN_VALUES_OF_FEW_RUNS} values, or "
            f"{MIN_RUNS_FOR_BOOTSTRAP} runs for an interval from their scatter"
        )


def _lower_cut(sample: Sample, options: FitOptions) -> tuple[float, CutBy]:
    """The lower cut and what set it: the options, or the sample where the options have no lower cut."""
    if not len(sample.values):
        raise InputError(f"no values, expected at least {MIN_VALUES_FITTED}; give runs that have some")
    if options.lower_cut is not None:
        return options.lower_cut, "given"
    cut, median = sample.lower_cut, float(np.median(sample.values))
    if sample.cut_by == "noise" and cut >= median and len(sample.values) >= MIN_VALUES_FITTED:
        raise InputError(
            f"got runs that still descend: since half of their steps their values moved by {cut:.2g}, the median is "
            f"{median:.2g}",
            Remedy.FINISH_DESCENT,
        )
    return cut, sample.cut_by


def _measured(fit: PowerLaw, n: int) -> MeasuredExponent:
    """The properties of a fit that a comparison with known values uses; n: the number of values of the sample."""
    return MeasuredExponent(
        exponent=fit.exponent,
        interval=fit.interval,
        level=fit.level,
        standard_error=fit.standard_error,
        reach=fit.reach,
        n=n,
        p_null=fit.p_null if math.isfinite(fit.p_null) else None,
        p_fit=fit.p_fit,
        settled=fit.settled,
        drift=fit.drift,
    )
