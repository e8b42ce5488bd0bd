"""jam-nstar plan: the tasks of a job array, one jam-nstar search per line; and how a task runs one line."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from itertools import pairwise, product
from typing import Annotated, NoReturn

import typer

from jamtools.cli.common.groups import Streams, from_values, grouped
from jamtools.cli.common.options import list_option
from jamtools.cli.common.session import Session
from jamtools.cli.common.values import Integers, naturals, positives
from jamtools.cli.nstar_options import SearchGroup, TrialGroup, check_search, spec_of
from jamtools.errors import InputError
from jamtools.io.streams import make_folder, read_bytes

PLAN_SEEDS, PLAN_DEPTHS = Integers(range(5)), Integers((3,))

#: How every line of a plan begins.
SEARCH_COMMAND = ["jam-nstar", "search"]

#: The options that the plan sets in each line, by the parameters of the search; all their names are in PLAN_OPTIONS.
OPTION_OF_PARAMETER = {
    "patterns": "--patterns",
    "depth": "--depth",
    "seeds": "--seeds",
    "journal": "--journal",
    "output": "-o",
}

#: Options that a user may not put after the dataset, since the plan sets or excludes them.
PLAN_OPTIONS = {
    "--depth", "-L", "--patterns", "-P", "--seeds", "--seed", "--cold", "--vary", "--width", "--journal", "--resume",
    "-o", "--output",
}  # fmt: skip

#: The options of a line that name its search.
CELL_OPTIONS = {"P": "--patterns", "depth": "--depth", "seed": "--seeds"}


@grouped
def plan_array(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="[DATASET]", help="The file that every task reads [default: standard input]."),
    ] = None,
    *,
    patterns: Annotated[Integers, list_option("--patterns", "-P", parser=positives, help="Values of P.")],
    depths: Annotated[
        Integers, list_option("--depths", "-L", parser=positives, help="Numbers of hidden layers.")
    ] = PLAN_DEPTHS,
    seeds: Annotated[
        Integers, list_option("--seeds", parser=naturals, help="Seeds; there is a task for each.")
    ] = PLAN_SEEDS,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Where the tasks write journals and results; it is made if it does not exist.",
        ),
    ] = ".",
    streams: Streams,
) -> None:
    """Print the tasks of a job array: one search per line, for each depth, P and seed.

    \b
    Example:
      jam-nstar plan --patterns 200,500 --depths 2,3 --seeds 0:5 data.safetensors --steps 100k > plan.txt
      sbatch --array=1-$(wc -l < plan.txt) --wrap 'jam-nstar search --plan plan.txt --task $SLURM_ARRAY_TASK_ID'
      jam-nstar fit nstar-*.jsonl --plan plan.txt

    The options after the dataset go into every line, and are checked now. Each task starts cold, keeps a journal and
    resumes it, so that a line may be run any number of times. The tasks of all seeds together find what one search with
    --cold finds. Each task samples until its own interval is short enough. The interval of k seeds together is about √k
    times shorter, so give the tasks a --precision √k times larger than the one you want.
    """
    refuse_plan_options(context.args)
    planned = plan_lines(dataset, patterns, depths, seeds, out, list(context.args))
    check_line(shlex.split(planned[0])[2:], context)
    make_folder(out)  # before the session, whose output may be in it
    session = Session("jam-nstar", streams)
    session.write("".join(f"{line}\n" for line in planned).encode())


def plan_lines(
    dataset: str | None,
    patterns: Iterable[int],
    depths: Iterable[int],
    seeds: Iterable[int],
    out: str,
    options: list[str],
) -> list[str]:
    """A command line for each depth, P and seed, with its own journal and result in the folder `out`."""
    planned = []
    for depth, P, seed in product(depths, patterns, seeds):
        name = os.path.join(out, f"nstar-L{depth}-P{P}-s{seed}")
        cell = ["--depth", str(depth), "--patterns", str(P), "--seeds", str(seed), "--cold"]
        files = ["--journal", f"{name}.journal", "--resume", "-o", f"{name}.jsonl"]
        planned.append(
            shlex.join([*SEARCH_COMMAND, *([dataset] if dataset else []), *cell, *options, *files])
        )
    return planned


def plan_line(plan: str, task: int) -> list[str]:
    """The arguments of line `task` of a plan, counted from 1 as sed does. Raises InputError where there is none."""
    lines = _lines(plan)
    if not 1 <= task <= len(lines):
        holds = f"it has lines 1 to {len(lines)}" if lines else "it has no lines; make it with jam-nstar plan"
        raise InputError(f"{plan}: asked for task {task}, {holds}")
    return _arguments(plan, task, lines[task - 1])


def plan_cells(plan: str) -> list[dict[str, int]]:
    """The {P, depth, seed} of each line of a plan. Raises InputError for a line without them."""
    planned = []
    for task, text in enumerate(_lines(plan), 1):
        values = dict(pairwise(_arguments(plan, task, text)))
        try:
            planned.append({name: int(values[option]) for name, option in CELL_OPTIONS.items()})
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{plan}: line {task} does not name one P, depth and seed; make the plan with jam-nstar plan"
            ) from error
    return planned


def _lines(plan: str) -> list[str]:
    return read_bytes(plan).decode(errors="replace").splitlines()


def _arguments(plan: str, task: int, text: str) -> list[str]:
    """The arguments that a line gives to the search."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{plan}: line {task}: {error}; make the plan with jam-nstar plan") from error
    if words[:2] != SEARCH_COMMAND:
        raise InputError(f"{plan}: line {task} is no jam-nstar search; make the plan with jam-nstar plan")
    return words[2:]


def replace_process(arguments: list[str]) -> NoReturn:
    """Replaces this process by the search, so that the search itself gets the signals and sets the exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jamtools.cli.nstar", "search", *arguments])


def check_line(words: list[str], context: typer.Context) -> None:
    """Raises the error that a search with this line would raise before it starts.

    Also refuses a line whose options replace those that the plan set in it.
    """
    group = context.parent.command if context.parent else context.command
    search = group.commands["search"]  # type: ignore[attr-defined]
    planned = dict(pairwise(words))
    with search.make_context("search", list(words)) as line:
        values = line.params
        read = {option: str(values[name]) for name, option in OPTION_OF_PARAMETER.items()}
        replaced = [option for option in read if read[option] != planned[option]]
        for option in [f"--{name}" for name in ("task", "plan") if values[name] is not None] + replaced:
            raise _belongs_to_plan(option)
        options, training = from_values(SearchGroup, values), from_values(TrialGroup, values)
        check_search(line, options, training)
        spec_of(options, training)


def refuse_plan_options(arguments: list[str]) -> None:
    """Raises a usage error for an option that the plan itself sets."""
    for argument in arguments:
        if argument.split("=")[0] in PLAN_OPTIONS:
            raise _belongs_to_plan(argument)


def _belongs_to_plan(option: str) -> typer.BadParameter:
    return typer.BadParameter(
        f"got {option} after the dataset, expected it before: the plan sets it in every line"
    )
