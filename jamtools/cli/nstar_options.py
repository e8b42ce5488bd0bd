"""The options of jam-nstar search, which of them go together, and the trials that they describe.

`jam-nstar plan` reads them as well, to check the lines of a plan before its tasks run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jamtools.cli.common.conflicts import check_depth, check_margin, check_norm, check_optimizer, refuse
from jamtools.cli.common.groups import TrainingGroup
from jamtools.cli.common.options import Dead, file_option, integer_option, list_option, real_option
from jamtools.cli.common.values import Integers, naturals, positives

if TYPE_CHECKING:
    from jamtools.transition.options import TrialSpec

SEARCH_SEEDS = Integers((0, 1))

#: Measurements of a trial. At each of them a dead trial whose gradient vanishes is ended.
TRIAL_MEASUREMENTS = 30


@dataclass(frozen=True)
class SearchGroup:
    """What is searched for, and how."""

    patterns: Annotated[
        Integers | None,
        list_option("--patterns", "-P", parser=positives, help="Values of P (default: all of the dataset)."),
    ] = None
    seeds: Annotated[
        Integers,
        list_option("--seeds", "--seed", parser=naturals, help="Seeds; there is a bracket for each."),
    ] = SEARCH_SEEDS
    vary: Annotated[
        Literal["width", "patterns"],
        typer.Option(
            "--vary", help="width: find N* of each P; patterns: find P* of each network of --width."
        ),
    ] = "width"
    width: Annotated[
        Integers | None,
        list_option(
            "--width", parser=positives, help="Widths of the networks whose P* is found by --vary patterns."
        ),
    ] = None
    method: Annotated[
        Literal["bisect", "descend"],
        typer.Option("--method", help="How to bracket N*: by halving, or from above as the paper does."),
    ] = "bisect"
    precision: Annotated[
        float, real_option("--precision", help="Sample until the interval of log N* is this short.")
    ] = 0.2
    trials: Annotated[int, integer_option("--trials", help="Maximum number of trainings for each N*.")] = 50
    at_once: Annotated[
        int, integer_option("--at-once", help="Number of trainings in a round of samples.")
    ] = 4
    times: Annotated[
        Integers | None,
        list_option("--times", parser=positives, help="Find N* after these numbers of steps as well."),
    ] = None
    success: Annotated[
        Literal["satisfied", "classified"] | None,
        typer.Option(
            "--success",
            help="satisfied: N_Δ = 0; classified: no y f < 0 [default: satisfied; for cross-entropy classified].",
        ),
    ] = None
    max_width: Annotated[
        int | None,
        integer_option("--max-width", help="Give up beyond this width (default: that of N = 8P)."),
    ] = None
    certify: Annotated[
        bool,
        typer.Option(
            "--certify",
            help="Continue trials that used up their steps to the minimum of their basin: they are then satisfied, "
            "or certified to be stuck.",
        ),
    ] = False
    dead: Dead = "leave-out"
    cold: Annotated[
        bool,
        typer.Option("--cold", help="Start every P and seed independently, as the tasks of a plan do."),
    ] = False


@dataclass(frozen=True)
class TrialGroup(TrainingGroup):
    """How a trial is trained. The activation is not linear: a linear network has no transition of its own."""

    activation: Annotated[
        Literal["relu", "tanh"], typer.Option("--activation", help="The activation function ρ.")
    ] = "relu"


@dataclass(frozen=True)
class JournalGroup:
    """How the finished trials of a search are kept on disk."""

    journal: Annotated[
        str | None,
        file_option(
            "--journal",
            help="Append every finished trial to FILE; SIGTERM or SIGUSR1 then cause exit code 75.",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the journal; without one, start from the beginning."),
    ] = False


def check_search(context: typer.Context, search: SearchGroup, training: TrialGroup) -> None:
    """Raises a usage error for options that do not go together."""
    from jamtools.random_streams import FRESH_SEEDS  # imports numpy

    check_optimizer(context, training.optimizer)
    check_depth(context, training.depth)
    check_norm(training.normalises, training.norm)
    check_margin(training.epsilon, training.norm)
    if training.optimizer == "newton":
        refuse(context, ["certify"], "--optimizer newton, which certifies the minima that it reaches")
        refuse(context, ["times"], "--optimizer newton, whose steps are not a time")
        refuse(context, ["engine"], "--optimizer newton, which has an engine of its own")
    if search.vary == "width" and training.depth == 0:
        raise typer.BadParameter(
            "got --depth 0, a network that has no width, expected --vary patterns with it"
        )
    if search.vary == "width":
        refuse(context, ["width"], "--vary width, which finds the width")
    else:
        refuse(context, ["patterns", "max_width"], "--vary patterns, which takes the dataset's first P")
        if search.width is None and training.depth > 0:
            raise typer.BadParameter("got --vary patterns without a network, expected --width LIST with it")
        if search.method == "descend":
            raise typer.BadParameter("got --method descend with --vary patterns, expected bisect")
    if max(search.seeds) >= FRESH_SEEDS:
        raise typer.BadParameter(
            f"got the seed {max(search.seeds)}, expected less than {FRESH_SEEDS}: samples use the larger ones"
        )


def spec_of(search: SearchGroup, training: TrialGroup) -> TrialSpec:
    """The trials that the options describe. Raises InputError for options that contradict each other."""
    from jamtools import protocols
    from jamtools.transition.options import TrialSpec

    last_time = max(search.times) if search.times and not training.protocol else None
    options = training.options(steps=training.steps or last_time, measurements=TRIAL_MEASUREMENTS)
    return TrialSpec(
        training.depth,
        training.activation,
        options,
        tuple(sorted(search.seeds)),
        search.success or protocols.default_success(options.loss),
        search.max_width,
        training.normalises,
        search.certify,
        tuple(sorted(search.times or ())),
        training.bias,
    )
