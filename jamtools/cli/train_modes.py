"""Which options of jam-train may stand together: --finish and --verify allow only some of them."""

from __future__ import annotations

import typer

from jamtools.cli.common.conflicts import given_options, refuse
from jamtools.io.streams import STDIN

#: Parameters that are allowed with --finish and with --verify.
ALWAYS_ALLOWED = {"output", "quiet", "debug", "version", "require", "threads"}

#: Parameters that keep unfinished runs.
CHECKPOINT_PARAMETERS = {"checkpoint", "checkpoint_every", "resume", "time_limit"}

#: Parameters that are allowed with each of these modes.
ALLOWED_BESIDE = {
    "finish": ALWAYS_ALLOWED
    | CHECKPOINT_PARAMETERS
    | {"finish", "where", "steps", "measurements", "device", "dtype"},
    "verify": ALWAYS_ALLOWED | {"verify", "where"},
}


#: Parameters of what a run brings along, which --from refuses, and the modes that train no new runs.
REFUSED_WITH_ORIGIN = (
    "width", "depth", "activation", "bias", "batch_norm", "init", "seeds", "evaluate", "finish", "verify",
)  # fmt: skip


def check_origin(context: typer.Context, dataset: str, origin: str | None) -> None:
    """Raises a usage error for options that contradict the networks of --from, and for one standard input read twice."""
    if origin is None:
        return
    refuse(context, REFUSED_WITH_ORIGIN, "--from, which takes networks, seeds and parameters from the runs")
    if dataset == origin == STDIN:
        raise typer.BadParameter(
            "got standard input for the dataset and for --from, expected a file for one of them"
        )


def check_mode(context: typer.Context, require: str | None) -> None:
    """Raises a usage error for options that have no meaning with --finish or --verify."""
    given = given_options(context)
    if "evaluate_on" in given and "evaluate" not in given:
        raise typer.BadParameter("got --evaluate-on without runs, expected --evaluate RUNS with it")
    for mode, allowed in ALLOWED_BESIDE.items():
        if mode in given:
            beside = f"--{mode}, which takes its networks and patterns from the runs"
            refuse(context, sorted(set(given) - allowed), beside)
    if "where" in given and not {"finish", "verify", "evaluate", "origin"} & given.keys():
        raise typer.BadParameter(
            "got --where, which selects runs; expected --from, --finish, --verify or --evaluate with it"
        )
    if "verify" in given and require not in (None, "certified"):
        raise typer.BadParameter(f"got --require {require} with --verify, expected --require certified")
