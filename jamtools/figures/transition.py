"""N* against P for each depth and each learning time, with the fits.

A point is n_star and its bar is `interval`, as they stand in the record; where P varied, they are P and P_interval.

Source: arXiv:1809.09349, figs. 5, 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.figures.groups import Look, labels_of, looks_of, members_of, steps_in_words
from jamtools.figures.style import (
    GREY,
    Record,
    legend,
    new_figure,
    number,
    plain_ticks,
    styled,
    widen,
)
from jamtools.grouping import SEARCH_GROUP_FIELDS, data_of
from jamtools.records import Array

TRANSITION_WIDTH = 4.6  # inches, of the panel and a legend of short labels

#: Labels of more letters than this make the figure wider.
SHORT_LABEL = 16

#: The lines of several fits.
FIT_LINES: tuple[Any, ...] = (":", (0, (3, 1, 1, 1)), (0, (5, 1)), (0, (1, 3)))

#: If all searches have the same P, the lines run between P times these two factors.
LINE_REACH = np.array([0.8, 1.25])

#: The length of the arrow at an open end of an interval: a factor.
ARROW_REACH = 1.4


class Varied(NamedTuple):
    """What varied in a search, and how its result is drawn.

    value, interval: the fields of the result; across: the field that was fixed; amount: that of a trial; along: the axis
    of the bars; face: the colour inside a marker, None for that of the group; limits: those of upper and of lower limits.
    """

    value: str
    interval: str
    across: str
    amount: str
    along: str
    face: str | None
    limits: tuple[str, str]

    def xy(self, across: Array, along: Array) -> tuple[Array, Array]:
        """Where points lie, x [n] and y [n], from their coordinates across [n] and along [n] the axis that varies."""
        return (across, along) if self.along == "y" else (along, across)

    def ends(self, search: Record) -> tuple[float | None, float | None]:
        """The ends of the interval, None where they are open. (NaN, NaN) for a record without an interval."""
        if not search.get(self.interval):
            return np.nan, np.nan
        low, high = search[self.interval]
        return low or None, high


WIDTH_VARIED = Varied("n_star", "interval", "P", "N", "y", None, ("v", "^"))
PATTERNS_VARIED = Varied("P", "P_interval", "N", "P", "x", "white", ("<", ">"))


@styled
def draw_transition(records: Sequence[Record], by: Sequence[str] | None = None) -> Figure:
    """N* against P, a marker for each group, depth and time, with the lines N* = P and N* = 4P and the fits given.

    An open end of an interval is an arrow. Searches in which P varied are open, with error bars along P. by: the fields that
    make groups (grouping.py). Without searches, the points that the fits contain are drawn.
    """
    fits = [record for record in records if record.get("kind") == "nstar-fit"]
    searches = [record for record in records if record.get("kind") != "nstar-fit"]
    searches = searches or [{**fit, **point} for fit in fits for point in fit["points"]]
    searches = [at_time for search in searches for at_time in _at_each_time(search)]
    searches.sort(key=_order)
    labels, fit_labels = _labels(searches, fits, by)
    figure, (axis,) = new_figure(width=TRANSITION_WIDTH)
    widen(axis, max(0, *(len(label) - SHORT_LABEL for label in (*labels, *fit_labels))))
    looks = looks_of(labels)
    for label, members in members_of(labels).items():
        look, same = looks[label], [searches[i] for i in members]
        for varied in (WIDTH_VARIED, PATTERNS_VARIED):
            of_kind = [s for s in same if (s.get("vary") == "patterns") is (varied is PATTERNS_VARIED)]
            _plot_known(axis, varied, of_kind, label or "$N^*$", look)
            _plot_limits(axis, varied, of_kind, label or "$N^*$", look.colour)
    ends = np.array(sorted(float(search["P"]) for search in searches if search["P"]) or [1.0])[[0, -1]]
    _plot_lines(axis, ends if ends[0] < ends[1] else ends * LINE_REACH, fits, fit_labels)
    axis.set(xscale="log", yscale="log", xlabel="$P$", ylabel="$N^*$")
    for side in (axis.xaxis, axis.yaxis):
        plain_ticks(side)
    legend(axis, loc="upper left", bbox_to_anchor=(1.02, 1.02))
    return figure


def _at_each_time(search: Record) -> list[dict[str, Any]]:
    """One record for each learning time before the last step, and one for the last step, which is used by fits."""
    times = search.get("at_times") or []
    earlier = [result for result in times if result["steps"] < search["steps"]]
    final = {"steps": search["steps"] if times else None}
    steps = {"steps": search.get("steps")}
    return [{**search, **result, **steps, "time": result["steps"]} for result in (*earlier, final)]


def _labels(
    searches: Sequence[Record], fits: Sequence[Record], by: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The label of each search, with its depth and its time, and that of each fit."""
    groups = labels_of([*searches, *fits], fields=SEARCH_GROUP_FIELDS if by is None else by)
    depths = [search.get("depth") if by is None else None for search in searches]
    labels = [
        ", ".join(filter(None, [f"$L$ = {depth}" if depth else "", group, _time_in_words(search["time"])]))
        for depth, group, search in zip(depths, groups, searches)
    ]
    return labels, groups[len(searches) :]


