"""The layout of tables of plain text, and the fields that fit their cells."""

from __future__ import annotations

import pytest

from jamtools.cli.common import plain_tables


def test_plain_text_is_aligned_to_the_right():
    assert plain_tables.aligned_text([["a", "bcd"], ["12", "3"]]) == " a  bcd\n12    3\n"


def test_only_short_lists_fit_a_cell():
    record = {"a": 1, "b": {"c": True}, "d": [1, 2], "e": [1, 2, 3, 4], "f": [{"x": 1}]}
    assert dict(plain_tables.flattened(record)) == {"a": "1", "b.c": "yes", "d": "[1,2]"}


@pytest.mark.parametrize(("width", "columns"), [(1, 1), (4, 1), (5, 1), (6, 2), (7, 2), (10, 3), (99, 3)])
def test_as_many_first_columns_are_kept_as_fit(width, columns):
    rows = [["a", "bcd", "e"], ["12", "3", "45"]]  # columns of 2, 3 and 2 characters
    assert plain_tables.n_fitting(rows, width + 1) == columns
    assert (
        columns == 1
        or len(plain_tables.aligned_text([row[:columns] for row in rows]).split("\n")[0]) <= width + 1
    )
