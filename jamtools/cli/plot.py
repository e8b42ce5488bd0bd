"""jam-plot: artefacts in, a figure out."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.options import Debug, Output, Quiet, Sources, Version
from jamtools.cli.common.session import Session
from jamtools.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jamtools.io.artefact import Artefact

NAME = "jam-plot"
FORMATS = ("png", "pdf", "svg")
app = new_app()

Format = Annotated[
    Literal["png", "pdf", "svg"] | None,
    typer.Option("--format", help="By default what the name of the output ends in, else png."),
]
Name = Annotated[
    Literal["history", "jump", "loss", "spectrum", "gaps", "nstar", "neff", "cusps"] | None,
    typer.Option("--figure", help="By default the first that the input is good for."),
]

#: What tells one command's JSON lines from another's where they do not say.
FIELDS = {"overlaps": "gaps", "n_star": "nstar", "n_effective": "neff", "layers": "cusps"}
#: Kinds of JSON lines that go into one figure with another kind.
TOGETHER = {"nstar-fit": "nstar", "exponent": "gaps"}


@app.command()
def plot(
    files: Sources = None,
    figure: Name = None,
    form: Format = None,
    output: Output = "-",
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Draw the figure that fits what comes in.

    \b
    runs (jam-train)         history (loss and N_Δ/N against the step), jump (N_Δ/N against P/N),
                             loss (N_Δ/N against the loss)
    spectra (jam-hessian)    spectrum (H0, Hp and H)
    JSON lines               gaps (the distributions of Δ), nstar (N* against P, with a fit where given),
                             neff (N_eff), cusps (pre-activations by layer)

    \b
    Examples:
      jam-plot spectra.safetensors -o spectra.pdf
      jam-plot --figure jump runs/*.safetensors -o jump.png
      jam-gaps runs/*.safetensors | jam-plot > gaps.png
    """
    chosen = form or format_of(output)
    session = Session(NAME, output, quiet, binary=True)
    from jamtools.io.artefact import open_any

    kind, records, provenance = _gather([open_any(source) for source in files or ["-"]])
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its cache of fonts is nobody's concern
    from jamtools import figures

    draw = _choose(figures.FIGURES, figure, kind)
    steps = json.dumps(session.provenance(provenance), sort_keys=True)
    try:
        drawn = draw(records)
    except KeyError as error:
        raise InputError(
            f"got {kind} without the field {error}, expected what another jam command wrote"
        ) from error
    session.write(figures.render(drawn, chosen, steps))


def format_of(output: str) -> str:
    """The format that the name of the output asks for; png for a stream."""
    suffix = Path(output).suffix[1:].lower()
    if suffix in FORMATS:
        return suffix
    if output == "-" or (os.path.exists(output) and not os.path.isfile(output)):
        return FORMATS[0]
    raise typer.BadParameter(
        f"got {output!r} for the output, expected a name that ends in .png, .pdf or .svg, or --format"
    )


def _gather(found: Sequence[Artefact | list[dict[str, Any]]]) -> tuple[str, list[Any], list[dict[str, Any]]]:
    """The one kind of all inputs, their records, and the commands that made them."""
    from jamtools.io.artefact import Artefact

    kinds = {kind for one in found for kind in _kinds(one)}
    if len(kinds) > 1:
        raise InputError(
            f"got {' and '.join(sorted(kinds))}, expected inputs of one kind; plot them one by one"
        )
    provenance = [step for one in found if isinstance(one, Artefact) for step in one.provenance]
    records = [record for one in found for record in _records(one)]
    kind = kinds.pop()
    if not records and kind in ("runs", "spectra"):
        raise InputError(f"got a file without any {kind}, expected at least one")
    return kind, records, provenance


def _kinds(one: Artefact | list[dict[str, Any]]) -> set[str]:
    if not isinstance(one, list):
        return {one.kind}
    kinds = (str(record.get("kind") or _guess(record)) for record in one)
    return {TOGETHER.get(kind, kind) for kind in kinds}


def _guess(record: dict[str, Any]) -> str:
    return next((kind for field, kind in FIELDS.items() if field in record), "JSON lines of another kind")


def _records(one: Artefact | list[dict[str, Any]]) -> list[Any]:
    from jamtools.io.read import read_runs, read_spectra

    if isinstance(one, list):
        return one
    if one.kind == "runs":
        return list(read_runs(one)[0].runs)
    if one.kind == "spectra":
        return read_spectra(one)[0]
    return []


def _choose(
    known: Mapping[str, tuple[str, Callable[..., Figure]]], figure: str | None, kind: str
) -> Callable[..., Figure]:
    """The function that draws this kind: the one asked for, or the first."""
    possible = [name for name, (takes, _) in known.items() if takes == kind]
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
            f"got {kind}, expected {known[figure][0]} for --figure {figure}; --figure {possible[0]} takes it"
        )
    return known[figure or possible[0]][1]


def main() -> None:
    """The process jam-plot."""
    run(app, NAME)


if __name__ == "__main__":
    main()
