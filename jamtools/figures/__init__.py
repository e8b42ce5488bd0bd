r"""One function per figure: records in, a matplotlib figure out.

    history      L and N_Δ/N against the step                distributions  P₊ and P₋      fig. 8
    jump         N_Δ/N against P/N                 fig. 6a   transition     N* against P   figs. 5, 10
    against_loss N_Δ/N against L                   fig. 6b   effective      N_eff          fig. 11
    spectrum     eigenvalues of H0, Hp, H          fig. 7    cusps          by layer       fig. 12

Nothing here touches pyplot or its global state, and the same records give the same bytes.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from jamtools.figures.results import cusps, distributions, effective
from jamtools.figures.runs import against_loss, history, jump
from jamtools.figures.spectra import spectrum
from jamtools.figures.style import render
from jamtools.figures.transition import transition

__all__ = [
    "FIGURES",
    "against_loss",
    "cusps",
    "distributions",
    "effective",
    "history",
    "jump",
    "render",
    "spectrum",
    "transition",
]

#: Each figure by the name users give it: the kind of record it takes, and its function. A kind's first is its default.
FIGURES: dict[str, tuple[str, Callable[..., Figure]]] = {
    "history": ("runs", history),
    "jump": ("runs", jump),
    "loss": ("runs", against_loss),
    "spectrum": ("spectra", spectrum),
    "gaps": ("gaps", distributions),
    "nstar": ("nstar", transition),
    "neff": ("neff", effective),
    "cusps": ("cusps", cusps),
}
