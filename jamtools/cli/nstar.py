"""jam-nstar: where the transition lies, N*(P), and how it scales with P."""

from __future__ import annotations

import os
import shlex
from typing import Annotated, Any, Literal

import typer

from jamtools.cli.main import new_app, run
from jamtools.cli.nstar_tables import tell_fit, tell_search
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
    given,
    naturals,
    positive,
    positives,
    refuse,
)
from jamtools.cli.plan import become, check_line, plan_cells, plan_line, plan_lines, refuse_own
from jamtools.cli.session import Session, available_cores
from jamtools.cli.stopping import stopped_by_signals

NAME = "jam-nstar"
SEEDS, DEPTHS = Integers(range(5)), Integers((3,))
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

    With --journal FILE the search may be killed at any moment: run it again with --resume, and no finished trial is
    repeated. SIGUSR1 and SIGTERM end it with exit code 75, "run me again".
    """
    if plan is not None or task is not None:
        _become(context, plan, task)
    if resume and journal is None:
        raise typer.BadParameter("got --resume without a journal, expected --journal FILE with it")
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
    memory = _journal(journal, resume, output, data, question, place)
    with session.progress(NAME, total=None) as update, stopped_by_signals(NAME, journal):
        records = transition.search_all(
            data,
            question,
            sizes,
            lambda P, width, seed: update(0, f"P {P} width {width} seed {seed}"),
            place,
            memory,
            cold,
        )
    session.write_json(records)
    tell_search(session, records)


def _become(context: typer.Context, plan: str | None, task: int | None) -> None:
    """The line of a plan, in the place of this process."""
    if plan is None or task is None:
        raise typer.BadParameter("got one of --plan and --task, expected both")
    typed = sorted(set(given(context)) - {"plan", "task"})
    if typed:
        raise typer.BadParameter(f"got {typed[0]} with --plan, whose line says all; leave it out")
    become(plan_line(plan, task))


def _journal(path: str | None, resume: bool, output: str, data: Any, question: Any, place: Any) -> Any:
    """The journal asked for, or none."""
    from jamtools.journal import Journal, request_of

    if path is None:
        return None
    if output != "-" and os.path.realpath(output) == os.path.realpath(path):
        raise typer.BadParameter(f"got {output} for the output and the journal, expected two files")
    where = {"device": str(place.device), "dtype": str(place.dtype).removeprefix("torch.")}
    return Journal(path, request_of(data, question, where), resume)


@app.command(
    "plan",
    context_settings={
        "allow_extra_args": True,
        "allow_interspersed_args": False,
    },
)
def plan_array(
    context: typer.Context,
    patterns: Annotated[
        Integers, typer.Option("--patterns", "-P", parser=positives, metavar="LIST", help="Values of P.")
    ],
    depths: Annotated[
        Integers, typer.Option("--depths", "-L", parser=positives, metavar="LIST", help="Hidden layers.")
    ] = DEPTHS,
    seeds: Annotated[
        Integers, typer.Option("--seeds", parser=naturals, metavar="LIST", help="A task for each.")
    ] = SEEDS,
    out: Annotated[
        str, typer.Option("--out", metavar="FOLDER", help="Where the tasks leave journals and results.")
    ] = ".",
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="[DATASET]", help="The file that every task reads [default: standard input]."),
    ] = None,
    output: Output = "-",
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Print the tasks of a job array: one search a line, for each depth, P and seed.

    \b
    Example:
      jam-nstar plan --patterns 200,500 --depths 2,3 --seeds 0:5 data.safetensors --steps 100k > plan.txt
      sbatch --array=1-$(wc -l < plan.txt) --wrap 'jam-nstar search --plan plan.txt --task $SLURM_ARRAY_TASK_ID'
      jam-nstar fit nstar-*.jsonl --plan plan.txt

    What stands after the dataset goes into every line, and is checked now. Each task starts cold, keeps a journal and
    resumes it, so that a line may be run any number of times. What the tasks of all seeds find together is what one search
    with --cold finds.
    """
    session = Session(NAME, output, quiet)
    refuse_own(context.args)
    planned = plan_lines(dataset, patterns, depths, seeds, out, list(context.args))
    check_line(shlex.split(planned[0])[2:], app)
    session.write("".join(f"{line}\n" for line in planned).encode())


@app.command()
def fit(
    files: Sources = None,
    level: Annotated[
        float, typer.Option("--level", parser=fraction, metavar="X", help="Confidence level.")
    ] = 0.95,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan", metavar="FILE", help="The plan that the searches are of: says which are missing."
        ),
    ] = None,
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
    result = scaling.fit(records, level, plan_cells(plan) if plan else None)
    session.write_json([result])
    tell_fit(session, result)


def _searches(source: str) -> list[dict[str, Any]]:
    """The JSON lines of one source; an artefact is refused by its kind."""
    from jamtools import store
    from jamtools.streams import parse_json_lines, read_bytes

    data = read_bytes(source)
    if b"\0" in data[: store.HEAD]:
        store.Artefact(source, data).expect("searches")
    return parse_json_lines(data, source)


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
