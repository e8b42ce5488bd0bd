"""What the commands that print JSON lines found: exponents, N_eff, cusps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.errors import InputError
from jamtools.figures.style import (
    GREY,
    PALETTE,
    Record,
    colours_of,
    labels_of,
    legend,
    new_figure,
    note,
    number,
    styled,
)

#: A distribution: how its density, its argument and its exponent are written, and the sign: x^t or x^-γ.
HALVES = {
    "overlaps": (r"$P_+$", r"$\Delta/\sqrt{\mathcal{L}}$", r"\theta", 1),
    "gaps": (r"$P_-$", r"$-\Delta$", r"\gamma", -1),
}
#: How far below the range of the fit values are shown: what lies there is for finite size to explain.
BELOW = 30
VALUES = ("density", "$x$", "t", 1)


@styled
def distributions(records: Sequence[Record]) -> Figure:
    """P₊ and P₋ with the fitted curves and exponents; of plain values, their one distribution."""
    plain = all("exponent" in record for record in records)
    panels = {"": VALUES} if plain else HALVES
    figure, axes = new_figure(len(panels))
    for (name, (density, x, symbol, sign)), axis in zip(panels.items(), axes):
        halves = [record if plain else record.get(name) or {} for record in records]
        fitted = [half for half in halves if half.get("exponent") is not None]
        for half, colour in zip(fitted, PALETTE * len(fitted)):
            _draw_half(axis, half, colour, symbol, sign)
        axis.set(xlabel=x, ylabel=density, xscale="log", yscale="log")
        legend(axis)
        if not fitted:
            note(axis, textwrap.fill(str(halves[0].get("refused", "not measured")), 36))
    return figure


def _draw_half(axis: Axes, half: Record, colour: str, symbol: str, sign: int) -> None:
    edges, counts, density = (np.array(half["histogram"][name]) for name in ("edges", "counts", "density"))
    centre = np.sqrt(edges[1:] * edges[:-1])
    shown = (counts > 0) & (centre > half["range"][0] / BELOW)
    bars = density[shown] * np.expm1(np.array([[-1], [1]]) / np.sqrt(counts[shown]))  # even on a log axis
    axis.errorbar(
        centre[shown], density[shown], np.abs(bars), fmt="o", color=colour, mfc="white", linewidth=0.8
    )
    x, fitted = (np.array(half["curve"][name]) for name in ("x", "density"))
    low, high = half["interval"]
    label = f"${symbol} = {half['exponent']:.2f}$  $[{low:.2f}, {high:.2f}]$"
    axis.plot(x, fitted, color=colour, label=label)
    tilt = sum(c * x[0] ** k for k, c in enumerate(half["coefficients"], start=1))
    power = fitted[0] / math.exp(tilt) * (x / x[0]) ** (sign * half["exponent"])  # the fit without its tilt
    axis.plot(x, power, "--", color=colour, linewidth=0.8)


@styled
def effective(records: Sequence[Record]) -> Figure:
    """N_eff against the parameters less the scale symmetries: on the diagonal where those are all."""
    known = [record for record in records if record.get("n_effective") is not None]
    if not known:
        raise InputError("got no run of known N_eff, expected at least one; the runs diverged")
    figure, (axis,) = new_figure()
    labels = labels_of(known, but=("width", "P", "seed"))
    x = np.array([record["n_parameters"] - record["n_hidden"] for record in known])
    y = np.array([record["n_effective"] for record in known])
    for label, colour in colours_of(labels).items():
        mine = np.array([its == label for its in labels])
        axis.plot(x[mine], y[mine], "o", color=colour, mfc="white", label=label)
    ends = np.array([0.9 * min(x.min(), y.min()), 1.1 * max(x.max(), y.max())])
    scale = "log" if ends[1] > 20 * ends[0] > 0 else "linear"
    axis.plot(ends, ends, color=GREY, linewidth=0.8, zorder=0)
    axis.set(xlabel=r"$\tilde N -$ hidden neurons", ylabel=r"$N_\mathrm{eff}$", xscale=scale, yscale=scale)
    legend(axis)
    return figure


@styled
def cusps(records: Sequence[Record]) -> Figure:
    """Density of the pre-activations layer by layer: a delta at 0 on training data only."""
    depth = max(len(record["layers"]) for record in records)
    figure, axes = new_figure(depth)
    for i, axis in enumerate(axes):
        layers = [record["layers"][i] for record in records if i < len(record["layers"])]
        _draw_layer(axis, layers, "train", "training", PALETTE[0], "-")
        _draw_layer(axis, layers, "fresh", "fresh", PALETTE[1], "--")
        axis.set(yscale="log", xlabel="$z$ / rms of the layer", ylabel="density", title=f"layer {i + 1}")
        legend(axis)
    return figure


def _draw_layer(axis: Axes, layers: Sequence[Record], name: str, label: str, colour: str, line: str) -> None:
    """One layer of all runs on one kind of data, with the mean mass of the delta."""
    layers = [layer for layer in layers if layer["histogram"].get(name) is not None]
    if not layers:
        return
    mass = np.mean([number(layer[f"mass_{name}"]) for layer in layers])
    for i, layer in enumerate(layers):
        axis.stairs(
            np.array(layer["histogram"][name]), np.array(layer["histogram"]["edges"]), color=colour, linestyle=line,
            alpha=len(layers) ** -0.5, label="" if i else f"{label}: {mass:.2g} at 0",
        )  # fmt: skip
