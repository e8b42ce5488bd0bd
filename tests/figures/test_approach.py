"""The figure of approaches shows the stages that it was given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamtools.errors import InputError
from jamtools.figures.approach import approaches, draw_approach
from jamtools.figures.style import render
from tests.support.artefacts import run
from tests.support.figures import legend_texts, points, texts


def stage(number, seed=0, end=None, avalanche=False, loss=None, **fields):
    """A stage whose loss falls by four from stage to stage; N = 9."""
    loss = 0.9 * 4.0**-number if loss is None else loss
    approach = {
        "stage": number, "knob": "margin", "end": end, "loss_per_parameter": loss / 9, "moved": 0.1**number,
        "avalanche": avalanche,
    }  # fmt: skip
    return run(
        seed=seed, final_loss=loss, epsilon=0.5 - 0.1 * number, approach=approach, n_unsatisfied=5, **fields
    )


def chain(seed=0, **last):
    return [stage(0, seed), stage(1, seed), stage(2, seed, end="reached", **last)]


def test_each_panel_has_a_curve_for_each_approach_against_the_loss_per_parameter():
    figure = draw_approach(chain(0) + chain(3))
    for axis, value in zip(figure.axes, (5 / 9, 0.5, 1.0), strict=True):
        curves = [line for line in axis.lines if len(line.get_xdata()) == 3]
        assert len(curves) == 2
        assert list(curves[0].get_xdata()) == pytest.approx([0.1, 0.025, 0.00625])
        assert curves[0].get_ydata()[0] == pytest.approx(value)
        assert axis.get_xscale() == "log"
    assert legend_texts(figure.axes[2]) == ["seed 0", "seed 3"]
    assert render(figure, "png").startswith(b"\x89PNG")


def test_stages_are_joined_by_their_numbers_and_other_runs_are_no_stages():
    found = approaches([run(), *chain(), *chain()])
    assert [len(part) for part in found] == [3, 3]
    with pytest.raises(InputError, match="stage of an approach"):
        draw_approach([run()])


def test_ends_and_avalanches_have_marks():
    members = [stage(0), stage(1, avalanche=True), stage(2, end="collapsed", status="collapsed")]
    figure = draw_approach(members)
    assert points(figure.axes[0], "v") == [(pytest.approx(0.025), pytest.approx(5 / 9))]
    assert points(figure.axes[0], "x") == [(pytest.approx(0.00625), pytest.approx(5 / 9))]
    assert points(draw_approach(chain()).axes[0], "o") == [(pytest.approx(0.00625), pytest.approx(5 / 9))]


def test_cusps_are_added_in_a_dashed_curve():
    members = [stage(k, certificate={"n_cusps": 2}) for k in range(3)]
    dashed = [line for line in draw_approach(members).axes[0].lines if line.get_linestyle() == "--"]
    assert list(dashed[0].get_ydata()) == pytest.approx([7 / 9] * 3)


def test_satisfied_stages_are_left_out_and_counted():
    figure = draw_approach([stage(0, loss=1e-33, status="satisfied"), *chain()[1:]])
    assert "1 satisfied run left out" in texts(figure)
    assert len(figure.axes[1].lines[0].get_xdata()) == 2


def fewer(number, norm=2.0, end=None):
    """A stage of an approach by patterns: N = 9 and P = 6, 5, 4."""
    member = stage(number, end=end, P=6 - number, norm=norm)
    return replace(member, info=member.info | {"approach": member.info["approach"] | {"knob": "patterns"}})


def test_stages_of_fewer_patterns_are_drawn_against_their_number():
    axes = draw_approach([fewer(0), fewer(1), fewer(2, end="reached")]).axes
    for axis, values in zip(axes, ([5 / 9] * 3, [0.1, 0.025, 0.00625], [1.0, 0.1, 0.01]), strict=True):
        assert list(axis.lines[0].get_xdata()) == pytest.approx([6 / 9, 5 / 9, 4 / 9])
        assert list(axis.lines[0].get_ydata()) == pytest.approx(values)
    assert [axis.get_yscale() for axis in axes] == ["linear", "log", "log"]


def test_free_weights_show_their_norm_and_an_end_without_a_jamming_point_is_a_cross():
    chain_of_free = [fewer(0, None), fewer(1, None, end="escaping")]
    norms = draw_approach(chain_of_free).axes[2]
    expected = [np.linalg.norm(member.theta) for member in chain_of_free]
    assert list(norms.lines[0].get_ydata()) == pytest.approx(expected)
    assert points(norms, "x") == [(pytest.approx(5 / 9), pytest.approx(expected[1]))]


def test_stages_of_two_knobs_make_no_figure():
    with pytest.raises(InputError, match="margin and patterns"):
        draw_approach([*chain(), fewer(0), fewer(1)])
