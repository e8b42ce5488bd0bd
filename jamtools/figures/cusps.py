"""The density of the pre-activations, layer by layer.

Source: arXiv:1809.09349, fig. 12.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.figures.style import PALETTE, Record, legend, new_figure, number, styled


@styled
def draw_cusps(records: Sequence[Record]) -> Figure:
    """Density of the pre-activations of each layer. It has a delta at 0 on the training data only."""
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
    """Draws one layer of all runs for one kind of data (`name`). The label gives the mean mass of the delta at 0."""
    layers = [layer for layer in layers if layer["histogram"].get(name) is not None]
    if not layers:
        return
    mass = np.mean([number(layer[f"mass_{name}"]) for layer in layers])
    for i, layer in enumerate(layers):
        axis.stairs(
            np.array(layer["histogram"][name]), np.array(layer["histogram"]["edges"]), color=colour, linestyle=line,
            alpha=len(layers) ** -0.5, label="" if i else f"{label}: {mass:.2g} at 0",
        )  # fmt: skip
