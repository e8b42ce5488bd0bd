"""jam-nstar: where the transition lies, N*(P), and how it scales with P."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from jamtools.cli.main import new_app, run
from jamtools.cli.options import (
    BatchNorm,
    Debug,
    Device,
    Dtype,
    Init,
    Integers,
    Loss,
    Momentum,
    Optimizer,
    Output,
    Protocol,
    Quiet,
    Rate,
    Source,
    Sources,
    Threads,
    Version,
    batch_size,
    check_optimizer,
    fraction,
    naturals,
    positive,
    positives,
    refuse,
)
from jamtools.cli.session import Session, available_cores

NAME = "jam-nstar"
SEEDS = Integers(range(5))
HELP = """Where the transition lies, N*(P), and how it scales with P.

\b
Example:
  jam-data random -P 1000 -d 10 | jam-nstar search --patterns 200,500,1000 | jam-nstar fit
"""
app = new_app(help=HELP)


@app.callback()
def group(version: Version = False) -> None:
    """Options of jam-nstar itself, before its subcommands."""


@app.command()
def search(
    context: typer.Context,
    dataset: Source = "-",
    patterns: Annotated[
        Integers | None,
        typer.Option(
            "--patterns",
            "-P",
            parser=positives,
            metavar="LIST",
            help="Values of P (default: all of the dataset).",
        ),
    ] = None,
    depth: Annotated[
        int, typer.Option("--depth", "-L", parser=positive, metavar="N", help="Hidden layers.")
    ] = 3,
    seeds: Annotated[
        Integers,
        typer.Option(
            "--seeds", "--seed", parser=naturals, metavar="LIST", help="One bisection for each seed."
        ),
    ] = SEEDS,
    success: Annotated[
        Literal["satisfied", "classified"] | None,
        typer.Option(
            "--success", help="N_Δ = 0, or no y f < 0 [default: satisfied, classified for cross-entropy]."
        ),
    ] = None,
    max_width: Annotated[
        int | None,
        typer.Option(
            "--max-width", parser=positive, metavar="N", help="Give up beyond this width (default: Ñ = 8P)."
        ),
    ] = None,
    activation: Annotated[Literal["relu", "tanh"], typer.Option("--activation", help="ρ.")] = "relu",
    protocol: Protocol = None,
    loss: Loss = None,
    init: Init = None,
    batch_norm: BatchNorm = None,
    optimizer: Optimizer = None,
    momentum: Momentum = None,
    lr: Rate = None,
    batch: Annotated[
        int | None, typer.Option("--batch", parser=batch_size, metavar="N|full", help="Patterns per step.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", parser=positive, metavar="N", help="Steps of a trial at most [default: as jam-train]."
        ),
    ] = None,
    certify: Annotated[
        bool,
        typer.Option(
            "--certify",
            help="Take trials whose budget ran out to the minimum of their basin: satisfied, or certified to be stuck.",
        ),
    ] = False,
    output: Output = "-",
    device: Device = "auto",
    dtype: Dtype = "float64",
    threads: Threads = 0,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Find N*(P) by bisection in the width, at fixed depth, for every P.

    \b
    Example:
      jam-data random -P 1000 -d 10 > data.safetensors
      jam-nstar search data.safetensors --patterns 200,500,1000 --depth 3 --seeds 0:5 > nstar.jsonl

    One JSON object for each P. n_star is the median over seeds of N, the number of effective parameters, and
    "interval" runs from below the smallest to the largest of them; "coverage" is the probability with which that
    holds the true median. Trials whose budget ran out are marked "undecided": --steps may decide them, and --certify
    takes each to the minimum it was heading for. --optimizer newton reaches certified minima by itself; as it is
    another dynamics than Adam's, its N* is another, and jam-nstar fit refuses a mixture.
    """
    check_optimizer(context, optimizer)
    if optimizer == "newton":
        refuse(context, ["certify"], "--optimizer newton, which certifies its own ends")
    session = Session(NAME, output, quiet)
    from jamtools import protocols, store, transition
    from jamtools.descent import Place

    data, _ = store.read_dataset(dataset)
    base = protocols.PROTOCOLS[protocol] if protocol else protocols.Settings()
    settings = protocols.with_options(
        base,
        loss=loss,
        init=init,
        optimizer=optimizer,
        momentum=momentum,
        lr=lr,
        batch=batch,
        steps=steps,
        measurements=2,
    )
    reading = success or protocols.usual_success(settings.loss)
    normalise = protocols.batch_norm(protocol, batch_norm)
    question = transition.Question(
        depth, activation, settings, tuple(sorted(seeds)), reading, max_width, normalise, certify
    )
    sizes = tuple(sorted(patterns or (data.P,)))
    data.first(sizes[-1])
    place = Place(
        *session.torch_setup(device, dtype, threads, numbers=int(sizes[-1] ** 1.5)),
        threads or available_cores(),
    )
    with session.progress(NAME, total=None) as update:
        records = transition.search_all(
            data,
            question,
            sizes,
            lambda P, width, seed: update(0, f"P {P} width {width} seed {seed}"),
            place,
        )
    session.write_json(records)
    _tell(session, records)


def _tell(session: Session, records: list[dict[str, Any]]) -> None:
    rows = [
        (r["P"], r["width"], r["n_star"], f"({r['interval'][0]}, {r['interval'][1] or 'beyond'}]", f"{r['coverage']:.3g}",
         r["P"] / r["n_star"] if r["n_star"] else None, len(r["trials"]))
        for r in records
    ]  # fmt: skip
    session.table(("P", "width", "N*", "interval", "coverage", "P/N*", "trials"), rows)
    undecided = sum(trial["outcome"] == "undecided" for r in records for trial in r["trials"])
    if undecided:
        session.note(f"{undecided} trial(s) ended undecided, {_lacking(records[0])}")


def _lacking(record: dict[str, Any]) -> str:
    """What undecided trials mean, and what may decide them."""
    if record["certify"] or record["optimizer"] == "newton":
        return "neither satisfied nor certified to be stuck: N* is an upper bound"
    certify = ", --certify decides most of them" if record["loss"] == "hinge" else ""
    return f"on their budget: N* is an upper bound; more --steps lower it{certify}"


@app.command()
def fit(
    files: Sources = None,
    level: Annotated[
        float, typer.Option("--level", parser=fraction, metavar="X", help="Confidence level.")
    ] = 0.95,
    output: Output = "-",
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Fit the slope of log N* against log P, and P/N*, over any number of search results.

    \b
    Example:
      jam-nstar fit nstar-*.jsonl | jq .slope
    """
    session = Session(NAME, output, quiet)
    from jamtools import scaling

    records = [record for source in files or ["-"] for record in _searches(source)]
    result = scaling.fit(records, level)
    session.write_json([result])
    _tell_fit(session, result)


def _searches(source: str) -> list[dict[str, Any]]:
    """The JSON lines of one source; an artefact is refused by its kind."""
    from jamtools import store
    from jamtools.streams import parse_json_lines, read_bytes

    data = read_bytes(source)
    if b"\0" in data[: store.HEAD]:
        store.Artefact(source, data).expect("searches")
    return parse_json_lines(data, source)


def _tell_fit(session: Session, result: dict[str, Any]) -> None:
    low, high = result["slope_interval"] or (None, None)
    session.table(
        ("", "value", "from", "to"),
        [
            ("d log N*/d log P", result["slope"], low, high),
            ("P/N*", result["P_over_N"], *result["P_over_N_interval"]),
        ],
        title=f"{result['n_points']} point(s); N* = P is P/N* = 1, the bound N* = 4P is P/N* = 0.25",
    )


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
