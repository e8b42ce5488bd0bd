"""The bytes of a figure depend only on its records, and drawing does not change matplotlib's settings."""

from __future__ import annotations

import matplotlib
import pytest

from jamtools.figures import style
from jamtools.figures.runs import draw_jump
from jamtools.figures.spectra import draw_spectrum
from jamtools.figures.style import render
from tests.support.artefacts import run
from tests.support.figures import FIRST_BYTES, jammed_spectrum


@pytest.mark.parametrize("form", FIRST_BYTES)
def test_the_same_records_give_the_same_bytes(form):
    first, second = (render(draw_spectrum([jammed_spectrum()]), form, "jam-plot") for _ in range(2))
    assert first == second
    assert first.startswith(FIRST_BYTES[form])


def test_drawing_does_not_change_the_settings_of_matplotlib():
    before = {name: matplotlib.rcParams[name] for name in style.STYLE}
    render(draw_jump([run()]), "svg")
    assert {name: matplotlib.rcParams[name] for name in style.STYLE} == before
