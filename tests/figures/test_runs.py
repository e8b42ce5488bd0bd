"""Figures of runs show the losses and the unsatisfied patterns that they were given."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.figures.runs import draw_history, draw_jump, draw_jump_against_loss
from jamtools.figures.style import render
from jamtools.records import Run
from tests.support.artefacts import run
from tests.support.figures import legend_texts, points, texts


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
    assert sorted(points(axis, "o")) == [(4 / 9, 2 / 9), (6 / 9, 3 / 9)]
    assert points(axis, "s") == [(8 / 9, 4 / 9)]
    assert legend_texts(axis) == ["$L$ = 1", "$L$ = 2", "on its way"]


def test_the_end_of_a_run_is_drawn_by_its_state():
    members = [
        run_of_size(4, status="stationary"),
        run(P=5, n_unsatisfied=0, final_loss=0.0, status="satisfied"),
        run_of_size(6),
    ]
    (axis,) = draw_jump(members).axes
    on_its_way, satisfied, jammed = axis.lines
    assert [line.get_ydata().tolist() for line in (satisfied, jammed)] == [[0], [2 / 9]]
    assert satisfied.get_markerfacecolor() == "none" != jammed.get_markerfacecolor()
    assert on_its_way.get_alpha() < 0.5 and on_its_way.get_markersize() < jammed.get_markersize()
    assert legend_texts(axis) == ["jammed", "satisfied", "on its way"]


def test_dead_runs_are_left_out_and_counted_unless_they_are_kept():
    members = [run_of_size(4), *(run_of_size(6, seed, status="dead", n_dead=3) for seed in (1, 2))]
    figure = draw_jump(members)
    assert points(figure.axes[0], "o") == [(4 / 9, 2 / 9)]
    assert "2 dead runs left out" in texts(figure)
    kept = draw_jump(members, keep_dead=True)
    assert points(kept.axes[0], "x") == [(6 / 9, 3 / 9)] * 2
    assert legend_texts(kept.axes[0]) == ["dead", "on its way"] and "left out" not in texts(kept)


def test_dead_patterns_do_not_count_in_the_height_unless_they_are_kept():
    members = [run_of_size(6, status="stationary", n_dead=2)]
    for keep_dead, height in ((False, 1 / 9), (True, 3 / 9)):
        assert points(draw_jump(members, keep_dead=keep_dead).axes[0], "o") == [(6 / 9, height)]


def test_runs_without_a_margin_and_diverged_runs_have_no_end_and_are_counted():
    members = [run_of_size(4), run_of_size(6), run_of_size(6, status="diverged")]
    members[1].info["n_unsatisfied"] = None
    figure = draw_jump(members)
    assert points(figure.axes[0], "o") == [(4 / 9, 2 / 9)]
    assert "1 cross-entropy run left out; 1 diverged run left out" in texts(figure)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"data": "mnist parity pca 10"}, "mnist parity pca 10"),
        ({"activation": "tanh"}, "tanh"),
        ({"optimizer": "newton"}, "newton"),
        ({"settings": {"steps": 30000}}, r"$3\cdot10^{4}$ steps"),
        ({"settings": {"steps": 1000, "schedule": {"lr": 0.1}}}, r"$\eta$ = 0.1"),
        ({"finish": {"steps": 3}}, "finished"),
        ({"width": 5}, "$h$ = 5"),
        ({"batch_norm": True}, "batch norm"),
    ],
    ids=str,
)
def test_runs_of_different_data_network_or_dynamics_have_their_own_marker_and_label(change, label):
    usual = {"data": "random d=3", "settings": {"steps": 1000, "schedule": {"lr": 0.01}}}
    (axis,) = draw_jump([run_of_size(4, **usual), run_of_size(6, **(usual | change))]).axes
    assert [len(points(axis, marker)) for marker in "os"] == [1, 1]
    assert label in legend_texts(axis)
    assert len(set(legend_texts(axis))) == 3


def test_fields_asked_for_make_the_groups_alone():
    members = [
        run_of_size(P, depth=depth, data=data) for P, depth, data in ((4, 1, "a"), (6, 2, "a"), (8, 2, "b"))
    ]
    assert legend_texts(draw_jump(members, by=("depth",)).axes[0])[:2] == ["$L$ = 1", "$L$ = 2"]
    (axis,) = draw_jump(members, by=()).axes
    assert len(points(axis, "o")) == 3 and legend_texts(axis) == ["on its way"]


def test_runs_of_vanished_loss_are_counted_above_the_jump_against_loss():
    figure = draw_jump_against_loss(
        [run_of_size(6), run_of_size(8), run(n_unsatisfied=0, final_loss=0.0, status="satisfied")]
    )
    assert sorted(points(figure.axes[0], "o")) == [(0.06, 3 / 9), (0.08, 4 / 9)]
    assert r"1 of 3 runs end at $\mathcal{L} \approx 0$" in texts(figure)


def test_the_axis_of_losses_begins_near_the_ends_of_runs_that_are_not_satisfied():
    """The history of a satisfied run falls to 1e-9."""
    satisfied = run(n_unsatisfied=0, final_loss=1e-9, status="satisfied")
    (axis,) = draw_jump_against_loss([run_of_size(6), satisfied]).axes
    assert axis.get_xlim()[0] == pytest.approx(0.3 * 0.06)


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
