"""Why an engine stops."""

from __future__ import annotations

import math

import pytest

from jamtools.engines.base import Stateless, stop_reason
from jamtools.engines.constants import UNKNOWN_GAP

#: The largest Δ of a contact: 10⁻¹⁰ ε.
CONTACT = 5e-11


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("max_gap", [math.nan, math.inf, -math.inf])
def test_a_run_whose_largest_gap_is_not_finite_has_diverged(max_gap, stop):
    assert stop_reason(max_gap, stop, CONTACT) == "diverged"


@pytest.mark.parametrize("max_gap", [CONTACT, CONTACT / 2, 0.0, -0.5])
def test_a_run_without_unsatisfied_patterns_ends_only_if_it_is_asked_to(max_gap):
    assert stop_reason(max_gap, True, CONTACT) == "satisfied"
    assert stop_reason(max_gap, False, CONTACT) == ""


def test_a_run_with_an_unsatisfied_pattern_does_not_end():
    assert stop_reason(math.nextafter(CONTACT, 1), True, CONTACT) == ""


def test_an_unknown_largest_gap_does_not_end_a_run():
    assert stop_reason(UNKNOWN_GAP, True, CONTACT) == ""


def test_a_stateless_engine_has_no_arrays_and_counts_no_missed_crossings():
    assert Stateless().state() == {}
    assert Stateless().n_missed is None
