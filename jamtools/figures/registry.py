"""The table of all figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from jamtools.figures.approach import draw_approach
from jamtools.figures.cusps import draw_cusps
from jamtools.figures.distributions import draw_distributions
from jamtools.figures.effective import draw_effective_parameters
from jamtools.figures.runs import draw_history, draw_jump, draw_jump_against_loss
from jamtools.figures.spectra import draw_spectrum
from jamtools.figures.transition import draw_transition


class FigureKind(NamedTuple):
    """The kind of records that a figure takes, the function that draws a sequence of them, and its other arguments."""

    kind: str
    draw: Callable[..., Figure]
    options: tuple[str, ...] = ()


#: The arguments of figures that group their records, and of those that can leave dead runs out.
BY, BY_AND_DEAD = ("by",), ("by", "keep_dead")


#: The figures by the names that users give. The first figure of each kind of records is the default for this kind.
FIGURES = {
    "history": FigureKind("runs", draw_history, BY_AND_DEAD),
    "jump": FigureKind("runs", draw_jump, BY_AND_DEAD),
    "loss": FigureKind("runs", draw_jump_against_loss, BY_AND_DEAD),
    "approach": FigureKind("runs", draw_approach, BY),
    "spectrum": FigureKind("spectra", draw_spectrum, BY_AND_DEAD),
    "gaps": FigureKind("gaps", draw_distributions),
    "nstar": FigureKind("nstar", draw_transition, BY),
    "neff": FigureKind("neff", draw_effective_parameters, BY),
    "cusps": FigureKind("cusps", draw_cusps, BY),
}
