"""jam-runs: runs in, runs out: selected, merged, sorted, split, and without arrays that are not needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Streams, grouped
from jamtools.cli.common.options import Sources, Where, integer_option
from jamtools.cli.common.selecting import select, shared_data
from jamtools.cli.common.session import Session
from jamtools.errors import InputError
from jamtools.io.streams import STDIN, check_writable, write_file

if TYPE_CHECKING:
    from jamtools.io.artefact import Artefact
    from jamtools.records import Dataset, Run

NAME = "jam-runs"
app = new_app()

#: Characters of a value that may stand in the name of a file; others are replaced by a hyphen.
NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


def names(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names or expressions in a list such as width,seed."""
    parts = tuple(text.split(",")) if isinstance(text, str) else text
    if not all(part.strip() for part in parts):
        raise typer.BadParameter(f"got {text!r}, expected names with commas between them")
    return tuple(part.strip() for part in parts)


def arrays(text: str | frozenset[str]) -> frozenset[str]:
    """The arrays in a list such as history,test."""
    from jamtools.ensembles import checked_names

    try:
        return checked_names(names(text) if isinstance(text, str) else text)
    except InputError as error:
        raise typer.BadParameter(error.text) from error


Sort = Annotated[
    Any,
    typer.Option(
        "--sort", parser=names, metavar="FIELDS", help="Order the runs by these fields; -FIELD: descending."
    ),
]
First = Annotated[int | None, integer_option("--first", help="Keep only the first N runs, after sorting.")]
Split = Annotated[
    Any,
    typer.Option(
        "--split",
        parser=names,
        metavar="FIELDS",
        help="Write a file for each value of these fields, under the name that -o gives: -o 'runs-{depth}.safetensors'.",
    ),
]
Drop = Annotated[
    Any,
    typer.Option(
        "--drop",
        parser=arrays,
        metavar="ARRAYS",
        help="Leave out some of snapshots; history (its rows but for two, and snapshots); test (the test set).",
    ),
]


@app.command()
@grouped
def runs(
    files: Sources = None,
    *,
    where: Where = None,
    sort: Sort = None,
    first: First = None,
    split: Split = None,
    drop: Drop = None,
    streams: Streams,
) -> None:
    """Select, merge, sort and split runs, and leave out arrays that are not needed.

    \b
    Examples:
      jam-runs a.safetensors b.safetensors --where jammed -o jammed.safetensors
      jam-runs sweep/*.safetensors --where "near(0.1)" | jam-hessian > spectra.safetensors
      jam-runs all.safetensors --split depth -o 'runs-{depth}.safetensors'
      jam-runs large.safetensors --drop history,test --sort final_loss --first 10 -o small.safetensors

    The runs of all files go into one file, byte for byte as they were. Files may be merged if they have the same data:
    the training set of one is the beginning of the other. The longest is kept. A run that is there twice is kept
    once. Without --sort, runs keep their order: file after file.

    --sort takes fields or expressions: --sort width,-P/N. Runs without a value come last.

    Snapshots and histories are what makes a file large. --drop history keeps of each history the row at half of the
    steps, which jam-gaps needs, and the last one. Runs are read one by one: a file may be larger than the memory,
    but the result needs three times its size. theta, theta0, the gaps and the arrays of a certificate always stay.
    """
    split_names = _check_split(split, streams.output)
    session = Session(NAME, streams, binary=not split_names)
    from jamtools.io.artefact import Artefact

    artefacts = [Artefact(source).expect("runs") for source in files or [STDIN]]
    chosen = select(session, where, artefacts, files)
    data, kept = _read(session, artefacts, chosen, drop or frozenset())
    kept = _sorted(kept, sort or ())[:first]
    steps = session.provenance(*(artefact.provenance for artefact in artefacts))
    _write(session, data, kept, split_names, steps)


# --- reading ------------------------------------------------------------------------------------------


