r"""What an exponent says about the values that theory and others found, and how many more numbers it would take.

    distance = z (t − t_ref) / |end − t|        in standard errors, end: that of the interval on the side of t_ref

An interval of half-width w from n numbers shrinks like n^−1/2. To tell a from b at its level in four cases of five
takes

    n' = n ((z + z_0.8) w / z |a − b|)²

numbers, as long as the share fitted stays what it is. Sources of the values: spheres and the non-convex perceptron
in mean field, Charbonneau, Kurchan, Parisi, Urbani, Zamponi (doi:10.1146/annurev-conmatphys-031016-025334);
networks, arXiv:1809.09349, figs. 8, 9.
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
    """What is judged: an exponent, its interval at a level, of n numbers, the tests, whether it moves with the share."""

    exponent: float
    interval: tuple[float, float]
    level: float
    n: int
    p_null: float | None
    p_fit: float | None = None
    settled: bool | None = None


def judge(found: Found, references: Sequence[Reference]) -> dict[str, Any]:
    """{"references": [{name, value, distance, compatible}], "separate": [{pair, n_needed}], "verdict": words}."""
    compared = [
        {
            "name": reference.name,
            "value": reference.value,
            "distance": distance(found, reference.value),
            "compatible": found.interval[0] <= reference.value <= found.interval[1],
        }
        for reference in references
    ]
    inside = [reference for reference, row in zip(references, compared) if row["compatible"]]
    pairs = [(a, b, needed(found, a.value, b.value)) for a, b in combinations(inside, 2)]
    separate = [{"pair": [a.value, b.value], "n_needed": n} for a, b, n in pairs]
    return {
        "references": compared,
        "separate": separate,
        "verdict": "; ".join(_words(found, references, inside, pairs)),
    }


def distance(found: Found, value: float) -> float | None:
    """From `value` to the exponent, in standard errors of the side that it lies on; None without an end there."""
    from scipy.special import ndtri

    width = _half_width(found, value)
    if not width or not math.isfinite(width):
        return None
    return float(ndtri((1 + found.level) / 2)) * (found.exponent - value) / width


def needed(found: Found, a: float, b: float) -> int | None:
    """How many numbers tell a from b, to two digits; None without an end of the interval."""
    from scipy.special import ndtri

    width = max(_half_width(found, a), _half_width(found, b))
    if not math.isfinite(width):
        return None
    z = float(ndtri((1 + found.level) / 2))
    n = found.n * ((z + float(ndtri(POWER))) / z * width / (a - b)) ** 2
    digits = 10 ** max(math.floor(math.log10(n)) - 1, 0) if n >= 1 else 1
    return max(math.ceil(n / digits) * digits, 1)


def _half_width(found: Found, value: float) -> float:
    return abs(found.interval[0 if value < found.exponent else 1] - found.exponent)


def _words(
    found: Found,
    references: Sequence[Reference],
    inside: Sequence[Reference],
    pairs: Sequence[tuple[Reference, Reference, int | None]],
) -> list[str]:
    words = []
    if found.settled is False:
        words.append("not settled: no fit to fewer values is left to check this one, more numbers are needed")
    if found.p_null is None or math.isnan(found.p_null) or found.p_null > SIGNIFICANT:
        p = "" if found.p_null is None else f" (p = {found.p_null:.2g})"
        words.append(f"no power law, exponent 0, is not excluded{p}")
    if found.p_fit is not None and found.p_fit <= SIGNIFICANT:
        words.append(f"the fit is rejected (p = {found.p_fit:.2g})")
    outside = [_named(reference) for reference in references if reference not in inside]
    if pairs:
        a, b, n = max(pairs, key=lambda pair: abs(pair[0].value - pair[1].value))
        more = f"; about {n} needed" if n else ""
        low, high = sorted((a.value, b.value))
        words.append(f"cannot separate {low:.2f} from {high:.2f} with {found.n} numbers{more}")
    elif inside:
        words.append(f"compatible with {_named(inside[0])}")
    if outside:
        words.append(f"excludes {', '.join(outside)}")
    return words


def _named(reference: Reference) -> str:
    return f"{reference.value:.2f} ({reference.name})"
