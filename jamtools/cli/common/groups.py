"""Groups of options that two or more commands share, each declared once as a dataclass.

A command takes a group as one keyword argument, and `grouped` turns its fields into options:

    @app.command()
    @grouped
    def neff(files: Sources = None, *, arithmetic: Arithmetic, streams: Streams) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from jamtools.cli.common.options import (
    Version,
    file_option,
    integer_option,
    real_option,
    reporting_flag,
)
from jamtools.cli.common.values import (
    batch_size,
    below_one,
    device_name,
    duration,
    finite,
    natural,
    norm_rule,
    schedule,
)

if TYPE_CHECKING:
    from jamtools.protocols import TrainingOptions

Group = TypeVar("Group")
Result = TypeVar("Result")


def grouped(command: Callable[..., Result]) -> Callable[..., Result]:
    """The command with a parameter for each field of its groups, so that typer can read its signature."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _parameters(groups[name]) if name in groups else [parameter]
    flat_signature = signature.replace(parameters=parameters)

    def flat(*arguments: Any, **options: Any) -> Result:
        bound = flat_signature.bind(*arguments, **options)
        bound.apply_defaults()
        values = bound.arguments
        collected = {name: from_values(group, values) for name, group in groups.items()}
        ungrouped = {name: values[name] for name in signature.parameters if name not in groups}
        return command(**ungrouped, **collected)

    flat.__name__, flat.__doc__, flat.__module__ = command.__name__, command.__doc__, command.__module__
    # typer reads __signature__ and __annotations__. Not functools.wraps: typer would follow its __wrapped__ to the groups
    flat.__signature__ = flat_signature  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def from_values(group: type[Group], values: Mapping[str, Any]) -> Group:
    """The group with those values whose names are its fields; other values are ignored."""
    return group(**{field.name: values[field.name] for field in fields(group)})  # type: ignore[arg-type]


