"""The bounds of stability on θ and γ.

    extended excitations    γ ≥ 1/(2 + θ),        equal in mean-field theory
    local excitations       γ ≥ (1 − θ)/2,        θ of the forces of these excitations

Source: Lerner, Düring, Wyart, Soft Matter 9, 8252 (2013).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from jamtools.exponents.profile_likelihood import Interval


@dataclass(frozen=True)
class ExtendedBound:
    """Comparison of γ with the bound γ ≥ 1/(2 + θ).

    gamma_at_least: the bound; interval: of the bound, from the interval of θ; kept: whether the intervals allow γ to lie
    above the bound; saturated: whether they allow γ to lie on the bound.
    """

    gamma_at_least: float
    interval: tuple[float, float]
    kept: bool
    saturated: bool


@dataclass(frozen=True)
class LocalBound:
    """Comparison of γ with the bound γ ≥ (1 − θ)/2; the fields are those of `ExtendedBound`."""

    gamma_at_least: float
    interval: tuple[float, float]
    kept: bool


@dataclass(frozen=True)
class StabilityBounds:
    """Comparison of γ with the bounds of stability against extended and against local excitations."""

    extended: ExtendedBound
    local: LocalBound

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        bounds: dict[str, Any] = asdict(self)
        return {name: {**bound, "interval": list(bound["interval"])} for name, bound in bounds.items()}


def stability_bounds(
    theta: float, theta_interval: Interval, gamma_interval: Interval
) -> StabilityBounds | None:
    """Comparison of θ and γ with the bounds of stability; None where an interval is infinite."""
    (theta_low, theta_high), (low, high) = theta_interval, gamma_interval
    if not all(map(math.isfinite, (theta_low, theta_high, low, high))):
        return None
    extended = 1 / (2 + theta_high), 1 / (2 + theta_low)
    local = (1 - theta_high) / 2, (1 - theta_low) / 2
    kept = high >= extended[0]
    return StabilityBounds(
        ExtendedBound(1 / (2 + theta), extended, kept, saturated=low <= extended[1] and kept),
        LocalBound((1 - theta) / 2, local, kept=high >= local[0]),
    )
