"""Single options and arguments that several commands share, and short ways to declare the usual kinds of options.

Options that go together are in `groups`; how their values are written is in `values`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from jamtools.cli.common.reporting import set_reporting
from jamtools.cli.common.values import above_zero, field_names, natural, positive


def integer_option(
    *names: str, help: str, parser: Callable[[Any], int] = positive, metavar: str = "N"
) -> Any:
    """An option whose value is an integer, of at least 1 unless the parser says otherwise."""
    return typer.Option(*names, parser=parser, metavar=metavar, help=help)


def list_option(*names: str, parser: Callable[[Any], Any], help: str) -> Any:
    """An option whose value is a list of integers."""
    return typer.Option(*names, parser=parser, metavar="LIST", help=help)


def real_option(*names: str, help: str, parser: Callable[[Any], float] = above_zero) -> Any:
    """An option whose value is a real number, above 0 unless the parser says otherwise."""
    return typer.Option(*names, parser=parser, metavar="X", help=help)


def file_option(*names: str, help: str, metavar: str = "FILE") -> Any:
    """An option whose value is the name of a file."""
    return typer.Option(*names, metavar=metavar, help=help)


def reporting_flag(*names: str, help: str) -> Any:
    """A flag that decides what `run` prints. It is read before the other options, since it concerns their errors."""
    return typer.Option(*names, help=help, is_eager=True, callback=set_reporting)


def _print_version(wanted: bool) -> None:
    if wanted:
        from jamtools import __version__

        print(f"jamtools {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
]

Seed = Annotated[int, integer_option("--seed", parser=natural, help="Seed of the random numbers.")]

Engine = Annotated[
    Literal["auto", "compiled", "batch", "torch"],
    typer.Option(
        "--engine",
        help="compiled: full batches on the CPU in float64; batch: runs of equal shape together along a "
        "leading axis, full batches; auto: compiled, or batch on CUDA, where it applies, else torch.",
    ),
]

Dead = Annotated[
    Literal["leave-out", "keep"],
    typer.Option(
        "--dead",
        help="What happens to dead runs and patterns, where in some layer no neuron is active: they say nothing about "
        "jamming.",
    ),
]

Source = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")]

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILES...", help="Files, read as one ensemble; - is standard input."),
]

By = Annotated[
    Any,
    typer.Option(
        "--by",
        parser=field_names,
        metavar="FIELDS",
        help="The fields that make groups, such as depth,loss; none: all in one group [default: the data, the network, the "
        "loss and the dynamics].",
        show_default=False,
    ),
]

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help='Use only what fulfils this condition on its fields: "depth == 3 and final_loss < 1e-3", jammed, satisfied, '
        "dead, near(0.05) for P/N within 5 % of the transition.",
    ),
]
