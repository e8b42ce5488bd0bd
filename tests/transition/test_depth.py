"""The comparison of depths on planted lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jamtools.transition.depth import DepthComparison, compare_depths
from jamtools.transition.points import LogPoints
from tests.support.searches import scaling_point, scattered_points


def compared(searches: list[dict[str, Any]]) -> DepthComparison | None:
    return compare_depths([search["depth"] for search in searches], LogPoints.of(searches))


@pytest.mark.statistical
def test_depths_on_one_line_differ_as_often_as_chance_allows():
    """p of the likelihood ratio is uniform for one line; the division by the scatter can only raise p."""
    rng = np.random.default_rng(2)
    p = [compared(scattered_points(rng, (2, 3, 5), lambda P, L: P / 2.8)).p_value for _ in range(300)]
    low = sum(value <= 0.1 for value in p)
    assert 0 < low <= 30 + 4 * np.sqrt(27)  # binomial


def test_depths_on_two_lines_differ_significantly():
    rng = np.random.default_rng(3)
    result = compared(scattered_points(rng, (2, 5), lambda P, L: P / 2.8 * (2 if L == 5 else 1)))
    assert result.p_value < 0.05 and result.degrees == 2
    assert result.P_over_N[2] == pytest.approx(2.8, rel=0.2)
    assert result.P_over_N[5] == pytest.approx(1.4, rel=0.2)


def test_the_statistic_is_the_difference_of_two_fits_by_numpy():
    rng = np.random.default_rng(4)
    points = scattered_points(
        rng, (2, 3), lambda P, L: P / 3, error=np.log(2), scatter=0.3
    )  # no excess scatter
    x, y = (np.log([point[name] for point in points]) for name in ("P", "n_star"))
    sigma, depth = np.log(2), np.array([point["depth"] for point in points])

    def chi2(keep):
        return np.polyfit(x[keep], y[keep], 1, full=True)[1][0] / sigma**2

    expected = chi2(depth > 0) - chi2(depth == 2) - chi2(depth == 3)
    assert compared(points).statistic == pytest.approx(expected, rel=1e-8)


def test_depths_with_one_p_each_are_compared_by_their_heights():
    heights = {2: 100, 3: 101, 5: 150}
    result = compared([scaling_point(300, n, depth=depth) for depth, n in heights.items()])
    assert result.degrees == 2 and result.p_value < 1e-2


def test_one_depth_is_not_compared():
    assert compared([scaling_point(100, 40), scaling_point(200, 80)]) is None


def test_the_json_object_of_a_comparison_names_depths_by_strings():
    comparison = compared([scaling_point(P, P / 2, depth=L) for P in (100, 200) for L in (2, 5)])
    record = comparison.as_dict()
    assert list(record) == ["statistic", "degrees", "p_value", "P_over_N"]
    assert list(record["P_over_N"]) == ["2", "5"]
