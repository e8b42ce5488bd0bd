"""The stages of approaches to jamming: N_Δ/N, the margin and the steps, against the loss that is left.

    N_Δ/N and (N_Δ + N_c)/N,        ε,        ‖δW‖/‖W‖,        each against L/N

A triangle is the first stage of a branch after an avalanche. A circle at the end of a curve is the jamming point, a cross
an approach that ended otherwise.
Source: arXiv:1809.09349, fig. 6b, for N_Δ/N as L → 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.errors import InputError, Remedy
from jamtools.figures.groups import Look, labels_of, looks_of
from jamtools.figures.style import left_out_in_words, legend, new_figure, remark, styled, widen
from jamtools.grouping import RUN_GROUP_FIELDS
from jamtools.records import Run
from jamtools.states import is_satisfied

#: With one group and at most this many approaches, each has its own colour and the label of its seed.
MAX_LABELLED_APPROACHES = 8

#: Fields that differ between the stages of one approach.
FIELDS_OF_STAGES = ("epsilon", "steps")

LOSS_PER_PARAMETER = r"$\mathcal{L}/N$"


@styled
def draw_approach(runs: Sequence[Run], by: Sequence[str] | None = None) -> Figure:
    """The stages of each approach, in the order of the runs; satisfied stages, which have no N_Δ, are left out and counted.

    by: the fields that make groups (grouping.py). Raises InputError where no run is a stage of an approach.
    """
    chains = approaches(runs)
    if not chains:
        raise InputError("got runs without a stage of an approach, expected some", Remedy.APPROACH_FIRST)
    figure, axes = new_figure(3)
    labels = _labels([chain[0] for chain in chains], by)
    looks = looks_of(labels)
    for i, (chain, label) in enumerate(zip(chains, labels, strict=True)):
        _draw(axes, chain, looks[label], label if label not in labels[:i] else "")
    axes[0].set(
        xlabel=LOSS_PER_PARAMETER, ylabel=r"$N_\Delta/N$;  dashed: $(N_\Delta + N_c)/N$", xscale="log"
    )
    axes[1].set(xlabel=LOSS_PER_PARAMETER, ylabel=r"$\epsilon$", xscale="log")
    axes[2].set(
        xlabel=LOSS_PER_PARAMETER, ylabel=r"$\|\delta W\|/\|W\|$ of a stage", xscale="log", yscale="log"
    )
    axes[0].set_ylim(bottom=0)
    if any(labels):
        widen(axes[2], max(map(len, labels)))
        legend(axes[2], loc="upper left", bbox_to_anchor=(1.0, 1.0))
    satisfied = sum(is_satisfied(run.info) for run in runs if run.info.get("approach"))
    remark(figure, [left_out_in_words("satisfied", satisfied)] if satisfied else [])
    return figure


def approaches(runs: Sequence[Run]) -> list[list[Run]]:
    """The stages of each approach that are not satisfied.

    A stage whose number is not above that of the stage before begins another approach.
    """
    chains: list[list[Run]] = []
    last = -1
    for run in runs:
        fields = run.info.get("approach")
        if not isinstance(fields, dict):
            continue
        if not chains or fields["stage"] <= last:
            chains.append([])
        last = fields["stage"]
        if not is_satisfied(run.info):
            chains[-1].append(run)
    return [chain for chain in chains if chain]


def _labels(firsts: Sequence[Run], by: Sequence[str] | None) -> list[str]:
    """A label for each approach, from its first stage."""
    infos = [run.info for run in firsts]
    fields = [name for name in RUN_GROUP_FIELDS if name not in FIELDS_OF_STAGES]
    labels = labels_of(infos, ("width", "P"), by, fields=fields)
    if len(set(labels)) == 1 and by is None and 1 < len(firsts) <= MAX_LABELLED_APPROACHES:
        return labels_of(infos, ("width", "P", "seed"), fields=fields)
    return labels


def _draw(axes: Sequence[Axes], chain: Sequence[Run], look: Look, label: str) -> None:
    """Draws the stages of one approach in the three panels."""
    fields = [run.info["approach"] for run in chain]
    loss = np.array([stage["loss_per_parameter"] for stage in fields])
    unsatisfied = np.array([run.n_unsatisfied / run.N for run in chain])
    cusps = np.array([(run.info.get("certificate") or {}).get("n_cusps") or 0 for run in chain])
    margin = np.array([run.epsilon for run in chain])
    moved = np.array([stage["moved"] or np.nan for stage in fields])
    both = unsatisfied + cusps / np.array([run.N for run in chain])
    axes[0].plot(loss, unsatisfied, color=look.colour)
    if cusps.any():
        axes[0].plot(loss, both, "--", color=look.colour, linewidth=0.8)
    axes[1].plot(loss, margin, color=look.colour)
    axes[2].plot(loss, moved, color=look.colour, label=label or None)
    avalanche = np.array([bool(stage["avalanche"]) for stage in fields])
    end = fields[-1]["end"]
    for axis, values in zip(axes, (unsatisfied, margin, moved), strict=True):
        axis.plot(loss[avalanche], values[avalanche], "v", color=look.colour)
        if end:
            axis.plot(loss[-1:], values[-1:], "o" if end == "reached" else "x", color=look.colour)
