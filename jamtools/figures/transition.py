"""N* against P for each depth and each learning time, with the fits.

Source: arXiv:1809.09349, figs. 5, 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.figures.style import (
    GREY,
    Record,
    colours_of,
    labels_of,
    legend,
    new_figure,
    number,
    plain_ticks,
    styled,
)
from jamtools.records import Array

TRANSITION_WIDTH = 4.6  # inches, of the panel without its legend

#: If all searches have the same P, the lines run between P times these two factors.
LINE_REACH = np.array([0.8, 1.25])


@styled
def draw_transition(records: Sequence[Record]) -> Figure:
    """N* against P, one colour per depth and time, with the lines N* = P and N* = 4P and the fits given.

    Where a search has a median, the median is drawn, otherwise n_star. Searches in which P varied have error bars along P.
    Without searches, the points that the fits contain are drawn.
    """
    fits = [record for record in records if record.get("kind") == "nstar-fit"]
    searches = [record for record in records if record.get("kind") != "nstar-fit"]
    searches = searches or [point for fit in fits for point in fit["points"]]
    searches = [at_time for search in searches for at_time in _at_each_time(search)]
    figure, (axis,) = new_figure(width=TRANSITION_WIDTH)
    labels = _labels(searches)
    for label, colour in colours_of(sorted(labels, key=_natural_order)).items():
        same = [search for search, its_label in zip(searches, labels) if its_label == label]
        _plot_medians(axis, same, label or "$N^*$", colour)
        _plot_limits(axis, same, label or "$N^*$", colour)
    ends = np.array(sorted(float(search["P"]) for search in searches))[[0, -1]]
    _plot_lines(axis, ends if ends[0] < ends[1] else ends * LINE_REACH, fits)
    axis.set(xscale="log", yscale="log", xlabel="$P$", ylabel="$N^*$")
    for side in (axis.xaxis, axis.yaxis):
        plain_ticks(side)
    legend(axis, loc="upper left", bbox_to_anchor=(1.02, 1.02))
    return figure


def _at_each_time(search: Record) -> list[dict[str, Any]]:
    """One record for each learning time before the last step, and one for the last step, which is used by fits."""
    earlier = [result for result in search.get("at_times") or [] if result["steps"] < search["steps"]]
    final = {"steps": search["steps"] if search.get("at_times") else None}
    return [{**search, **result, "time": result["steps"]} for result in (*earlier, final)]


def _labels(searches: Sequence[Record]) -> list[str]:
    """The depth of each search and the fields that distinguish searches."""
    others = labels_of([{**search, "depth": 0} for search in searches], without=("width", "P", "seed"))
    success = [search.get("success", "") for search in searches]
    certify = ["certified" if search.get("certify") else "" for search in searches]
    parts = zip(
        (f"$L$ = {search['depth']}" if "depth" in search else "" for search in searches),
        others,
        success if len(set(success)) > 1 else [""] * len(searches),
        certify if len(set(certify)) > 1 else [""] * len(searches),
        (f"$t$ = {search['time']}" if search["time"] else "" for search in searches),
    )
    return [", ".join(filter(None, part)) for part in parts]


def _natural_order(label: str) -> list[tuple[int, float, str]]:
    """A key that sorts 900 before 1000 in a label."""
    return [
        (0, float(word), "") if word.isdigit() else (1, 0.0, word) for word in label.replace(",", "").split()
    ]


def _plot_medians(axis: Axes, searches: Sequence[Record], label: str, colour: Any) -> None:
    """Draws N* of the searches that found it: circles with bars along N, or, where P varied, squares with bars along P."""
    known = sorted((s for s in searches if s["n_star"] is not None), key=lambda s: s["P"])
    widths = [s for s in known if s.get("vary") != "patterns"]
    patterns = [s for s in known if s.get("vary") == "patterns"]
    style = {"color": colour, "label": label, "capsize": 2, "linewidth": 0.8}
    if widths:
        P = np.array([s["P"] for s in widths], dtype=float)
        N = np.array([s["median"] if s.get("median") else s["n_star"] for s in widths], dtype=float)
        axis.errorbar(P, N, yerr=_bars(widths, N), fmt="o", **style)
    if patterns:
        P = np.array([s.get("median") or s["n_star"] for s in patterns], dtype=float)
        N = np.array([s["n_star"] for s in patterns], dtype=float)
        axis.errorbar(P, N, xerr=_bars(patterns, P), fmt="s", **style)


def _bars(searches: Sequence[Record], centres: Array) -> Array:
    """Lengths [2, n] of the error bars around `centres` [n]; an open end of an interval has no bar."""
    intervals = [
        (s.get("median_interval") if s.get("median") else s.get("interval")) or (None, None) for s in searches
    ]
    ends = np.array([[number(end) for end in interval] for interval in intervals]).reshape(-1, 2)
    return np.nan_to_num(np.abs(ends - centres[:, None]).T)


def _plot_limits(axis: Axes, searches: Sequence[Record], label: str, colour: Any) -> None:
    """Draws the lower limits of N* from the searches in which no width succeeded."""
    failed = [s for s in searches if s["n_star"] is None and s.get("vary") != "patterns"]
    limits = [(search["P"], _largest_tried(search)) for search in failed]
    limits = [(P, limit) for P, limit in limits if limit]
    if limits:
        axis.plot(*zip(*limits), "^", color=colour, mfc="white", label=f"{label}, larger than tried")


def _largest_tried(search: Record) -> float | None:
    """The largest N that was tried; without trials, the lower end of the interval."""
    low = (search.get("interval") or (None, None))[0]
    return max((trial["N"] for trial in search.get("trials") or []), default=low)


def _plot_lines(axis: Axes, P: Array, fits: Sequence[Record]) -> None:
    """Draws lines over P [2]: one parameter per pattern, the bound of stability, the measured bound, and the fits."""
    axis.plot(P, P, "-", color=GREY, linewidth=0.8, zorder=0, label="$N^* = P$")
    axis.plot(P, 4 * P, "--", color=GREY, linewidth=0.8, zorder=0, label="$N^* = 4P$")
    for fit in fits:
        bound = fit.get("bound") or {}
        if (bound.get("P_over_N") or 0) > 0:
            label = f"$P/N^* = C_0 - N_c/N = {bound['P_over_N']:.2f}$"
            axis.plot(P, P / bound["P_over_N"], "-.", color=GREY, linewidth=0.8, zorder=0, label=label)
        if fit.get("slope") is not None:
            line = fit["prefactor"] * P ** fit["slope"]
            when = f", $t$ = {fit['time']}" if fit.get("time") else ""
            axis.plot(P, line, ":", color="black", label=rf"$N^* \sim P^{{\,{fit['slope']:.2f}}}${when}")
