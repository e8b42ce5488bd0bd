"""What an exponent says about the values that theory and others found, and how many more numbers it would take.

    distance = (|t − t_ref| − reach)₊ / σ        in standard errors; reach: what less biased fits add on that side

To tell a from b in four cases of five, with reach and σ that fall like n^−1/2, takes

    n' = n ((reach + (z + z_0.8) σ) / |a − b|)²

numbers, as long as the share fitted stays what it is. Where that is no more than there are, and yet the interval holds
both, the case is the fifth, and what makes an interval too short for both is given, n' = n (length / |a − b|)².

Sources of the values: spheres and the non-convex perceptron in mean field, Charbonneau, Kurchan, Parisi, Urbani, Zamponi
(doi:10.1146/annurev-conmatphys-031016-025334); networks, arXiv:1809.09349, figs. 8, 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

#: How often more numbers are to succeed.
POWER = 0.8

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Reference:
    """A value to compare with, and whose it is."""

    name: str
    value: float


THETA = (
    Reference("spheres", 0.42311),
    Reference("paper, ReLU", 0.3),
    Reference("paper, tanh", 0.2),
)

GAMMA = (
    Reference("spheres", 0.41269),
    Reference("paper, ReLU", 0.2),
    Reference("paper, tanh", 0.16),
    Reference("paper, MNIST", 0.25),
)


@dataclass(frozen=True)
class Found:
    """What is judged: an exponent with its interval, standard error and reach, of n numbers, and the tests."""

    exponent: float
    interval: tuple[float, float]
    level: float
    standard_error: float
    reach: tuple[float, float]
    n: int
    p_null: float | None = None
    p_fit: float | None = None
    settled: bool | None = None

    @property
    def sound(self) -> bool:
        """Nothing speaks against the fit itself."""
        return self.settled is not False and (self.p_fit is None or self.p_fit > SIGNIFICANT)

    def holds(self, value: float) -> bool:
        """Whether the interval does."""
        return self.interval[0] <= value <= self.interval[1]


def judge(found: Found, references: Sequence[Reference]) -> dict[str, Any]:
    """{"references": [{name, value, distance, compatible}], "separate": [{pair, n_needed}], "verdict": words}."""
    compared = [
        {
            "name": reference.name,
            "value": reference.value,
            "distance": distance(found, reference.value),
            "compatible": found.holds(reference.value),
        }
        for reference in references
    ]
    inside = [reference for reference in references if found.holds(reference.value)]
    pairs = [(a, b, needed(found, a.value, b.value)) for a, b in combinations(inside, 2)]
    separate = [{"pair": [a.value, b.value], "n_needed": n} for a, b, n in pairs]
    outside = [reference for reference in references if not found.holds(reference.value)]
    words = [*_doubts(found), *_comparison(found, inside, outside, pairs)]
    return {"references": compared, "separate": separate, "verdict": "; ".join(words)}


def distance(found: Found, value: float) -> float | None:
    """By how many standard errors the exponent lies beyond the reach of `value`: positive where it is larger."""
    apart = found.exponent - value
    beyond = max(0.0, abs(apart) - found.reach[0 if apart > 0 else 1])
    return math.copysign(beyond / found.standard_error, apart) if found.standard_error > 0 else None


def needed(found: Found, a: float, b: float) -> int | None:
    """How many numbers tell a from b, to two digits; None where the interval has no end."""
    from scipy.special import ndtri

    length = found.interval[1] - found.interval[0]
    if not math.isfinite(length):
        return None
    quantiles = float(ndtri((1 + found.level) / 2)) + float(ndtri(POWER))
    n = found.n * ((max(found.reach) + quantiles * found.standard_error) / (a - b)) ** 2
    if n <= found.n:
        n = found.n * (length / (a - b)) ** 2
    digits = 10 ** max(math.floor(math.log10(n)) - 1, 0) if n >= 1 else 1
    return max(math.ceil(n / digits) * digits, 1)


def _doubts(found: Found) -> list[str]:
    """What speaks against the fit, and against there being a power law at all."""
    words = []
    if found.settled is False:
        words.append("not settled: no other fit is left to check this one by, more numbers may help")
    if found.p_fit is not None and found.p_fit <= SIGNIFICANT:
        words.append(f"the fit is rejected (p = {found.p_fit:.2g})")
    if found.holds(0.0):
        p = "" if found.p_null is None else f" (p = {found.p_null:.2g})"
        words.append(f"no power law, exponent 0, is not excluded{p}")
    return words


def _comparison(
    found: Found,
    inside: Sequence[Reference],
    outside: Sequence[Reference],
    pairs: Sequence[tuple[Reference, Reference, int | None]],
) -> list[str]:
    """Which of the values it could be, and which not."""
    words = []
    if len(inside) == 1:
        words.append(f"compatible with {_named(inside[0])}")
    if pairs:
        one = inside[0]  # the first of the references that it may be, against the others
        others = [(b, n) for a, b, n in pairs if a == one]
        shown = ", ".join(_named(b) + (f", about {n} needed" if n else "") for b, n in others)
        words.append(f"cannot separate {_named(one)} with {found.n} numbers from {shown}")
    if outside:
        would = "excludes" if found.sound else "would exclude, if the fit held,"
        words.append(f"{would} {', '.join(map(_named, outside))}")
    return words


def _named(reference: Reference) -> str:
    return f"{reference.value:.2f} ({reference.name})"
