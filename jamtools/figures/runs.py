"""Where runs went and where they ended: the loss and the number of unsatisfied patterns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.figures.style import GREY, colours_of, labels_of, legend, new_figure, number, styled
from jamtools.records import Array, Run

MOST_LABELLED = 8
VANISHED = 1e-14  # a loss so far below the highest is on its way to 0 and not worth an axis
LOSS, UNSATISFIED = r"$\mathcal{L}$", r"$N_\Delta/N$"


@styled
def history(runs: Sequence[Run]) -> Figure:
    """Loss and N_Δ/N against the step, a curve a run; for many runs also where they ended."""
    many = len(runs) > MOST_LABELLED
    figure, axes = new_figure(3 if many else 2)
    _draw_history(axes, runs, 0.8 if many else 1.2)
    if many:
        ratios = {run.info["P"] / run.info["n_effective_expected"] for run in runs}
        draw = _draw_jump if len(ratios) > 1 else _draw_against_loss
        draw(axes[2], runs)
    return figure


def _draw_history(axes: Sequence[Axes], runs: Sequence[Run], linewidth: float) -> None:
    infos = [run.info for run in runs]
    groups = [label or f"seed {info['seed']}" for label, info in zip(labels_of(infos), infos)]
    colours = colours_of(groups)
    for i, (run, group) in enumerate(zip(runs, groups)):
        label = group if group not in groups[:i] and 1 < len(colours) <= MOST_LABELLED else ""
        step = np.where(run.history["step"] > 0, run.history["step"], np.nan)  # step 0 has no logarithm
        curves = (run.history["loss"], run.history["n_unsatisfied"] / run.info["n_effective_expected"])
        for axis, curve in zip(axes, curves):
            axis.plot(step, curve, color=colours[group], label=label, linewidth=linewidth)
    axes[0].set(xlabel="step", ylabel=LOSS, xscale="log", yscale="log", ylim=_reach(runs))
    axes[1].set(xlabel="step", ylabel=UNSATISFIED, xscale="log")
    axes[1].set_ylim(bottom=0)
    legend(axes[0], loc="lower left")


def _reach(runs: Sequence[Run]) -> tuple[float, float]:
    """The losses worth an axis, from the lowest that has not vanished to the highest."""
    losses = np.concatenate([run.history["loss"] for run in runs])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if not len(losses):
        return 0.1, 1.0
    return 0.5 * max(losses.min(), VANISHED * losses.max()), 2 * losses.max()


@styled
def jump(runs: Sequence[Run]) -> Figure:
    """N_Δ/N against P/N at the end of each run."""
    figure, axes = new_figure()
    _draw_jump(axes[0], runs)
    return figure


@styled
def against_loss(runs: Sequence[Run]) -> Figure:
    """N_Δ/N against L at the end of each run, and faintly on its way there."""
    figure, axes = new_figure()
    _draw_against_loss(axes[0], runs)
    return figure


def _ends(runs: Sequence[Run]) -> dict[str, Array]:
    """A row [P/N, L, N_Δ/N] for each run, grouped by all but size and seed."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    labels = labels_of([run.info for run in runs], but=("P", "d", "width", "seed"))
    for run, label in zip(runs, labels):
        N = run.info["n_effective_expected"]
        end = (run.info["P"] / N, number(run.info["final_loss"]), run.info["n_unsatisfied"] / N)
        rows.setdefault(label, []).append(end)
    return {label: np.array(ends) for label, ends in rows.items()}


def _draw_jump(axis: Axes, runs: Sequence[Run]) -> None:
    groups = _ends(runs)
    colours = colours_of(groups)
    for label, ends in groups.items():
        ratio, _, unsatisfied = ends[np.argsort(ends[:, 0], kind="stable")].T
        axis.plot(ratio, unsatisfied, "o", color=colours[label], label=label, clip_on=False, zorder=3)
    axis.set(xlabel="$P/N$", ylabel=UNSATISFIED)
    axis.set_ylim(bottom=0)
    legend(axis)


def _draw_against_loss(axis: Axes, runs: Sequence[Run]) -> None:
    for run in runs:
        on_the_way = run.history["n_unsatisfied"] / run.info["n_effective_expected"]
        axis.plot(run.history["loss"], on_the_way, color=GREY, alpha=0.4, linewidth=0.6)
    groups, (lowest, highest) = _ends(runs), _reach(runs)
    colours = colours_of(groups)
    for label, ends in groups.items():
        _, loss, unsatisfied = ends[ends[:, 1] > lowest].T
        axis.plot(loss, unsatisfied, "o", color=colours[label], label=label)
    n_vanished = sum((ends[:, 1] <= lowest).sum() for ends in groups.values())
    if n_vanished:
        axis.set_title(rf"{n_vanished} of {len(runs)} runs end at $\mathcal{{L}} \approx 0$")
    axis.set(xscale="log", xlabel=LOSS, ylabel=UNSATISFIED, xlim=(lowest, highest))
    axis.set_ylim(bottom=0)
    legend(axis)
