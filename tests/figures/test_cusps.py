"""The figure of pre-activations has one panel per layer."""

from __future__ import annotations

import pytest

from jamtools.errors import InputError
from jamtools.figures.cusps import draw_cusps
from tests.support.figures import histograms, legend_texts


def layer(j: int, mass: float) -> dict:
    edges = [-1.5, -0.5, 0.5, 1.5]
    return {"layer": j, "mass_train": mass, "mass_fresh": 0.0,
            "histogram": {"edges": edges, "train": [0.2, 0.6, 0.2], "fresh": [0.3, 0.4, 0.3]}}  # fmt: skip


def test_cusps_have_one_panel_per_layer_with_the_mean_mass_at_zero():
    figure = draw_cusps([{"layers": [layer(1, 0.1), layer(2, 0.3)]}, {"layers": [layer(1, 0.2)]}])
    first, second = figure.axes
    assert [len(histograms(axis)) for axis in (first, second)] == [2, 2]
    assert legend_texts(first) == [
        "training: 0.15 at 0",
        "fresh: 0 at 0",
    ]
    assert histograms(second)[0][0].tolist() == [0.2, 0.6, 0.2]


def test_runs_of_a_group_are_one_mean_and_groups_are_named():
    """Two runs at depth 1, with masses 0.1 and 0.3, and one at depth 2."""
    one, other = layer(1, 0.1), layer(1, 0.3)
    other["histogram"]["train"] = [0.4, 0.2, 0.4]
    records = [
        {"depth": 1, "layers": [one]},
        {"depth": 1, "layers": [other]},
        {"depth": 2, "layers": [layer(1, 0.5)]},
    ]
    (axis,) = draw_cusps(records).axes
    assert histograms(axis)[0][0] == pytest.approx([0.3, 0.4, 0.3])
    assert [text for text in legend_texts(axis) if "training" in text] == [
        "$L$ = 1, training: 0.2 at 0", "$L$ = 2, training: 0.5 at 0",
    ]  # fmt: skip


def test_networks_without_hidden_layers_have_nothing_to_draw():
    with pytest.raises(InputError, match="without hidden layers"):
        draw_cusps([{"layers": []}, {"layers": []}])
