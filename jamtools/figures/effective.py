"""N_eff against the number of parameters minus the number of scale symmetries.

Source: arXiv:1809.09349, fig. 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jamtools.errors import InputError
from jamtools.figures.groups import labels_of, looks_of, members_of
from jamtools.figures.style import GREY, Record, legend, new_figure, styled

#: The axes are logarithmic where their range exceeds this ratio.
MIN_RATIO_OF_LOG_AXES = 20


@styled
def draw_effective_parameters(records: Sequence[Record], by: Sequence[str] | None = None) -> Figure:
    """N_eff against Ñ minus the number of hidden neurons. On the diagonal, only the scale symmetries reduce N_eff.

    by: the fields that make groups (grouping.py). Raises InputError where no record has N_eff.
    """
    known = [record for record in records if record.get("n_effective") is not None]
    if not known:
        raise InputError("got no run with a known N_eff, expected at least one; the runs diverged")
    figure, (axis,) = new_figure()
    labels = labels_of(known, by=by)
    looks = looks_of(labels)
    x = np.array([record["n_parameters"] - record["n_hidden"] for record in known])
    y = np.array([record["n_effective"] for record in known])
    for label, members in members_of(labels).items():
        look = looks[label]
        axis.plot(x[members], y[members], look.marker, color=look.colour, mfc="white", label=label)
    ends = np.array([0.9 * min(x.min(), y.min()), 1.1 * max(x.max(), y.max())])
    scale = "log" if ends[1] > MIN_RATIO_OF_LOG_AXES * ends[0] > 0 else "linear"
    axis.plot(ends, ends, color=GREY, linewidth=0.8, zorder=0)
    axis.set(xlabel=r"$\tilde N -$ hidden neurons", ylabel=r"$N_\mathrm{eff}$", xscale=scale, yscale=scale)
    legend(axis)
    return figure
