"""Figures of N* against P show searches, limits, times and fits."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import CARETDOWNBASE, CARETLEFTBASE, CARETRIGHTBASE, CARETUPBASE

from jamtools.figures.transition import draw_transition
from jamtools.network.architecture import Architecture
from jamtools.transition.scaling import fit_groups, fit_scaling
from tests.support.figures import legend_texts, points, texts


def search(P: int, n_star: int | None, interval: tuple, **fields: object) -> dict:
    record = {"kind": "nstar", "P": P, "n_star": n_star, "interval": list(interval), "success": "satisfied",
              "depth": 3, "d": 10, "loss": "hinge", "width": 5, "trials": [{"N": 77}]}  # fmt: skip
    return record | fields


def test_the_transition_shows_N_star_with_its_interval_and_both_lines():
    figure = draw_transition(
        [search(200, 70, (60, 90)), search(100, 40, (35, 40)), search(100, 30, (20, 45), depth=5)]
    )
    (axis,) = figure.axes
    assert sorted(points(axis, "o")) == [(100, 40), (200, 70)] and points(axis, "s") == [(100, 30)]
    bars = [segment for bar in axis.collections for segment in bar.get_segments()]
    assert sorted(tuple(segment[:, 1]) for segment in bars) == [(20, 45), (35, 40), (60, 90)]
    straight = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    assert straight["$N^* = P$"] == [[100, 100], [200, 200]]
    assert straight["$N^* = 4P$"] == [[100, 400], [200, 800]]
    assert {"$L$ = 3", "$L$ = 5"} <= set(legend_texts(axis))


def arrows(axis: Axes) -> list[tuple[str, float, float]]:
    """Every arrow of an open end: its direction and where its head is, sorted."""
    directions = {CARETUPBASE: "up", CARETDOWNBASE: "down", CARETLEFTBASE: "left", CARETRIGHTBASE: "right"}
    heads = [(directions.get(line.get_marker()), line.get_xydata()) for line in axis.lines]
    return sorted((direction, x, y) for direction, xy in heads if direction for x, y in xy)


def test_open_ends_of_intervals_are_arrows_away_from_the_point():
    records = [search(100, 40, (0, 50)), search(200, 70, (60, None)), search(400, 90, (0, None))]
    (axis,) = draw_transition(records).axes
    up, down = 1.4, 1 / 1.4
    expected = {
        ("down", 100, 40 * down),
        ("up", 200, 70 * up),
        ("down", 400, 90 * down),
        ("up", 400, 90 * up),
    }
    assert sorted(arrows(axis)) == sorted((way, x, pytest.approx(y)) for way, x, y in expected)
    bars = [segment[:, 1].tolist() for bar in axis.collections for segment in bar.get_segments()]
    assert [40, 50] in bars and [60, 70] in bars, "the closed ends keep their bars"


def test_without_an_N_star_the_closed_end_of_the_interval_is_drawn_as_a_limit():
    records = [search(100, None, (50, None)), search(200, None, (0, 60))]
    (axis,) = draw_transition(records).axes
    assert (points(axis, "^"), points(axis, "v")) == ([(100, 50)], [(200, 60)])
    assert [(way, x) for way, x, _ in arrows(axis)] == [("down", 200), ("up", 100)]
    assert {"$L$ = 3, larger", "$L$ = 3, smaller"} <= set(legend_texts(axis))


def test_without_an_interval_the_limit_is_what_was_tried():
    failed = search(
        100, None, (None, None), trials=[{"N": 30, "outcome": "undecided"}, {"N": 77, "outcome": "undecided"}]
    )
    fitted = search(
        200, None, (0, None), trials=[{"N": 50, "outcome": "success"}, {"N": 77, "outcome": "success"}]
    )
    (axis,) = draw_transition([failed, fitted]).axes
    assert (points(axis, "^"), points(axis, "v")) == ([(100, 77)], [(200, 50)])


def test_a_network_that_fits_all_patterns_is_a_limit_along_P():
    (axis,) = draw_transition(
        [search(30, None, (0, None), vary="patterns", N=50, P_interval=[30, None])]
    ).axes
    assert points(axis, ">") == [(30, 50)]
    assert arrows(axis) == [("right", pytest.approx(42), 50)]


def test_a_fit_is_drawn_over_its_points():
    fit = {
        "kind": "nstar-fit",
        "slope": 0.9,
        "prefactor": 0.5,
        "points": [{"P": 100, "n_star": 30}, {"P": 400, "n_star": 110}],
    }
    for given in ([fit], [search(100, 30, (20, 40)), search(400, 110, (90, 120)), fit]):
        (axis,) = draw_transition(given).axes
        line = next(line for line in axis.lines if line.get_linestyle() == ":")
        assert line.get_ydata() == pytest.approx(0.5 * np.array([100, 400]) ** 0.9)
        assert points(axis, "o") == [(100, 30), (400, 110)]


def test_a_fit_alone_shows_one_merged_search_for_all_seeds():
    """Each seed has 8 failures at one width and 8 successes at the next: N* is the N of the second."""
    N = [Architecture(10, width, 1).n_effective for width in (4, 5)]
    asked = {"depth": 1, "max_width": 9, "vary": "width", "activation": "relu", "batch_norm": False, "precision": 0.2,
             "level": 0.95, "outputs": 1}  # fmt: skip
    cells = [search(P, None, (None, None), **asked, seeds=[seed],
                   trials=[{"seed": seed, "P": P, "width": width, "N": N[width - 4], "outcome": outcome, "steps": 9}
                           for width, outcome in ((4, "unsatisfied"), (5, "success"))] * 8)
             for P in (100, 200) for seed in (0, 1, 2)]  # fmt: skip
    (axis,) = draw_transition([fit_scaling(cells)]).axes
    (first, low), (second, high) = sorted(points(axis, "o"))
    assert (first, second) == (100, 200) and low == high == N[1]
    bars = [segment[:, 1] for bar in axis.collections for segment in bar.get_segments()]
    assert len(bars) == 2 and all((bottom, top) == (N[0], N[1]) for bottom, top in bars)


def test_each_learning_time_is_a_curve():
    times = [{"steps": t, "n_star": n, "interval": [n - 5.0, n + 5.0]} for t, n in ((900, 60), (10000, 40))]
    timed = search(100, 42, (30, 50), at_times=times, steps=10000)
    (axis,) = draw_transition([timed]).axes
    assert points(axis, "o") == [(100, 60)]
    assert points(axis, "s") == [(100, 42)], "the final record is drawn unchanged, with its undecided trials"
    in_legend = legend_texts(axis)
    assert in_legend[:2] == ["$L$ = 3, $t$ = 900", "$L$ = 3, $t$ = $10^{4}$"]


def test_where_patterns_varied_the_bars_lie_along_P():
    record = search(180, 50, (40, 60), vary="patterns", N=50, P_interval=[150, 220])
    (axis,) = draw_transition([record]).axes
    assert points(axis, "o") == [(180, 50)]
    (segment,) = (segment for bar in axis.collections for segment in bar.get_segments())
    assert segment.tolist() == [[150, 50], [220, 50]]


def test_the_measured_bound_is_a_line():
    fit = {
        "kind": "nstar-fit",
        "slope": None,
        "points": [{"P": 100, "n_star": 30}],
        "bound": {"P_over_N": 0.2},
    }
    (axis,) = draw_transition([fit]).axes
    line = next(line for line in axis.lines if line.get_linestyle() == "-.")
    assert line.get_ydata() == pytest.approx(line.get_xdata() / 0.2)


def test_searches_of_different_dynamics_are_different_curves():
    records = [search(P, P // 3, (20, 40), optimizer=optimizer, certify=certify) for P in (100, 200)
               for optimizer, certify in (("newton", False), ("adam", False), ("adam", True))]  # fmt: skip
    (axis,) = draw_transition(records).axes
    legend = set(legend_texts(axis))
    assert {"$L$ = 3, newton", "$L$ = 3, adam", "$L$ = 3, adam, certified"} <= legend


def test_differing_losses_and_success_criteria_are_in_the_legend():
    records = [search(100, 30, (20, 40), success=success, loss=loss) for success, loss in
               (("satisfied", "hinge"), ("classified", "hinge"), ("classified", "cross-entropy"))]  # fmt: skip
    text = texts(draw_transition(records))
    for label in (
        "$L$ = 3, hinge, satisfied",
        "$L$ = 3, hinge, classified",
        "$L$ = 3, cross-entropy, classified",
    ):
        assert label in text


def test_searches_of_different_data_are_different_curves_each_with_its_fit():
    """MNIST has P/N* = 2.5 and random data 1.5, at the same depth."""
    names = ("mnist parity pca 10", "random d=10")
    records = [
        search(P, round(P / ratio), (P / ratio / 1.1, P / ratio * 1.1), dataset=name)
        for name, ratio in zip(names, (2.5, 1.5))
        for P in (100, 400)
    ]
    fits = fit_groups(records)
    for given in ([*records, *fits], fits):
        (axis,) = draw_transition(given).axes
        assert [len(points(axis, marker)) for marker in "os"] == [2, 2]
        found = legend_texts(axis)
        assert all(any(entry == f"$L$ = 3, {name}" for entry in found) for name in names)
        assert all(any("sim" in entry and entry.endswith(name) for entry in found) for name in names)


def test_searches_are_one_curve_where_that_is_asked_for():
    records = [search(P, P // 3, (20, 40), dataset=name) for P, name in ((100, "a"), (200, "b"))]
    (axis,) = draw_transition(records, by=()).axes
    assert points(axis, "o") == [(100, 33), (200, 66)]
