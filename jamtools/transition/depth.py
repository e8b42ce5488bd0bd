"""Whether N*(P) depends on the depth: one line log N* = log A + a log P for all depths against one line for each.

    Δχ² = χ²(one line) - χ²(one line for each depth),        one degree of freedom for each added parameter

Where points scatter about the line of their depth more than their errors allow, Δχ² is divided by that scatter (χ² per
degree of freedom), and p comes from Fisher's F distribution. Depths with a single P have no slope of their own; they share
one slope.

Source: arXiv:1809.09349, figs. 5 and 10, for the question; the likelihood-ratio test is standard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamtools.records import Array
from jamtools.transition.least_squares import chi_squared, weighted_mean
from jamtools.transition.points import LogPoints


@dataclass(frozen=True)
class DepthComparison:
    """The test of one line for all depths against one line for each depth. Its fields are the keys of its JSON object.

    statistic: Δχ², divided by the scatter; degrees: the number of added parameters; p_value: None if that is 0;
    P_over_N: P/N* of each depth.
    """

    statistic: float
    degrees: int
    p_value: float | None
    P_over_N: Mapping[int, float]

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {**vars(self), "P_over_N": {str(depth): ratio for depth, ratio in self.P_over_N.items()}}


def compare_depths(depths: Sequence[int], points: LogPoints) -> DepthComparison | None:
    """Compares one line for all depths with one line for each depth. Returns None where all points have one depth.

    depths [n]: the depth of each point; points: log P [n], log N* [n] and σ [n].
    """
    x, y, sigma = points
    depth = np.array(depths)
    distinct = np.unique(depth)
    if len(distinct) < 2:
        return None
    members = [depth == value for value in distinct]  # a mask [n] for each depth
    statistic, degrees, p_value = _likelihood_ratio(_common_line(x), _line_per_depth(x, members), y, sigma)
    ratios = {
        value.item(): math.exp(weighted_mean((x - y)[mask], sigma[mask]).value)
        for value, mask in zip(distinct, members)
    }
    return DepthComparison(statistic, degrees, p_value, ratios)


def _common_line(x: Array) -> Array:
    """The design [n, 2] of one line through all points at x [n]."""
    return np.stack([np.ones_like(x), x], axis=1)


def _line_per_depth(x: Array, members: Sequence[np.ndarray]) -> Array:
    """The design [n, k] of a line for each depth: heights, then slopes, then the common slope of depths with one P."""
    has_one_p = [bool(np.ptp(x[mask]) == 0) for mask in members]
    heights = [mask.astype(float) for mask in members]
    slopes = [mask * x for mask, single in zip(members, has_one_p) if not single]
    if any(has_one_p) and not all(has_one_p):
        slopes.append(sum(mask for mask, single in zip(members, has_one_p) if single) * x)
    return np.stack([*heights, *slopes], axis=1)


def _likelihood_ratio(
    common: Array, per_depth: Array, y: Array, sigma: Array
) -> tuple[float, int, float | None]:
    """Δχ² of two nested designs [n, k] for y [n] with standard errors sigma [n], its degrees of freedom, and p."""
    from scipy.special import chdtrc, fdtrc

    chi2_common, rank_common = chi_squared(common, y, sigma)
    chi2_per_depth, rank_per_depth = chi_squared(per_depth, y, sigma)
    added, degrees = rank_per_depth - rank_common, len(y) - rank_per_depth
    scatter = max(1.0, chi2_per_depth / degrees if degrees > 0 else 1.0)
    statistic = max(0.0, chi2_common - chi2_per_depth) / scatter
    if added == 0:
        return statistic, added, None
    p = fdtrc(added, degrees, statistic / added) if scatter > 1 else chdtrc(added, statistic)
    return statistic, added, float(p)
