"""jam-train: a dataset in, trained runs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.options import (
    BatchNorm,
    Checkpoint,
    CheckpointEvery,
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
    Resume,
    Source,
    Threads,
    TimeLimit,
    Version,
    above_zero,
    batch_size,
    check_optimizer,
    naturals,
    positive,
    positives,
    schedule,
)
from jamtools.cli.common.resuming import Keeping
from jamtools.cli.common.session import Session
from jamtools.cli.train_minima import check_mode, finish_runs, tell_obstacles, unmet, verify_runs, yes_or_no
from jamtools.machine import available_cores

if TYPE_CHECKING:
    from jamtools.network.architecture import Architecture
    from jamtools.records import Run

NAME = "jam-train"
FIRST_SEED = Integers((0,))
app = new_app()


def _list(*names: str, parser: Any, help: str) -> Any:
    return typer.Option(*names, parser=parser, metavar="LIST", help=help)


def _number(*names: str, help: str) -> Any:
    return typer.Option(*names, parser=above_zero, metavar="X", help=help)


@app.command()
def train(
    context: typer.Context,
    dataset: Source = "-",
    width: Annotated[
        Integers | None, _list("--width", parser=positives, help="Neurons per hidden layer (default: d).")
    ] = None,
    depth: Annotated[
        int, typer.Option("--depth", "-L", parser=positive, metavar="N", help="Hidden layers.")
    ] = 3,
    seeds: Annotated[
        Integers, _list("--seeds", "--seed", parser=naturals, help="Seeds of the initialisation.")
    ] = FIRST_SEED,
    patterns: Annotated[
        Integers | None,
        _list("--patterns", "-P", parser=positives, help="Train on the first P (default: all)."),
    ] = None,
    activation: Annotated[
        Literal["relu", "tanh", "linear"], typer.Option("--activation", help="ρ.")
    ] = "relu",
    protocol: Protocol = None,
    loss: Loss = None,
    epsilon: Annotated[
        float | None, _number("--epsilon", help="Margin ε of the hinge loss [default: 0.5].")
    ] = None,
    init: Init = None,
    batch_norm: BatchNorm = None,
    optimizer: Optimizer = None,
    momentum: Momentum = None,
    lr: Rate = None,
    lr_schedule: Annotated[
        Any,
        typer.Option(
            "--lr-schedule",
            parser=schedule,
            metavar="STEPS:FACTOR",
            help="Divide the rate by FACTOR every STEPS [default: 250k:10].",
        ),
    ] = None,
    lr_floor: Annotated[
        float | None, _number("--lr-floor", help="The rate never falls below [default: 1e-7].")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            parser=batch_size,
            metavar="N|full",
            help="Patterns per step [default: full, for sgd min(P/2, 1024)].",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", parser=positive, metavar="N", help="Steps at most [default: 100k]."),
    ] = None,
    measurements: Annotated[
        int | None,
        typer.Option(
            "--measurements",
            parser=positive,
            metavar="N",
            help="Log-spaced points of the history [default: 150].",
        ),
    ] = None,
    measure_at: Annotated[
        Integers | None, _list("--measure-at", parser=naturals, help="Steps to measure at besides these.")
    ] = None,
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="Keep theta itself at every measurement.")
    ] = False,
    neighbour_list: Annotated[
        bool,
        typer.Option(
            "--neighbour-list",
            help="Leave satisfied patterns alone by their past drift, not by its bound: faster; misses are counted.",
        ),
    ] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--evaluate",
            metavar="RUNS",
            help="Train nothing: measure these runs on the dataset, as JSON lines.",
        ),
    ] = None,
    finish: Annotated[
        str | None,
        typer.Option(
            "--finish",
            metavar="RUNS",
            help="Begin nothing: take each of these runs on, with newton, to the minimum of its basin.",
        ),
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify",
            metavar="RUNS",
            help="Train nothing: check the certificates of these runs anew, as JSON lines.",
        ),
    ] = None,
    stop: Annotated[
        bool | None, typer.Option("--stop/--no-stop", help="Stop when N_Δ = 0 [default: stop for the hinge].")
    ] = None,
    require: Annotated[
        Literal["satisfied", "stationary", "certified"] | None,
        typer.Option("--require", help="Exit with 3 when a run ended otherwise."),
    ] = None,
    engine: Annotated[
        Literal["auto", "compiled", "batch", "torch"],
        typer.Option(
            "--engine",
            help="compiled: full batches on the CPU in float64; batch: runs of equal shape together along a "
            "leading axis, full batches; auto: compiled, or batch on CUDA, where they fit.",
        ),
    ] = "auto",
    checkpoint: Checkpoint = None,
    checkpoint_every: CheckpointEvery = None,
    resume: Resume = False,
    time_limit: TimeLimit = None,
    output: Output = "-",
    device: Device = "auto",
    dtype: Dtype = "float64",
    threads: Threads = 0,
    quiet: Quiet = False,
    debug: Debug = False,
    version: Version = False,
) -> int:
    """Train a fully connected network, once for every width, P and seed.

    \b
    Example:
      jam-data random -P 1000 -d 10 | jam-train --width 10,12 --seeds 0:4 -o runs.safetensors
      jam-train data.safetensors --protocol paper-cross-entropy --steps 10k -o runs.safetensors
      jam-train fresh.safetensors --evaluate runs.safetensors | jq .error
      jam-train --finish runs.safetensors --require certified -o minima.safetensors
      jam-train --verify minima.safetensors | jq .findings

    A protocol sets loss, initialisation, batch normalisation, optimiser, batches, rates and steps; its rates
    follow --steps where they change halfway. The file records what was done.

    One file comes out, its runs ordered by width, then P, then seed. A run ends with status "satisfied"
    (N_Δ = 0), "stationary" (newton and --finish: a minimum with L > 0), "budget" or "diverged"; all of them are
    results and leave exit code 0 unless --require is given.

    --optimizer newton solves for a minimum and certifies it: for small networks and for answers that do not hang
    on the number of steps. It is another dynamics than Adam's, whose own end --finish takes to its minimum instead.

    The hinge loss spends no work on satisfied patterns that cannot have crossed Δ = 0 since they were last looked at, by
    a bound of their drift: the steps are exact. --neighbour-list estimates that drift instead.

    With --checkpoint FILE the command may be killed at any moment: run it again with --resume, and it goes on to
    the same bytes. SIGTERM, SIGUSR1 and --time-limit then end it with exit code 75, "run me again", and no output.
    """
    check_mode(context, require)
    check_optimizer(context, optimizer)
    if evaluate is not None:
        return _evaluate(Session(NAME, output, quiet), dataset, evaluate)
    if verify is not None:
        return verify_runs(Session(NAME, output, quiet), verify, threads, require)
    keeping = Keeping(NAME, checkpoint, checkpoint_every, resume, time_limit)
    session = Session(NAME, output, quiet, binary=True)
    keeping.listen(output)
    if finish is not None:
        options = {"steps": steps, "measurements": measurements}
        return finish_runs(session, keeping, finish, (device, dtype, threads), options, require)
    from jamtools import protocols
    from jamtools.io.read import read_dataset
    from jamtools.io.write import runs_bytes
    from jamtools.network.architecture import Architecture
    from jamtools.records import Runs
    from jamtools.training.job import Job, Place

    data, provenance = read_dataset(dataset)
    widths, sizes = sorted(width or (data.d,)), sorted(patterns or (data.P,))
    base = protocols.PROTOCOLS[protocol] if protocol else protocols.Settings()
    every, factor = lr_schedule or (None, None)
    settings = protocols.with_options(
        base, loss=loss, epsilon=epsilon, init=init, optimizer=optimizer,
        momentum=momentum, lr=lr, every=every, factor=factor,
        floor=lr_floor, batch=batch, steps=steps, measurements=measurements, measure_at=measure_at, stop=stop,
        snapshots=snapshots, neighbour_list=neighbour_list,
    )  # fmt: skip
    normalise = protocols.batch_norm(protocol, batch_norm)
    jobs = [
        Job(data.first(P), Architecture(data.d, h, depth, activation, data.outputs, normalise), seed)
        for h in widths
        for P in sizes
        for seed in sorted(seeds)
    ]
    numbers = max(_numbers(job.arch, job.data.P, settings.optimizer) for job in jobs)
    torch_place = session.torch_setup(device, dtype, threads, numbers)
    if dtype == "float32":
        session.note(
            "float32 tells Δ to about 1e-7: near the transition patterns are satisfied by less, use --dtype float64 there"
        )
    place = Place(*torch_place, threads or available_cores(), engine)
    trained = keeping.train(session, jobs, settings, place)
    session.write(runs_bytes(Runs(data, tuple(trained)), session.provenance(provenance)))
    keeping.done()
    _tell(session, trained)
    return unmet(trained, require)


def _evaluate(session: Session, dataset: str, runs: str) -> int:
    """Existing runs measured on a dataset."""
    from jamtools.io.read import read_dataset, read_ensemble
    from jamtools.network import problem

    data, _ = read_dataset(dataset)
    members, _ = read_ensemble([runs])
    session.write_json(
        {"kind": "evaluation", "run": m.name, **problem.measure(m.run, m.data, data)} for m in members
    )
    return 0


def _numbers(arch: Architecture, P: int, optimizer: str) -> int:
    """The size of the arrays that an operation works on: activations, or the rows of a Jacobian."""
    return P * (arch.n_parameters if optimizer == "newton" else arch.width)


def _tell(session: Session, trained: list[Run]) -> None:
    columns = ["width", "P", "seed", "N", "status", "steps", "loss", "N_Δ", "N_Δ/N", "misclassified"]
    asked = any(item.info["certified"] is not None for item in trained)
    rows = []
    for info in (item.info for item in trained):
        N = info["n_effective_expected"]
        rows.append(
            (info["width"], info["P"], info["seed"], N, info["status"], info["steps"], info["final_loss"],
             info["n_unsatisfied"], info["n_unsatisfied"] / N, info["n_misclassified"],
             *([yes_or_no(info["certified"])] if asked else []))
        )  # fmt: skip
        if info["status"] == "diverged" and info["optimizer"] != "newton":
            session.note(
                f"run of width {info['width']}, P {info['P']}, seed {info['seed']} diverged at step {info['steps']} "
                f"with learning rate {info['settings']['schedule']['lr']:g}; take a smaller --lr"
            )
    missed = sum(item.info.get("n_missed_crossings") or 0 for item in trained)
    if missed:
        session.note(
            f"the neighbour lists missed {missed} crossing(s) of Δ = 0; without --neighbour-list none is missed"
        )
    session.table([*columns, *(["certified"] if asked else [])], rows)
    tell_obstacles(session, trained)


def main() -> None:
    run(app, NAME)


if __name__ == "__main__":
    main()