def _time_in_words(time: int | None) -> str:
    return f"$t$ = {steps_in_words(time)}" if time else ""


def _order(search: Record) -> tuple[Any, ...]:
    """A key that sorts searches by their depth, data and time."""
    return search.get("depth") or 0, data_of(search) or "", search["time"] or 0


def _plot_known(axis: Axes, varied: Varied, searches: Sequence[Record], label: str, look: Look) -> None:
    """Draws the results of the searches that have an N*, with their bars."""
    known = sorted((s for s in searches if s["n_star"] is not None), key=lambda s: s["P"])
    if not known:
        return
    centres = np.array([s[varied.value] for s in known], dtype=float)
    across = np.array([s["n_star"] if varied is PATTERNS_VARIED else s["P"] for s in known], dtype=float)
    x, y = varied.xy(across, centres)
    ends = [varied.ends(s) for s in known]
    lengths = np.abs(np.array([[number(end) for end in pair] for pair in ends]) - centres[:, None]).T
    style = {"color": look.colour, "mfc": varied.face or look.colour, "capsize": 2, "linewidth": 0.8}
    bars = {f"{varied.along}err": np.nan_to_num(lengths)}
    axis.errorbar(x, y, fmt=look.marker, label=label, **bars, **style)
    for side in (0, 1):
        is_open = np.array([pair[side] is None for pair in ends])
        _plot_arrows(axis, varied, side, across[is_open], centres[is_open], look.colour)


def _plot_arrows(axis: Axes, varied: Varied, side: int, across: Array, centres: Array, colour: Any) -> None:
    """Draws arrows from points to smaller (side 0) or to larger values (side 1) of what varied."""
    if not centres.size:
        return
    lengths = np.zeros((2, len(centres)))
    lengths[side] = centres * (ARROW_REACH - 1 if side else 1 - 1 / ARROW_REACH)
    prefix = "x" if varied.along == "x" else ""
    options: dict[str, Any] = {f"{varied.along}err": lengths, f"{prefix}{('uplims', 'lolims')[side]}": True}
    x, y = varied.xy(across, centres)
    axis.errorbar(x, y, fmt="none", color=colour, elinewidth=0.8, capsize=3, **options)


def _plot_limits(axis: Axes, varied: Varied, searches: Sequence[Record], label: str, colour: Any) -> None:
    """Draws what bounds N* (or P*) where a search has none: an open triangle with an arrow."""
    unknown = [s for s in searches if s["n_star"] is None and s.get(varied.across)]
    limits = [(s[varied.across], *limit) for s in unknown if (limit := _limit(varied, s))]
    for side, word in enumerate(("smaller", "larger")):
        across, values = (np.array([limit[i] for limit in limits if limit[1] == side], float) for i in (0, 2))
        if values.size:
            style = {"color": colour, "mfc": "white", "label": f"{label}, {word}"}
            axis.plot(*varied.xy(across, values), varied.limits[side], **style)
            _plot_arrows(axis, varied, side, across, values, colour)


def _limit(varied: Varied, search: Record) -> tuple[int, float] | None:
    """0 and an upper limit, or 1 and a lower limit: the closed end of the interval, otherwise what was tried."""
    low, high = varied.ends(search)
    if number(low) > 0:
        return 1, number(low)
    if number(high) > 0:
        return 0, number(high)
    trials = search.get("trials") or []
    above = [t[varied.amount] for t in trials if (t.get("outcome") == "success") is (varied is WIDTH_VARIED)]
    if above:
        return 0, float(min(above))
    return (1, float(max(t[varied.amount] for t in trials))) if trials else None


def _plot_lines(axis: Axes, P: Array, fits: Sequence[Record], labels: Sequence[str]) -> None:
    """Draws lines over P [2]: one parameter per pattern, the bound of stability, the measured bound, and the fits."""
    axis.plot(P, P, "-", color=GREY, linewidth=0.8, zorder=0, label="$N^* = P$")
    axis.plot(P, 4 * P, "--", color=GREY, linewidth=0.8, zorder=0, label="$N^* = 4P$")
    for fit, label, line in zip(fits, labels, FIT_LINES * len(fits)):
        group = f", {label}" if label else ""
        bound = fit.get("bound") or {}
        if (bound.get("P_over_N") or 0) > 0:
            label = f"$P/N^* = C_0 - N_c/N = {bound['P_over_N']:.2f}${group}"
            axis.plot(P, P / bound["P_over_N"], "-.", color=GREY, linewidth=0.8, zorder=0, label=label)
        if fit.get("slope") is not None:
            n_star = fit["prefactor"] * P ** fit["slope"]
            when = f", {_time_in_words(fit['time'])}" if fit.get("time") else ""
            words = rf"$N^* \sim P^{{\,{fit['slope']:.2f}}}${group}{when}"
            axis.plot(P, n_star, linestyle=line, color="black", label=words)
