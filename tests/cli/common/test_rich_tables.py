"""Tables on stderr hold every digit, however narrow the terminal is."""

from __future__ import annotations

import io

from jamtools.cli.common import rich_tables


def test_a_wide_table_keeps_every_row_on_one_line():
    stream = io.StringIO()
    table = rich_tables.make_table([f"column {i}" for i in range(20)], [["x" * 20] * 20])
    rich_tables.print_table(stream, table)
    assert any(line.count("x" * 20) == 20 for line in stream.getvalue().splitlines())
