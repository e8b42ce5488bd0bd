"""The bytes of a figure depend only on its records, and drawing does not change matplotlib's settings."""

from __future__ import annotations

import matplotlib
import pytest

from jamtools.figures import style
from jamtools.figures.runs import draw_jump
from jamtools.figures.spectra import draw_spectrum
from jamtools.figures.style import colours_of, labels_of, render
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


def test_a_label_names_the_fields_that_differ():
    infos = [{"P": 4, "width": 2, "seed": 0}, {"P": 6, "width": 2, "seed": 1}]
    assert labels_of(infos) == ["$P$ = 4", "$P$ = 6"]
    assert labels_of(infos, without=("P",)) == ["seed 0", "seed 1"]
    assert labels_of(infos, without=("P", "seed")) == ["", ""]


def test_labels_keep_their_order_and_get_different_colours():
    few, many = colours_of(["b", "a", "b"]), colours_of(map(str, range(10)))
    assert list(few) == ["b", "a"] and len(set(few.values())) == 2
    assert len({tuple(colour) for colour in many.values()}) == 10
