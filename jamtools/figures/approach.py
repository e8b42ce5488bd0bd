"""The stages of approaches to jamming: by the margin against the loss that is left, by the patterns against P/N.

    margin      N_Δ/N and (N_Δ + N_c)/N,     ε,      ‖δW‖/‖W‖,                               each against L/N
    patterns    N_Δ/N and (N_Δ + N_c)/N,     L/N,    ‖δW‖/‖W‖, or ‖W‖ of free weights,       each against P/N

A triangle is the first stage of a branch after an avalanche. A circle at the end of a curve is the jamming point, a cross
an approach that ended otherwise.
Source: arXiv:1809.09349, fig. 6b, for N_Δ/N as L → 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.errors import InputError, Remedy
from jamtools.figures.groups import Look, labels_of, looks_of
from jamtools.figures.style import left_out_in_words, legend, new_figure, number, remark, styled, widen
from jamtools.grouping import RUN_GROUP_FIELDS
from jamtools.records import Run
from jamtools.states import is_satisfied

#: With one group and at most this many approaches, each has its own colour and the label of its seed.
MAX_LABELLED_APPROACHES = 8

#: Fields that differ between the stages of one approach.
FIELDS_OF_STAGES = ("epsilon", "steps")

#: ‖δW‖/‖W‖ up to this is round-off, and is not drawn.
MOVED_ROUND_OFF = 1e-13

LOSS_PER_PARAMETER = r"$\mathcal{L}/N$"


@dataclass(frozen=True)
class Panel:
    """The values of a panel: their label, the value of a stage, and whether their axis is logarithmic."""

    label: str
    value: Callable[[Run], float]
    is_log: bool


UNSATISFIED = Panel(
    r"$N_\Delta/N$;  dashed: $(N_\Delta + N_c)/N$", lambda run: run.n_unsatisfied / run.N, False
)
MARGIN = Panel(r"$\epsilon$", lambda run: run.epsilon, False)
LOSS = Panel(LOSS_PER_PARAMETER, lambda run: number(run.info["approach"]["loss_per_parameter"]), True)
MOVED = Panel(r"$\|\delta W\|/\|W\|$ of a stage", lambda run: _moved(run), True)
NORM = Panel(r"$\|W\|$", lambda run: float(np.linalg.norm(run.theta)), True)
PATTERNS_PER_PARAMETER = Panel("$P/N$", lambda run: run.alpha, False)


@styled
def draw_approach(runs: Sequence[Run], by: Sequence[str] | None = None) -> Figure:
    """The stages of each approach, in the order of the runs; satisfied stages, which have no N_Δ, are left out and counted.

    by: the fields that make groups (grouping.py). Raises InputError where no run is a stage of an approach, and for stages
    of two knobs.
    """
    chains = approaches(runs)
    if not chains:
        raise InputError("got runs without a stage of an approach, expected some", Remedy.APPROACH_FIRST)
    across, panels = _panels([run for chain in chains for run in chain])
    figure, axes = new_figure(3)
    labels = _labels([chain[0] for chain in chains], by)
    looks = looks_of(labels)
    for i, (chain, label) in enumerate(zip(chains, labels, strict=True)):
        _draw(axes, (across, panels), chain, looks[label], label if label not in labels[:i] else "")
    for axis, panel in zip(axes, panels, strict=True):
        scales = {False: "linear", True: "log"}
        axis.set(xlabel=across.label, ylabel=panel.label)
        axis.set(xscale=scales[across.is_log], yscale=scales[panel.is_log])
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


def _moved(run: Run) -> float:
    """‖δW‖/‖W‖ of a stage; NaN for stage 0, and where it is round-off."""
    moved = number(run.info["approach"]["moved"])
    return moved if moved > MOVED_ROUND_OFF else np.nan


def _panels(stages: Sequence[Run]) -> tuple[Panel, tuple[Panel, Panel, Panel]]:
    """The axis across and the three panels, for the knob of the stages."""
    knobs = sorted({run.info["approach"]["knob"] for run in stages})
    if len(knobs) > 1:
        raise InputError(f"got stages of the knobs {' and '.join(knobs)}, expected those of one knob")
    if knobs == ["margin"]:
        return LOSS, (UNSATISFIED, MARGIN, MOVED)
    is_free = any(run.info.get("norm") is None for run in stages)
    return PATTERNS_PER_PARAMETER, (UNSATISFIED, LOSS, NORM if is_free else MOVED)


def _draw(
    axes: Sequence[Axes], drawn: tuple[Panel, Sequence[Panel]], chain: Sequence[Run], look: Look, label: str
) -> None:
    """Draws the stages of one approach in the three panels; drawn: the axis across, and the panels."""
    across, panels = drawn
    x = np.array([across.value(run) for run in chain])
    cusps = np.array([(run.info.get("certificate") or {}).get("n_cusps") or 0 for run in chain])
    if cusps.any():
        both = [run.n_unsatisfied / run.N + n / run.N for run, n in zip(chain, cusps, strict=True)]
        axes[0].plot(x, both, "--", color=look.colour, linewidth=0.8)
    avalanche = np.array([bool(run.info["approach"]["avalanche"]) for run in chain])
    end = chain[-1].info["approach"]["end"]
    for axis, panel in zip(axes, panels, strict=True):
        values = np.array([panel.value(run) for run in chain])
        axis.plot(x, values, color=look.colour, label=label or None if axis is axes[2] else None)
        axis.plot(x[avalanche], values[avalanche], "v", color=look.colour)
        if end:
            axis.plot(x[-1:], values[-1:], "o" if end == "reached" else "x", color=look.colour)
