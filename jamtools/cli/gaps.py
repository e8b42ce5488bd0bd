"""jam-gaps: runs in, the exponents θ and γ out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.options import (
    Debug,
    Output,
    Quiet,
    Seed,
    Sources,
    Version,
    confidence,
    fraction,
    natural,
    not_negative,
)
from jamtools.cli.common.remedies import in_shell_words
from jamtools.cli.common.session import Session

if TYPE_CHECKING:
    from jamtools.exponents.references import Reference

NAME = "jam-gaps"
app = new_app()
SYMBOLS = {"overlaps": "θ", "gaps": "γ"}


@app.command()
def gaps(
    files: Sources = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Only runs whose fields fulfil it: \"final_loss < 1e-3 and status == 'certified'\".",
        ),
    ] = None,
    per_run: Annotated[
        bool, typer.Option("--per-run", help="A line for each run by itself instead of one for all.")
    ] = False,
    values: Annotated[
        str | None,
        typer.Option(
            "--values",
            metavar="FILE",
            help="Positive numbers, text or .npy, instead of runs; - is standard input.",
        ),
    ] = None,
    kind: Annotated[
        Literal["theta", "gamma"] | None,
        typer.Option(
            "--as", help="What --values are compared with: overlaps (or forces), or gaps [default: theta]."
        ),
    ] = None,
    order: Annotated[
        int | None,
        typer.Option(
            "--order",
            parser=natural,
            metavar="0..3",
            help="Degree of the tilt c₁x + c₂x² + … [default: by the data].",
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            parser=fraction,
            metavar="X",
            help="Fit the lowest share of the values [default: by the data].",
        ),
    ] = None,
    lower_cut: Annotated[
        float | None,
        typer.Option(
            "--lower-cut",
            parser=not_negative,
            metavar="X",
            help="Leave out values below [default: the runs' noise; for gaps finite size].",
        ),
    ] = None,
    level: Annotated[
        float,
        typer.Option("--level", parser=confidence, metavar="X", help="Confidence level of the intervals."),
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
      jam-gaps minima/*.safetensors --where "status == 'certified' and depth == 3" -o gaps.json
      jam-gaps --values forces.txt | jq -r .verdict

    Overlaps Δ/√L > 0 follow z^θ and gaps -Δ > 0 follow x^-γ for small arguments. The fit is the maximum likelihood of
    x^t exp(c₁x + c₂x² + …); how many terms, and how many of the values, the data choose unless you do. The interval is
    the wider of profile likelihood and bootstrap over runs, drawn out to what less biased fits say; "stability" is the
    table of them. With --values the exponent is t itself.
    """
    session = Session(NAME, output, quiet)
    from jamtools.exponents.distributions import fit_distributions, fit_each_run
    from jamtools.exponents.exponent import FitOptions, fit_exponent
    from jamtools.exponents.samples import Sample
    from jamtools.io.read import read_ensemble, read_numbers

    options = FitOptions(order=order, share=share, level=level, lower_cut=lower_cut, seed=seed)
    if values is not None:
        if files:
            raise typer.BadParameter("got --values and run files, expected one of them")
        if where or per_run:
            raise typer.BadParameter("got --values with --where or --per-run, which are for runs")
        sample = Sample(read_numbers(values), None)
        fitted = fit_exponent(sample, options, references=_references(kind))
        record = {"kind": "exponent", **fitted.as_dict()}
        session.write_json([record])
        _tell(session, {"x^t": record})
        return
    if kind:
        raise typer.BadParameter("got --as without --values, expected both: runs have overlaps and gaps")
    members = _fulfilling(where, read_ensemble(files)[0], session)
    runs = [member.run for member in members]
    if per_run:
        names = [member.name for member in members]
        records = [fits.as_dict(in_shell_words) for fits in fit_each_run(runs, options, names)]
        session.write_json(records)
        _tell(
            session,
            {f"{SYMBOLS[name]} {r['run']}": r[name] for r in records for name in SYMBOLS},
            quietly=True,
        )
        return
    record = fit_distributions(runs, options).as_dict(in_shell_words)
    session.write_json([record])
    if record["n_repeated"]:
        session.note(f"{record['n_repeated']} of the runs are there more than once and count once")
    _tell(session, {symbol: record[name] for name, symbol in SYMBOLS.items()})
    _tell_sizes(session, record["gaps"])
    _tell_bounds(session, record["bounds"])


