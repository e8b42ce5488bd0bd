"""The loss and the number of unsatisfied patterns of runs, during the training and at its end.

The end of a run is drawn by its state: open if it is satisfied, filled if it is jammed, small and faint if it is on its way,
a cross if it is dead. Runs that have no N_Δ, and dead runs unless they are kept, are left out and counted.

Source: arXiv:1809.09349, figs. 6a, 6b.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jamtools.figures.groups import Look, labels_of, looks_of, members_of
from jamtools.figures.style import (
    GREY,
    left_out_in_words,
    legend,
    new_figure,
    note,
    number,
    remark,
    styled,
    widen,
)
from jamtools.records import Run
from jamtools.states import alive_per_parameter, is_dead, is_jammed, is_satisfied

#: With more runs than this, a panel shows the ends of the runs. With more groups than this, the curves have no labels.
MAX_LABELLED_CURVES = 8

#: A loss below this fraction of the highest loss counts as 0 and lies outside of the axes.
VANISHED_LOSS_RATIO = 1e-14

#: The axis of losses of a figure of ends begins at this fraction of the smallest loss at an end.
MARGIN_OF_LOSSES = 0.3

LOSS_LABEL, UNSATISFIED_LABEL = r"$\mathcal{L}$", r"$N_\Delta/N$"

#: From the positions of the ends of all runs that are shown to a filter and an x value: of P/N or of L.
Position = Callable[[Run], float]

#: The states as a legend names them, in the order in which they are drawn, each with how its points look.
STATES: dict[str, Callable[[Look], dict[str, Any]]] = {
    "on its way": lambda look: {
        "marker": look.marker,
        "ms": 3,
        "alpha": 0.35,
        "mew": 0,
        "color": look.colour,
    },
    "satisfied": lambda look: {"marker": look.marker, "mfc": "none", "color": look.colour},
    "jammed": lambda look: {"marker": look.marker, "color": look.colour},
    "dead": lambda look: {"marker": "x", "color": look.colour},
}


@styled
def draw_history(runs: Sequence[Run], by: Sequence[str] | None = None, keep_dead: bool = False) -> Figure:
    """Loss and N_Δ/N against the step, one curve per run. With many runs, a third panel shows their ends.

    by: the fields that make groups (grouping.py); keep_dead: whether the third panel shows dead runs and patterns.
    """
    many = len(runs) > MAX_LABELLED_CURVES
    figure, axes = new_figure(3 if many else 2)
    _plot_history(axes, runs, 0.8 if many else 1.2, by)
    if many:
        plot_ends = _plot_jump if len({run.alpha for run in runs}) > 1 else _plot_jump_against_loss
        remark(figure, plot_ends(axes[2], runs, by, keep_dead))
    return figure


def _plot_history(
    axes: Sequence[Axes], runs: Sequence[Run], linewidth: float, by: Sequence[str] | None
) -> None:
    """Plots the loss in the first panel and N_Δ/N in the second; runs with the same label have one colour and line."""
    infos = [run.info for run in runs]
    groups = labels_of(infos, ("width", "P"), by)
    if len(set(groups)) == 1 and by is None and 1 < len(runs) <= MAX_LABELLED_CURVES:
        groups = labels_of(infos, ("width", "P", "seed"))
    looks = looks_of(groups)
    for i, (run, group) in enumerate(zip(runs, groups)):
        label = group if group not in groups[:i] else ""
        step = np.where(run.history["step"] > 0, run.history["step"], np.nan)  # step 0 has no logarithm
        curves = [run.history["loss"]]
        if run.info["n_unsatisfied"] is not None:
            curves.append(run.history["n_unsatisfied"] / run.N)
        for axis, curve in zip(axes, curves):
            look = looks[group]
            axis.plot(step, curve, look.line, color=look.colour, label=label or None, linewidth=linewidth)
    axes[0].set(xlabel="step", ylabel=LOSS_LABEL, xscale="log", yscale="log", ylim=_loss_limits(runs))
    axes[1].set(xlabel="step", ylabel=UNSATISFIED_LABEL, xscale="log")
    axes[1].set_ylim(bottom=0)
    legend(axes[0], loc="lower left")


def _loss_limits(runs: Sequence[Run]) -> tuple[float, float]:
    """The limits of an axis of losses, from the lowest loss that does not count as 0 to the highest loss."""
    losses = np.concatenate([run.history["loss"] for run in runs])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if not len(losses):
        return 0.1, 1.0
    return 0.5 * max(losses.min(), VANISHED_LOSS_RATIO * losses.max()), 2 * losses.max()


@styled
def draw_jump(runs: Sequence[Run], by: Sequence[str] | None = None, keep_dead: bool = False) -> Figure:
    """N_Δ/N against P/N at the end of each run. by: the fields that make groups; keep_dead: show dead runs and patterns."""
    figure, axes = new_figure()
    remark(figure, _plot_jump(axes[0], runs, by, keep_dead))
    return figure


@styled
def draw_jump_against_loss(
    runs: Sequence[Run], by: Sequence[str] | None = None, keep_dead: bool = False
) -> Figure:
    """N_Δ/N against L at the end of each run with L > 0, and during its training; options as of `draw_jump`."""
    figure, axes = new_figure()
    remark(figure, _plot_jump_against_loss(axes[0], runs, by, keep_dead))
    return figure


def _plot_jump(axis: Axes, runs: Sequence[Run], by: Sequence[str] | None, keep_dead: bool) -> list[str]:
    """Plots N_Δ/N against P/N and returns remarks on what is left out."""
    shown, remarks = _shown(runs, keep_dead)
    _plot_ends(axis, shown, by, keep_dead, lambda run: run.alpha)
    axis.set(xlabel="$P/N$", ylabel=UNSATISFIED_LABEL)
    axis.set_ylim(bottom=0)
    return remarks


def _plot_jump_against_loss(
    axis: Axes, runs: Sequence[Run], by: Sequence[str] | None, keep_dead: bool
) -> list[str]:
    """Plots N_Δ/N against L and returns remarks on what is left out."""
    shown, remarks = _shown(runs, keep_dead)
    lowest, highest = _loss_limits(shown) if shown else (0.1, 1.0)
    losses = np.array([number(run.info["final_loss"]) for run in shown])
    not_satisfied = [not is_satisfied(run.info) and loss > lowest for run, loss in zip(shown, losses)]
    if any(not_satisfied):  # the histories of satisfied runs fall by many decades more
        lowest = max(lowest, MARGIN_OF_LOSSES * float(losses[not_satisfied].min()))
    inside = [run for run, loss in zip(shown, losses) if loss > lowest]
    for run in inside:
        unsatisfied = run.history["n_unsatisfied"] / run.N
        axis.plot(run.history["loss"], unsatisfied, color=GREY, alpha=0.25, linewidth=0.5, zorder=1)
    _plot_ends(axis, inside, by, keep_dead, lambda run: number(run.info["final_loss"]))
    if len(shown) > len(inside):
        vanished = len(shown) - len(inside)
        remarks.insert(0, rf"{vanished} of {len(runs)} runs end at $\mathcal{{L}} \approx 0$")
    axis.set(xscale="log", xlabel=LOSS_LABEL, ylabel=UNSATISFIED_LABEL, xlim=(lowest, highest))
    axis.set_ylim(bottom=0)
    return remarks


def _shown(runs: Sequence[Run], keep_dead: bool) -> tuple[list[Run], list[str]]:
    """The runs whose end has an N_Δ/N that can be drawn, and remarks on the others."""
    without = [run for run in runs if run.info["n_unsatisfied"] is None]
    diverged = [run for run in runs if run.info["status"] == "diverged"]
    dead = [] if keep_dead else [run for run in runs if is_dead(run.info)]
    reasons = {"cross-entropy": without, "diverged": diverged, "dead": dead}
    remarks = [left_out_in_words(what, len(some)) for what, some in reasons.items() if some]
    left_out = {id(run) for some in reasons.values() for run in some}
    return [run for run in runs if id(run) not in left_out], remarks


def _state(run: Run) -> str:
    """The state of a run, as `STATES` names it."""
    info = run.info
    if is_dead(info):
        return "dead"
    return "satisfied" if is_satisfied(info) else "jammed" if is_jammed(info) else "on its way"


def _plot_ends(
    axis: Axes, runs: Sequence[Run], by: Sequence[str] | None, keep_dead: bool, position: Position
) -> None:
    """Plots N_Δ/N at the ends of runs, with a legend of their groups and of their states."""
    if not runs:
        return note(axis, "no run has an $N_\\Delta$ to show")
    labels = labels_of([run.info for run in runs], ("width",), by)
    looks = looks_of(labels)
    states = [_state(run) for run in runs]
    x = np.array([position(run) for run in runs])
    y = np.array([run.n_unsatisfied / run.N if keep_dead else alive_per_parameter(run.info) for run in runs])
    for state, style in STATES.items():
        for label, members in members_of(labels).items():
            chosen = sorted((i for i in members if states[i] == state), key=lambda i: x[i])
            if chosen:
                options: dict[str, Any] = {"clip_on": False, "zorder": 3, "linestyle": "none"}
                axis.plot(x[chosen], y[chosen], **options, **style(looks[label]))
    _legend_of_ends(axis, looks, states)


def _legend_of_ends(axis: Axes, looks: dict[str, Look], states: Sequence[str]) -> None:
    """A legend with a line for each group, if there are several, and one for each state that occurs."""
    groups = looks if len(looks) > 1 else {}
    entries = [
        Line2D([], [], linestyle="none", marker=look.marker, color=look.colour, label=label)
        for label, look in groups.items()
    ]
    plain = Look(GREY if groups else next(iter(looks.values())).colour, "o", "-")
    entries += [
        Line2D([], [], linestyle="none", label=state, **style(plain))
        for state, style in reversed(STATES.items())
        if state in states
    ]
    if not groups:
        axis.legend(handles=entries)
        return
    axis.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.02, 1.02))
    widen(axis, max(map(len, groups)))
