"""jam-gaps: runs in, the exponents θ and γ out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jamtools.cli.main import new_app, run
from jamtools.cli.options import Debug, Output, Quiet, Seed, Sources, Version, fraction, natural, not_negative
from jamtools.cli.session import Session

NAME = "jam-gaps"
app = new_app()


@app.command()
def gaps(
    files: Sources = None,
    values: Annotated[
        str | None,
        typer.Option(
            "--values",
            metavar="FILE",
            help="Positive numbers, text or .npy, instead of runs; - is standard input.",
        ),
    ] = None,
    order: Annotated[
        int,
        typer.Option("--order", parser=natural, metavar="0..3", help="Degree of the tilt c₁x + c₂x² + …."),
    ] = 2,
    share: Annotated[
        float,
        typer.Option("--share", parser=fraction, metavar="X", help="Fit the lowest share of the values."),
    ] = 0.8,
    lower_cut: Annotated[
        float | None,
        typer.Option(
            "--lower-cut",
            parser=not_negative,
            metavar="X",
            help="Leave out values below [default: none for overlaps, finite size for gaps].",
        ),
    ] = None,
    level: Annotated[
        float,
        typer.Option("--level", parser=fraction, metavar="X", help="Confidence level of the intervals."),
    ] = 0.95,
    seed: Seed = 0,
    output: Output = "-",
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """The exponents θ of the overlaps and γ of the gaps, pooled over all runs given.

    \b
    Example:
      jam-gaps runs/*.safetensors | jq .overlaps.exponent
      jam-gaps --values forces.txt

    Overlaps Δ/√L > 0 follow z^θ and gaps -Δ > 0 follow x^-γ for small arguments. The fit is the maximum likelihood of
    x^t exp(c₁x + c₂x²); the interval is the wider of profile likelihood and bootstrap over runs. With --values the
    exponent is t itself.
    """
    session = Session(NAME, output, quiet)
    from jamtools import gaps as library
    from jamtools import store

    options = library.Options(order=order, share=share, level=level, lower_cut=lower_cut, seed=seed)
    if values is not None:
        if files:
            raise typer.BadParameter("got --values and run files, expected one of them")
        sample = library.Sample(store.read_numbers(values), None)
        record = {"kind": "exponent", **library.exponent(sample, options)}
        halves = {"x^t": record}
    else:
        members, _ = store.read_ensemble(files)
        record = library.distributions([member.run for member in members], options)
        halves = {"θ": record["overlaps"], "γ": record["gaps"]}
    session.write_json([record])
    _tell(session, halves)


def _tell(session: Session, halves: dict[str, dict[str, Any]]) -> None:
    rows = []
    for name, half in halves.items():
        if half["exponent"] is None:
            session.note(f"{name}: {half['refused']}")
            continue
        low, high = half["interval"]
        rows.append(
            (
                name,
                half["exponent"],
                f"[{low:.3f}, {high:.3f}]",
                half["n"],
                half["decades"],
                half["p_null"],
                half["p_fit"],
            )
        )
        if half["note"]:
            session.note(f"{name}: {half['note']}")
    session.table(("", "exponent", "interval", "values", "decades", "p (no power law)", "p (fit)"), rows)


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
