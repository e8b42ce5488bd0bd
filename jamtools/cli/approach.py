"""jam-approach: runs taken towards their jamming point, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jamtools.cli.common.app import new_app, run
from jamtools.cli.common.groups import CheckpointGroup, Streams, grouped
from jamtools.cli.common.options import Sources, Where, integer_option, real_option
from jamtools.cli.common.resuming import ResumableTraining
from jamtools.cli.common.selecting import select, shared_data
from jamtools.cli.common.session import Session
from jamtools.cli.common.values import kept_stages, natural
from jamtools.cli.train_ends import print_obstacles, run_in_words
from jamtools.io.streams import STDIN

if TYPE_CHECKING:
    from jamtools.records import Dataset, Run
    from jamtools.training.approaches import ApproachJob

NAME = "jam-approach"
app = new_app()

Knob = Annotated[
    Literal["margin", "patterns"],
    typer.Option("--knob", help="What falls from stage to stage: the margin ε, or the number P of patterns."),
]
Until = Annotated[float, real_option("--until", help="End an approach at this L/N.")]
Stages = Annotated[
    Any,
    typer.Option(
        "--stages",
        parser=kept_stages,
        metavar="all|last|N",
        help="Which stages to write: all of them, the last one, or the last N.",
    ),
]
Threads = Annotated[
    int,
    integer_option("--threads", parser=natural, help="How many runs at once; 0: one for each core."),
]


@app.command()
@grouped
def approach(
    files: Sources = None,
    *,
    knob: Knob = "margin",
    until: Until = 1e-12,
    stages: Stages = "all",
    where: Where = None,
    threads: Threads = 0,
    kept: CheckpointGroup,
    streams: Streams,
) -> None:
    """Take runs to their jamming point, in stages of a falling margin, or of fewer and fewer patterns.

    \b
    Examples:
      jam-data random -P 240 -d 5 | jam-train --activation tanh --norm 9 --steps 20k -o start
      jam-approach start --until 1e-12 --stages last | jam-hessian > spectra.safetensors
      jam-approach start --knob patterns | jam-plot > patterns.png

    At fixed norm the margin ε is a continuous knob: a jammed run follows its minimum while ε falls, and the loss of
    that minimum vanishes at the jamming point. Each stage begins at the minimum of the one before, and near jamming it
    divides L by four. It is a run of the output, with its own ε and its own certificate. Its field `approach` has
    the number of the stage, how far the parameters moved, and how the unsatisfied patterns changed. A stage that
    unjams is taken back; where even the smallest one does, the branch has ended in an avalanche: the margin rises until
    the run jams again. A satisfied run goes the other way until it jams. Unsatisfied patterns that a layer does not pass
    on are set aside: no margin satisfies them. A run has their numbers in its field `set_aside`.

    An approach ends with one of these words: reached (the jamming point: L/N ≤ --until), collapsed (ε and f vanish
    together: no jamming point at this P and norm), dead (no pattern is passed on), stalled (stages that reach no
    minimum) or unjammed (no avalanche leads to jamming). It is in the record of the last stage. All of them are results.

    With --knob patterns the margin stays, and each stage takes away the last 2% of its patterns. A stage that unjams is
    taken back and tried half way, down to one pattern. The end is the last jammed stage, of which one pattern fewer is
    satisfied: P is discrete, and L does not fall to zero. A satisfied run gets more patterns of its dataset until it jams
    (exhausted: there are no more). This works for free weights too. They have no jamming point: ‖W‖ grows as L falls, and
    the approach ends with the word escaping.

    Runs need one output and at most 1500 parameters. Each takes one core; more are made at once. With --checkpoint
    FILE the command may be killed at any moment: run it again with --resume.
    """
    resumable = ResumableTraining(NAME, kept.checkpoint, kept.checkpoint_every, kept.resume, kept.time_limit)
    session = Session(NAME, streams, binary=True)
    resumable.catch_signals(streams.output)
    from jamtools.io.write import runs_bytes
    from jamtools.records import Runs

    data, starts, steps = _read(session, files, where)
    jobs = _jobs(session, data, starts, until, stages, knob)
    approached = resumable.approach(session, jobs, threads)
    records = [stage for part in approached for stage in part]
    session.write(runs_bytes(Runs(data, tuple(records)), session.provenance(*steps)))
    resumable.release_signals()
    _print(session, approached)
    print_obstacles(session, records)


def _read(
    session: Session, files: Sequence[str] | None, where: str | None
) -> tuple[Dataset, list[Run], list[list[dict[str, Any]]]]:
    """The data that the chosen runs share, these runs, and the steps that made them."""
    from jamtools.io.artefact import Artefact
    from jamtools.io.read import iterate_runs

    artefacts = [Artefact(source).expect("runs") for source in files or [STDIN]]
    data, used = shared_data(artefacts, select(session, where, artefacts, files))
    starts = [start for artefact, numbers, own in used for start in iterate_runs(artefact, own, numbers)]
    return data, starts, [artefact.provenance for artefact, _, _ in used]


def _jobs(
    session: Session,
    data: Dataset,
    starts: Sequence[Run],
    until: float,
    stages: int | None,
    knob: Literal["margin", "patterns"],
) -> list[ApproachJob]:
    """An approach for each run. A run that diverged has none and is left out, with a note."""
    import numpy as np

    from jamtools.training.approaches import ApproachJob

    jobs = []
    for i, start in enumerate(starts):
        if not np.isfinite(start.theta).all():
            session.note(f"r{i:04d} ({run_in_words(start)}) diverged: it has no approach and is left out")
            continue
        own = data.first(start.P + len(start.set_aside)) if knob == "margin" else data
        jobs.append(ApproachJob(start, own, until, stages, knob))
    return jobs


def _print(session: Session, approached: Sequence[Sequence[Run]]) -> None:
    """A table with a row for each approach: how it ended, and where."""
    import numpy as np

    rows = []
    for part in approached:
        info = part[-1].info
        fields, N = info["approach"], part[-1].N
        cusps = (info.get("certificate") or {}).get("n_cusps") or 0
        rows.append(
            (
                info["width"], info["P"], info["seed"], N, f"{np.linalg.norm(part[-1].theta):.4g}", fields["stage"] + 1,
                fields["end"], f"{info['epsilon']:.4g}", f"{fields['loss_per_parameter']:.1e}",
                f"{info['n_unsatisfied'] / N:.3f}", f"{cusps / N:.3f}", "yes" if info["certified"] else "no",
            )
        )  # fmt: skip
    columns = ("width", "P", "seed", "N", "‖W‖", "stages", "end", "ε", "L/N", "N_Δ/N", "N_c/N", "certified")
    session.table(columns, rows)


def main() -> None:
    """The process jam-approach."""
    run(app, NAME)


if __name__ == "__main__":
    main()
