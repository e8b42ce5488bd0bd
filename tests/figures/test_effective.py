"""The figure of N_eff compares it with the number of parameters minus the number of symmetries."""

from __future__ import annotations

import pytest

from jamtools.errors import InputError
from jamtools.figures.effective import draw_effective_parameters
from tests.support.figures import points


def test_n_effective_is_drawn_against_parameters_minus_symmetries():
    fields = ("n_parameters", "n_hidden", "n_effective")
    records = [dict(zip(fields, values)) for values in ((341, 30, 311), (100, 20, 79), (10, 2, None))]
    (axis,) = draw_effective_parameters(records).axes
    assert points(axis, "o") == [(311, 311), (80, 79)]
    diagonal = next(line for line in axis.lines if line.get_marker() == "None")
    assert (diagonal.get_xdata() == diagonal.get_ydata()).all()
    with pytest.raises(InputError, match="no run with a known N_eff"):
        draw_effective_parameters(records[2:])
