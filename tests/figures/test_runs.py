"""Figures of runs show the losses and the unsatisfied patterns that they were given."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.figures.runs import draw_history, draw_jump, draw_jump_against_loss
from jamtools.figures.style import render
from jamtools.records import Run
from tests.support.artefacts import run
from tests.support.figures import legend_texts, points


def run_of_size(P: int, seed: int = 0, **fields: object) -> Run:
    return run(P=P, seed=seed, n_unsatisfied=P // 2, final_loss=0.01 * P, **fields)


def test_history_draws_one_curve_per_run_without_step_0():
    members = [run_of_size(4), run_of_size(6), run_of_size(6, seed=1)]
    loss, unsatisfied = draw_history(members).axes
    assert len(loss.lines) == len(unsatisfied.lines) == 3
    for member, loss_curve, other_curve in zip(members, loss.lines, unsatisfied.lines):
        assert np.isnan(loss_curve.get_xdata()[0])
        assert (loss_curve.get_xdata()[1:] == member.history["step"][1:]).all()
        assert (loss_curve.get_ydata() == member.history["loss"]).all()
        assert (other_curve.get_ydata() == member.history["n_unsatisfied"] / 9).all()
    assert (loss.get_xscale(), loss.get_yscale()) == ("log", "log")


def test_the_legend_names_each_differing_field_once():
    figure = draw_history([run_of_size(4), run_of_size(6), run_of_size(6, seed=1)])
    assert legend_texts(figure.axes[0]) == ["$P$ = 4", "$P$ = 6"]
    assert figure.axes[0].lines[1].get_color() == figure.axes[0].lines[2].get_color()


def test_seeds_are_named_where_nothing_else_differs():
    figure = draw_history([run_of_size(4, seed) for seed in (0, 7)])
    assert legend_texts(figure.axes[0]) == ["seed 0", "seed 7"]


@pytest.mark.parametrize(("sizes", "quantity"), [(range(4, 14), "$P/N$"), ([6] * 10, r"$\mathcal{L}$")])
def test_the_history_of_many_runs_has_a_panel_of_their_ends(sizes, quantity):
    figure = draw_history([run_of_size(P, seed) for seed, P in enumerate(sizes)])
    assert len(figure.axes) == 3
    assert figure.axes[2].get_xlabel() == quantity
    assert len(points(figure.axes[2], "o")) == 10


def test_jump_has_one_point_per_run():
    (axis,) = draw_jump([run_of_size(6), run_of_size(4), run_of_size(8, depth=2)]).axes
    assert sorted(points(axis, "o")) == [(4 / 9, 2 / 9), (6 / 9, 3 / 9), (8 / 9, 4 / 9)]
    assert legend_texts(axis) == ["$L$ = 1", "$L$ = 2"]


def test_runs_of_vanished_loss_are_counted_in_the_title_of_the_jump_against_loss():
    figure = draw_jump_against_loss(
        [run_of_size(6), run_of_size(8), run(n_unsatisfied=0, final_loss=0.0, status="satisfied")]
    )
    assert sorted(points(figure.axes[0], "o")) == [(0.06, 3 / 9), (0.08, 4 / 9)]
    assert figure.axes[0].get_title() == r"1 of 3 runs end at $\mathcal{L} \approx 0$"


@pytest.mark.parametrize("draw", [draw_history, draw_jump, draw_jump_against_loss])
@pytest.mark.parametrize(
    "end",
    [
        {"final_loss": None, "status": "diverged"},
        {"final_loss": 0.0, "n_unsatisfied": 0, "status": "satisfied"},
    ],
)
def test_diverged_and_satisfied_runs_can_be_drawn(draw, end):
    ended = run(**end)
    if end["final_loss"] is None:
        ended.history["loss"][:] = np.nan
    render(draw([ended]), "png")


def test_a_run_measured_at_step_0_alone_can_be_drawn():
    member = run()
    start = {name: column[:1] for name, column in member.history.items()}
    render(draw_history([Run(member.theta, member.theta0, member.gaps, start, member.info)]), "png")
