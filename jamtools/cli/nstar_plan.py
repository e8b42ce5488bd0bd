"""jam-nstar plan: the tasks of a job array, one jam-nstar search a line, and one of them run by its number."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from itertools import pairwise, product
from typing import Annotated, NoReturn

import typer

from jamtools.cli.common.options import Debug, Integers, Output, Quiet, Version, naturals, positives
from jamtools.cli.common.session import Session
from jamtools.cli.nstar_options import check_search, question_of
from jamtools.errors import InputError
from jamtools.io.streams import read_bytes

SEEDS, DEPTHS = Integers(range(5)), Integers((3,))

COMMAND = ["jam-nstar", "search"]

#: What the plan sets in each line, by the names of the search's parameters.
NAMES = {
    "patterns": "--patterns",
    "depth": "--depth",
    "seeds": "--seeds",
    "journal": "--journal",
    "output": "-o",
}

CELL = {"P": "--patterns", "depth": "--depth", "seed": "--seeds"}


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
    with --cold finds. Each samples until its own interval is short enough: that of k seeds together is about √k times
    shorter, so give them a --precision √k times larger than the one wanted.
    """
    session = Session("jam-nstar", output, quiet)
    refuse_own(context.args)
    planned = plan_lines(dataset, patterns, depths, seeds, out, list(context.args))
    check_line(shlex.split(planned[0])[2:], context)
    session.write("".join(f"{line}\n" for line in planned).encode())
    if not os.path.isdir(out):
        session.note(f"{out}: there is no such folder yet; make it before the tasks run")


def plan_lines(
    dataset: str | None,
    patterns: Iterable[int],
    depths: Iterable[int],
    seeds: Iterable[int],
    out: str,
    options: list[str],
) -> list[str]:
    """A command line for each depth, P and seed: each its own journal and result in the folder `out`."""
    planned = []
    for depth, P, seed in product(depths, patterns, seeds):
        name = os.path.join(out, f"nstar-L{depth}-P{P}-s{seed}")
        cell = ["--depth", str(depth), "--patterns", str(P), "--seeds", str(seed), "--cold"]
        kept = ["--journal", f"{name}.journal", "--resume", "-o", f"{name}.jsonl"]
        planned.append(shlex.join([*COMMAND, *([dataset] if dataset else []), *cell, *options, *kept]))
    return planned


def plan_line(plan: str, task: int) -> list[str]:
    """The arguments of line `task` of a plan, counted from 1 as sed does."""
    lines = _lines(plan)
    if not 1 <= task <= len(lines):
        raise InputError(f"{plan}: asked for task {task}, it has lines 1 to {len(lines)}")
    return _words(plan, task, lines[task - 1])


def plan_cells(plan: str) -> list[dict[str, int]]:
    """The {P, depth, seed} of each line of a plan."""
    found = []
    for task, text in enumerate(_lines(plan), 1):
        values = dict(pairwise(_words(plan, task, text)))
        try:
            found.append({name: int(values[option]) for name, option in CELL.items()})
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{plan}: line {task} names no one P, depth and seed; make the plan with jam-nstar plan"
            ) from error
    return found


def _lines(plan: str) -> list[str]:
    return read_bytes(plan).decode(errors="replace").splitlines()


def _words(plan: str, task: int, text: str) -> list[str]:
    """What a line gives to the search."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{plan}: line {task}: {error}; make the plan with jam-nstar plan") from error
    if words[:2] != COMMAND:
        raise InputError(f"{plan}: line {task} is no jam-nstar search; make the plan with jam-nstar plan")
    return words[2:]


def become(words: list[str]) -> NoReturn:
    """This process goes on as that search: signals and exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jamtools.cli.nstar", "search", *words])


def check_line(words: list[str], context: typer.Context) -> None:
    """An error for a line that the search would refuse before it starts, or whose cell is another than the plan's."""
    group = context.parent.command if context.parent else context.command
    search = group.commands["search"]  # type: ignore[attr-defined]
    planned = dict(pairwise(words))
    with search.make_context("search", list(words)) as line:
        typed = line.params
        own = {option: str(typed[name]) for name, option in NAMES.items()}
        others = [option for option in ("--task", "--plan") if typed[option.strip("-")] is not None]
        for option in [*others, *(option for option in own if own[option] != planned[option])]:
            raise _its_own(option)
        check_search(line)
        question_of(typed)


def refuse_own(options: list[str]) -> None:
    """The options that the plan itself sets."""
    own = {
        "--depth",
        "-L",
        "--patterns",
        "-P",
        "--seeds",
        "--seed",
        "--cold",
        "--vary",
        "--width",
        "--journal",
        "--resume",
        "-o",
        "--output",
    }
    for word in options:
        if word.split("=")[0] in own:
            raise _its_own(word)


def _its_own(option: str) -> typer.BadParameter:
    return typer.BadParameter(
        f"got {option} after the dataset, expected it before: the plan sets it in every line"
    )
