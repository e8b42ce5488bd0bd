"""The checks of the metadata of a run: its counts, and the patterns that it left out."""

from __future__ import annotations

import pytest

from jamtools.errors import InputError
from jamtools.record_checks import COUNT_FIELDS, check_counts, check_set_aside
from tests.support import artefacts


@pytest.mark.parametrize("value", [0, 2.0, True, None])
@pytest.mark.parametrize("name", COUNT_FIELDS)
def test_a_count_that_is_no_positive_integer_is_refused(name, value):
    check_counts(artefacts.run_info())
    with pytest.raises(InputError, match=f"a run of {name} "):
        check_counts(artefacts.run_info(**{name: value}))


def test_a_depth_may_be_zero_but_not_negative():
    check_counts(artefacts.run_info(depth=0))
    for depth in (-1, 0.0, None):
        with pytest.raises(InputError, match="a run of depth .*at least 0"):
            check_counts(artefacts.run_info(depth=depth))


@pytest.mark.parametrize("numbers", ["1", 3, [1.0], [True], [2, 1], [1, 1], [-1]])
def test_patterns_left_out_are_ascending_numbers(numbers):
    check_set_aside({})
    check_set_aside({"set_aside": [0, 3, 7]})
    with pytest.raises(InputError, match="set_aside"):
        check_set_aside({"set_aside": numbers})
