"""N* against P: of each depth, of each time, and with the fit."""

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


@styled
def transition(records: Sequence[Record]) -> Figure:
    """N* against P, a colour per depth and time, with the lines N* = P and N* = 4P and the fits given.

    The median is drawn where a search tells it, else n_star; searches in which patterns varied have their bars along P.
    """
    fits = [record for record in records if record.get("kind") == "nstar-fit"]
    found = [record for record in records if record.get("kind") != "nstar-fit"]
    found = found or [point for one in fits for point in one["points"]]
    found = [reading for record in found for reading in _readings(record)]
    figure, (axis,) = new_figure(width=4.6)
    labels = _searches(found)
    for label, colour in colours_of(sorted(labels, key=_natural)).items():
        mine = [record for record, its in zip(found, labels) if its == label]
        _draw_nstar(axis, mine, label or "$N^*$", colour)
    P = np.array(sorted(float(record["P"]) for record in found))[[0, -1]]
    P = P if P[0] < P[1] else P * np.array([0.8, 1.25])
    _draw_lines(axis, P, fits)
    axis.set(xscale="log", yscale="log", xlabel="$P$", ylabel="$N^*$")
    for side in (axis.xaxis, axis.yaxis):
        plain_ticks(side)
    legend(axis, loc="upper left", bbox_to_anchor=(1.02, 1.02))
    return figure


def _readings(record: Record) -> list[dict[str, Any]]:
    """A search at each of its times before the last step, and as it is, which is what a fit is of."""
    earlier = [found for found in record.get("at_times") or [] if found["steps"] < record["steps"]]
    last = {"steps": record["steps"] if record.get("at_times") else None}
    return [{**record, **found, "time": found["steps"]} for found in (*earlier, last)]


def _searches(records: Sequence[Record]) -> list[str]:
    """The depth of each search, and what else tells searches apart."""
    others = labels_of([{**record, "depth": 0} for record in records], but=("width", "P", "seed"))
    success = [record.get("success", "") for record in records]
    certify = ["certified" if record.get("certify") else "" for record in records]
    time = [f"$t$ = {record['time']}" if record["time"] else "" for record in records]
    parts = zip(
        (f"$L$ = {record['depth']}" if "depth" in record else "" for record in records),
        others,
        success if len(set(success)) > 1 else [""] * len(records),
        certify if len(set(certify)) > 1 else [""] * len(records),
        time,
    )
    return [", ".join(filter(None, part)) for part in parts]


def _natural(label: str) -> list[tuple[int, float, str]]:
    """A key that sorts 900 before 1000 in a label."""
    return [
        (0, float(word), "") if word.isdigit() else (1, 0.0, word) for word in label.replace(",", "").split()
    ]


def _draw_nstar(axis: Axes, records: Sequence[Record], label: str, colour: Any) -> None:
    known = sorted((r for r in records if r["n_star"] is not None), key=lambda r: r["P"])
    for patterns in (False, True):
        some = [r for r in known if (r.get("vary") == "patterns") is patterns]
        if not some:
            continue
        name = "n_star" if patterns else "median"
        other = np.array([r[name] if r.get(name) else r["n_star"] for r in some], dtype=float)
        centre = np.array([r.get("median") or r["n_star"] for r in some], dtype=float) if patterns else other
        P = centre if patterns else np.array([r["P"] for r in some], dtype=float)
        bars = np.nan_to_num(np.abs(_ends(some) - centre[:, None]).T)  # an open end has no bar
        side = {"xerr": bars} if patterns else {"yerr": bars}
        axis.errorbar(
            P,
            other,
            fmt="s" if patterns else "o",
            color=colour,
            label=label,
            capsize=2,
            linewidth=0.8,
            **side,
        )
    _draw_limits(
        axis, [r for r in records if r["n_star"] is None and r.get("vary") != "patterns"], label, colour
    )


def _ends(records: Sequence[Record]) -> np.ndarray:
    """The interval of each [n, 2]: of the median where there is one."""
    ends = [
        (r.get("median_interval") if r.get("median") else r.get("interval")) or (None, None) for r in records
    ]
    return np.array([[number(end) for end in pair] for pair in ends]).reshape(-1, 2)


def _draw_limits(axis: Axes, records: Sequence[Record], label: str, colour: Any) -> None:
    """N* that are larger than what was tried."""
    limits = [(r["P"], _limit(r)) for r in records]
    limits = [(at, limit) for at, limit in limits if limit]
    if limits:
        axis.plot(*zip(*limits), "^", color=colour, mfc="white", label=f"{label}, larger than tried")


def _limit(record: Record) -> float | None:
    """The largest N tried, where no width succeeded; without trials the lower end of the interval."""
    low = (record.get("interval") or (None, None))[0]
    return max((trial["N"] for trial in record.get("trials") or []), default=low)


def _draw_lines(axis: Axes, P: Any, fits: Sequence[Record]) -> None:
    """What is fitted by heart, the bound of stability, that as measured, and the fits."""
    axis.plot(P, P, "-", color=GREY, linewidth=0.8, zorder=0, label="$N^* = P$")
    axis.plot(P, 4 * P, "--", color=GREY, linewidth=0.8, zorder=0, label="$N^* = 4P$")
    for one in fits:
        bound = one.get("bound") or {}
        if (bound.get("P_over_N") or 0) > 0:
            label = f"$P/N^* = C_0 - N_c/N = {bound['P_over_N']:.2f}$"
            axis.plot(P, P / bound["P_over_N"], "-.", color=GREY, linewidth=0.8, zorder=0, label=label)
        if one.get("slope") is not None:
            line = one["prefactor"] * P ** one["slope"]
            when = f", $t$ = {one['time']}" if one.get("time") else ""
            axis.plot(P, line, ":", color="black", label=rf"$N^* \sim P^{{\,{one['slope']:.2f}}}${when}")
