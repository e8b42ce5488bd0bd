"""Eigenvalues of H0, Hp and H = H0 + Hp at the end of runs.

    H0    density of log₁₀ λ, beside the mass at λ = 0
    Hp    density of λ/√L, beside its mirror image
    H     share of the modes in bins of equal width in asinh(λ/λ₀), where λ₀ is the median |λ| of the negative eigenvalues

Satisfied runs have no Hessian, and dead runs say nothing about jamming: both are left out and counted.

Source: arXiv:1809.09349, fig. 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jamtools.figures.groups import Look, labels_of, looks_of, members_of
from jamtools.figures.style import GREY, left_out_in_words, legend, new_figure, note, remark, styled
from jamtools.records import Array, Spectrum
from jamtools.states import is_dead, is_satisfied

#: With more groups than this, the runs of all P are drawn together, and then those of all widths.
MAX_OVERLAID_GROUPS = 4

MIN_BINS, MAX_BINS = 12, 60

#: λ₀ of the axis of H is at least this fraction of the largest eigenvalue.
MIN_LINEAR_WIDTH_RATIO = 1e-6

#: The smallest distance between two labelled ticks of H, as a fraction of the axis.
MIN_TICK_DISTANCE = 0.09

#: The axis of an estimated density ends at this fraction of its maximum.
MIN_DENSITY_RATIO = 1e-6

PART_SYMBOLS = {"H": r"$\mathcal{H}$", "H0": r"$\mathcal{H}_0$", "Hp": r"$\mathcal{H}_p$"}


@dataclass(frozen=True)
class Group:
    """Spectra that are drawn as one histogram."""

    label: str
    look: Look
    members: list[Spectrum]

    def pool(self, values: Callable[[Spectrum], Array]) -> Array:
        """The values [n] of each member in one array."""
        return np.concatenate([values(member) for member in self.members])


@styled
def draw_spectrum(
    spectra: Sequence[Spectrum], by: Sequence[str] | None = None, keep_dead: bool = False
) -> Figure:
    """Eigenvalues of H0, Hp and H, pooled over the runs of a group; the groups are overlaid.

    by: the fields that make groups (grouping.py); keep_dead: whether dead runs are drawn.
    """
    figure, axes = new_figure(3)
    shown, remarks = _shown(spectra, keep_dead)
    groups = _groups(shown, by)
    for (part, plot_eigenvalues), axis in zip(PLOT_EIGENVALUES.items(), axes):
        if not shown:
            note(axis, "no pattern is unsatisfied:\nevery eigenvalue is 0")
        elif all(part in spectrum.densities for spectrum in shown):
            _plot_density(axis, groups, part)
        elif not all(part in spectrum.eigenvalues for spectrum in shown):
            note(axis, f"no eigenvalues of {part}\nin every spectrum")
        else:
            plot_eigenvalues(axis, groups)
            legend(axis)
    remark(figure, remarks)
    return figure


def _shown(spectra: Sequence[Spectrum], keep_dead: bool) -> tuple[list[Spectrum], list[str]]:
    """The spectra that are drawn, and remarks on those that are left out."""
    dead = [] if keep_dead else [s for s in spectra if is_dead(s.info)]
    satisfied = [s for s in spectra if is_satisfied(s.info) or not (s.densities or _is_nonzero(s))]
    reasons = {"satisfied": satisfied, "dead": dead}
    remarks = [left_out_in_words(what, len(some)) for what, some in reasons.items() if some]
    left_out = {id(s) for some in reasons.values() for s in some}
    return [s for s in spectra if id(s) not in left_out], remarks


def _is_nonzero(spectrum: Spectrum) -> bool:
    return any(np.any(values) for values in spectrum.eigenvalues.values())


def _groups(spectra: Sequence[Spectrum], by: Sequence[str] | None) -> list[Group]:
    """Groups of runs that differ only in their seed, and in P and the width where there were too many."""
    labels = labels_of([spectrum.info for spectrum in spectra], ("width", "P"), by, MAX_OVERLAID_GROUPS)
    looks = looks_of(labels)
    return [
        Group(label, looks[label], [spectra[i] for i in members])
        for label, members in members_of(labels).items()
    ]


def _n_bins(parts: Sequence[Array]) -> int:
    """The number of bins that the smallest of the samples [n] can fill."""
    return int(np.clip(2 * min(map(len, parts)) ** 0.5, MIN_BINS, MAX_BINS))


def _plot_histogram(axis: Axes, heights: Array, edges: Array, group: Group, label: str = "") -> None:
    """A histogram of heights [b] and edges [b+1], outlined and lightly filled."""
    colour, line = group.look.colour, group.look.line
    axis.stairs(heights, edges, color=colour, fill=True, alpha=0.15, linewidth=0)
    axis.stairs(heights, edges, color=colour, linestyle=line, label=label or group.label)


def _plot_H0(axis: Axes, groups: Sequence[Group]) -> None:
    """Plots the density of log₁₀ λ. The legend gives the mass of the delta at λ = 0. Both together integrate to 1."""
    parts = [group.pool(lambda s: s["H0"][len(s["H0"]) - s.info["rank_H0"] :]) for group in groups]
    pooled = np.concatenate(parts)
    edges = np.geomspace(pooled.min() * 0.999, pooled.max() * 1.001, _n_bins(parts) + 1)
    for group, part in zip(groups, parts):
        total = sum(len(member["H0"]) for member in group.members)
        density = np.histogram(part, edges)[0] / (total * np.diff(np.log10(edges)))
        mass = rf"{1 - len(part) / total:.2f} at $\lambda = 0$"
        _plot_histogram(axis, density, edges, group, f"{group.label}: {mass}" if group.label else mass)
    axis.set(xscale="log", xlabel=r"$\lambda$", ylabel=r"density of $\log_{10}\lambda$")
    axis.set_ylim(top=(1 + 0.17 * len(groups)) * axis.dataLim.y1)  # room for the legend
    axis.set_title(PART_SYMBOLS["H0"])


def _plot_Hp(axis: Axes, groups: Sequence[Group]) -> None:
    """Plots the density of λ/√L, which near the transition is the same at all losses, and its mirror image."""
    parts = [group.pool(lambda s: s["Hp"] / _root_of_loss(s)) for group in groups]
    if not any(map(np.any, parts)):
        return note(axis, r"$\mathcal{H}_p = 0$")
    reach = max(float(np.abs(part).max()) for part in parts)
    edges = np.linspace(-reach, reach, 2 * _n_bins(parts) + 2)  # an odd number of bins: one is centred on 0
    for group, part in zip(groups, parts):
        density = np.histogram(part, edges)[0] / (len(part) * np.diff(edges))
        _plot_histogram(axis, density, edges, group)
        if len(groups) == 1:
            axis.stairs(density[::-1], edges, color="black", linestyle=":", label=r"$-\lambda$")
    hinge = all(member.info["loss"] == "hinge" for group in groups for member in group.members)
    axis.set(
        yscale="log", xlabel=r"$\lambda/\sqrt{\mathcal{L}}$" if hinge else r"$\lambda$", ylabel="density"
    )
    axis.set_title(PART_SYMBOLS["Hp"] + _c0_in_words(groups))


def _root_of_loss(spectrum: Spectrum) -> float:
    """√L of the hinge loss; 1 for a run trained on another loss, which does not record its hinge loss."""
    return math.sqrt(spectrum.info["final_loss"]) if spectrum.info["loss"] == "hinge" else 1.0


def _c0_in_words(groups: Sequence[Group]) -> str:
    """The range of C0 = N_-/N over all runs, as a part of a title."""
    values = [member.info["c0"] for group in groups for member in group.members]
    values = [value for value in values if value is not None]
    ends = sorted({f"{end:.3f}" for end in (min(values), max(values))}) if values else []
    return f",  $C_0$ = {' to '.join(ends)}" if ends else ""


def _plot_H(axis: Axes, groups: Sequence[Group]) -> None:
    """Plots the share of the modes in bins of equal width in asinh(λ/λ₀); λ₀: median |λ| of the negative eigenvalues."""
    parts = [group.pool(lambda s: s["H"]) for group in groups]
    pooled = np.concatenate(parts)
    negative = np.concatenate([group.pool(lambda s: s["H"][: s.info["n_negative_H"]]) for group in groups])
    typical = float(np.median(-negative)) if len(negative) else 0.0
    scale = max(typical, MIN_LINEAR_WIDTH_RATIO * float(pooled.max()))
    edges = _asinh_edges(pooled, scale, _n_bins(parts))
    for group, part in zip(groups, parts):
        _plot_histogram(axis, np.histogram(part, edges)[0] / len(part), edges, group)
    axis.axvline(0, color=GREY, linewidth=0.6)
    axis.set_xscale("asinh", linear_width=scale)
    axis.set_xlim(edges[0], edges[-1])
    _label_decades(axis, scale, edges)
    axis.set(yscale="log", xlabel=r"$\lambda$", ylabel="share of modes per bin")
    axis.set_title(rf"{PART_SYMBOLS['H']},  {_negative_modes_in_words(groups)}")


def _asinh_edges(values: Array, scale: float, n_bins: int) -> Array:
    """Edges [b+1] of bins of equal width in asinh(λ/scale). They cover all values [n], and one bin is centred on 0."""
    low, high = np.arcsinh(np.array([values.min(), values.max()]) / scale)
    step = (high - low) / n_bins
    middles = np.arange(math.floor(low / step), math.ceil(high / step) + 2)
    return scale * np.sinh(step * (middles - 0.5))


def _label_decades(axis: Axes, scale: float, edges: Array) -> None:
    """Sets ticks at 0 and at powers of ten, at readable distances: matplotlib's own ticks are too close near 0."""
    powers = 10.0 ** np.arange(np.floor(np.log10(scale)), np.log10(np.abs(edges).max()) + 1)
    min_distance = MIN_TICK_DISTANCE * np.ptp(np.arcsinh(edges / scale))
    kept = [0.0]
    for tick in [*powers, *-powers]:
        distances = np.abs(np.arcsinh(tick / scale) - np.arcsinh(np.array(kept) / scale))
        if edges[0] <= tick <= edges[-1] and distances.min() > min_distance:
            kept.append(float(tick))
    axis.xaxis.set_major_locator(FixedLocator(sorted(kept)))
    axis.xaxis.set_major_formatter(FuncFormatter(_power_of_ten))
    axis.xaxis.set_minor_locator(NullLocator())


