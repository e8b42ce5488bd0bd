"""The table of all figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from jamtools.figures.cusps import draw_cusps
from jamtools.figures.distributions import draw_distributions
from jamtools.figures.effective import draw_effective_parameters
from jamtools.figures.runs import draw_history, draw_jump, draw_jump_against_loss
from jamtools.figures.spectra import draw_spectrum
from jamtools.figures.transition import draw_transition


class FigureKind(NamedTuple):
    """The kind of records that a figure takes, and the function that draws a sequence of them."""

    kind: str
    draw: Callable[..., Figure]


#: The figures by the names that users give. The first figure of each kind of records is the default for this kind.
FIGURES = {
    "history": FigureKind("runs", draw_history),
    "jump": FigureKind("runs", draw_jump),
    "loss": FigureKind("runs", draw_jump_against_loss),
    "spectrum": FigureKind("spectra", draw_spectrum),
    "gaps": FigureKind("gaps", draw_distributions),
    "nstar": FigureKind("nstar", draw_transition),
    "neff": FigureKind("neff", draw_effective_parameters),
    "cusps": FigureKind("cusps", draw_cusps),
}
