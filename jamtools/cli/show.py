"""jam-show: what a file holds, as text: the door to jq, awk and gnuplot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.options import Debug, Output, Quiet, Sources, Version
from jamtools.cli.common.session import Session, shown
from jamtools.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jamtools.io.artefact import Artefact

    Value = Callable[[Mapping[str, Any]], object]

NAME = "jam-show"
app = new_app()

Table = Annotated[bool, typer.Option("--table", help="A table for people.")]
ArrayName = Annotated[
    str | None,
    typer.Option("--array", metavar="NAME", help="One array as text: a number a line, or a row a line."),
]
Arrays = Annotated[bool, typer.Option("--arrays", help="One JSON line an array: its name, dtype and shape.")]
Provenance = Annotated[bool, typer.Option("--provenance", help="The commands that made the file, in order.")]


@app.command()
def show(
    files: Sources = None,
    table: Table = False,
    array: ArrayName = None,
    arrays: Arrays = False,
    provenance: Provenance = False,
    output: Output = "-",
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """What a file holds: JSON lines, one per run, or one for a dataset.

    Runs are numbered r0000, r0001, … through all files given, and --array counts as they do. What jam-neff, jam-cusps,
    jam-gaps and jam-nstar print is passed through, and --table lays it out. Arrays are read only when asked for.

    \b
    Examples:
      jam-show runs.safetensors | jq .final_loss
      jam-show --table runs/*.safetensors
      jam-show --array r0000/H spectra.safetensors | awk '$1 < 0'
    """
    session = Session(NAME, output, quiet)
    if table + (array is not None) + arrays + provenance > 1:
        raise typer.BadParameter(
            "got more than one of --table, --array, --arrays and --provenance, expected one"
        )
    sources = files or ["-"]
    if array is not None:
        session.write(array_text(find_array(sources, array)))
    elif table:
        session.write(table_text(records(sources)))
    elif arrays:
        session.write_json(inventory(sources))
    elif provenance:
        session.write_json(steps(sources))
    else:
        session.write_json(records(sources))


# --- JSON lines ---------------------------------------------------------------------------------------


def records(sources: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One object per run, numbered through all sources; one per dataset; JSON lines as they are."""
    from jamtools.io.artefact import open_any

    count = 0
    for source in sources:
        found = open_any(source)
        if isinstance(found, list):
            yield from found
        elif found.kind == "dataset":
            yield _dataset_record(found)
        else:
            for info in found.infos:
                own = {"kind": found.kind, "run": f"r{count:04d}"}
                yield own | info | own  # first in the line, and they win
                count += 1


def _dataset_record(artefact: Artefact) -> dict[str, Any]:
    arrays = [name for name in ("x", "y", "x_test", "y_test") if name in artefact.names]
    shapes = {name: list(artefact.shape(name)) for name in arrays}
    balance = {name: _balance(artefact.tensor(name)) for name in arrays if name.startswith("y")}
    return {"kind": "dataset", **artefact.infos[0], "shapes": shapes, "balance": balance}


def _balance(y: NDArray[Any]) -> dict[str, int]:
    """How many patterns carry each label: "-1" and "1", or the number of the class."""
    if y.ndim > 1:
        return {str(c): int(count) for c, count in enumerate((y > 0).sum(axis=0))}
    return {"-1": int((y < 0).sum()), "1": int((y > 0).sum())}


def inventory(sources: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One object per array, by the name it has in its own file."""
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
        found = open_any(source)
        if isinstance(found, list):
            raise InputError(
                f"{describe(source)}got JSON lines, which hold neither arrays nor provenance; read them with jq"
            )
        yield found


# --- arrays -------------------------------------------------------------------------------------------


def find_array(sources: list[str], name: str) -> NDArray[Any]:
    """The array of that name: in the one file, or of that run counted through several."""
    if len(sources) == 1:
        return next(_artefacts(sources)).any_tensor(name)
    match = re.fullmatch(r"r(\d+)/(.+)", name)
    if not match:
        raise InputError(
            f"got --array {name} and {len(sources)} files, expected the array of a run or one file"
        )
    wanted, count = int(match[1]), 0
    for artefact in _artefacts(sources):
        here = 0 if artefact.kind == "dataset" else len(artefact.infos)
        if wanted < count + here:
            return artefact.any_tensor(f"r{wanted - count:04d}/{match[2]}")
        count += here
    raise InputError(f"no run r{match[1]}: the files hold {count} runs, counted from r0000")


def array_text(array: NDArray[Any]) -> bytes:
    """A row a line, each number with the digits that give it back exactly."""
    if array.size == 0:
        return b""
    if array.dtype == bool:
        array = array.astype("int8")
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(-1, 1)
    lines = (" ".join(_exact(row)) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _exact(row: NDArray[Any]) -> Iterable[str]:
    short = row.dtype.kind == "f" and row.dtype.itemsize < 8  # Python's floats would show digits they lack
    return map(str, row) if short else map(repr, row.tolist())


# --- tables -------------------------------------------------------------------------------------------


def _over_N(field: str) -> Value:
    return lambda info: _ratio(info.get(field), info.get("n_effective_expected"))


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _field(field: str) -> Value:
    return lambda info: info.get(field)


def _counted(balance: Mapping[str, int]) -> str:
    """-1:500,1:500"""
    return ",".join(f"{label}:{count}" for label, count in balance.items())


NETWORK: dict[str, Value] = {
    "run": _field("run"),
    "d": _field("d"),
    "width": _field("width"),
    "depth": _field("depth"),
    "ρ": _field("activation"),
    "P": _field("P"),
    "N": _field("n_effective_expected"),
    "P/N": _over_N("P"),
    "seed": _field("seed"),
}
COLUMNS: dict[str, dict[str, Value]] = {
    "dataset": {
        "source": _field("source"),
        "seed": _field("seed"),
        "P": _field("P"),
        "d": _field("d"),
        "test": lambda info: info["shapes"].get("x_test", [0])[0],
        "labels": lambda info: _counted(info["balance"]["y"]),
    },
    "runs": {
        **NETWORK,
        "steps": _field("steps"),
        "status": _field("status"),
        "certified": _field("certified"),
        "loss": _field("final_loss"),
        "N_Δ": _field("n_unsatisfied"),
        "N_Δ/N": _over_N("n_unsatisfied"),
        "wrong": _field("n_misclassified"),
        "|∇L|": _field("grad_norm"),
    },
    "verification": {
        **{name: _field(name) for name in ("run", "width", "depth", "P", "seed", "status")},
        **{name: _field(name) for name in ("claimed", "certified", "holds")},
        "findings": lambda record: len(record.get("findings", [])),
    },
    "spectra": {
        **NETWORK,
        "loss": _field("final_loss"),
        "N_Δ/N": _over_N("n_unsatisfied"),
        "rank_H0": _field("rank_H0"),
        "gap_H0": _field("gap_H0"),
        "N_-(Hp)": _field("n_negative_Hp"),
        "C0": _field("c0"),
        "N_-(H)": _field("n_negative_H"),
        "N_c": _field("n_cusps"),
        "bound": _field("bound_holds"),
    },
    "neff": {
        **NETWORK,
        "Ñ": _field("n_parameters"),
        "hidden": _field("n_hidden"),
        "N_eff": _field("n_effective"),
        "gap": _field("rank_gap"),
    },
    "gaps": {
        "of": _field("name"),
        "exponent": _field("exponent"),
        "interval": _field("interval"),
        "values": _field("n"),
        "order": _field("order"),
        "share": _field("share"),
        "settled": _field("settled"),
        "range": _field("range"),
        "p_null": _field("p_null"),
        "p_fit": _field("p_fit"),
        "refused": _field("refused"),
    },
    "nstar-jump": {
        **{name: _field(name) for name in ("d", "depth", "activation", "steps")},
        "P/N": _field("P_over_N"),
        "interval": _field("P_over_N_interval"),
        "N_Δ/N": _field("unsatisfied_per_parameter"),
        "its interval": _field("unsatisfied_per_parameter_interval"),
        **{name: _field(f"n_{name}") for name in ("satisfied", "jammed", "undecided")},
    },
    "nstar": {
        "P": _field("P"),
        "d": _field("d"),
        "depth": _field("depth"),
        "loss": _field("loss"),
        "success": _field("success"),
        "N*": _field("n_star"),
        "interval": _field("interval"),
        "width": _field("width"),
        "P/N*": lambda record: _ratio(record.get("P"), record.get("n_star")),
        "trials": lambda record: len(record.get("trials", [])),
    },
}


def table_text(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Aligned columns under a heading; a table for each kind in turn."""
    tables = [_table(kind, list(group)) for kind, group in groupby(rows, lambda row: row.get("kind"))]
    return "\n".join(tables).encode()


def _table(kind: str | None, rows: list[Mapping[str, Any]]) -> str:
    columns = COLUMNS.get(kind or "")
    if columns:
        rows = [part for row in rows for part in _parts(kind, row)]
        cells = [[_cell(value(row)) for value in columns.values()] for row in rows]
        return _aligned([list(columns), *cells])
    flat = [dict(_flatten(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row if name != "kind"))
    return _aligned([names, *([row.get(name, "-") for name in names] for row in flat)])


def _parts(kind: str | None, record: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The rows of one object."""
    if kind == "gaps":
        return _halves(record)
    return record.get("jump") or [] if kind == "nstar-jump" else [record]


def _halves(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The two distributions of jam-gaps, a row each."""
    for name, symbol in (("overlaps", "θ"), ("gaps", "γ")):
        yield {"name": symbol, **(record.get(name) or {})}


def _flatten(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """What fits a cell: numbers and words, and lists of three at most; {"a": {"b": 1}} -> a.b."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, list) or _is_short(value):
            yield f"{prefix}{key}", _cell(value)


def _is_short(values: list[Any]) -> bool:
    return len(values) <= 3 and not any(isinstance(item, dict | list) for item in values)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_cell, value))}]"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else shown(value)


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    """The process jam-show."""
    run(app, NAME)


if __name__ == "__main__":
    main()