def _power_of_ten(tick: float, _: int | None = None) -> str:
    """'0', or '$-10^{-3}$' for -1e-3."""
    if tick == 0:
        return "0"
    return f"${'-' if tick < 0 else ''}10^{{{round(math.log10(abs(tick)))}}}$"


def _negative_modes_in_words(groups: Sequence[Group]) -> str:
    """The range of the number of negative modes over all runs, as a part of a title."""
    counts = [member.info["n_negative_H"] for group in groups for member in group.members]
    ends = [str(end) for end in sorted({min(counts), max(counts)})]
    return f"{' to '.join(ends)} negative mode{'s' * (ends != ['1'])}"


def _plot_density(axis: Axes, groups: Sequence[Group], part: str) -> None:
    """Plots the estimated density of each run with a band of one standard error. The legend gives the mass at λ = 0."""
    if not any(len(member.densities[part]["x"]) for group in groups for member in group.members):
        return note(axis, f"{PART_SYMBOLS[part]}$ = 0$")
    for group in groups:
        for member in group.members:
            density, estimate = member.densities[part], member.info["estimates"][part]
            n, x, y, error = estimate["dimension"], density["x"], density["y"], density["error"]
            label = f"{group.label} {_mass_at_zero(estimate['zero'], n)}".strip()
            colour, line = group.look.colour, group.look.line
            axis.plot(x, y / n, line, color=colour, label=label or None)
            low, high = np.maximum(y - error, 0) / n, (y + error) / n
            axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.set(yscale="log", xlabel=r"$\lambda$", ylabel="density")
    highest = axis.dataLim.y1
    if highest > 0:
        axis.set_ylim(MIN_DENSITY_RATIO * highest, 3 * highest)
    axis.set_title(PART_SYMBOLS[part])
    if axis.get_legend_handles_labels()[0]:
        legend(axis)


def _mass_at_zero(zero: dict[str, Any], dimension: int) -> str:
    """The share of the eigenvalues at 0 in words, or "" where the estimate does not resolve it."""
    if not zero["resolved"] or not zero["value"] > 0:
        return ""
    return rf"{zero['value'] / dimension:.2f} at $\lambda = 0$"


#: The panels from left to right, each with the function that plots the eigenvalues of that matrix.
PLOT_EIGENVALUES: dict[str, Callable[[Axes, Sequence[Group]], None]] = {
    "H0": _plot_H0,
    "Hp": _plot_Hp,
    "H": _plot_H,
}
