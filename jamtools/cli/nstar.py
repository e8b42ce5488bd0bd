"""jam-nstar: where the transition lies, N*(P), and how it scales with P."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.conflicts import given_options
from jamtools.cli.common.groups import Arithmetic, Streams, grouped
from jamtools.cli.common.options import Engine, Source, Version, file_option, integer_option
from jamtools.cli.common.resuming import stopped_by_signals
from jamtools.cli.common.session import Session
from jamtools.cli.nstar_fit import fit
from jamtools.cli.nstar_messages import print_search
from jamtools.cli.nstar_options import JournalGroup, SearchGroup, TrialGroup, check_search, spec_of
from jamtools.cli.nstar_plan import plan_array, plan_line, replace_process
from jamtools.cli.nstar_progress import WatchedTrials

if TYPE_CHECKING:
    from jamtools.io.journal import Journal
    from jamtools.records import Dataset
    from jamtools.training.job import Compute
    from jamtools.transition.options import TrialSpec
    from jamtools.transition.trial import TrialKey

NAME = "jam-nstar"
HELP = """Find where the transition lies, N*(P), and how it scales with P.

\b
Example:
  jam-data random -P 1000 -d 10 | jam-nstar search --patterns 200,500,1000 | jam-nstar fit
"""
app = new_app(help=HELP)

Plan = Annotated[str | None, file_option("--plan", help="Run a line of this plan; see jam-nstar plan.")]
Task = Annotated[int | None, integer_option("--task", help="The line to run, counted from 1.")]


@app.callback()
def group(version: Version = False) -> None:
    """Options of jam-nstar itself, before its subcommands."""


@app.command()
@grouped
def search(
    context: typer.Context,
    dataset: Source = "-",
    *,
    search: SearchGroup,
    training: TrialGroup,
    kept: JournalGroup,
    plan: Plan = None,
    task: Task = None,
    engine: Engine = "auto",
    arithmetic: Arithmetic,
    streams: Streams,
) -> None:
    """Find N*(P), the smallest network that fits P patterns, at fixed depth.

    \b
    Example:
      jam-data random -P 1000 -d 10 > data.safetensors
      jam-nstar search data.safetensors --patterns 200,500,1000 --depth 3 > nstar.jsonl
      jam-nstar search data.safetensors --vary patterns --width 8,10 --depth 3 > pstar.jsonl

    The result is one JSON object for each P. The search brackets N*. Then it samples around the running median with
    fresh seeds, until the interval of log N* is as short as --precision, or --trials are used up. n_star is the N
    (effective parameters) at which half of the trainings succeed, from a logistic fit in log N; width is the smallest
    width with so many parameters or more.

    A trial that used up its steps with N_Δ of at most 0.1 N is "undecided", and the interval allows for both outcomes.
    A trial is "dead" if in some layer no neuron is active at the patterns that it does not fit: this says nothing about
    jamming. Dead trials are left out and counted, unless --dead keep makes them failures.

    More --steps may decide an undecided trial, and --certify takes it to the minimum of its basin. --optimizer newton
    reaches certified minima by itself. Its dynamics differ from Adam's and so does its N*; jam-nstar fit fits each of
    them alone.

    With --journal FILE the search may be killed at any moment: run it again with --resume, and no finished trial is
    repeated. SIGUSR1 and SIGTERM end it with exit code 75, "run me again". Without a journal, Ctrl-C loses all trials.
    """
    if plan is not None or task is not None:
        _run_task(context, plan, task)
    if kept.resume and kept.journal is None:
        raise typer.BadParameter("got --resume without a journal, expected --journal FILE with it")
    check_search(context, search, training)
    if kept.journal in ("-", dataset):
        raise typer.BadParameter(
            f"got --journal {kept.journal}, expected a file of its own: it is read again with --resume"
        )
    session = Session(NAME, streams)
    trials = WatchedTrials(search.vary)
    with stopped_by_signals(NAME, kept.journal, lambda: trials.n_ended):
        records = _records(session, dataset, search, training, kept, arithmetic, engine, trials)
        session.write_json(records)
    print_search(session, records)


def _records(
    session: Session,
    dataset: str,
    options: SearchGroup,
    training: TrialGroup,
    kept: JournalGroup,
    arithmetic: Arithmetic,
    engine: str,
    trials: WatchedTrials,
) -> list[dict[str, Any]]:
    """The records of the search that the options ask for, one for each P (or width); `trials` counts its trials."""
    from jamtools.io.read import read_dataset
    from jamtools.io.streams import naming
    from jamtools.transition.options import SearchOptions
    from jamtools.transition.search import search_transition

    data, _ = read_dataset(dataset)
    spec = spec_of(options, training)
    sizes = tuple(sorted(options.patterns or (data.P,)))
    with naming(dataset):
        data.first(sizes[-1])
    compute = session.compute(arithmetic, int(sizes[-1] ** 1.5), engine)
    trials.store = _journal(kept, session.output, data, spec, compute)
    how = SearchOptions(
        options.method, options.precision, options.trials, options.at_once, cold=options.cold,
        keep_dead=options.dead == "keep",
    )  # fmt: skip
    with session.progress(NAME, total=None) as update:

        def watch(key: TrialKey) -> None:
            trials.tell(key, update)

        fixed = sizes if options.vary == "width" else options.width or (data.d,)
        records = search_transition(data, spec, fixed, options.vary, how, compute, trials, watch)
    return [dict(record) for record in records]


def _run_task(context: typer.Context, plan: str | None, task: int | None) -> None:
    """Runs a line of a plan in place of this process."""
    if plan is None or task is None:
        raise typer.BadParameter("got one of --plan and --task, expected both")
    given = given_options(context)
    others = sorted(set(given) - {"plan", "task", "quiet", "debug"})
    if others:
        raise typer.BadParameter(
            f"got {given[others[0]]} with --plan, whose line has all options; leave it out"
        )
    flags = [given[name] for name in ("quiet", "debug") if name in given]
    replace_process([*plan_line(plan, task), *flags])


def _journal(
    kept: JournalGroup, output: str, data: Dataset, spec: TrialSpec, compute: Compute
) -> Journal | None:
    """The journal asked for, or None."""
    from jamtools.io.journal import Journal, request_of

    if kept.journal is None:
        return None
    if output != "-" and os.path.realpath(output) == os.path.realpath(kept.journal):
        raise typer.BadParameter(f"got {output} for the output and the journal, expected two files")
    where = {"device": str(compute.device), "dtype": str(compute.dtype).removeprefix("torch.")}
    if compute.engine != "auto":  # journals of searches without --engine do not name it
        where["engine"] = compute.engine
    return Journal(kept.journal, request_of(data, spec, where), kept.resume)


app.command("plan", context_settings={"allow_extra_args": True, "allow_interspersed_args": False})(plan_array)
app.command()(fit)


def main() -> None:
    """The process jam-nstar."""
    run(app, NAME)


if __name__ == "__main__":
    main()