def _parameters(group: Any) -> list[inspect.Parameter]:
    """A keyword parameter for each field of a group."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]


@dataclass(frozen=True)
class Streams:
    """Where the result is written, and what is printed on stderr."""

    output: Annotated[
        str, file_option("--output", "-o", help="Write to this file, in one step; - is standard output.")
    ] = "-"
    quiet: Annotated[bool, reporting_flag("--quiet", "-q", help="Print nothing but errors on stderr.")] = (
        False
    )
    debug: Annotated[bool, reporting_flag("--debug", help="Show the traceback of an error.")] = False
    version: Version = False


@dataclass(frozen=True)
class Arithmetic:
    """Where and how precisely the work is computed."""

    device: Annotated[
        str,
        typer.Option("--device", parser=device_name, metavar="NAME", help="auto, cpu, cuda or cuda:N."),
    ] = "auto"
    dtype: Annotated[
        Literal["float64", "float32"], typer.Option("--dtype", help="Precision of the arithmetic.")
    ] = "float64"
    threads: Annotated[
        int,
        integer_option(
            "--threads",
            parser=natural,
            help="Number of CPU threads; 0: one for small work, else torch's choice.",
        ),
    ] = 0


@dataclass(frozen=True)
class CheckpointGroup:
    """How the unfinished runs of a training are kept on disk."""

    checkpoint: Annotated[
        str | None, file_option("--checkpoint", help="Keep unfinished runs in this file.")
    ] = None
    checkpoint_every: Annotated[
        float | None,
        typer.Option(
            "--checkpoint-every",
            parser=duration,
            metavar="TIME",
            help="Time between two writes of it [default: 60s].",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue from the checkpoint, also with more runs; without one, start from step 0.",
        ),
    ] = False
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            parser=duration,
            metavar="TIME",
            help="After this time (90s, 50m, 2h) save the runs in the checkpoint and exit with code 75.",
        ),
    ] = None


@dataclass(frozen=True)
class TrainingGroup:
    """The network and how it is trained; None stands for the protocol's choice, or for the default."""

    depth: Annotated[
        int,
        integer_option(
            "--depth", "-L", parser=natural, help="Number of hidden layers; 0: f = W x + b, the perceptron."
        ),
    ] = 3
    activation: Annotated[
        Literal["relu", "tanh", "linear"], typer.Option("--activation", help="The activation function ρ.")
    ] = "relu"
    protocol: Annotated[
        Literal["paper-hinge", "paper-cross-entropy"] | None,
        typer.Option(
            "--protocol",
            help="A protocol of the paper by name, with its number of steps; other options take precedence over it.",
        ),
    ] = None
    loss: Annotated[
        Literal["hinge", "cross-entropy"] | None,
        typer.Option("--loss", help="Loss function [default: hinge, or the protocol's]."),
    ] = None
    epsilon: Annotated[
        float | None,
        real_option(
            "--epsilon",
            parser=finite,
            help="Margin ε of the hinge loss; at fixed norm of any sign [default: 0.5].",
        ),
    ] = None
    init: Annotated[
        Literal["orthogonal", "torch", "normal"] | None,
        typer.Option("--init", help="Initialisation [default: orthogonal, or the protocol's]."),
    ] = None
    batch_norm: Annotated[
        bool | None,
        typer.Option(
            "--batch-norm/--no-batch-norm",
            help="Normalise each hidden layer over its batch [default: as in the protocol; no without a protocol].",
        ),
    ] = None
    bias: Annotated[
        bool,
        typer.Option(
            "--bias/--no-bias", help="Whether neurons have biases [default: bias].", show_default=False
        ),
    ] = True
    norm: Annotated[
        Any,
        typer.Option(
            "--norm",
            parser=norm_rule,
            metavar="R|Nx",
            help="Keep ‖W‖ = R, or 3x: three times the norm at initialisation [default: weights are free].",
        ),
    ] = None
    optimizer: Annotated[
        Literal["adam", "sgd", "fire", "newton"] | None,
        typer.Option(
            "--optimizer",
            help="adam, sgd and fire follow the gradient step by step. newton solves for a minimum of the hinge loss "
            "and certifies it: this takes seconds for small networks, and its dynamics differ [default: adam, or the "
            "protocol's].",
        ),
    ] = None
    momentum: Annotated[
        float | None,
        real_option(
            "--momentum", parser=below_one, help="Momentum of sgd, in torch's convention [default: 0]."
        ),
    ] = None
    lr: Annotated[
        float | None,
        real_option(
            "--lr",
            help="Learning rate; for fire, the first time step [default: 1e-4, or the protocol's; for fire 0.1].",
        ),
    ] = None
    lr_schedule: Annotated[
        Any,
        typer.Option(
            "--lr-schedule",
            parser=schedule,
            metavar="STEPS:FACTOR",
            help="Divide the rate by FACTOR every STEPS [default: 250k:10, or the protocol's].",
        ),
    ] = None
    lr_floor: Annotated[
        float | None, real_option("--lr-floor", help="The rate never falls below X [default: 1e-7].")
    ] = None
    batch: Annotated[
        int | None,
        integer_option(
            "--batch",
            parser=batch_size,
            metavar="N|full",
            help="Patterns per step [default: full; for sgd min(P/2, 1024)].",
        ),
    ] = None
    steps: Annotated[
        int | None,
        integer_option("--steps", help="Maximum number of steps [default: 100k, or the protocol's]."),
    ] = None

    def options(self, **more: Any) -> TrainingOptions:
        """The options of a training: those of the protocol, or the defaults, replaced by every option that is not None.

        `more`: options of one command, by the names that `protocols.with_options` takes; they take precedence.
        """
        from jamtools import protocols

        names = ("loss", "epsilon", "init", "optimizer", "momentum", "lr", "batch", "steps", "norm")
        every, factor = self.lr_schedule or (None, None)
        rate = {"every": every, "factor": factor, "floor": self.lr_floor}
        own = {name: getattr(self, name) for name in names} | rate
        base = protocols.PROTOCOLS[self.protocol] if self.protocol else protocols.TrainingOptions()
        return protocols.with_options(base, **own | more)

    @property
    def normalises(self) -> bool:
        """Whether the network has batch normalisation: as asked for, else as in the protocol; not without hidden layers."""
        from jamtools import protocols

        return self.depth > 0 and protocols.uses_batch_norm(self.protocol, self.batch_norm)
