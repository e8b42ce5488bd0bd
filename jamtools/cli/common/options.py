"""Each option that several commands share, declared once, and the values they take: 10k, 10,12, 0:8."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import typer

SUFFIX = {"k": 10**3, "M": 10**6, "G": 10**9}

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Integers(tuple[int, ...]):
    """A list of integers as users type it: `10,12,14`, `0:8` (half open), `100:1000:100`."""

    def __str__(self) -> str:
        return ",".join(map(str, self))


def integer(text: str | int) -> int:
    """An integer, with k, M or G for 10³, 10⁶, 10⁹: '10k' -> 10000, '1.5M' -> 1500000."""
    text = str(text)
    scale = SUFFIX.get(text[-1:], 1)
    digits = text[:-1] if text[-1:] in SUFFIX else text
    try:
        value = float(digits) * scale if "." in digits and scale > 1 else int(digits) * scale
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected an integer such as 800, 10k or 2M") from None
    if value != int(value):
        raise typer.BadParameter(f"got {text!r}, expected a whole number")
    return int(value)


def positive(text: str | int) -> int:
    """An integer of at least 1."""
    value = integer(text)
    if value < 1:
        raise typer.BadParameter(f"got {text}, expected at least 1")
    return value


def natural(text: str | int) -> int:
    """An integer of at least 0."""
    value = integer(text)
    if value < 0:
        raise typer.BadParameter(f"got {text}, expected at least 0")
    return value


def byte_count(text: str | int) -> int:
    """Bytes, with K, M, G or T for powers of 1024: '8G' -> 8589934592."""
    text = str(text).removesuffix("iB").removesuffix("B")
    power = "KMGT".find(text[-1:].upper()) + 1 if text else 0
    try:
        value = float(text[:-1] if power else text) * 1024**power
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise typer.BadParameter(f"got {text!r}, expected bytes such as 500M or 8G")
    return int(value)


def integers(text: str | Integers) -> Integers:
    """A comma-separated list of integers and half-open ranges start:stop[:step]."""
    if isinstance(text, Integers):
        return text
    values: list[int] = []
    for item in text.split(","):
        parts = [integer(part) for part in item.split(":")]
        if len(parts) > 3 or (len(parts) == 3 and parts[2] < 1):
            raise typer.BadParameter(
                f"got {item!r}, expected start:stop or start:stop:step with a step above 0"
            )
        values += parts if len(parts) == 1 else range(*parts)
    if not values:
        raise typer.BadParameter(f"got {text!r}, which names no integer")
    return Integers(dict.fromkeys(values))


def positives(text: str | Integers) -> Integers:
    """A list of integers of at least 1."""
    return _all_at_least(integers(text), 1)


def naturals(text: str | Integers) -> Integers:
    """A list of integers of at least 0."""
    return _all_at_least(integers(text), 0)


def _all_at_least(values: Integers, least: int) -> Integers:
    if min(values) < least:
        raise typer.BadParameter(f"got {min(values)}, expected at least {least}")
    return values


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a number") from None


def above_zero(text: str | float) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"got {text}, expected a number above 0")
    return value


def below_one(text: str | float) -> float:
    """A number of at least 0 and below 1."""
    value = _number(text)
    if not 0 <= value < 1:
        raise typer.BadParameter(f"got {text}, expected a number of at least 0 and below 1")
    return value


def device_name(text: str) -> str:
    """auto, cpu, cuda or cuda:N."""
    kind, _, index = text.partition(":")
    if text in ("auto", "cpu", "cuda") or (kind == "cuda" and index.isdigit()):
        return text
    raise typer.BadParameter(f"got {text!r}, expected auto, cpu, cuda or cuda:N")


def _print_version(wanted: bool) -> None:
    if wanted:
        from jamtools import __version__

        print(f"jamtools {__version__}")
        raise typer.Exit


#: What a first-order step has and newton has not.
FIRST_ORDER = ("lr", "lr_schedule", "lr_floor", "momentum", "neighbour_list")


def given(context: typer.Context) -> dict[str, str]:
    """What stands on the command line, by the names of the parameters: lr -> --lr."""
    here = {
        one.name or "": one.opts[0]
        for one in context.command.params
        if getattr(context.get_parameter_source(one.name or ""), "name", "") == "COMMANDLINE"
    }
    return here | ({"dataset": "a dataset"} if "dataset" in here else {})


def refuse(context: typer.Context, names: Iterable[str], beside: str) -> None:
    """A usage error when one of these parameters stands on the command line."""
    typed = given(context)
    for name in names:
        if name in typed:
            raise typer.BadParameter(f"got {typed[name]} with {beside}; leave it out")


def check_optimizer(context: typer.Context, optimizer: str | None) -> None:
    """Refuses the options of a first-order step beside newton."""
    if optimizer == "newton":
        refuse(context, FIRST_ORDER, "--optimizer newton, which takes no first-order steps")


Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Write here, in one step; - is standard output.")
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

Version = Annotated[
    bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
]

Seed = Annotated[int, typer.Option("--seed", parser=natural, metavar="N", help="Seed of the random numbers.")]

Device = Annotated[
    str,
    typer.Option("--device", parser=device_name, metavar="NAME", help="auto, cpu, cuda or cuda:N."),
]

Dtype = Annotated[Literal["float64", "float32"], typer.Option("--dtype", help="Precision of the arithmetic.")]

Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        parser=natural,
        metavar="N",
        help="CPU threads; 0: one for small work, else torch's choice.",
    ),
]

Source = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for standard input.")]

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILES...", help="Files, read as one ensemble; - is standard input."),
]

Protocol = Annotated[
    Literal["paper-hinge", "paper-cross-entropy"] | None,
    typer.Option(
        "--protocol",
        help="A protocol of the paper by name, with its number of steps; options beside it take precedence.",
    ),
]

Loss = Annotated[
    Literal["hinge", "cross-entropy"] | None,
    typer.Option("--loss", help="[default: hinge, or the protocol's]"),
]

Init = Annotated[
    Literal["orthogonal", "torch", "normal"] | None,
    typer.Option("--init", help="Initialisation [default: orthogonal, or the protocol's]."),
]

BatchNorm = Annotated[
    bool | None,
    typer.Option(
        "--batch-norm/--no-batch-norm",
        help="Normalise each hidden layer over its batch [default: as the protocol; without one, no].",
    ),
]

Optimizer = Annotated[
    Literal["adam", "sgd", "fire", "newton"] | None,
    typer.Option(
        "--optimizer",
        help="adam, sgd and fire follow the gradient step by step; newton solves for the minimum of the hinge loss, and "
        "certifies it: seconds for small networks, another dynamics [default: adam, or the protocol's].",
    ),
]

Rate = Annotated[
    float | None,
    typer.Option(
        "--lr",
        parser=above_zero,
        metavar="X",
        help="Learning rate [default: 1e-4, or the protocol's; fire, whose first time step it is: 0.1].",
    ),
]

Momentum = Annotated[
    float | None,
    typer.Option(
        "--momentum",
        parser=below_one,
        metavar="X",
        help="Momentum of sgd, in torch's convention [default: 0].",
    ),
]


def duration(text: str | float) -> float:
    """Seconds from `90s`, `5m`, `1.5h`, `2d` or a plain number of seconds."""
    text = str(text)
    scale = SECONDS.get(text[-1:], 1)
    try:
        seconds = float(text[:-1] if text[-1:] in SECONDS else text) * scale
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a duration such as 90s, 5m or 1h") from None
    if not 0 < seconds < float("inf"):
        raise typer.BadParameter(f"got {text}, expected a duration above 0")
    return seconds


Checkpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="FILE", help="Keep the runs here while they are under way."),
]

CheckpointEvery = Annotated[
    float | None,
    typer.Option("--checkpoint-every", parser=duration, metavar="TIME", help="How often [default: 60s]."),
]

Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the checkpoint; start afresh where there is none.")
]

TimeLimit = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        parser=duration,
        metavar="TIME",
        help="After 90s, 50m or 2h keep the runs in the checkpoint and exit with 75.",
    ),
]


def batch_size(text: str | int) -> int:
    """A number of patterns, or 0 for `full`."""
    return 0 if text == "full" else positive(text)


def schedule(text: str) -> tuple[int, float]:
    """(every, factor) from `250k:10`."""
    every, colon, factor = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"got {text!r}, expected STEPS:FACTOR such as 250k:10")
    return positive(every), above_zero(factor)


def not_negative(text: str | float) -> float:
    """A finite number of at least 0."""
    return 0.0 if _number(text) == 0 else above_zero(text)


def fraction(text: str | float) -> float:
    """A number above 0 and at most 1."""
    value = above_zero(text)
    if value > 1:
        raise typer.BadParameter(f"got {text}, expected a number above 0 and at most 1")
    return value


def confidence(text: str | float) -> float:
    """A level of confidence: above 0 and below 1, at which an interval would hold everything."""
    value = fraction(text)
    if value == 1:
        raise typer.BadParameter(f"got {text}, expected a level above 0 and below 1")
    return value
