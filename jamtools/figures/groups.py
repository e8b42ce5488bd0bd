"""Which runs, spectra or searches a figure draws alike: the label, colour, marker and line of each group.

A label names the fields in which the groups differ, and groups with equal labels are one group. So nothing is pooled that
the legend does not name. Where sizes would make too many groups, they are pooled, and the label has their range.

Source: Okabe and Ito for the palette, whose colours colour-blind readers can distinguish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps

from jamtools.figures.style import PALETTE, Record
from jamtools.grouping import RUN_GROUP_FIELDS, keys_of, value_of
from jamtools.protocols import FREE_NORM

MAX_PALETTE_LABELS = 4  # more labels have the shades of one colour map

#: Markers and lines of groups, so that they can be told apart without colours. Triangles are limits of N*.
MARKERS, LINES = "osDPXph8*d", ("-", "--", "-.", ":")

#: The largest number of groups with points of their own: more cannot be told apart.
MAX_GROUPS_OF_POINTS = 8

#: Fields that a label names wherever they differ. It names others only where groups would have equal labels otherwise.
NAMED_FIELDS = (
    "data",
    "depth",
    "activation",
    "loss",
    "success",
    "optimizer",
    "certify",
    "width",
    "P",
    "seed",
)

#: The factor from which on a number of steps is a power of ten in a label.
POWER_OF_TEN_FROM = 1000


def _words(true: str, false: str) -> Callable[[Any], str]:
    return lambda value: true if value else false


def steps_in_words(steps: float) -> str:
    """900 as it is, and 30000 as 3·10⁴."""
    if steps < POWER_OF_TEN_FROM:
        return f"{steps:g}"
    power = int(np.floor(np.log10(steps) + 1e-9))
    factor = f"{steps / 10**power:.3g}"
    return f"$10^{{{power}}}$" if factor == "1" else rf"${factor}\cdot10^{{{power}}}$"


#: How a label writes the value of a field; others are written as `name = value`.
FIELD_WORDS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("data", "activation", "loss", "success", "optimizer", "protocol"), str),
    "depth": lambda value: f"$L$ = {value}",
    "d": lambda value: f"$d$ = {value}",
    "width": lambda value: f"$h$ = {value}",
    "P": lambda value: f"$P$ = {value}",
    "seed": lambda value: f"seed {value}",
    "steps": lambda value: f"{steps_in_words(value)} steps",
    "lr": lambda value: rf"$\eta$ = {value:g}",
    "epsilon": lambda value: rf"$\epsilon$ = {value:g}",
    "momentum": lambda value: rf"$\mu$ = {value:g}",
    "decay": lambda value: f"decay {value}",
    "init": lambda value: f"{value} start",
    "batch": lambda value: f"batches of {value}" if value else "full batches",
    "batch_norm": _words("batch norm", "no batch norm"),
    "norm": lambda value: "free weights" if value == FREE_NORM else f"$R$ = {value}",
    "no_bias": _words("no biases", "biases"),
    "certify": _words("certified", ""),
    "keep_dead": _words("dead kept", ""),
    "finished": _words("finished", "not finished"),
    "time": lambda value: f"$t$ = {steps_in_words(value)}",
}

#: The label of a value that is not known.
UNKNOWN_WORDS = {"data": "unnamed data", "steps": "", "time": ""}


def labels_of(
    infos: Sequence[Record],
    sizes: Sequence[str] = (),
    by: Sequence[str] | None = None,
    most: int = MAX_GROUPS_OF_POINTS,
    fields: Sequence[str] = RUN_GROUP_FIELDS,
) -> list[str]:
    """A label for each record, equal within a group: "$L$ = 3, adam".

    The groups agree in `fields` and in `sizes`. While there are more than `most` groups, the last of the sizes makes none:
    where it differs within a group, the label has its range. by: the fields that make groups instead of all these.
    """
    if by is not None:
        return _labels(infos, by, by)
    used = list(sizes)
    while True:
        labels = _labels(infos, (*fields, *used), NAMED_FIELDS)
        if not used or len(set(labels)) <= most:
            break
        used.pop()
    return _with_ranges(infos, labels, [name for name in sizes if name not in used])


def _labels(infos: Sequence[Record], fields: Sequence[str], named: Sequence[str]) -> list[str]:
    """Labels from the fields that differ: those of `named`, and others where they divide groups further."""
    words: list[list[str]] = []
    keys: list[tuple[Any, ...]] = [()] * len(infos)
    for name in sorted(fields, key=lambda name: name not in named):
        values = [value for (value,) in keys_of(infos, [name])]
        finer = [(*key, value) for key, value in zip(keys, values)]
        if len(set(values)) > 1 and (name in named or len(set(finer)) > len(set(keys))):
            words.append([_in_words(name, value) for value in values])
            keys = finer
    return [", ".join(filter(None, parts)) for parts in zip(*words)] if words else [""] * len(infos)


def _in_words(name: str, value: Any) -> str:
    if value is None:
        return UNKNOWN_WORDS.get(name, f"no {name}")
    return FIELD_WORDS[name](value) if name in FIELD_WORDS else f"{name} = {value}"


def _with_ranges(infos: Sequence[Record], labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """The labels with the range of each field within the group, where it differs there."""
    values: dict[str, dict[str, set[Any]]] = {label: {name: set() for name in names} for label in labels}
    for info, label in zip(infos, labels):
        for name in names:
            values[label][name].add(value_of(info, name))
    ranges = {
        label: [
            _in_words(name, f"{min(found)} to {max(found)}")
            for name, found in fields.items()
            if len(found) > 1 and None not in found
        ]
        for label, fields in values.items()
    }
    return [", ".join(filter(None, [label, *ranges[label]])) for label in labels]


@dataclass(frozen=True)
class Look:
    """How a group is drawn."""

    colour: Any
    marker: str
    line: str


def looks_of(labels: Iterable[str]) -> dict[str, Look]:
    """The look of each distinct label, in their order: colours from the palette for a few labels, else shades of one map."""
    distinct = list(dict.fromkeys(labels))
    colours: Sequence[Any] = PALETTE
    if len(distinct) > MAX_PALETTE_LABELS:
        colours = list(colormaps["viridis"](np.linspace(0, 0.92, len(distinct))))
    return {
        label: Look(colours[i], MARKERS[i % len(MARKERS)], LINES[i % len(LINES)])
        for i, label in enumerate(distinct)
    }


def members_of(labels: Sequence[str]) -> dict[str, list[int]]:
    """The numbers of the records of each label, in the order of the labels."""
    members: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    return members
