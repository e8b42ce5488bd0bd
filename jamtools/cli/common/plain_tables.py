"""Tables as plain text, for jam-show: their layout, and the fields of records that fit a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from jamtools.cli.common.tables import Record, shown

#: The largest width, in characters, of those tables of jam-show that may lose their last columns.
TABLE_WIDTH = 120


def aligned_text(rows: list[list[str]]) -> str:
    """Plain text with right-aligned columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)
    return "".join(f"{line}\n" for line in lines)


def n_fitting(rows: list[list[str]], width: int = TABLE_WIDTH) -> int:
    """How many of the first columns of `aligned_text` fit into a width; at least one."""
    widths = [max(map(len, column)) + 2 for column in zip(*rows)]
    return max(1, sum(total - 2 <= width for total in accumulate(widths)))


def flattened(record: Record, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each field that fits a cell: a number, a word or a list of at most three; {"a": {"b": 1}} -> ("a.b", "1")."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        elif not isinstance(value, list) or _is_short(value):
            yield f"{prefix}{key}", shown(value)


def _is_short(values: list[Any]) -> bool:
    return len(values) <= 3 and not any(isinstance(item, dict | list) for item in values)
