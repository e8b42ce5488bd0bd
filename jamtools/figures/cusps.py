"""The density of the pre-activations, layer by layer.

Source: arXiv:1809.09349, fig. 12.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.errors import InputError
from jamtools.figures.groups import labels_of, looks_of, members_of
from jamtools.figures.style import PALETTE, Record, legend, new_figure, number, styled


@styled
def draw_cusps(records: Sequence[Record], by: Sequence[str] | None = None) -> Figure:
    """Density of the pre-activations of each layer, a mean over the runs of a group. Only training data have a delta at 0.

    by: the fields that make groups (grouping.py). Raises InputError where no network has hidden layers.
    """
    depth = max(len(record["layers"]) for record in records)
    if not depth:
        raise InputError("networks without hidden layers, expected some with pre-activations to draw")
    figure, axes = new_figure(depth)
    labels = labels_of(records, ("width", "P"), by)
    looks = looks_of(labels)
    for i, axis in enumerate(axes):
        for label, members in members_of(labels).items():
            layers = [records[k]["layers"][i] for k in members if i < len(records[k]["layers"])]
            prefix = f"{label}, " if label else ""
            colours = (looks[label].colour,) * 2 if len(looks) > 1 else PALETTE[:2]
            _draw_layer(axis, layers, "train", f"{prefix}training", colours[0], "-")
            _draw_layer(axis, layers, "fresh", f"{prefix}fresh", colours[1], "--")
        axis.set(yscale="log", xlabel="$z$ / rms of the layer", ylabel="density", title=f"layer {i + 1}")
        legend(axis)
    return figure


def _draw_layer(axis: Axes, layers: Sequence[Record], name: str, label: str, colour: str, line: str) -> None:
    """Draws the mean of one layer over runs for one kind of patterns (`name`). The label gives the mean mass at 0."""
    layers = [layer for layer in layers if layer["histogram"].get(name) is not None]
    if not layers:
        return
    mass = np.mean([number(layer[f"mass_{name}"]) for layer in layers])
    density = np.mean([layer["histogram"][name] for layer in layers], axis=0)
    edges = np.array(layers[0]["histogram"]["edges"])
    axis.stairs(density, edges, color=colour, linestyle=line, label=f"{label}: {mass:.2g} at 0")
