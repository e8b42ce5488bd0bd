"""jam-nstar: where the transition lies, N*(P), and how it scales with P."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.options import (
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
    Threads,
    Version,
    above_zero,
    batch_size,
    given,
    naturals,
    positive,
    positives,
)
from jamtools.cli.common.resuming import stopped_by_signals
from jamtools.cli.common.session import Session
from jamtools.cli.nstar_fit import fit
from jamtools.cli.nstar_options import check_search, question_of
from jamtools.cli.nstar_plan import become, plan_array, plan_line
from jamtools.cli.nstar_tables import tell_search
from jamtools.machine import available_cores

NAME = "jam-nstar"
SEEDS = Integers(range(2))
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
        typer.Option("--seeds", "--seed", parser=naturals, metavar="LIST", help="A bracket for each seed."),
    ] = SEEDS,
    vary: Annotated[
        Literal["width", "patterns"],
        typer.Option("--vary", help="N* of each P by its width, or P* of each width by its patterns."),
    ] = "width",
    width: Annotated[
        Integers | None,
        typer.Option(
            "--width",
            parser=positives,
            metavar="LIST",
            help="The networks whose P* is asked: --vary patterns.",
        ),
    ] = None,
    method: Annotated[
        Literal["bisect", "descend"],
        typer.Option("--method", help="How to bracket N*: halving, or from above as the paper does."),
    ] = "bisect",
    precision: Annotated[
        float,
        typer.Option(
            "--precision",
            parser=above_zero,
            metavar="X",
            help="Sample until the interval of log N* is as short.",
        ),
    ] = 0.2,
    trials: Annotated[
        int,
        typer.Option(
            "--trials",
            parser=positive,
            metavar="N",
            help="Trainings for each N* at most.",
        ),
    ] = 50,
    at_once: Annotated[
        int, typer.Option("--at-once", parser=positive, metavar="N", help="Trainings of a round of samples.")
    ] = 4,
    times: Annotated[
        Integers | None,
        typer.Option("--times", parser=positives, metavar="LIST", help="N* after so many steps as well."),
    ] = None,
    success: Annotated[
        Literal["satisfied", "classified"] | None,
        typer.Option(
            "--success", help="N_Δ = 0, or no y f < 0 [default: satisfied, classified for cross-entropy]."
        ),
    ] = None,
    max_width: Annotated[
        int | None,
        typer.Option(
            "--max-width", parser=positive, metavar="N", help="Give up beyond this width (default: N = 8P)."
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
    cold: Annotated[
        bool, typer.Option("--cold", help="Start every P and seed by itself, as the tasks of a plan do.")
    ] = False,
    journal: Annotated[
        str | None,
        typer.Option(
            "--journal", metavar="FILE", help="Append every finished trial to FILE; exit code 75 on a signal."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the journal; start afresh where there is none.")
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="FILE", help="Run a line of this plan; see jam-nstar plan."),
    ] = None,
    task: Annotated[
        int | None, typer.Option("--task", parser=positive, metavar="N", help="Which line, counted from 1.")
    ] = None,
    output: Output = "-",
    device: Device = "auto",
    dtype: Dtype = "float64",
    threads: Threads = 0,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Find N*(P), the smallest network that fits P patterns, at fixed depth.

    \b
    Example:
      jam-data random -P 1000 -d 10 > data.safetensors
      jam-nstar search data.safetensors --patterns 200,500,1000 --depth 3 > nstar.jsonl
      jam-nstar search data.safetensors --vary patterns --width 8,10 --depth 3 > pstar.jsonl

    One JSON object for each P. A bracket is followed by samples around the running median, with fresh seeds, until the
    interval of log N* is as short as --precision or --trials are spent. n_star is the N (effective parameters) of the
    smallest width with the median at or below it, "median" the median itself, by a logistic fit in log N. A trial
    that ended on its budget with N_Δ of at most 0.1 N is "undecided", and the interval allows for either end of it:
    --steps may decide it, and --certify takes it to the minimum it was heading for. --optimizer newton reaches
    certified minima by itself; as it is another dynamics than Adam's, its N* is another, and jam-nstar fit refuses a
    mixture.

    With --journal FILE the search may be killed at any moment: run it again with --resume, and no finished trial is
    repeated. SIGUSR1 and SIGTERM end it with exit code 75, "run me again".
    """
    if plan is not None or task is not None:
        _become(context, plan, task)
    if resume and journal is None:
        raise typer.BadParameter("got --resume without a journal, expected --journal FILE with it")
    check_search(context)
    if journal in ("-", dataset):
        raise typer.BadParameter(
            f"got --journal {journal}, expected a file of its own: it is read again with --resume"
        )
    session = Session(NAME, output, quiet)
    with stopped_by_signals(NAME, journal):
        records = _searched(session, context.params)
        session.write_json(records)
    tell_search(session, records)


def _searched(session: Session, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of the search that the options ask for."""
    from jamtools.io.read import read_dataset
    from jamtools.training.job import Place
    from jamtools.transition import search
    from jamtools.transition.sampling import Goal

    data, _ = read_dataset(asked["dataset"])
    question = question_of(asked)
    sizes = tuple(sorted(asked["patterns"] or (data.P,)))
    data.first(sizes[-1])
    threads = asked["threads"]
    place = Place(
        *session.torch_setup(asked["device"], asked["dtype"], threads, numbers=int(sizes[-1] ** 1.5)),
        threads or available_cores(),
    )
    memory = _journal(asked["journal"], asked["resume"], asked["output"], data, question, place)
    goal = Goal(asked["method"], asked["precision"], asked["trials"], asked["at_once"], cold=asked["cold"])
    with session.progress(NAME, total=None) as update:

        def watch(P: int, width: int, seed: int) -> None:
            update(0, f"P {P} width {width} seed {seed}")

        if asked["vary"] == "patterns":
            return search.search_widths(data, question, asked["width"], watch, place, memory, goal)
        return search.search_all(data, question, sizes, watch, place, memory, goal)


def _become(context: typer.Context, plan: str | None, task: int | None) -> None:
    """The line of a plan, in the place of this process."""
    if plan is None or task is None:
        raise typer.BadParameter("got one of --plan and --task, expected both")
    told = given(context)
    typed = sorted(set(told) - {"plan", "task", "quiet", "debug"})
    if typed:
        raise typer.BadParameter(f"got {typed[0]} with --plan, whose line says all; leave it out")
    become([*plan_line(plan, task), *(told[name] for name in ("quiet", "debug") if name in told)])


def _journal(path: str | None, resume: bool, output: str, data: Any, question: Any, place: Any) -> Any:
    """The journal asked for, or none."""
    from jamtools.io.journal import Journal, request_of

    if path is None:
        return None
    if output != "-" and os.path.realpath(output) == os.path.realpath(path):
        raise typer.BadParameter(f"got {output} for the output and the journal, expected two files")
    where = {"device": str(place.device), "dtype": str(place.dtype).removeprefix("torch.")}
    return Journal(path, request_of(data, question, where), resume)


app.command("plan", context_settings={"allow_extra_args": True, "allow_interspersed_args": False})(plan_array)
app.command()(fit)


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
