"""The bounds of stability, from given intervals of θ and γ."""

from __future__ import annotations

import math

import pytest

from jamtools.exponents.stability import stability_bounds


def test_the_bounds_follow_from_the_interval_of_theta():
    found = stability_bounds(0.4, (0.2, 0.5), (0.41, 0.42))
    assert found.extended.gamma_at_least == pytest.approx(1 / 2.4)
    assert found.extended.interval == pytest.approx((1 / 2.5, 1 / 2.2))
    assert found.local.gamma_at_least == pytest.approx(0.3)
    assert found.local.interval == pytest.approx((0.25, 0.4))


@pytest.mark.parametrize(
    ("gamma", "extended", "local", "saturated"),
    [
        ((0.41, 0.44), True, True, True),  # contains a part of 1/(2+θ)
        ((0.6, 0.7), True, True, False),  # above
        ((0.3, 0.35), False, True, False),  # between the two bounds
        ((0.0, 0.1), False, False, False),
    ],
)
def test_a_bound_is_kept_if_the_intervals_allow_it(gamma, extended, local, saturated):
    found = stability_bounds(0.4, (0.2, 0.5), gamma)
    assert (found.extended.kept, found.local.kept, found.extended.saturated) == (extended, local, saturated)


def test_an_infinite_interval_has_no_bounds():
    assert stability_bounds(0.4, (0.2, math.inf), (0.4, 0.5)) is None


def test_the_record_is_plain():
    record = stability_bounds(0.4, (0.2, 0.5), (0.41, 0.42)).as_dict()
    assert record["extended"]["interval"] == pytest.approx([1 / 2.5, 1 / 2.2])
    assert set(record["local"]) == {"gamma_at_least", "interval", "kept"}
