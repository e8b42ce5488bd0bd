"""How the values of options are written: 10k, 1e4, 10,12, 0:8, 90s, 8G. Each parser raises a usage error (exit code 2).

A parser also accepts the value that it returns, since typer passes defaults through it as well.
"""

from __future__ import annotations

import re

import typer

#: Factors of the suffixes of an integer.
INTEGER_SUFFIXES = {"k": 10**3, "M": 10**6, "G": 10**9}

#: A whole number as users type it: digits, decimals, a power of ten of at most two digits, a suffix.
INTEGER = re.compile(r"([+-]?(?=\.?\d)\d*)(?:\.(\d*))?(?:[eE]\+?(\d{1,2}))?([kMG]?)")

#: Seconds in each unit of a duration.
DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

#: Suffixes of a number of bytes: powers of 1024, from the first.
BYTE_SUFFIXES = "KMGT"


class Integers(tuple[int, ...]):
    """A list of integers as users type it: `10,12,14`, `0:8` (half open), `100:1000:100`."""

    def __str__(self) -> str:
        return ",".join(map(str, self))


def integer(text: str | int) -> int:
    """An integer, exactly, with k, M or G for 10³, 10⁶, 10⁹, or a power of ten: '10k', '1e4' -> 10000."""
    match = INTEGER.fullmatch(str(text).strip())
    if match is None:
        raise typer.BadParameter(f"got {text!r}, expected an integer such as 800, 10k or 2M")
    digits, decimals, exponent, suffix = match.groups(default="")
    scaled = int(digits + decimals) * 10 ** int(exponent or 0) * INTEGER_SUFFIXES.get(suffix, 1)
    value, remainder = divmod(scaled, 10 ** len(decimals))
    if remainder:
        raise typer.BadParameter(f"got {text!r}, expected a whole number")
    return value


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


def batch_size(text: str | int) -> int:
    """A number of patterns; 0 stands for `full`."""
    return 0 if text == "full" else positive(text)


def byte_count(text: str | int) -> int:
    """A number of bytes, with K, M, G or T for powers of 1024: '8G' -> 8589934592."""
    text = str(text).removesuffix("iB").removesuffix("B")
    power = BYTE_SUFFIXES.find(text[-1:].upper()) + 1 if text else 0
    try:
        value = float(text[:-1] if power else text) * 1024**power
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise typer.BadParameter(f"got {text!r}, expected bytes such as 500M or 8G")
    return int(value)


def integers(text: str | Integers) -> Integers:
    """Integers from a comma-separated list of integers and half-open ranges start:stop[:step], each once."""
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


def _all_at_least(values: Integers, minimum: int) -> Integers:
    if min(values) < minimum:
        raise typer.BadParameter(f"got {min(values)}, expected at least {minimum}")
    return values


def above_zero(text: str | float) -> float:
    """A finite number above 0."""
    value = _real_number(text)
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"got {text}, expected a number above 0")
    return value


def finite(text: str | float) -> float:
    """A finite number of any sign."""
    value = _real_number(text)
    if not abs(value) < float("inf"):
        raise typer.BadParameter(f"got {text}, expected a finite number")
    return value


def not_negative(text: str | float) -> float:
    """A finite number of at least 0."""
    return 0.0 if _real_number(text) == 0 else above_zero(text)


def below_one(text: str | float) -> float:
    """A number of at least 0 and below 1."""
    value = _real_number(text)
    if not 0 <= value < 1:
        raise typer.BadParameter(f"got {text}, expected a number of at least 0 and below 1")
    return value


def fraction(text: str | float) -> float:
    """A number above 0 and at most 1."""
    value = above_zero(text)
    if value > 1:
        raise typer.BadParameter(f"got {text}, expected a number above 0 and at most 1")
    return value


def confidence(text: str | float) -> float:
    """A confidence level above 0 and below 1; at level 1 every interval would be infinite."""
    value = fraction(text)
    if value == 1:
        raise typer.BadParameter(f"got {text}, expected a level above 0 and below 1")
    return value


def _real_number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a number") from None


def field_names(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of fields in `depth,loss`; none of them for `none`."""
    if isinstance(text, tuple):
        return text
    names = tuple(name.strip() for name in text.split(","))
    if not all(re.fullmatch(r"[^\W\d]\w*(\.\w+)*", name) for name in names):
        raise typer.BadParameter(f"got {text!r}, expected names of fields such as depth,loss, or none")
    return () if names == ("none",) else tuple(dict.fromkeys(names))


def duration(text: str | float) -> float:
    """Seconds from `90s`, `5m`, `1.5h`, `2d` or a plain number of seconds."""
    text = str(text)
    scale = DURATION_UNITS.get(text[-1:], 1)
    try:
        seconds = float(text[:-1] if text[-1:] in DURATION_UNITS else text) * scale
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a duration such as 90s, 5m or 1h") from None
    if not 0 < seconds < float("inf"):
        raise typer.BadParameter(f"got {text}, expected a duration above 0")
    return seconds


def schedule(text: str | tuple[int, float]) -> tuple[int, float]:
    """(every, factor) from `250k:10`."""
    if isinstance(text, tuple):
        return text
    every, colon, factor = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"got {text!r}, expected STEPS:FACTOR such as 250k:10")
    return positive(every), above_zero(factor)


def kept_stages(text: str | int | None) -> int | None:
    """How many of the last stages to keep: None for `all`, 1 for `last`, or a number."""
    if text in ("all", None):
        return None
    return 1 if text == "last" else positive(text)


def norm_rule(text: str) -> str:
    """A fixed norm such as `25` or `3x`, as the settings keep it."""
    from jamtools.errors import InputError
    from jamtools.protocols import norm_in_words, parsed_norm

    try:
        value, multiple = parsed_norm(str(text))
    except InputError:
        raise typer.BadParameter(f"got {text!r}, expected a norm above 0 such as 25, or 3x") from None
    return norm_in_words(value, multiple)


def device_name(text: str) -> str:
    """auto, cpu, cuda or cuda:N."""
    kind, _, index = text.partition(":")
    if text in ("auto", "cpu", "cuda") or (kind == "cuda" and index.isdigit()):
        return text
    raise typer.BadParameter(f"got {text!r}, expected auto, cpu, cuda or cuda:N")
