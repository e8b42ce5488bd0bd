"""One function per figure: records in, a matplotlib figure out.

    draw_history             L and N_Δ/N against the step      draw_distributions         P₊ and P₋       fig. 8
    draw_jump                N_Δ/N against P/N     fig. 6a     draw_transition            N* against P    figs. 5, 10
    draw_jump_against_loss   N_Δ/N against L       fig. 6b     draw_effective_parameters  N_eff           fig. 11
    draw_spectrum            eigenvalues of H0, Hp, H  fig. 7  draw_cusps                 by layer        fig. 12
    draw_approach            N_Δ/N, ε and ‖δW‖ against L/N, stage by stage

Nothing here touches pyplot or its global state, and the same records give the same bytes.
"""

from typing import TYPE_CHECKING

from jamtools.lazy import lazy_names

if TYPE_CHECKING:
    from jamtools.figures.approach import draw_approach as draw_approach
    from jamtools.figures.cusps import draw_cusps as draw_cusps
    from jamtools.figures.distributions import draw_distributions as draw_distributions
    from jamtools.figures.effective import draw_effective_parameters as draw_effective_parameters
    from jamtools.figures.registry import FIGURES as FIGURES
    from jamtools.figures.registry import FigureKind as FigureKind
    from jamtools.figures.runs import draw_history as draw_history
    from jamtools.figures.runs import draw_jump as draw_jump
    from jamtools.figures.runs import draw_jump_against_loss as draw_jump_against_loss
    from jamtools.figures.spectra import draw_spectrum as draw_spectrum
    from jamtools.figures.style import render as render
    from jamtools.figures.transition import draw_transition as draw_transition

_OWNERS = {
    "draw_approach": "approach",
    "draw_cusps": "cusps",
    "draw_distributions": "distributions",
    "draw_effective_parameters": "effective",
    "FIGURES": "registry",
    "FigureKind": "registry",
    "draw_history": "runs",
    "draw_jump": "runs",
    "draw_jump_against_loss": "runs",
    "draw_spectrum": "spectra",
    "render": "style",
    "draw_transition": "transition",
}

__all__ = sorted(_OWNERS)

__getattr__, __dir__ = lazy_names(__name__, _OWNERS)
