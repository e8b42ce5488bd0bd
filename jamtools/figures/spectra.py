"""Eigenvalues of H0, Hp and H = H0 + Hp at the end of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jamtools.figures.style import GREY, PALETTE, colours_of, labels_of, legend, new_figure, note, styled
from jamtools.records import Array, Spectrum

MOST_OVERLAID = 4


@dataclass(frozen=True)
class Group:
    """Spectra drawn as one histogram."""

    label: str
    colour: Any
    members: list[Spectrum]

    def pool(self, values: Callable[[Spectrum], Array]) -> Array:
        """One array of the values of all members."""
        return np.concatenate([values(member) for member in self.members])


@styled
def spectrum(spectra: Sequence[Spectrum]) -> Figure:
    """Eigenvalues of H0, Hp and H, pooled over runs; up to four kinds of run overlaid."""
    figure, axes = new_figure(3)
    jammed = [one for one in spectra if any(np.any(values) for values in one.eigenvalues.values())]
    for part, axis in zip(("H0", "Hp", "H"), axes):
        draw = DRAW[part]
        if spectra and all(part in one.densities for one in spectra):
            _draw_density(axis, _groups(spectra), part)
            continue
        if not all(part in one.eigenvalues for one in jammed):
            note(axis, f"no eigenvalues of {part}\nin every spectrum")
        elif jammed:
            draw(axis, _groups(jammed))
            legend(axis)
        else:
            note(axis, "no pattern is unsatisfied:\nevery eigenvalue is 0")
    return figure


def _groups(spectra: Sequence[Spectrum]) -> list[Group]:
    """Runs that differ in their seed only go together; all of them where that leaves too many groups."""
    labels = labels_of([one.info for one in spectra], but=("seed",))
    colours = colours_of(labels)
    if len(colours) > MOST_OVERLAID:
        return [Group("", PALETTE[0], list(spectra))]
    return [
        Group(label, colour, [one for one, its in zip(spectra, labels) if its == label])
        for label, colour in colours.items()
    ]


def _n_bins(parts: Sequence[Array]) -> int:
    """As many bins as the smallest histogram bears."""
    return int(np.clip(2 * min(map(len, parts)) ** 0.5, 12, 60))


def _fill(axis: Axes, heights: Array, edges: Array, group: Group, label: str = "") -> None:
    """A histogram, outlined and lightly filled."""
    axis.stairs(heights, edges, color=group.colour, fill=True, alpha=0.15, linewidth=0)
    axis.stairs(heights, edges, color=group.colour, label=label or group.label)


def _draw_H0(axis: Axes, groups: Sequence[Group]) -> None:
    """Density of log₁₀ λ; what has no logarithm is a delta at 0, and its mass is given: the two make 1."""
    parts = [group.pool(lambda one: one["H0"][len(one["H0"]) - one.info["rank_H0"] :]) for group in groups]
    every = np.concatenate(parts)
    edges = np.geomspace(every.min() * 0.999, every.max() * 1.001, _n_bins(parts) + 1)
    for group, part in zip(groups, parts):
        total = sum(len(one["H0"]) for one in group.members)
        density = np.histogram(part, edges)[0] / (total * np.diff(np.log10(edges)))
        mass = rf"{1 - len(part) / total:.2f} at $\lambda = 0$"
        _fill(axis, density, edges, group, f"{group.label}: {mass}" if group.label else mass)
    axis.set(xscale="log", xlabel=r"$\lambda$", ylabel=r"density of $\log_{10}\lambda$")
    axis.set_ylim(top=(1 + 0.17 * len(groups)) * axis.dataLim.y1)  # room for the legend
    axis.set_title(r"$\mathcal{H}_0$")


def _draw_Hp(axis: Axes, groups: Sequence[Group]) -> None:
    """Density of λ/√L, on which runs of all losses fall together, and its mirror image."""
    parts = [group.pool(lambda one: one["Hp"] / _root_of_loss(one)) for group in groups]
    if not any(map(np.any, parts)):
        return note(axis, r"$\mathcal{H}_p = 0$")
    reach = max(float(np.abs(part).max()) for part in parts)
    edges = np.linspace(-reach, reach, 2 * _n_bins(parts) + 2)  # an odd number of bins: one is centred on 0
    for group, part in zip(groups, parts):
        density = np.histogram(part, edges)[0] / (len(part) * np.diff(edges))
        _fill(axis, density, edges, group)
        if len(groups) == 1:
            axis.stairs(density[::-1], edges, color="black", linestyle=":", label=r"$-\lambda$")
    hinge = all(one.info["loss"] == "hinge" for group in groups for one in group.members)
    axis.set(
        yscale="log", xlabel=r"$\lambda/\sqrt{\mathcal{L}}$" if hinge else r"$\lambda$", ylabel="density"
    )
    axis.set_title(r"$\mathcal{H}_p$" + _c0(groups))


def _root_of_loss(one: Spectrum) -> float:
    """√L of the hinge loss; a run trained on another loss does not record it, and keeps its λ."""
    return math.sqrt(one.info["final_loss"]) if one.info["loss"] == "hinge" else 1.0


def _c0(groups: Sequence[Group]) -> str:
    """Between which values C0 = N_-/N lies."""
    values = [one.info["c0"] for group in groups for one in group.members if one.info["c0"] is not None]
    ends = sorted({f"{end:.3f}" for end in (min(values), max(values))}) if values else []
    return f",  $C_0$ = {' to '.join(ends)}" if ends else ""


def _draw_H(axis: Axes, groups: Sequence[Group]) -> None:
    """Share of the modes in bins even in asinh(λ/λ₀), with λ₀ the typical size of the negative ones."""
    parts = [group.pool(lambda one: one["H"]) for group in groups]
    every = np.concatenate(parts)
    negative = np.concatenate(
        [group.pool(lambda one: one["H"][: one.info["n_negative_H"]]) for group in groups]
    )
    scale = max(float(np.median(-negative)) if len(negative) else 0.0, 1e-6 * float(every.max()))
    low, high = np.arcsinh(np.array([every.min(), every.max()]) / scale)
    step = (high - low) / _n_bins(parts)
    middles = np.arange(math.floor(low / step), math.ceil(high / step) + 2)  # one bin is centred on 0
    edges = scale * np.sinh(step * (middles - 0.5))
    for group, part in zip(groups, parts):
        _fill(axis, np.histogram(part, edges)[0] / len(part), edges, group)
    axis.axvline(0, color=GREY, linewidth=0.6)
    axis.set_xscale("asinh", linear_width=scale)
    axis.set_xlim(edges[0], edges[-1])
    _label_decades(axis, scale, edges)
    axis.set(yscale="log", xlabel=r"$\lambda$", ylabel="share of modes per bin")
    axis.set_title(rf"$\mathcal{{H}}$,  {_negative_modes(groups)}")


def _label_decades(axis: Axes, scale: float, edges: Array) -> None:
    """0 and powers of ten at readable distances; matplotlib's own crowd around 0."""
    powers = 10.0 ** np.arange(np.floor(np.log10(scale)), np.log10(np.abs(edges).max()) + 1)
    room = 0.09 * np.ptp(np.arcsinh(edges / scale))
    kept = [0.0]
    for tick in [*powers, *-powers]:
        if (
            edges[0] <= tick <= edges[-1]
            and np.abs(np.arcsinh(tick / scale) - np.arcsinh(np.array(kept) / scale)).min() > room
        ):
            kept.append(float(tick))
    axis.xaxis.set_major_locator(FixedLocator(sorted(kept)))
    axis.xaxis.set_major_formatter(FuncFormatter(_power))
    axis.xaxis.set_minor_locator(NullLocator())