def _read(
    session: Session, artefacts: Sequence[Artefact], chosen: Sequence[Sequence[int]], dropped: frozenset[str]
) -> tuple[Dataset, list[Run]]:
    """The data that the chosen runs share, and these runs: each once, without the arrays that are left out."""
    from jamtools.ensembles import DistinctRuns, lighter, without_test_set
    from jamtools.io.read import iterate_runs

    data, files = shared_data(artefacts, chosen, without_test_set if "test" in dropped else lambda data: data)
    total = sum(map(len, chosen))
    distinct, kept, count = DistinctRuns(), [], 0
    with session.progress(NAME, total) as update:
        for artefact, numbers, own in files:
            for member in iterate_runs(artefact, own, numbers):
                update(count, artefact.source)
                count += 1
                if distinct.is_new(member):
                    kept.append(lighter(member, dropped))
    if len(kept) < total:
        session.note(f"{total - len(kept)} of {total} runs are there more than once and are kept once")
    return data, kept


def _sorted(kept: list[Run], keys: Sequence[str]) -> list[Run]:
    """The runs in the order of some expressions, the first of which decides first; -FIELD means descending."""
    from jamtools.conditions import Formula

    infos = [member.info for member in kept]
    order = list(range(len(kept)))
    for key in reversed(keys):
        values = Formula(key.removeprefix("-")).values(infos)
        known = [i for i in order if values[i] is not None]
        try:
            known.sort(key=lambda i: values[i], reverse=key.startswith("-"))
        except TypeError as error:
            raise InputError(f"cannot sort by {key!r}, expected numbers alone or words alone") from error
        order = known + [i for i in order if values[i] is None]
    return [kept[i] for i in order]


# --- writing ------------------------------------------------------------------------------------------


def _check_split(fields: Sequence[str] | None, output: str) -> tuple[str, ...]:
    """The fields that split the runs. Raises a usage error unless the name of the output has each of them in braces."""
    in_braces = re.findall(r"{([^{}]*)}", output)
    for field in fields or ():
        if field not in in_braces:
            raise typer.BadParameter(
                f"got --split {field} with -o {output}, expected a name with {{{field}}} in it, such as "
                f"-o 'runs-{{{field}}}.safetensors'"
            )
    return tuple(fields or ())


def _write(
    session: Session, data: Dataset, kept: list[Run], fields: Sequence[str], steps: list[dict[str, Any]]
) -> None:
    """Writes one file, or one for each combination of the values of the fields."""
    from jamtools.io.write import runs_bytes
    from jamtools.records import Runs

    def content(runs: Sequence[Run]) -> bytes:
        return runs_bytes(Runs(data, tuple(runs)), steps)

    if fields:
        _write_split(session, _split(kept, fields, session.output), content)
    else:
        data_bytes = content(kept)
        session.write(data_bytes)
        session.note(f"{len(kept)} runs, {_size(len(data_bytes))}")
    session.records_table("runs", [member.info for member in kept], more=("depth",))


def _split(kept: list[Run], fields: Sequence[str], pattern: str) -> dict[str, list[Run]]:
    """The runs by the name of their file. Raises InputError where two values would have the same name."""
    from jamtools.conditions import Formula

    infos = [member.info for member in kept]
    columns = [Formula(field).values(infos) for field in fields]
    files: dict[str, list[Run]] = {}
    values_of: dict[str, tuple[Any, ...]] = {}
    for member, values in zip(kept, zip(*columns)):
        name = pattern
        for field, value in zip(fields, values):
            name = name.replace(f"{{{field}}}", _in_name(value))
        if values_of.setdefault(name, values) != values:
            raise InputError(
                f"{name}: got runs of {values_of[name]} and {values}, expected one file for each"
            )
        files.setdefault(name, []).append(member)
    return files


def _in_name(value: Any) -> str:
    """A value as a part of the name of a file."""
    text = (
        {None: "null", True: "true", False: "false"}.get(value)
        if value is None or isinstance(value, bool)
        else None
    )
    return text or NOT_IN_NAMES.sub("-", str(value))


def _write_split(
    session: Session, files: dict[str, list[Run]], content: Callable[[Sequence[Run]], bytes]
) -> None:
    for name in files:
        check_writable(name)
    for name, runs in files.items():
        data = content(runs)
        write_file(name, data)
        session.note(f"{name}: {len(runs)} runs, {_size(len(data))}")


def _size(n_bytes: int) -> str:
    """A number of bytes in words: `3.2 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes} bytes"


def main() -> None:
    """The process jam-runs."""
    run(app, NAME)


if __name__ == "__main__":
    main()
