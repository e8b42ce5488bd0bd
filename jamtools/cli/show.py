"""jam-show: what a file holds, as text for jq, awk and gnuplot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Streams, grouped
from jamtools.cli.common.options import Sources, Where
from jamtools.cli.common.plain_tables import aligned_text, flattened, n_fitting
from jamtools.cli.common.selecting import select
from jamtools.cli.common.session import Session
from jamtools.cli.common.tables import CUT_IN_SHOW, cells, show_columns, shown
from jamtools.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jamtools.io.artefact import Artefact

#: From the inputs to the numbers of the records that are shown of each.
Keep = Callable[[Sequence[Any]], Sequence[Sequence[int]]]

NAME = "jam-show"
app = new_app()

#: The two distributions of a line of jam-gaps, and the exponent of each.
GAPS_SYMBOLS = (("overlaps", "θ"), ("gaps", "γ"))

#: How many of the columns that a table leaves out a note names.
COLUMNS_NAMED = 4

Table = Annotated[
    bool,
    typer.Option(
        "--table", help="Print a table for people to read: the main fields. All are printed without it."
    ),
]
ArrayName = Annotated[
    str | None,
    typer.Option(
        "--array",
        metavar="NAME",
        help="Print one array as text, with a line for each number or for each row.",
    ),
]
Arrays = Annotated[
    bool, typer.Option("--arrays", help="Print a JSON line for each array: its name, dtype and shape.")
]
Provenance = Annotated[
    bool, typer.Option("--provenance", help="Print the commands that made the file, in order.")
]


@app.command()
@grouped
def show(
    files: Sources = None,
    *,
    where: Where = None,
    table: Table = False,
    array: ArrayName = None,
    arrays: Arrays = False,
    provenance: Provenance = False,
    streams: Streams,
) -> None:
    """Show what a file holds, as JSON lines: one for each run, or one for a dataset.

    Runs are numbered r0000, r0001, … through all files given, and --array uses these numbers. JSON lines of jam-neff,
    jam-cusps, jam-gaps and jam-nstar are passed through unchanged; --table prints them as a table. Arrays are read
    only when asked for.

    \b
    Examples:
      jam-show runs.safetensors | jq .final_loss
      jam-show --table runs/*.safetensors --where "depth == 3 and jammed"
      jam-show --array r0000/H spectra.safetensors | awk '$1 < 0'
    """
    session = Session(NAME, streams)
    if table + (array is not None) + arrays + provenance > 1:
        raise typer.BadParameter(
            "got more than one of --table, --array, --arrays and --provenance, expected one"
        )
    if where and (array is not None or arrays or provenance):
        raise typer.BadParameter(
            "got --where with --array, --arrays or --provenance, expected it without them"
        )
    sources = files or ["-"]

    def lines() -> Iterator[dict[str, Any]]:
        return records(sources, lambda inputs: select(session, where, inputs, files))

    if array is not None:
        session.write(array_text(find_array(sources, array)))
    elif table:
        session.write(table_text(lines(), session.note))
    elif arrays:
        session.write_json(inventory(sources))
    elif provenance:
        session.write_json(steps(sources))
    else:
        session.write_json(lines())


# --- JSON lines ---------------------------------------------------------------------------------------


def records(sources: Iterable[str], keep: Keep | None = None) -> Iterator[dict[str, Any]]:
    """An object for each run, numbered through all sources; one for a dataset; JSON lines unchanged.

    keep: from all inputs to the numbers of those records of each that are wanted, which keep their names.
    """
    from jamtools.io.artefact import open_any

    inputs = [open_any(source) for source in sources]
    kept = keep(inputs) if keep else [range(_n_records(opened)) for opened in inputs]
    count = 0
    for opened, chosen in zip(inputs, kept):
        if isinstance(opened, list):
            yield from (opened[number] for number in chosen)
        elif opened.kind == "dataset":
            yield from (_dataset_record(opened) for _ in chosen)
        else:
            infos = opened.infos
            for number in chosen:
                identity = {"kind": opened.kind, "run": f"r{count + number:04d}"}
                # both stand first in the line, and replace fields of the same names
                yield identity | infos[number] | identity
            count += len(infos)


def _n_records(opened: Artefact | list[dict[str, Any]]) -> int:
    return len(opened if isinstance(opened, list) else opened.infos)


def _dataset_record(artefact: Artefact) -> dict[str, Any]:
    arrays = [name for name in ("x", "y", "x_test", "y_test") if name in artefact.names]
    shapes = {name: list(artefact.shape(name)) for name in arrays}
    balance = {name: _balance(artefact.tensor(name)) for name in arrays if name.startswith("y")}
    return {"kind": "dataset", **artefact.infos[0], "shapes": shapes, "balance": balance}


def _balance(y: NDArray[Any]) -> dict[str, int]:
    """The number of patterns of each label: y [P] of ±1 -> "-1" and "1"; y [P, C] -> the numbers of the classes."""
    if y.ndim > 1:
        return {str(c): int(count) for c, count in enumerate((y > 0).sum(axis=0))}
    return {"-1": int((y < 0).sum()), "1": int((y > 0).sum())}


def inventory(sources: Iterable[str]) -> Iterator[dict[str, Any]]:
    """An object for each array, under its name in its own file."""
    for artefact in _artefacts(sources):
        file = {} if artefact.source == "-" else {"file": artefact.source}
        for name in sorted(artefact.names):
            yield {
                **file,
                "array": name,
                "dtype": artefact.dtype(name),
                "shape": list(artefact.shape(name)),
            }


def steps(sources: Iterable[str]) -> list[dict[str, Any]]:
    """The provenance of all sources, each step once."""
    chain: list[dict[str, Any]] = []
    for artefact in _artefacts(sources):
        chain += [step for step in artefact.provenance if step not in chain]
    return chain


def _artefacts(sources: Iterable[str]) -> Iterator[Artefact]:
    from jamtools.io.artefact import open_any
    from jamtools.io.streams import describe

    for source in sources:
        opened = open_any(source)
        if isinstance(opened, list):
            raise InputError(
                f"{describe(source)}got JSON lines, which hold neither arrays nor provenance; read them with jq"
            )
        yield opened


# --- arrays -------------------------------------------------------------------------------------------


def find_array(sources: list[str], name: str) -> NDArray[Any]:
    """The array of that name, of any shape, in one file; with several files, that of the run counted through all of them.

    Raises InputError where there is no such array.
    """
    if len(sources) == 1:
        return next(_artefacts(sources)).any_tensor(name)
    match = re.fullmatch(r"r(\d+)/(.+)", name)
    if not match:
        raise InputError(
            f"got --array {name} and {len(sources)} files, expected the array of a run or one file"
        )
    from jamtools.io.streams import described

    wanted, count = int(match[1]), 0
    for artefact in _artefacts(sources):
        n_runs = 0 if artefact.kind == "dataset" else len(artefact.infos)
        if wanted < count + n_runs:
            return artefact.any_tensor(f"r{wanted - count:04d}/{match[2]}")
        count += n_runs
    raise InputError(
        f"{described(sources)}no run r{match[1]}: the files hold {count} runs, counted from r0000"
    )


def array_text(array: NDArray[Any]) -> bytes:
    """An array of any shape as text: a line for each row (or number), with the digits that restore each number exactly."""
    if array.size == 0:
        return b""
    if array.dtype == bool:
        array = array.astype("int8")
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(-1, 1)
    lines = (" ".join(_exact_digits(row)) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _exact_digits(row: NDArray[Any]) -> Iterable[str]:
    # as Python floats, numbers of less than 64 bits would show digits that they do not have
    short = row.dtype.kind == "f" and row.dtype.itemsize < 8
    return map(str, row) if short else map(repr, row.tolist())


# --- tables -------------------------------------------------------------------------------------------


def table_text(rows: Iterable[Mapping[str, Any]], note: Callable[[str], None] = lambda text: None) -> bytes:
    """Tables of aligned columns, one for each group of consecutive records of one kind.

    note: is called with a line on what a table does not show.
    """
    groups = groupby(rows, lambda row: row.get("kind"))
    return "\n".join(_table(kind, list(group), note) for kind, group in groups).encode()


def _table(kind: str | None, records: list[Mapping[str, Any]], note: Callable[[str], None]) -> str:
    """The table of one kind: its columns, or all fields that fit a cell if the kind has no columns of its own."""
    rows = [row for record in records for row in _rows(kind, record)]
    labels = show_columns(kind or "", rows)
    if labels:
        table = [list(labels), *([*map(shown, cells(str(kind), labels, row))] for row in rows)]
        return _cut(table, note) if kind in CUT_IN_SHOW else aligned_text(table)
    flat = [dict(flattened(record)) for record in records]
    names = list(dict.fromkeys(name for row in flat for name in row if name != "kind"))
    return _cut([names, *([row.get(name, "-") for name in names] for row in flat)], note)


def _cut(table: list[list[str]], note: Callable[[str], None]) -> str:
    """A table with its first columns, as many as fit into TABLE_WIDTH; a note names how to see the others."""
    kept = n_fitting(table)
    if kept < len(table[0]):
        left_out = ", ".join(table[0][kept : kept + COLUMNS_NAMED])
        more = len(table[0]) - kept - COLUMNS_NAMED
        note(
            f"left out of the table: {left_out}{f' and {more} more' if more > 0 else ''}; "
            "jam-show without --table prints all fields"
        )
    return aligned_text([row[:kept] for row in table])


def _rows(kind: str | None, record: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The rows of one record: two for jam-gaps, one for each sweep of a jump, else one."""
    if kind == "gaps":
        return [{"name": symbol, **(record.get(name) or {})} for name, symbol in GAPS_SYMBOLS]
    return record.get("jump") or [] if kind == "nstar-jump" else [record]


def main() -> None:
    """The process jam-show."""
    run(app, NAME)


if __name__ == "__main__":
    main()
