"""The loss and the number of unsatisfied patterns of runs, during the training and at its end.

Source: arXiv:1809.09349, figs. 6a, 6b.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.figures.style import GREY, colours_of, labels_of, legend, new_figure, number, styled
from jamtools.records import Array, Run

#: With more runs than this, a panel shows the ends of the runs. With more groups than this, the curves have no labels.
MAX_LABELLED_CURVES = 8

#: A loss below this fraction of the highest loss counts as 0 and lies outside of the axes.
VANISHED_LOSS_RATIO = 1e-14

LOSS_LABEL, UNSATISFIED_LABEL = r"$\mathcal{L}$", r"$N_\Delta/N$"


@styled
def draw_history(runs: Sequence[Run]) -> Figure:
    """Loss and N_Δ/N against the step, one curve per run. With many runs, a third panel shows their ends."""
    many = len(runs) > MAX_LABELLED_CURVES
    figure, axes = new_figure(3 if many else 2)
    _plot_history(axes, runs, 0.8 if many else 1.2)
    if many:
        plot_ends = _plot_jump if len({run.alpha for run in runs}) > 1 else _plot_jump_against_loss
        plot_ends(axes[2], runs)
    return figure


def _plot_history(axes: Sequence[Axes], runs: Sequence[Run], linewidth: float) -> None:
    """Plots the loss in the first panel and N_Δ/N in the second; runs with the same label have one colour."""
    infos = [run.info for run in runs]
    groups = [label or f"seed {info['seed']}" for label, info in zip(labels_of(infos), infos)]
    colours = colours_of(groups)
    for i, (run, group) in enumerate(zip(runs, groups)):
        first_of_group = group not in groups[:i]
        label = group if first_of_group and 1 < len(colours) <= MAX_LABELLED_CURVES else ""
        step = np.where(run.history["step"] > 0, run.history["step"], np.nan)  # step 0 has no logarithm
        curves = (run.history["loss"], run.history["n_unsatisfied"] / run.N)
        for axis, curve in zip(axes, curves):
            axis.plot(step, curve, color=colours[group], label=label, linewidth=linewidth)
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
def draw_jump(runs: Sequence[Run]) -> Figure:
    """N_Δ/N against P/N at the end of each run."""
    figure, axes = new_figure()
    _plot_jump(axes[0], runs)
    return figure


@styled
def draw_jump_against_loss(runs: Sequence[Run]) -> Figure:
    """N_Δ/N against L at the end of each run, and in thin grey lines during the training."""
    figure, axes = new_figure()
    _plot_jump_against_loss(axes[0], runs)
    return figure


class _Ends(NamedTuple):
    """P/N, L and N_Δ/N at the end of the runs of a group, each [runs]."""

    alpha: Array
    loss: Array
    unsatisfied: Array


def _ends_by_group(runs: Sequence[Run]) -> dict[str, _Ends]:
    """The ends of the runs by label. Runs that differ only in their sizes and seeds have the same label."""
    groups: dict[str, list[Run]] = {}
    for run, label in zip(runs, labels_of([run.info for run in runs], without=("P", "d", "width", "seed"))):
        groups.setdefault(label, []).append(run)
    return {
        label: _Ends(
            np.array([run.alpha for run in group]),
            np.array([number(run.info["final_loss"]) for run in group]),
            np.array([run.info["n_unsatisfied"] / run.N for run in group]),
        )
        for label, group in groups.items()
    }


def _plot_jump(axis: Axes, runs: Sequence[Run]) -> None:
    groups = _ends_by_group(runs)
    colours = colours_of(groups)
    for label, ends in groups.items():
        order = np.argsort(ends.alpha, kind="stable")
        axis.plot(
            ends.alpha[order],
            ends.unsatisfied[order],
            "o",
            color=colours[label],
            label=label,
            clip_on=False,
            zorder=3,
        )
    axis.set(xlabel="$P/N$", ylabel=UNSATISFIED_LABEL)
    axis.set_ylim(bottom=0)
    legend(axis)


def _plot_jump_against_loss(axis: Axes, runs: Sequence[Run]) -> None:
    for run in runs:
        unsatisfied = run.history["n_unsatisfied"] / run.N
        axis.plot(run.history["loss"], unsatisfied, color=GREY, alpha=0.4, linewidth=0.6)
    groups, (lowest, highest) = _ends_by_group(runs), _loss_limits(runs)
    colours = colours_of(groups)
    for label, ends in groups.items():
        shown = ends.loss > lowest
        axis.plot(ends.loss[shown], ends.unsatisfied[shown], "o", color=colours[label], label=label)
    n_vanished = sum((ends.loss <= lowest).sum() for ends in groups.values())
    if n_vanished:
        axis.set_title(rf"{n_vanished} of {len(runs)} runs end at $\mathcal{{L}} \approx 0$")
    axis.set(xscale="log", xlabel=LOSS_LABEL, ylabel=UNSATISFIED_LABEL, xlim=(lowest, highest))
    axis.set_ylim(bottom=0)
    legend(axis)