def _references(kind: str | None) -> list[Reference]:
    """The known values of t in x^t: those of θ, or those of γ with their sign turned."""
    from jamtools.exponents.references import GAMMA_REFERENCES, THETA_REFERENCES, Reference

    if kind == "gamma":
        return [Reference(f"-γ, {known.name}", -known.value) for known in GAMMA_REFERENCES]
    return list(THETA_REFERENCES)


def _fulfilling(where: str | None, members: list[Any], session: Session) -> list[Any]:
    """The members of the ensemble whose runs a condition leaves."""
    from jamtools.conditions import condition
    from jamtools.errors import InputError

    if where is None:
        return members
    holds = condition(where)
    fields = dict.fromkeys(name for member in members for name in member.run.info)  # what any of them has
    chosen = [
        member
        for member in members
        if holds({**fields, **member.run.info, "N": member.run.info["n_effective_expected"]})
    ]
    if not chosen:
        raise InputError(f"none of {len(members)} runs fulfils {where!r}; jam-show prints what they hold")
    session.note(f"{len(chosen)} of {len(members)} runs fulfil the condition")
    return chosen


def _tell(session: Session, halves: dict[str, dict[str, Any]], quietly: bool = False) -> None:
    """A table of the fits, and in words what they say, unless there are many."""
    rows = []
    for name, half in halves.items():
        if half["exponent"] is None:
            session.note(f"{name}: {half['refused']}")
            continue
        fitted = f"{half['n']} of {half['n_total']}, order {half['order']}"
        numbers = (half["decades"], half["p_null"], half["p_fit"])
        rows.append((name, half["exponent"], _interval(half), fitted, *numbers))
        for words in () if quietly else (half["note"], half["verdict"]):
            if words:
                session.note(f"{name}: {words}")
    session.table(("", "exponent", "interval", "values", "decades", "p (no power law)", "p (fit)"), rows)


def _tell_sizes(session: Session, half: dict[str, Any]) -> None:
    """γ against N, where there are several."""
    trend = half.get("extrapolated")
    if not trend:
        return
    limit = {"N": "∞", "n_runs": "", **trend}
    rows = [
        (f"N = {row['N']}", row["exponent"], _interval(row), row["n_runs"])
        if row["exponent"] is not None
        else (f"N = {row['N']}", None, "refused", row["n_runs"])
        for row in (*half["sizes"], limit)
    ]
    session.table(("γ", "exponent", "interval", "runs"), rows)
    if trend["exponent"] is None:
        session.note(f"γ for N → ∞: {trend['refused']}")


def _tell_bounds(session: Session, bounds: dict[str, Any] | None) -> None:
    """What speaks against stability, or for marginality."""
    for name, formula in (("extended", "1/(2+θ)"), ("local", "(1-θ)/2")):
        if bounds and not bounds[name]["kept"]:
            least = bounds[name]["gamma_at_least"]
            session.note(
                f"γ lies below {formula} = {least:.3f}, as no packing that is stable against {name} excitations"
            )
    if bounds and bounds["extended"]["saturated"]:
        session.note(
            f"γ = 1/(2+θ) = {bounds['extended']['gamma_at_least']:.3f}, as in mean field, is not excluded"
        )


def _interval(half: dict[str, Any]) -> str:
    low, high = (f"{end:.3f}" if end is not None else "" for end in half["interval"])
    return f"[{low}, {high}]"


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
