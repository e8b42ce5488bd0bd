"""Figures of spectra are normalised, count their modes, and pool or overlay runs."""

from __future__ import annotations

import numpy as np
import pytest

from jamtools.figures.spectra import draw_spectrum
from jamtools.figures.style import render
from jamtools.records import Spectrum
from tests.support.artefacts import spectrum
from tests.support.figures import POSITIVE_HP, histograms, jammed_spectrum, legend_texts, texts


def test_the_spectrum_of_H0_is_normalised_together_with_its_zeros():
    axis = draw_spectrum([jammed_spectrum()]).axes[0]
    ((density, edges),) = histograms(axis)
    assert density @ np.diff(np.log10(edges)) == pytest.approx(50 / 80)
    assert legend_texts(axis)[0] == r"0.38 at $\lambda = 0$"
    assert axis.get_xscale() == "log"


def test_Hp_is_drawn_in_units_of_the_root_of_the_loss_with_its_mirror_image():
    axis = draw_spectrum([jammed_spectrum()]).axes[1]
    (density, edges), (mirrored, _) = histograms(axis)
    assert density == pytest.approx(mirrored), "this spectrum is symmetric"
    assert edges[-1] == pytest.approx(POSITIVE_HP.max() / 0.1)
    assert density @ np.diff(edges) == pytest.approx(1)
    assert "$C_0$ = 0.500" in axis.get_title()


def test_H_shows_every_mode_and_counts_the_negative_ones():
    axis = draw_spectrum([jammed_spectrum()]).axes[2]
    ((share, edges),) = histograms(axis)
    assert share.sum() == pytest.approx(1)
    assert share[edges[1:] <= 0].sum() == pytest.approx(3 / 80), "the zeros are in the bin around 0"
    assert axis.get_title().endswith("3 negative modes")


def test_seeds_are_pooled_and_sizes_overlaid():
    result = [jammed_spectrum(P=P, seed=seed) for P in (4, 6) for seed in (0, 1)]
    axes = draw_spectrum(result).axes
    assert [len(histograms(axis)) for axis in axes] == [2, 2, 2]
    assert axes[2].get_title().endswith("3 negative modes")


def test_more_than_four_sizes_are_pooled_with_their_range_in_the_legend():
    result = [jammed_spectrum(P=P, depth=depth) for P in range(4, 10) for depth in (1, 2)]
    axes = draw_spectrum(result).axes
    assert [len(histograms(axis)) for axis in axes] == [2, 2, 2]
    assert legend_texts(axes[2]) == [f"$L$ = {depth}, $P$ = 4 to 9" for depth in (1, 2)]


@pytest.mark.parametrize("status", ["satisfied", "dead"])
def test_satisfied_and_dead_runs_are_left_out_and_counted(status):
    """A satisfied run at L = 1e-33 has eigenvalues of round-off."""
    jammed, other = jammed_spectrum(), jammed_spectrum(seed=1, status=status, n_negative_H=70)
    figure = draw_spectrum([jammed, other])
    assert f"1 {status} run left out" in texts(figure)
    assert figure.axes[2].get_title().endswith("3 negative modes")


def test_dead_runs_are_drawn_if_they_are_kept():
    figure = draw_spectrum([jammed_spectrum(status="dead")], keep_dead=True)
    assert len(histograms(figure.axes[0])) == 1 and "left out" not in texts(figure)


def test_a_note_says_that_satisfied_runs_have_no_spectrum():
    assert "every eigenvalue is 0" in texts(
        draw_spectrum([spectrum([0] * 4, [0] * 4, [0] * 4, final_loss=0.0)])
    )


def test_the_spectrum_of_a_single_unsatisfied_pattern_can_be_drawn():
    render(draw_spectrum([spectrum([0, 0, 0, 1], [-0.1, 0, 0, 0.1], [0, 0, 0, 1], n_negative_H=0)]), "png")


def test_a_linear_network_without_Hp_can_be_drawn():
    render(draw_spectrum([spectrum([0, 0, 0.5, 1], [0] * 4, [0, 0, 0.5, 1], c0=None)]), "png")


def test_an_estimated_density_is_drawn_with_its_mass_at_zero_in_the_legend():
    x = np.linspace(0, 1, 50)
    density = {"x": x, "y": 100 * np.exp(-x), "error": np.full(50, 5.0)}
    estimates = {"H0": {"dimension": 200, "zero": {"value": 100.0, "resolved": True}}}
    estimated = Spectrum({}, {**jammed_spectrum().info, "estimates": estimates}, densities={"H0": density})
    figure = draw_spectrum([estimated])
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), density["y"] / 200)
    assert "0.50 at" in legend_texts(figure.axes[0])[0]


def test_an_estimated_matrix_of_zeros_is_drawn_as_zero():
    """Hp of a network without hidden layers: its density has no points."""
    x = np.linspace(0, 1, 50)
    density = {"x": x, "y": 100 * np.exp(-x), "error": np.full(50, 5.0)}
    nothing = {name: np.zeros(0) for name in density}
    estimate = {"dimension": 200, "zero": {"value": 0.0, "resolved": True}}
    info = {**jammed_spectrum().info, "estimates": {"H0": estimate, "Hp": estimate}}
    figure = draw_spectrum([Spectrum({}, info, densities={"H0": density, "Hp": nothing})])
    assert len(figure.axes[0].lines) == 1
    assert not figure.axes[1].lines and [text.get_text() for text in figure.axes[1].texts] == [
        r"$\mathcal{H}_p$$ = 0$"
    ]
    assert render(figure, "png")
