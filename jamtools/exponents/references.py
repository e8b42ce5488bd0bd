"""Comparison of a measured exponent with known values, and the sample size that would separate two of them.

    distance = (|t − t_ref| − reach)₊ / σ

in standard errors σ; reach is the distance of the less biased fits from t on the side of t_ref. The sample size that
separates a from b in four cases of five is

    n' = n ((reach + (z + z_0.8) σ) / |a − b|)²,

where z is the normal quantile of the level. This holds if reach and σ fall like n^−1/2 and the fitted share stays the same.
If n' ≤ n although the interval contains both a and b, this sample is the fifth case. Then n' = n (length / |a − b|)² is
given instead: there the interval becomes too short to contain both.

A verdict begins with what the values are, and with their exponent. Where they allow no conclusion (ensemble.py), or where
the exponent drifts with the share of the values (drift.py), it says so, and neither "compatible with" nor "excludes".

Sources of the known values: spheres and the non-convex perceptron in mean field, Charbonneau, Kurchan, Parisi, Urbani,
Zamponi (doi:10.1146/annurev-conmatphys-031016-025334); networks, arXiv:1809.09349, figs. 8, 9. Source of n': none, own
derivation above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

#: The probability that a sample of `values_needed` values separates two exponents.
SEPARATION_POWER = 0.8

#: A hypothesis is rejected if its p-value is at most this.
SIGNIFICANCE = 0.05


#: An exponent with a longer interval is not known: all exponents of known systems lie between -1 and 1.
MAX_INTERVAL_LENGTH = 2.0

#: The quantile of the normal distribution at the ends of a 95 % interval, in standard errors.
NORMAL_QUANTILE_95 = 1.96


@dataclass(frozen=True)
class Reference:
    """A known value of an exponent, and the name of the system that has it."""

    name: str
    value: float


@dataclass(frozen=True)
class Origin:
    """What values are, in words; the symbol of their exponent; why they allow no claim about known values, or None."""

    words: str
    symbol: str
    no_claim: str | None = None


#: Numbers that the user gives, as the exponent t of x^t.
PLAIN_NUMBERS = Origin("plain numbers", "t")

MEAN_FIELD_THETA = 0.42311
MEAN_FIELD_GAMMA = 0.41269  # = 1/(2 + θ)

THETA_REFERENCES = (
    Reference("spheres", MEAN_FIELD_THETA),
    Reference("paper, ReLU", 0.3),
    Reference("paper, tanh", 0.2),
)

GAMMA_REFERENCES = (
    Reference("spheres", MEAN_FIELD_GAMMA),
    Reference("paper, ReLU", 0.2),
    Reference("paper, tanh", 0.16),
    Reference("paper, MNIST", 0.25),
)


@dataclass(frozen=True)
class MeasuredExponent:
    """The exponent of a sample of n values, with its interval at `level`, standard error, reach (below, above), and tests.

    p_null: p-value of the exponent 0; p_fit: p-value of the goodness of fit; settled: whether later fits agree with this
    fit. Each is None where there is no such test. drift: the first and the last exponent of a drift with the share beyond
    chance, or None.
    """

    exponent: float
    interval: tuple[float, float]
    level: float
    standard_error: float
    reach: tuple[float, float]
    n: int
    p_null: float | None = None
    p_fit: float | None = None
    settled: bool | None = None
    drift: tuple[float, float] | None = None

    @property
    def sound(self) -> bool:
        """Whether no test contradicts the fit."""
        return is_sound(self.settled, self.p_fit)

    def contains(self, value: float) -> bool:
        """Whether the interval contains the value."""
        return self.interval[0] <= value <= self.interval[1]


def is_sound(settled: bool | None, p_fit: float | None) -> bool:
    """Whether neither the later fits nor the goodness of fit contradict a fit."""
    return settled is not False and (p_fit is None or p_fit > SIGNIFICANCE)


@dataclass(frozen=True)
class ReferenceComparison:
    """A known value, its distance from the exponent in standard errors, and whether the interval contains it."""

    name: str
    value: float
    distance: float | None
    compatible: bool


@dataclass(frozen=True)
class Separation:
    """Two known values inside the interval, and the sample size that would separate them."""

    pair: tuple[Reference, Reference]
    n_needed: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"pair": [reference.value for reference in self.pair], "n_needed": self.n_needed}


@dataclass(frozen=True)
class Comparison:
    """The comparison with each known value, the sample sizes that separate compatible values, and a verdict in words.

    no_claim: why the values allow no claim about the known values, such as a drift of the exponent, or None. Where it is not
    None, the numbers of the comparison prove nothing.
    """

    references: tuple[ReferenceComparison, ...]
    separate: tuple[Separation, ...]
    verdict: str
    no_claim: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "references": [asdict(comparison) for comparison in self.references],
            "separate": [separation.as_dict() for separation in self.separate],
            "verdict": self.verdict,
            "no_claim": self.no_claim,
        }


def compare_with_references(
    measured: MeasuredExponent, references: Sequence[Reference], origin: Origin | None = None
) -> Comparison:
    """Compares the measured exponent with each of the known values. The verdict begins with the origin of the values."""
    compared = tuple(
        ReferenceComparison(
            reference.name,
            reference.value,
            distance(measured, reference.value),
            measured.contains(reference.value),
        )
        for reference in references
    )
    inside = [reference for reference in references if measured.contains(reference.value)]
    outside = [reference for reference in references if not measured.contains(reference.value)]
    separations = tuple(
        Separation((a, b), values_needed(measured, a.value, b.value)) for a, b in combinations(inside, 2)
    )
    drift = [drift_in_words(measured.drift)] if measured.drift else []
    no_claim = "; ".join([*drift, *([origin.no_claim] if origin and origin.no_claim else [])]) or None
    claims = [] if no_claim else _comparison_in_words(measured, inside, outside, separations)
    sentences = [*_opening(measured, origin), *_doubts(measured), *claims]
    return Comparison(compared, separations, "; ".join(sentences), no_claim)


def distance(measured: MeasuredExponent, value: float) -> float | None:
    """The distance of the exponent from `value` beyond its reach, in standard errors.

    It is None where the standard error is 0, and where the exponent drifts. It is positive where the exponent is larger than
    `value`.
    """
    difference = measured.exponent - value
    beyond = max(0.0, abs(difference) - measured.reach[0 if difference > 0 else 1])
    if measured.drift or not measured.standard_error > 0:
        return None
    return math.copysign(beyond / measured.standard_error, difference)


def values_needed(measured: MeasuredExponent, a: float, b: float) -> int | None:
    """The sample size that separates a from b, rounded up to two digits; None where the interval is infinite."""
    from scipy.special import ndtri

    length = measured.interval[1] - measured.interval[0]
    if not math.isfinite(length):
        return None
    quantiles = float(ndtri((1 + measured.level) / 2)) + float(ndtri(SEPARATION_POWER))
    n = measured.n * ((max(measured.reach) + quantiles * measured.standard_error) / (a - b)) ** 2
    if n <= measured.n:
        n = measured.n * (length / (a - b)) ** 2
    return rounded_up(n)


def rounded_up(n: float) -> int:
    """A number of values, rounded up to two digits; at least 1."""
    unit = 10 ** max(math.floor(math.log10(n)) - 1, 0) if n >= 1 else 1
    return max(math.ceil(n / unit) * unit, 1)


def too_long(interval: tuple[float, float], n: int, standard_error: float = math.nan) -> str | None:
    """Why an interval of an exponent from n values says nothing, with the number of values that it takes; else None.

    The length falls like n^-½. An infinite length is replaced by that of a normal distribution with the given standard
    error, if there is one.
    """
    length = interval[1] - interval[0]
    if length <= MAX_INTERVAL_LENGTH:
        return None
    finite = length if math.isfinite(length) else 2 * NORMAL_QUANTILE_95 * standard_error
    needed = n * max(finite / MAX_INTERVAL_LENGTH, 1.0) ** 2
    number = f", which takes about {rounded_up(needed)}" if math.isfinite(needed) else ""
    return (
        f"{n} values give the interval {interval_in_words(interval)}, expected one of length "
        f"{MAX_INTERVAL_LENGTH:g} at most{number}"
    )


def interval_in_words(interval: tuple[float, float]) -> str:
    """`[0.34, 0.66]`."""
    low, high = interval
    return f"[{low:.2f}, {high:.2f}]"


def drift_in_words(drift: tuple[float, float]) -> str:
    """Why no power law can be told, with the first and the last exponent of the drift."""
    start, end = drift
    return f"no power law can be told: the exponent drifts from {start:.2f} to {end:.2f} as the share falls"


def _opening(measured: MeasuredExponent, origin: Origin | None) -> list[str]:
    """What the values are, why they allow no claim, and their exponent, or the drift in its place."""
    if origin is None:
        return [drift_in_words(measured.drift)] if measured.drift else []
    reason = f": {origin.no_claim}, so no claim about spheres or the paper" if origin.no_claim else ""
    exponent = f"{origin.symbol} = {measured.exponent:.2f} {interval_in_words(measured.interval)}"
    return [f"{origin.words}{reason}: {drift_in_words(measured.drift) if measured.drift else exponent}"]


def _doubts(measured: MeasuredExponent) -> list[str]:
    """Reasons to doubt the fit, or to doubt that there is a power law."""
    doubts = []
    if measured.settled is False and not measured.drift:
        doubts.append("not settled: no other fit can check this one, more numbers may help")
    if measured.p_fit is not None and measured.p_fit <= SIGNIFICANCE:
        doubts.append(f"the fit is rejected (p = {measured.p_fit:.2g})")
    if measured.contains(0.0) and not measured.drift:
        p = "" if measured.p_null is None else f" (p = {measured.p_null:.2g})"
        doubts.append(f"no power law, exponent 0, is not excluded{p}")
    return doubts


def _comparison_in_words(
    measured: MeasuredExponent,
    inside: Sequence[Reference],
    outside: Sequence[Reference],
    separations: Sequence[Separation],
) -> list[str]:
    """Sentences on the known values that are compatible with the exponent, and on those that are not."""
    sentences = []
    if len(inside) == 1:
        sentences.append(f"compatible with {_named(inside[0])}")
    if separations:
        first = inside[0]
        others = [(s.pair[1], s.n_needed) for s in separations if s.pair[0] == first]
        shown = ", ".join(_named(other) + (f", about {n} needed" if n else "") for other, n in others)
        sentences.append(f"cannot separate {_named(first)} with {measured.n} numbers from {shown}")
    if outside:
        verb = "excludes" if measured.sound else "would exclude, if the fit held,"
        sentences.append(f"{verb} {', '.join(map(_named, outside))}")
    return sentences


def _named(reference: Reference) -> str:
    return f"{reference.value:.2f} ({reference.name})"
