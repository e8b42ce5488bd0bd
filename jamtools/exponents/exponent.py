"""The exponent of one sample: its fit, its comparison with known values, a histogram and the fitted curve.

    p(x) ~ x^t as x → 0;        the exponent is t, or -t where the power law is written x^-γ

Source: arXiv:1809.09349, section IV, fig. 8, for the distributions; for the method of the fit, see powerlaw.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jamtools.errors import InputError, JamError, Remedy
from jamtools.exponents.curves import Curve, Histogram, fitted_curve, log_histogram
from jamtools.exponents.powerlaw import PowerLaw, fit_power_law
from jamtools.exponents.references import (
    THETA_REFERENCES,
    Comparison,
    MeasuredExponent,
    Reference,
    compare_with_references,
    is_sound,
)
from jamtools.exponents.samples import CutBy, Sample
from jamtools.exponents.tilted import MIN_VALUES_FITTED


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
    the lower cut.
    """

    fit: PowerLaw
    cut_by: CutBy
    lowest: float
    comparison: Comparison
    histogram: Histogram
    curve: Curve

    @property
    def sound(self) -> bool:
        """Whether no test contradicts the fit."""
        return is_sound(self.fit.settled, self.fit.p_fit)

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` is not used, since there is no refusal."""
        return {
            **self.fit.as_dict(),
            "cut_by": self.cut_by,
            "range": [self.lowest, self.fit.upper_cut],
            **self.comparison.as_dict(),
            "histogram": self.histogram.as_dict(),
            "curve": self.curve.as_dict(),
        }


@dataclass(frozen=True)
class RefusedExponent:
    """A sample of n values that could not be fitted, and the reason."""

    reason: InputError
    n: int

    def as_dict(self, wording: Callable[[JamError], str] = str) -> dict[str, Any]:
        """Plain types for JSON; `wording` puts the reason into words."""
        return {"exponent": None, "interval": None, "n": self.n, "refused": wording(self.reason)}


def fit_or_refuse(
    sample: Sample, options: FitOptions, sign: Literal[1, -1], references: Sequence[Reference]
) -> FittedExponent | RefusedExponent:
    """The exponent of a sample, or the reason why there is none. The arguments are those of `fit_exponent`."""
    try:
        return fit_exponent(sample, options, sign, references)
    except InputError as error:
        return RefusedExponent(error, len(sample.values))


def fit_exponent(
    sample: Sample,
    options: FitOptions,
    sign: Literal[1, -1] = 1,
    references: Sequence[Reference] = THETA_REFERENCES,
) -> FittedExponent:
    """The exponent of a sample: t of p(x) ~ x^t for sign = 1, and γ = -t of p(x) ~ x^-γ for sign = -1.

    references: known values, with which the exponent is compared.
    Raises InputError where `fit_power_law` does, for a sample without values, and for runs that still descend so much that
    half of their values lie below the noise.
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
    return FittedExponent(
        fit=signed,
        cut_by=cut_by,
        lowest=float(values[values > cut].min()),
        comparison=compare_with_references(_measured(signed, len(values)), references),
        histogram=log_histogram(values),
        curve=fitted_curve(values, fit),
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
    )
