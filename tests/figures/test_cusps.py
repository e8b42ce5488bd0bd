"""The figure of pre-activations has one panel per layer."""

from __future__ import annotations

from jamtools.figures.cusps import draw_cusps
from tests.support.figures import histograms, legend_texts


def layer(j: int, mass: float) -> dict:
    edges = [-1.5, -0.5, 0.5, 1.5]
    return {"layer": j, "mass_train": mass, "mass_fresh": 0.0,
            "histogram": {"edges": edges, "train": [0.2, 0.6, 0.2], "fresh": [0.3, 0.4, 0.3]}}  # fmt: skip


def test_cusps_have_one_panel_per_layer_with_the_mean_mass_at_zero():
    figure = draw_cusps([{"layers": [layer(1, 0.1), layer(2, 0.3)]}, {"layers": [layer(1, 0.2)]}])
    first, second = figure.axes
    assert [len(histograms(axis)) for axis in (first, second)] == [4, 2]
    assert legend_texts(first) == [
        "training: 0.15 at 0",
        "fresh: 0 at 0",
    ]
    assert histograms(second)[0][0].tolist() == [0.2, 0.6, 0.2]
