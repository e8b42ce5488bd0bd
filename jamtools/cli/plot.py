"""jam-plot: artefacts in, a figure out."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Streams, grouped
from jamtools.cli.common.options import By, Sources, Where
from jamtools.cli.common.selecting import check_by, note_pooled, select
from jamtools.cli.common.session import Session
from jamtools.errors import InputError

if TYPE_CHECKING:
    from jamtools.figures.registry import FigureKind
    from jamtools.io.artefact import Artefact

NAME = "jam-plot"

#: The formats of a figure; the first is the default on standard output.
FORMATS = ("png", "pdf", "svg")

app = new_app()

Format = Annotated[
    Literal["png", "pdf", "svg"] | None,
    typer.Option(
        "--format",
        help="Format of the figure [default: that in which the name of the output ends; for a stream png].",
    ),
]
FigureName = Annotated[
    Literal["history", "jump", "loss", "approach", "spectrum", "gaps", "nstar", "neff", "cusps"] | None,
    typer.Option("--figure", help="Which figure to draw [default: the first one for this kind of input]."),
]

#: A field that only one kind of JSON lines has, for lines that do not name their kind.
KIND_OF_FIELD = {"overlaps": "gaps", "n_star": "nstar", "n_effective": "neff", "layers": "cusps"}

#: Kinds of JSON lines that are drawn into the figure of another kind.
DRAWN_WITH = {"nstar-fit": "nstar", "exponent": "gaps"}

#: The fields of a fitted exponent that its figure draws.
FIT_FIELDS = ("histogram", "range", "curve", "interval", "coefficients")

#: The fields of each JSON line of a kind that its figure draws; runs and spectra are checked when they are read.
FIELDS_DRAWN = {
    "nstar": ("P", "n_star"),
    "nstar-fit": ("points",),
    "neff": ("n_parameters", "n_hidden", "n_effective"),
    "cusps": ("layers",),
    "exponent": FIT_FIELDS,
    "gaps": FIT_FIELDS,
}


@app.command()
@grouped
def plot(
    files: Sources = None,
    *,
    where: Where = None,
    figure: FigureName = None,
    form: Format = None,
    by: By = None,
    dead: Annotated[
        Literal["leave-out", "keep"] | None, typer.Option("--dead", help="Whether dead runs are drawn.")
    ] = None,
    streams: Streams,
) -> None:
    """Draw a figure of the input.

    Runs, spectra or searches of other data, networks, losses or dynamics are other groups, each with its colour, its
    marker and its entry in the legend, which names what differs. --by says which fields make groups instead.

    \b
    runs (jam-train)         history (loss and N_Δ/N against the step), jump (N_Δ/N against P/N),
                             loss (N_Δ/N against the loss), approach (the stages of jam-approach)
    spectra (jam-hessian)    spectrum (H0, Hp and H)
    JSON lines               gaps (the distributions of Δ), nstar (N* against P, with a fit where given),
                             neff (N_eff), cusps (pre-activations by layer)

    \b
    Examples:
      jam-plot spectra.safetensors -o spectra.pdf
      jam-plot --figure jump runs/*.safetensors --where "depth == 3" -o jump.png
      jam-plot --figure jump runs/*.safetensors --by depth,width -o jump.png
      jam-gaps runs/*.safetensors | jam-plot > gaps.png
      jam-approach start.safetensors | jam-plot > approach.png
    """
    chosen = form or format_of(streams.output)
    session = Session(NAME, streams, binary=True)
    from jamtools.io.artefact import open_any
    from jamtools.io.streams import naming

    sources = files or ["-"]
    opened = [open_any(source) for source in sources]
    kind = _kind(opened, sources)
    chosen_records = select(session, where, opened, sources)
    records, provenance = _gather(opened, chosen_records, sources)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would print notes on its cache of fonts
    from jamtools import figures

    with naming(*sources):
        if not records and kind in ("runs", "spectra"):
            raise InputError(f"got a file without any {kind}, expected at least one")
        stages = kind == "runs" and all("approach" in run.info for run in records)
        name = _figure_of(figures.FIGURES, figure or ("approach" if stages else None), kind)
        options = _options_of(figures.FIGURES[name], name, by, dead)
        infos = [getattr(record, "info", record) for record in records]
        check_by(by, infos)
        drawn = figures.FIGURES[name].draw(records, **options)
    if by is not None:
        note_pooled(session, infos, by)
    steps = json.dumps(session.provenance(provenance), sort_keys=True)
    session.write(figures.render(drawn, chosen, steps))


def format_of(output: str) -> str:
    """The format that the name of the output ends in; png for a stream. Raises a usage error for another ending."""
    suffix = Path(output).suffix[1:].lower()
    if suffix in FORMATS:
        return suffix
    if output == "-" or (os.path.exists(output) and not os.path.isfile(output)):
        return FORMATS[0]
    raise typer.BadParameter(
        f"got {output!r} for the output, expected a name that ends in .png, .pdf or .svg, or --format"
    )


def _kind(inputs: Sequence[Artefact | list[dict[str, Any]]], sources: Sequence[str]) -> str:
    """The one kind of all inputs. Raises InputError where they have several, with a file of each."""
    places = {kind: source for opened, source in zip(inputs, sources) for kind in _kinds(opened)}
    if len(places) > 1:
        found = " and ".join(f"{kind} ({place})" for kind, place in sorted(places.items()))
        raise InputError(f"got {found}, expected inputs of one kind; plot them one by one")
    return next(iter(places))


def _gather(
    inputs: Sequence[Artefact | list[dict[str, Any]]],
    chosen: Sequence[Sequence[int]],
    sources: Sequence[str],
) -> tuple[list[Any], list[dict[str, Any]]]:
    """The chosen records of all inputs, and the commands that made the inputs."""
    from jamtools.io.artefact import Artefact
    from jamtools.io.streams import naming

    provenance = [step for opened in inputs if isinstance(opened, Artefact) for step in opened.provenance]
    records = []
    for opened, numbers, source in zip(inputs, chosen, sources):
        with naming(source):
            records += _records(opened, numbers)
    return records, provenance


def _kinds(opened: Artefact | list[dict[str, Any]]) -> set[str]:
    """The kinds of the records of an input, as `FigureKind` names them."""
    if not isinstance(opened, list):
        return {opened.kind}
    kinds = map(_kind_of_line, opened)
    return {DRAWN_WITH.get(kind, kind) for kind in kinds}


def _kind_of_line(record: Mapping[str, Any]) -> str:
    """The kind that a JSON line names; if it names none, the only kind that has one of its fields."""
    inferred = (kind for field, kind in KIND_OF_FIELD.items() if field in record)
    return str(record.get("kind") or next(inferred, "JSON lines of another kind"))


def _check_line(record: Mapping[str, Any]) -> None:
    """Raises InputError when a JSON line lacks a field that its figure draws."""
    kind = _kind_of_line(record)
    parts = [record.get(name) or {} for name in ("overlaps", "gaps")] if kind == "gaps" else [record]
    if kind in ("gaps", "exponent"):
        parts = [fit for fit in parts if fit.get("exponent") is not None]  # a refused fit is not drawn
    for part in parts:
        missing = [field for field in FIELDS_DRAWN.get(kind, ()) if field not in part]
        if missing:
            raise InputError(
                f"got {kind} without the field {missing[0]!r}, expected what another jam command wrote"
            )


def _records(opened: Artefact | list[dict[str, Any]], numbers: Sequence[int]) -> list[Any]:
    """The JSON lines, runs or spectra of an input that have these numbers.

    Raises InputError where one lacks a field that its figure draws.
    """
    from jamtools.io.read import read_runs, read_spectra

    if isinstance(opened, list):
        lines = [opened[number] for number in numbers]
        for record in lines:
            _check_line(record)
        return lines
    if opened.kind == "runs":
        return list(read_runs(opened, numbers)[0].runs)
    if opened.kind == "spectra":
        return read_spectra(opened, numbers)[0]
    return []


def _figure_of(known: Mapping[str, FigureKind], figure: str | None, kind: str) -> str:
    """The name of the figure asked for, or of the first of this kind. Raises InputError where there is none."""
    possible = [name for name, known_figure in known.items() if known_figure.kind == kind]
    if kind == "nstar-jump":
        raise InputError(
            "got nstar-jump, which jam-show --table lays out; jam-plot --figure jump draws its runs"
        )
    if not possible:
        raise InputError(
            f"got {'a ' * (kind == 'dataset')}{kind}, expected runs, spectra or the JSON lines of "
            "jam-gaps, jam-nstar, jam-neff or jam-cusps"
        )
    if figure and figure not in possible:
        raise InputError(
            f"got {kind}, expected {known[figure].kind} for --figure {figure}; --figure {possible[0]} takes it"
        )
    return figure or possible[0]


def _options_of(drawn: FigureKind, name: str, by: Sequence[str] | None, dead: str | None) -> dict[str, Any]:
    """The arguments of the function that draws a figure. Raises a usage error for options that it does not have."""
    given = {"by": by, "keep_dead": None if dead is None else dead == "keep"}
    options = {argument: value for argument, value in given.items() if value is not None}
    for argument, option in (("by", "--by"), ("keep_dead", "--dead")):
        if argument in options and argument not in drawn.options:
            raise typer.BadParameter(
                f"got {option} with --figure {name}, which does not have it; leave it out"
            )
    return options


def main() -> None:
    """The process jam-plot."""
    run(app, NAME)


if __name__ == "__main__":
    main()
