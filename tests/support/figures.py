"""The points, outlines and texts that a figure shows."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools.figures.style import render
from jamtools.records import Spectrum
from tests.support.artefacts import spectrum

#: The first bytes of a file in each format.
FIRST_BYTES = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}

#: The positive eigenvalues of Hp in `jammed_spectrum`.
POSITIVE_HP = np.random.default_rng(0).exponential(size=40)


def points(axis: Axes, marker: str) -> list[tuple[float, float]]:
    """The points that are drawn with a marker."""
    return [(x, y) for line in axis.lines if line.get_marker() == marker for x, y in line.get_xydata()]


def histograms(axis: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Heights [b] and edges [b+1] of the outlined histograms."""
    outlines = [patch.get_data() for patch in axis.patches if not patch.get_fill()]
    return [(outline.values, outline.edges) for outline in outlines]


def legend_texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def texts(figure: Figure) -> str:
    """Every text of a figure, after it has been drawn."""
    render(figure, "png")
    return " | ".join(text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text")))


def jammed_spectrum(**fields: object) -> Spectrum:
    """80 eigenvalues with 30 zeros of H0, a symmetric Hp whose largest is POSITIVE_HP.max(), and 3 negative modes of H."""
    rng = np.random.default_rng(1)
    H0 = np.concatenate([np.zeros(30), rng.lognormal(size=50)])
    H = np.concatenate([[-0.1, -0.2, -0.3], np.zeros(7), rng.lognormal(size=70)])
    return spectrum(H0, np.concatenate([POSITIVE_HP, -POSITIVE_HP]), H, **fields)


def fit_record(exponent: float, sign: int) -> dict:
    """The record of a fit to x^(sign exponent) without a tilt."""
    edges, x = np.geomspace(1e-3, 1, 11), np.geomspace(2e-3, 1, 30)
    density = (edges[1:] * edges[:-1]) ** (sign * exponent / 2)
    return {
        "exponent": exponent, "interval": [exponent - 0.1, exponent + 0.1], "n": 1000, "range": [2e-3, 1.0],
        "order": 1, "coefficients": [0.0], "p_null": 0.01,
        "histogram": {"edges": edges.tolist(), "counts": [9] * 9 + [0], "density": [*density[:-1], 0.0]},
        "curve": {"x": x.tolist(), "density": (x ** (sign * exponent)).tolist()},
    }  # fmt: skip


GAPS = {"kind": "gaps", "overlaps": fit_record(0.3, 1), "gaps": fit_record(0.2, -1)}
