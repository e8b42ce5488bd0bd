"""jam-gaps: runs in, the exponents θ and γ out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import Streams, grouped
from jamtools.cli.common.options import (
    Dead,
    Seed,
    Sources,
    Where,
    file_option,
    integer_option,
    real_option,
)
from jamtools.cli.common.remedies import in_shell_words
from jamtools.cli.common.selecting import read_members
from jamtools.cli.common.session import Session
from jamtools.cli.common.values import confidence, fraction, natural, not_negative

if TYPE_CHECKING:
    from jamtools.exponents.exponent import FitOptions
    from jamtools.exponents.references import Reference

NAME = "jam-gaps"
app = new_app()

#: The exponent of each distribution.
SYMBOLS = {"overlaps": "θ", "gaps": "γ"}

PerRun = Annotated[
    bool,
    typer.Option("--per-run", help="Print a line for each run, instead of one line for all runs together."),
]
Values = Annotated[
    str | None,
    file_option(
        "--values", help="Read positive numbers, text or .npy, instead of runs; - is standard input."
    ),
]
Kind = Annotated[
    Literal["theta", "gamma"] | None,
    typer.Option(
        "--as",
        help="Compare --values with the known exponents theta of overlaps (or forces), or gamma of gaps [default: theta].",
    ),
]


@dataclass(frozen=True)
class FitGroup:
    """How an exponent is fitted."""

    order: Annotated[
        int | None,
        integer_option(
            "--order",
            parser=natural,
            metavar="0..3",
            help="Degree of the tilt c₁x + c₂x² + … [default: chosen from the data].",
        ),
    ] = None
    share: Annotated[
        float | None,
        real_option(
            "--share",
            parser=fraction,
            help="Fit this share of the values, the smallest ones [default: chosen from the data].",
        ),
    ] = None
    lower_cut: Annotated[
        float | None,
        real_option(
            "--lower-cut",
            parser=not_negative,
            help="Leave out values below X [default: the runs' noise; for gaps finite size].",
        ),
    ] = None
    level: Annotated[
        float, real_option("--level", parser=confidence, help="Confidence level of the intervals.")
    ] = 0.95
    seed: Seed = 0


@app.command()
@grouped
def gaps(
    files: Sources = None,
    *,
    where: Where = None,
    per_run: PerRun = False,
    values: Values = None,
    kind: Kind = None,
    dead: Dead = "leave-out",
    fit: FitGroup,
    streams: Streams,
) -> None:
    """Fit the exponents θ of the overlaps and γ of the gaps, pooled over all runs given.

    \b
    Example:
      jam-gaps runs/*.safetensors | jq .overlaps.exponent
      jam-gaps minima/*.safetensors --where "status == 'certified' and depth == 3" -o gaps.json
      jam-gaps --values forces.txt | jq -r .verdict

    For small arguments, overlaps Δ/√L > 0 follow z^θ and gaps -Δ > 0 follow x^-γ. The fit is the maximum likelihood of
    x^t exp(c₁x + c₂x² + …). The number of terms and the share of the values are chosen from the data, unless you give
    them. Dead runs and dead patterns are left out; overlaps come from jammed runs, gaps from jammed and satisfied runs, and
    if there are none, from runs on their way. The verdict begins with what the runs are. Only runs near the transition
    allow a comparison with the paper and with spheres.

    There are two intervals, from the profile likelihood and from a bootstrap over runs. The wider one is taken
    and is extended to the results of less biased fits; "stability" is the table of those fits. If their exponents drift as
    the share falls, no power law can be told, and the interval has no end. With --values the exponent is t itself.
    """
    session = Session(NAME, streams)
    from jamtools.exponents.exponent import FitOptions

    options = FitOptions(**vars(fit))
    if values is not None:
        if files:
            raise typer.BadParameter("got --values and run files, expected one of them")
        if where or per_run or dead == "keep":
            raise typer.BadParameter("got --values with --where, --per-run or --dead, which are for runs")
        _fit_values(session, values, kind, options)
        return
    if kind:
        raise typer.BadParameter("got --as without --values, expected both: runs have overlaps and gaps")
    _fit_runs(session, files, where, per_run, options, dead == "keep")


def _fit_values(session: Session, source: str, kind: str | None, options: FitOptions) -> None:
    """The exponent of plain numbers."""
    from jamtools.exponents.exponent import fit_exponent
    from jamtools.exponents.references import PLAIN_NUMBERS
    from jamtools.exponents.samples import Sample
    from jamtools.io.read import read_numbers
    from jamtools.io.streams import naming

    sample = Sample(read_numbers(source), None)
    with naming(source):
        fitted = fit_exponent(sample, options, references=_references(kind), origin=PLAIN_NUMBERS)
    record = {"kind": "exponent", **fitted.as_dict()}
    session.write_json([record])
    _print_fits(session, {"x^t": record})
    _print_verdicts(session, {"x^t": record})


def _fit_runs(
    session: Session,
    files: list[str] | None,
    where: str | None,
    per_run: bool,
    options: FitOptions,
    keep_dead: bool,
) -> None:
    """The exponents of the runs that fulfil a condition: of each run, or of all together."""
    from jamtools.exponents.distributions import fit_distributions, fit_each_run
    from jamtools.io.streams import naming

    sources = files or ["-"]
    members, _ = read_members(session, sources, where)
    runs = [member.run for member in members]
    if per_run:
        names = [member.name for member in members]
        with naming(*sources):
            records = [fits.as_dict(in_shell_words) for fits in fit_each_run(runs, options, names, keep_dead)]
        session.write_json(records)
        _print_fits(session, {f"{SYMBOLS[name]} {r['run']}": r[name] for r in records for name in SYMBOLS})
        return
    with naming(*sources):
        record = fit_distributions(runs, options, keep_dead).as_dict(in_shell_words)
    session.write_json([record])
    if record["n_repeated"]:
        session.note(f"{record['n_repeated']} of the runs were given more than once and count once")
    _print_left_out(session, record)
    fits = {symbol: record[name] for name, symbol in SYMBOLS.items()}
    _print_fits(session, fits)
    _print_verdicts(session, fits)
    _print_sizes(session, record["gaps"])
    _print_bounds(session, record["bounds"])


def _references(kind: str | None) -> list[Reference]:
    """The known values of t in x^t: those of θ, or those of γ with their sign turned."""
    from jamtools.exponents.references import GAMMA_REFERENCES, THETA_REFERENCES, Reference

    if kind == "gamma":
        return [Reference(f"-γ, {known.name}", -known.value) for known in GAMMA_REFERENCES]
    return list(THETA_REFERENCES)


def _print_fits(session: Session, fits: dict[str, dict[str, Any]]) -> None:
    """A table of the fits; a note for each that was refused."""
    rows = []
    for name, fit in fits.items():
        if fit["exponent"] is None:
            session.note(f"{name}: {fit['refused']}")
            continue
        fitted = f"{fit['n']} of {fit['n_total']}, order {fit['order']}"
        numbers = (fit["decades"], fit["p_null"], fit["p_fit"])
        rows.append((name, fit["exponent"], _interval(fit), fitted, *numbers))
    session.table(("", "exponent", "interval", "values", "decades", "p (no power law)", "p (fit)"), rows)


def _print_left_out(session: Session, record: dict[str, Any]) -> None:
    """Notes on dead runs and patterns, and on patterns with equal Δ."""
    runs, patterns = record["n_dead_runs"], record["n_dead_patterns"]
    if runs or patterns:
        used = "used" if record["keep_dead"] else "left out"
        session.note(
            f"{runs} dead run(s) and {patterns} dead pattern(s) of other runs are {used}: in some layer no neuron is active "
            "at what they do not fit"
        )
    equal = sum(record[name].get("n_equal") or 0 for name in SYMBOLS)
    if equal:
        session.note(
            f"{equal} pattern(s) are left out: other patterns of their run have the same Δ, as where a layer is dead"
        )


def _print_verdicts(session: Session, fits: dict[str, dict[str, Any]]) -> None:
    """Notes on what each fit means."""
    for name, fit in fits.items():
        for text in (fit["note"], fit["verdict"]) if fit["exponent"] is not None else ():
            if text:
                session.note(f"{name}: {text}")


def _print_sizes(session: Session, fit: dict[str, Any]) -> None:
    """A table of γ for each N, and its limit, where the runs have several N."""
    trend = fit.get("extrapolated")
    if not trend:
        return
    limit = {"N": "∞", "n_runs": "", **trend}
    rows = [
        (f"N = {row['N']}", row["exponent"], _interval(row), row["n_runs"])
        if row["exponent"] is not None
        else (f"N = {row['N']}", None, "refused", row["n_runs"])
        for row in (*fit["sizes"], limit)
    ]
    session.table(("γ", "exponent", "interval", "runs"), rows)
    if trend["exponent"] is None:
        session.note(f"γ for N → ∞: {trend['refused']}")


def _print_bounds(session: Session, bounds: dict[str, Any] | None) -> None:
    """Notes on the inequalities between γ and θ: what contradicts stability, and what is compatible with marginality."""
    for name, formula in (("extended", "1/(2+θ)"), ("local", "(1-θ)/2")):
        if bounds and not bounds[name]["kept"]:
            minimum = bounds[name]["gamma_at_least"]
            session.note(
                f"γ lies below {formula} = {minimum:.3f}; no packing that is stable against {name} excitations has such a γ"
            )
    if bounds and bounds["extended"]["saturated"]:
        minimum = bounds["extended"]["gamma_at_least"]
        session.note(f"γ = 1/(2+θ) = {minimum:.3f}, the value of mean field, is not excluded")


def _interval(fit: dict[str, Any]) -> str:
    if fit.get("drift"):
        return "no power law"
    low, high = (f"{end:.3f}" if end is not None else "" for end in fit["interval"])
    return f"[{low}, {high}]"


def main() -> None:
    """The process jam-gaps."""
    run(app, NAME)


if __name__ == "__main__":
    main()