def _power(tick: float, _: int | None = None) -> str:
    """$-10^{-3}$"""
    if tick == 0:
        return "0"
    return f"${'-' if tick < 0 else ''}10^{{{round(math.log10(abs(tick)))}}}$"


def _negative_modes(groups: Sequence[Group]) -> str:
    counts = [one.info["n_negative_H"] for group in groups for one in group.members]
    ends = [str(end) for end in sorted({min(counts), max(counts)})]
    return f"{' to '.join(ends)} negative mode{'s' * (ends != ['1'])}"


def _draw_density(axis: Axes, groups: Sequence[Group], part: str) -> None:
    """An estimated density, with a band of one standard error; the mass at zero that is no part of it is written out."""
    for group in groups:
        for one in group.members:
            density, estimate = one.densities[part], one.info["estimates"][part]
            n, x, y, error = estimate["dimension"], density["x"], density["y"], density["error"]
            zero = estimate["zero"]
            label = (
                rf"{zero['value'] / n:.2f} at $\lambda = 0$" if zero["resolved"] and zero["value"] > 0 else ""
            )
            axis.plot(x, y / n, color=group.colour, label=f"{group.label} {label}".strip() or None)
            axis.fill_between(
                x, np.maximum(y - error, 0) / n, (y + error) / n, color=group.colour, alpha=0.2, linewidth=0
            )
    axis.set(yscale="log", xlabel=r"$\lambda$", ylabel="density")
    top = axis.dataLim.y1
    if top > 0:
        axis.set_ylim(1e-6 * top, 3 * top)
    axis.set_title({"H": r"$\mathcal{H}$", "H0": r"$\mathcal{H}_0$", "Hp": r"$\mathcal{H}_p$"}[part])
    if axis.get_legend_handles_labels()[0]:
        legend(axis)


DRAW = {"H0": _draw_H0, "Hp": _draw_Hp, "H": _draw_H}
