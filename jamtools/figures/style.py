"""What all figures share: one look, labels and colours that tell runs apart, and the bytes of a file."""

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

Record = Mapping[str, Any]

#: Okabe & Ito's colours, which stay apart for colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#777777"
STYLE: Any = {
    "font.size": 10, "axes.labelsize": 11, "axes.titlesize": 10, "legend.fontsize": 9,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "font.family": "STIXGeneral", "mathtext.fontset": "stix",
    "lines.linewidth": 1.2, "lines.markersize": 4.5, "axes.linewidth": 0.7, "xtick.direction": "in", "ytick.direction": "in",
    "xtick.top": True, "ytick.right": True, "legend.frameon": False, "pdf.fonttype": 42,
    "svg.hashsalt": "jamtools", "figure.constrained_layout.w_pad": 0.08, "text.usetex": False, "axes.grid": False,
}  # fmt: skip
PANEL = (3.3, 2.7)  # inches: two panels are as wide as a page
DPI = 200
#: Symbols of the fields that may tell runs apart; the seed tells apart only what nothing else does.
SYMBOLS = {
    "activation": "",
    "loss": "",
    "optimizer": "",
    "depth": "$L$ = ",
    "d": "$d$ = ",
    "width": "$h$ = ",
    "P": "$P$ = ",
}


#: Puts a function that draws under this style.
styled = rc_context(STYLE)


def new_figure(panels: int = 1, width: float = PANEL[0]) -> tuple[Figure, list[Axes]]:
    """A row of panels."""
    figure = Figure(figsize=(width * panels, PANEL[1]), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def render(figure: Figure, form: str, about: str = "") -> bytes:
    """The figure as png, pdf or svg, with `about` in its metadata and no date."""
    key = {"png": "Description", "pdf": "Keywords", "svg": "Description"}[form]
    dates: dict[str, Any] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format=form, dpi=DPI, metadata={**dates, key: about})
    return buffer.getvalue()


def note(axis: Axes, text: str) -> None:
    """A sentence in place of data."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=GREY)


def legend(axis: Axes, **options: Any) -> None:
    """A legend where anything has a label; measured points first."""
    entries = list(zip(*axis.get_legend_handles_labels()))
    if entries:
        entries.sort(key=lambda entry: not isinstance(entry[0], ErrorbarContainer))
        axis.legend(*zip(*entries), **options)


def plain_ticks(axis: Axis) -> None:
    """A log axis over a decade or two reads better as 200, 500, 1000 than as powers of ten."""
    low, high = axis.get_view_interval()
    if high < 300 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axis.set_minor_formatter(NullFormatter())


def labels_of(infos: Sequence[Record], but: Sequence[str] = ()) -> list[str]:
    """What sets each run apart from the others, `but` some fields: "h = 10, P = 500", or "seed 3"."""
    names = [name for name in SYMBOLS if name not in but and len({info.get(name) for info in infos}) > 1]
    if names or "seed" in but or len(infos) == 1:
        return [", ".join(f"{SYMBOLS[name]}{info.get(name)}" for name in names) for info in infos]
    return [f"seed {info.get('seed')}" for info in infos]


def colours_of(labels: Iterable[str]) -> dict[str, Any]:
    """A colour per label in the order they come: the palette for a few, shades for many."""
    distinct = list(dict.fromkeys(labels))
    if len(distinct) <= 4:
        return dict(zip(distinct, PALETTE))
    return dict(zip(distinct, colormaps["viridis"](np.linspace(0, 0.92, len(distinct)))))


def number(value: float | None) -> float:
    """NaN for what a file holds as null, such as the loss of a diverged run."""
    return math.nan if value is None else float(value)
