"""jam-train: a dataset in, trained runs out.

With --from, --evaluate, --finish or --verify it takes existing runs: see train_from, train_evaluate, train_finish and
train_verify.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.conflicts import check_depth, check_margin, check_norm, check_optimizer
from jamtools.cli.common.groups import Arithmetic, CheckpointGroup, Streams, TrainingGroup, grouped
from jamtools.cli.common.options import Engine, Source, Where, file_option, integer_option, list_option
from jamtools.cli.common.resuming import ResumableTraining
from jamtools.cli.common.session import Session
from jamtools.cli.common.tables import has_values
from jamtools.cli.common.values import Integers, naturals, positives
from jamtools.cli.train_ends import exit_code, print_dead, print_obstacles
from jamtools.cli.train_evaluate import EvaluateOn, evaluate_runs
from jamtools.cli.train_finish import finish_runs
from jamtools.cli.train_from import jobs_from
from jamtools.cli.train_modes import check_mode, check_origin
from jamtools.cli.train_verify import verify_runs
from jamtools.io.streams import naming

if TYPE_CHECKING:
    from jamtools.network.architecture import Architecture
    from jamtools.protocols import TrainingOptions
    from jamtools.records import Dataset, Run
    from jamtools.training.job import Job

    #: The runs to train, and the commands that made the runs where they begin.
    Jobs = tuple[list[Job], list[dict[str, Any]]]

NAME = "jam-train"
app = new_app()

FIRST_SEED = Integers((0,))


@dataclass(frozen=True)
class EnsembleGroup:
    """The runs that are trained: one for each width, number of patterns and seed."""

    width: Annotated[
        Integers | None,
        list_option("--width", parser=positives, help="Neurons per hidden layer (default: d)."),
    ] = None
    seeds: Annotated[
        Integers, list_option("--seeds", "--seed", parser=naturals, help="Seeds of the initialisation.")
    ] = FIRST_SEED
    patterns: Annotated[
        Integers | None,
        list_option(
            "--patterns", "-P", parser=positives, help="Train on the first P patterns (default: all)."
        ),
    ] = None


@dataclass(frozen=True)
class DynamicsGroup:
    """How steps are skipped, and when a run ends: the options that searches do not have."""

    neighbour_list: Annotated[
        bool,
        typer.Option(
            "--neighbour-list",
            help="Skip satisfied patterns by an estimate of their drift, from earlier steps, instead of by its bound. "
            "This is faster; missed crossings are counted.",
        ),
    ] = False
    stop: Annotated[
        bool | None, typer.Option("--stop/--no-stop", help="Stop when N_Δ = 0 [default: stop for the hinge].")
    ] = None


@dataclass(frozen=True)
class HistoryGroup:
    """What is recorded during the training."""

    measurements: Annotated[
        int | None,
        integer_option("--measurements", help="Number of log-spaced points of the history [default: 150]."),
    ] = None
    measure_at: Annotated[
        Integers | None, list_option("--measure-at", parser=naturals, help="Measure at these steps as well.")
    ] = None
    snapshots: Annotated[bool, typer.Option("--snapshots", help="Keep theta at every measurement.")] = False


Origin = Annotated[
    str | None,
    file_option(
        "--from",
        metavar="RUNS",
        help="Begin at the theta of these runs: their networks and seeds, trained on the dataset by these options.",
    ),
]
Evaluate = Annotated[
    str | None,
    file_option(
        "--evaluate",
        metavar="RUNS",
        help="Train nothing: measure these runs on the dataset, on its test set if it has one, and print JSON lines.",
    ),
]
Finish = Annotated[
    str | None,
    file_option(
        "--finish",
        metavar="RUNS",
        help="Start no run: continue each of these runs with newton to the minimum of its basin.",
    ),
]
Verify = Annotated[
    str | None,
    file_option(
        "--verify",
        metavar="RUNS",
        help="Train nothing: check the certificates of these runs again and print JSON lines.",
    ),
]
Require = Annotated[
    Literal["satisfied", "stationary", "certified"] | None,
    typer.Option("--require", help="Exit with code 3 unless every run meets this."),
]


@app.command()
@grouped
def train(
    context: typer.Context,
    dataset: Source = "-",
    *,
    ensemble: EnsembleGroup,
    training: TrainingGroup,
    dynamics: DynamicsGroup,
    history: HistoryGroup,
    origin: Origin = None,
    evaluate: Evaluate = None,
    evaluate_on: EvaluateOn = None,
    finish: Finish = None,
    verify: Verify = None,
    where: Where = None,
    require: Require = None,
    engine: Engine = "auto",
    kept: CheckpointGroup,
    arithmetic: Arithmetic,
    streams: Streams,
) -> int:
    """Train a fully connected network, once for every width, P and seed.

    \b
    Example:
      jam-data random -P 1000 -d 10 | jam-train --width 10,12 --seeds 0:4 -o runs.safetensors
      jam-train data.safetensors --protocol paper-cross-entropy --steps 10k -o runs.safetensors
      jam-train data.safetensors --from runs.safetensors -P 900 --optimizer newton -o more-patterns.safetensors
      jam-train fresh.safetensors --evaluate runs.safetensors | jq .error
      jam-train --finish runs.safetensors --where "near(0.2)" --require certified -o minima.safetensors
      jam-train --verify minima.safetensors | jq .findings

    A protocol sets loss, initialisation, batch normalisation, optimiser, batches, rates and steps. If a protocol
    changes the rate halfway, this happens at half of --steps, for any --steps. The file records what was done.

    The output is one file. Its runs are ordered by width, then P, then seed. A run ends with status "satisfied"
    (N_Δ = 0: every Δ ≤ 1e-10 ε), "stationary" (jammed: at a minimum with L > 0), "dead" (in some layer no neuron is
    active at the unsatisfied patterns), "budget" (its steps ended on the way) or "diverged". All of them are results,
    and the exit code is 0 unless --require is given.

    --optimizer newton solves for a minimum and certifies it. Use it for small networks, and for results that do not
    depend on the number of steps. Its dynamics differ from Adam's; to take a run of Adam to the minimum of its own
    basin, use --finish.

    --from begins new runs at the theta of old ones, on the patterns of the dataset: the network, the seed and theta are
    those of the run, and so is its norm unless --norm is given, which scales theta. Loss, margin, P, optimiser, rates and
    steps are those of this command line and its defaults. Options of the network and --seeds are then refused.

    For the hinge loss, a satisfied pattern is skipped while a bound on its drift shows that it cannot have crossed
    Δ = 0 since its last evaluation: the steps are exact. --neighbour-list uses an estimate of that drift instead.

    With --checkpoint FILE the command may be killed at any moment: run it again with --resume, and it continues to
    the same bytes. With more --seeds, --width or --patterns it keeps the runs of the checkpoint and trains the new
    ones. SIGTERM, SIGUSR1 and --time-limit then end it with exit code 75, "run me again", and no output. Without a
    checkpoint, Ctrl-C loses all runs.

    If the dataset has a test set, each run records test_error and test_loss.
    """
    check_mode(context, require)
    _check_options(context, training, dataset, origin)
    if evaluate is not None:
        return evaluate_runs(Session(NAME, streams), dataset, evaluate, where, evaluate_on)
    if verify is not None:
        return verify_runs(Session(NAME, streams), verify, where, arithmetic.threads, require)
    resumable = ResumableTraining(NAME, kept.checkpoint, kept.checkpoint_every, kept.resume, kept.time_limit)
    session = Session(NAME, streams, binary=True)
    resumable.catch_signals(streams.output)
    if finish is not None:
        given = {"steps": training.steps, "measurements": history.measurements}
        return finish_runs(session, resumable, finish, where, arithmetic, given, require)
    options = training.options(**vars(dynamics), **vars(history))
    jobs_on = partial(_jobs, session, dataset, ensemble, training, options, origin, where)
    trained = _train_new_runs(session, resumable, dataset, jobs_on, arithmetic, engine)
    _print_runs(session, trained)
    return exit_code(trained, require)


def _check_options(context: typer.Context, training: TrainingGroup, dataset: str, origin: str | None) -> None:
    """Raises a usage error for options that do not go together."""
    check_origin(context, dataset, origin)
    check_optimizer(context, training.optimizer)
    check_depth(context, training.depth)
    if origin is None:  # otherwise the runs have a norm and batch normalisation of their own
        check_norm(training.normalises, training.norm)
        check_margin(training.epsilon, training.norm)


def _jobs(
    session: Session,
    dataset: str,
    ensemble: EnsembleGroup,
    training: TrainingGroup,
    options: TrainingOptions,
    origin: str | None,
    where: str | None,
    data: Dataset,
) -> Jobs:
    """The runs to train on the data, which have the name `dataset`: new ones, or those that begin at other runs."""
    with naming(dataset):
        if origin is None:
            return _new_jobs(data, ensemble, training, options), []
        parts = _parts(data, ensemble)
    return jobs_from(session, origin, where, parts, options)


def _train_new_runs(
    session: Session,
    resumable: ResumableTraining,
    dataset: str,
    jobs_on: Callable[[Dataset], Jobs],
    arithmetic: Arithmetic,
    engine: str,
) -> list[Run]:
    """Trains the runs that `jobs_on` asks for on the dataset, and writes them."""
    from jamtools.io.read import read_dataset
    from jamtools.io.write import runs_bytes
    from jamtools.records import Runs

    data, provenance = read_dataset(dataset)
    jobs, steps = jobs_on(data)
    compute = session.compute(arithmetic, max(map(_array_size, jobs)), engine)
    if arithmetic.dtype == "float32":
        session.note(
            "float32 resolves Δ to about 1e-7: near the transition patterns are satisfied by less, use --dtype float64 there"
        )
    trained = resumable.train(session, [replace(job, compute=compute) for job in jobs])
    session.write(runs_bytes(Runs(data, tuple(trained)), session.provenance(provenance, steps)))
    resumable.release_signals()
    return trained


def _new_jobs(
    data: Dataset, ensemble: EnsembleGroup, training: TrainingGroup, options: TrainingOptions
) -> list[Job]:
    """A run for each width, P and seed, in this order."""
    from jamtools.network.architecture import Architecture
    from jamtools.training.job import Job

    def network(width: int) -> Architecture:
        return Architecture(
            data.d,
            width,
            training.depth,
            training.activation,
            data.outputs,
            training.normalises,
            bias=training.bias,
        )

    return [
        Job(patterns, network(width), seed, options.resolve(patterns.P))
        for width in sorted(ensemble.width or (data.d,))
        for patterns in _parts(data, ensemble)
        for seed in sorted(ensemble.seeds)
    ]


def _parts(data: Dataset, ensemble: EnsembleGroup) -> list[Dataset]:
    """The first P patterns of the data, for each P."""
    return [data.first(P) for P in sorted(ensemble.patterns or (data.P,))]


def _array_size(job: Job) -> int:
    """How many numbers the arrays of one operation hold: activations, or the rows of a Jacobian."""
    is_newton = job.settings.optimizer == "newton"
    return job.data.P * (job.arch.n_parameters if is_newton else job.arch.width)


def _print_runs(session: Session, trained: list[Run]) -> None:
    """A table of the runs, and a note on each that needs one."""
    infos = [trained_run.info for trained_run in trained]
    for info in infos:
        if info["status"] == "diverged" and info["optimizer"] != "newton":
            session.note(
                f"run of width {info['width']}, P {info['P']}, seed {info['seed']} diverged at step {info['steps']} "
                f"with learning rate {info['settings']['schedule']['lr']:g}; take a smaller --lr"
            )
    missed = sum(info.get("n_missed_crossings") or 0 for info in infos)
    if missed:
        session.note(
            f"the neighbour lists missed {missed} crossing(s) of Δ = 0; without --neighbour-list none is missed"
        )
    more = [label for label in ("certified", "test error") if has_values("runs", label, infos)]
    more += ["dead"] * any(info["n_dead"] for info in infos)
    session.records_table("runs", infos, more)
    print_dead(session, trained)
    print_obstacles(session, trained)


def main() -> None:
    """The process jam-train."""
    run(app, NAME)


if __name__ == "__main__":
    main()
