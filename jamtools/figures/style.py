"""The common parts of all figures: the style, labels and colours that distinguish runs, and the bytes of a file.

Source: Okabe and Ito for the palette, whose colours colour-blind readers can distinguish.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

#: A record of a run, or a line of JSON.
Record = Mapping[str, Any]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#777777"
STYLE: Any = {
    "font.size": 10, "axes.labelsize": 11, "axes.titlesize": 10, "legend.fontsize": 9,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "font.family": "STIXGeneral", "mathtext.fontset": "stix",
    "lines.linewidth": 1.2, "lines.markersize": 4.5, "axes.linewidth": 0.7, "xtick.direction": "in", "ytick.direction": "in",
    "xtick.top": True, "ytick.right": True, "legend.frameon": False, "pdf.fonttype": 42,
    "svg.hashsalt": "jamtools", "figure.constrained_layout.w_pad": 0.08, "text.usetex": False, "axes.grid": False,
}  # fmt: skip
PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.7  # inches: two panels are as wide as a page
PNG_DPI = 200  # pixels per inch
MAX_PALETTE_LABELS = 4  # more labels have the shades of one colour map

#: If the ends of a log axis have a smaller ratio, its ticks are at 200, 500, 1000 instead of powers of ten.
MAX_RATIO_OF_PLAIN_TICKS = 300

#: How a label writes the fields that distinguish runs. The seed is written only where no other field differs.
FIELD_SYMBOLS = {
    "activation": "",
    "loss": "",
    "optimizer": "",
    "depth": "$L$ = ",
    "d": "$d$ = ",
    "width": "$h$ = ",
    "P": "$P$ = ",
}

#: A decorator that draws a figure in this style.
styled = rc_context(STYLE)


def new_figure(panels: int = 1, width: float = PANEL_WIDTH) -> tuple[Figure, list[Axes]]:
    """A figure with a row of panels, each of `width` inches."""
    figure = Figure(figsize=(width * panels, PANEL_HEIGHT), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def render(figure: Figure, form: str, about: str = "") -> bytes:
    """The bytes of a figure as png, pdf or svg, with `about` in its metadata and without a date."""
    key = {"png": "Description", "pdf": "Keywords", "svg": "Description"}[form]
    dates: dict[str, Any] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format=form, dpi=PNG_DPI, metadata={**dates, key: about})
    return buffer.getvalue()


def note(axis: Axes, text: str) -> None:
    """Writes a sentence in a panel that has no data."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=GREY)


def legend(axis: Axes, **options: Any) -> None:
    """Adds a legend where a curve has a label; points with error bars come first."""
    entries = list(zip(*axis.get_legend_handles_labels()))
    if entries:
        entries.sort(key=lambda entry: not isinstance(entry[0], ErrorbarContainer))
        axis.legend(*zip(*entries), **options)


def plain_ticks(axis: Axis) -> None:
    """Labels a log axis over a decade or two by 200, 500, 1000 instead of powers of ten."""
    low, high = axis.get_view_interval()
    if high < MAX_RATIO_OF_PLAIN_TICKS * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axis.set_minor_formatter(NullFormatter())


def labels_of(infos: Sequence[Record], without: Sequence[str] = ()) -> list[str]:
    """A label for each run, "h = 10, P = 500" or "seed 3", from the fields that differ and are not in `without`."""
    names = [
        name for name in FIELD_SYMBOLS if name not in without and len({info.get(name) for info in infos}) > 1
    ]
    if names or "seed" in without or len(infos) == 1:
        return [", ".join(f"{FIELD_SYMBOLS[name]}{info.get(name)}" for name in names) for info in infos]
    return [f"seed {info.get('seed')}" for info in infos]


def colours_of(labels: Iterable[str]) -> dict[str, Any]:
    """A colour for each distinct label, in the order of the labels: from the palette for a few labels, else shades."""
    distinct = list(dict.fromkeys(labels))
    if len(distinct) <= MAX_PALETTE_LABELS:
        return dict(zip(distinct, PALETTE))
    return dict(zip(distinct, colormaps["viridis"](np.linspace(0, 0.92, len(distinct)))))


def number(value: float | None) -> float:
    """A number from a file; NaN where the file has null, for example for the loss of a diverged run."""
    return math.nan if value is None else float(value)
