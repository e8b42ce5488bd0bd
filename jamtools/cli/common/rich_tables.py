"""Tables on stderr, made by the library rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

from jamtools.cli.common.tables import shown


def make_table(labels: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> Any:
    """A table of the library rich, with right-aligned values."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD)
    for label in labels:
        table.add_column(label, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(shown(value) for value in row))
    return table


def print_table(stream: TextIO, table: Any) -> None:
    """Prints a table of rich at its own width: a row that the terminal wraps still holds every digit."""
    from rich.console import Console

    Console(file=stream, width=1000).print(table)
