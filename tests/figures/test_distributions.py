"""Figures of the distributions of Δ show histogram, fit and exponent."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.figures.distributions import draw_distributions
from tests.support.figures import GAPS, fit_record, legend_texts, points, texts


def test_the_distributions_show_histogram_fit_and_exponent():
    for axis, name, sign in zip(draw_distributions([GAPS]).axes, ("overlaps", "gaps"), (1, -1)):
        exponent, edges = GAPS[name]["exponent"], np.array(GAPS[name]["histogram"]["edges"])
        x, density = np.array(points(axis, "o")).T
        assert x == pytest.approx(np.sqrt(edges[1:] * edges[:-1])[:-1]), "empty bins have no logarithm"
        assert density == pytest.approx(x ** (sign * exponent))
        bare = next(line for line in axis.lines if line.get_linestyle() == "--")
        assert bare.get_ydata() == pytest.approx(bare.get_xdata() ** (sign * exponent))
        assert f"= {exponent}" in legend_texts(axis)[0]
        assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_the_dashed_power_law_is_the_fit_without_its_tilt():
    fit = fit_record(0.3, 1)
    x = np.array(fit["curve"]["x"])
    fit |= {"coefficients": [-2.0, 0.5]}
    fit["curve"]["density"] = (x**0.3 * np.exp(-2 * x + 0.5 * x**2)).tolist()
    axis = draw_distributions([{**fit, "kind": "exponent"}]).axes[0]
    bare = next(line for line in axis.lines if line.get_linestyle() == "--")
    assert bare.get_ydata() == pytest.approx(x**0.3)


def test_a_refused_distribution_shows_its_reason():
    record = {
        "overlaps": {"exponent": None, "refused": "7 values, expected 50", "n": 7},
        "gaps": GAPS["gaps"],
    }
    assert "7 values, expected 50" in texts(draw_distributions([record]))
    assert "not measured" in texts(draw_distributions([{"overlaps": GAPS["overlaps"]}]))


def test_a_refused_fit_leaves_its_histogram_with_the_reason_above_it():
    refused = {
        "exponent": None,
        "refused": "77 values give a long interval " + "and more words " * 20,
        "n": 77,
        "histogram": GAPS["overlaps"]["histogram"],
    }
    axis = draw_distributions([{"overlaps": refused, "gaps": GAPS["gaps"]}]).axes[0]
    edges = np.array(refused["histogram"]["edges"])
    x, _ = np.array(points(axis, "o")).T
    assert x == pytest.approx(np.sqrt(edges[1:] * edges[:-1])[:-1])
    title = axis.get_title(loc="left")
    assert title.startswith("no fit: 77 values give a long interval") and title.endswith("…")
    assert title.count("\n") <= 1
    assert not [line for line in axis.lines if line.get_linestyle() == "--"]


def test_of_several_refused_fits_the_first_reason_is_shown_with_their_number():
    refused = {"exponent": None, "refused": "too few", "n": 7, "histogram": GAPS["overlaps"]["histogram"]}
    record = {"overlaps": refused, "gaps": GAPS["gaps"]}
    assert "no fit: too few (and 1 more)" in draw_distributions([record, record]).axes[0].get_title(
        loc="left"
    )


def test_a_fit_whose_exponent_drifts_says_so_and_has_no_dashed_power_law():
    fit = fit_record(0.3, 1) | {"interval": [-1.0, None], "drift": [-0.1, 0.6], "kind": "exponent"}
    axis = draw_distributions([fit]).axes[0]
    assert legend_texts(axis) == ["no power law can be told"]
    assert not [line for line in axis.lines if line.get_linestyle() == "--"]


def test_an_interval_without_an_upper_end_is_drawn():
    axis = draw_distributions([fit_record(0.3, 1) | {"interval": [0.1, None], "kind": "exponent"}]).axes[0]
    assert "[0.10, \\infty]" in legend_texts(axis)[0]
