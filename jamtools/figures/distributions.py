"""P₊ of the overlaps and P₋ of the gaps, with the fitted curves.

Source: arXiv:1809.09349, fig. 8.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.figures.style import GREY, PALETTE, Record, legend, new_figure, note, styled


class Notation(NamedTuple):
    """The symbols of a distribution: density, argument and exponent. sign: 1 for x^t, -1 for x^-γ."""

    density: str
    argument: str
    exponent: str
    sign: int


DISTRIBUTION_NOTATIONS = {
    "overlaps": Notation(r"$P_+$", r"$\Delta/\sqrt{\mathcal{L}}$", r"\theta", 1),
    "gaps": Notation(r"$P_-$", r"$-\Delta$", r"\gamma", -1),
}
PLAIN_VALUES_NOTATION = Notation("density", "$x$", "t", 1)

#: The histogram begins at the smallest fitted value divided by this. Below, it shows only effects of finite size.
MAX_RATIO_BELOW_RANGE = 30

REASON_WIDTH = 36  # columns

#: Columns of the reason above a panel that has a histogram.
SMALL_WIDTH = 62

#: The words for an infinite lower and upper end of an interval.
ENDLESS = (r"-\infty", r"\infty")

#: The largest number of characters of a reason above a panel: two lines.
MAX_REASON = 110


@styled
def draw_distributions(records: Sequence[Record]) -> Figure:
    """P₊ and P₋ with the fitted curves and exponents, from records of `jamtools.exponents`.

    A record of plain values has a single distribution. A fit that was refused leaves its histogram, and its reason above it.
    """
    plain = all("exponent" in record for record in records)
    panels = {"": PLAIN_VALUES_NOTATION} if plain else DISTRIBUTION_NOTATIONS
    figure, axes = new_figure(len(panels))
    for (name, notation), axis in zip(panels.items(), axes):
        fits = [record if plain else record.get(name) or {} for record in records]
        shown = [fit for fit in fits if fit.get("histogram")]
        for fit, colour in zip(shown, PALETTE * len(shown)):
            _draw_histogram(axis, fit, colour)
            if fit.get("exponent") is not None:
                _draw_fit(axis, fit, colour, notation)
        axis.set(xlabel=notation.argument, ylabel=notation.density, xscale="log", yscale="log")
        legend(axis)
        if not shown:
            note(axis, textwrap.fill(str(fits[0].get("refused", "not measured")), REASON_WIDTH))
        elif refused := [fit["refused"] for fit in fits if fit.get("refused")]:
            _write_reasons(axis, refused)
    return figure


def _write_reasons(axis: Axes, refused: Sequence[str]) -> None:
    """Writes above a panel, in small letters, why fits were refused; the first reason stands for many."""
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    text = textwrap.shorten(refused[0], MAX_REASON, placeholder=" …") + more
    axis.set_title(textwrap.fill(f"no fit: {text}", SMALL_WIDTH), fontsize="xx-small", color=GREY, loc="left")


def _draw_histogram(axis: Axes, fit: Record, colour: str) -> None:
    """Draws the density in the bins that are not empty, with the errors of their counts."""
    edges, counts, density = (np.array(fit["histogram"][name]) for name in ("edges", "counts", "density"))
    centre = np.sqrt(edges[1:] * edges[:-1])
    lowest = fit["range"][0] / MAX_RATIO_BELOW_RANGE if fit.get("range") else 0.0
    shown = (counts > 0) & (centre > lowest)
    bars = density[shown] * np.expm1(
        np.array([[-1], [1]]) / np.sqrt(counts[shown])
    )  # symmetric on a log axis
    axis.errorbar(
        centre[shown], density[shown], np.abs(bars), fmt="o", color=colour, mfc="white", linewidth=0.8
    )


def _label(fit: Record, notation: Notation) -> str:
    """The exponent and its interval, of which an end may be infinite; or that no power law can be told."""
    if fit.get("drift"):
        return "no power law can be told"
    low, high = (f"{end:.2f}" if end is not None else sign for end, sign in zip(fit["interval"], ENDLESS))
    return f"${notation.exponent} = {fit['exponent']:.2f}$  $[{low}, {high}]$"


def _draw_fit(axis: Axes, fit: Record, colour: str, notation: Notation) -> None:
    """Draws the fitted density and, dashed, its power law without the tilt, unless no power law can be told."""
    x, fitted = (np.array(fit["curve"][name]) for name in ("x", "density"))
    axis.plot(x, fitted, color=colour, label=_label(fit, notation))
    if fit.get("drift"):
        return
    tilt = sum(c * x[0] ** k for k, c in enumerate(fit["coefficients"], start=1))
    power = fitted[0] / math.exp(tilt) * (x / x[0]) ** (notation.sign * fit["exponent"])
    axis.plot(x, power, "--", color=colour, linewidth=0.8)
