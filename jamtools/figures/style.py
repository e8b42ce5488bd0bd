"""The common parts of all figures: the style, panels, legends, and the bytes of a file.

Source: Okabe and Ito for the palette, whose colours colour-blind readers can distinguish.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
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
REMARK_SIZE = 9  # points
LEGEND_MARGIN, WIDTH_OF_LETTER = (
    0.5,
    0.07,
)  # inches: the marker and the margin of a legend, and a letter of its labels
PNG_DPI = 200  # pixels per inch

#: If the ends of a log axis have a smaller ratio, its ticks are at 200, 500, 1000 instead of powers of ten.
MAX_RATIO_OF_PLAIN_TICKS = 300

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


def remark(figure: Figure, sentences: Sequence[str]) -> None:
    """Writes sentences above a figure, for example what was left out."""
    if sentences:
        figure.suptitle("; ".join(sentences), fontsize=REMARK_SIZE, color=GREY)


def left_out_in_words(what: str, n: int) -> str:
    """`2 dead runs left out`."""
    return f"{n} {what} run{'s' * (n > 1)} left out"


def widen(axis: Axes, letters: int) -> None:
    """Makes room for a legend with labels of so many letters beside the panel."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + LEGEND_MARGIN + WIDTH_OF_LETTER * letters, height)


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


def number(value: float | None) -> float:
    """A number from a file; NaN where the file has null, for example for the loss of a diverged run."""
    return math.nan if value is None else float(value)
