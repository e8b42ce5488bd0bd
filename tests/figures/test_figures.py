"""The figures carry the data they were given, and their bytes do not change from day to day."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamtools import figures
from jamtools.cli import plot
from jamtools.errors import InputError
from jamtools.figures import style
from jamtools.io.write import dataset_bytes, runs_bytes, spectra_bytes
from jamtools.network.architecture import Architecture
from jamtools.records import Run, Spectrum
from jamtools.transition import scaling
from tests.support.artefacts import STEPS, dataset, run, runs, spectrum
from tests.support.commands import jam, refusal

MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}


def points(axis: Axes, marker: str) -> list[tuple[float, float]]:
    """What is drawn with a marker."""
    return [(x, y) for line in axis.lines if line.get_marker() == marker for x, y in line.get_xydata()]


def labels(figure: Figure) -> str:
    """Every text of a figure that has been drawn."""
    figures.render(figure, "png")
    return " | ".join(text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text")))


def sized(P: int, seed: int = 0, **fields: object) -> Run:
    return run(P=P, seed=seed, n_unsatisfied=P // 2, final_loss=0.01 * P, **fields)


# --- runs ---------------------------------------------------------------------------------------------


def test_history_draws_a_curve_a_run_without_step_0():
    members = [sized(4), sized(6), sized(6, seed=1)]
    loss, unsatisfied = figures.history(members).axes
    assert len(loss.lines) == len(unsatisfied.lines) == 3
    for one, curve, other in zip(members, loss.lines, unsatisfied.lines):
        assert np.isnan(curve.get_xdata()[0])
        assert (curve.get_xdata()[1:] == one.history["step"][1:]).all()
        assert (curve.get_ydata() == one.history["loss"]).all()
        assert (other.get_ydata() == one.history["n_unsatisfied"] / 9).all()
    assert (loss.get_xscale(), loss.get_yscale()) == ("log", "log")


def test_the_legend_names_what_tells_runs_apart_once():
    figure = figures.history([sized(4), sized(6), sized(6, seed=1)])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["$P$ = 4", "$P$ = 6"]
    assert figure.axes[0].lines[1].get_color() == figure.axes[0].lines[2].get_color()


def test_seeds_are_named_where_nothing_else_differs():
    figure = figures.history([sized(4, seed) for seed in (0, 7)])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["seed 0", "seed 7"]


@pytest.mark.parametrize(("sizes", "quantity"), [(range(4, 14), "$P/N$"), ([6] * 10, r"$\mathcal{L}$")])
def test_many_runs_get_a_panel_of_where_they_ended(sizes, quantity):
    figure = figures.history([sized(P, seed) for seed, P in enumerate(sizes)])
    assert len(figure.axes) == 3
    assert figure.axes[2].get_xlabel() == quantity
    assert len(points(figure.axes[2], "o")) == 10


def test_jump_has_a_point_a_run():
    (axis,) = figures.jump([sized(6), sized(4), sized(8, depth=2)]).axes
    assert sorted(points(axis, "o")) == [(4 / 9, 2 / 9), (6 / 9, 3 / 9), (8 / 9, 4 / 9)]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["$L$ = 1", "$L$ = 2"]


def test_loss_leaves_out_what_has_no_logarithm_and_says_so():
    figure = figures.against_loss(
        [sized(6), sized(8), run(n_unsatisfied=0, final_loss=0.0, status="satisfied")]
    )
    assert sorted(points(figure.axes[0], "o")) == [(0.06, 3 / 9), (0.08, 4 / 9)]
    assert figure.axes[0].get_title() == r"1 of 3 runs end at $\mathcal{L} \approx 0$"


@pytest.mark.parametrize("draw", [figures.history, figures.jump, figures.against_loss])
@pytest.mark.parametrize(
    "end",
    [
        {"final_loss": None, "status": "diverged"},
        {"final_loss": 0.0, "n_unsatisfied": 0, "status": "satisfied"},
    ],
)
def test_runs_that_ended_otherwise_can_be_drawn(draw, end):
    one = run(**end)
    if end["final_loss"] is None:
        one.history["loss"][:] = np.nan
    figures.render(draw([one]), "png")


def test_a_run_measured_at_step_0_alone_can_be_drawn():
    one = run()
    figures.render(figures.history([Run(one.theta, one.theta0, one.gaps, {k: v[:1] for k, v in one.history.items()},
                                        one.info)]), "png")  # fmt: skip


# --- spectra ------------------------------------------------------------------------------------------

rng = np.random.default_rng(0)
half = rng.exponential(size=40)
JAMMED = spectrum(np.concatenate([np.zeros(30), rng.lognormal(size=50)]), np.concatenate([half, -half]),
                  np.concatenate([[-0.1, -0.2, -0.3], np.zeros(7), rng.lognormal(size=70)]))  # fmt: skip


def histograms(axis: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Heights and edges of the outlines."""
    return [
        (data.values, data.edges)
        for data in (patch.get_data() for patch in axis.patches if not patch.get_fill())
    ]


def test_the_spectrum_of_H0_is_normalised_together_with_its_zeros():
    axis = figures.spectrum([JAMMED]).axes[0]
    ((density, edges),) = histograms(axis)
    assert density @ np.diff(np.log10(edges)) == pytest.approx(50 / 80)
    assert axis.get_legend().get_texts()[0].get_text() == r"0.38 at $\lambda = 0$"
    assert axis.get_xscale() == "log"


def test_Hp_is_drawn_in_units_of_the_root_of_the_loss_with_its_mirror_image():
    axis = figures.spectrum([JAMMED]).axes[1]
    (density, edges), (mirrored, _) = histograms(axis)
    assert density == pytest.approx(mirrored), "this spectrum is symmetric"
    assert edges[-1] == pytest.approx(half.max() / 0.1)
    assert density @ np.diff(edges) == pytest.approx(1)
    assert "$C_0$ = 0.500" in axis.get_title()


def test_H_shows_every_mode_and_counts_the_negative_ones():
    axis = figures.spectrum([JAMMED]).axes[2]
    ((share, edges),) = histograms(axis)
    assert share.sum() == pytest.approx(1)
    assert share[edges[1:] <= 0].sum() == pytest.approx(3 / 80), "the zeros are in the bin around 0"
    assert axis.get_title().endswith("3 negative modes")


def test_seeds_are_pooled_and_sizes_overlaid():
    found = [
        spectrum(JAMMED["H0"], JAMMED["Hp"], JAMMED["H"], P=P, seed=seed) for P in (4, 6) for seed in (0, 1)
    ]
    axes = figures.spectrum(found).axes
    assert [len(histograms(axis)) for axis in axes] == [2, 2, 2]
    assert axes[2].get_title().endswith("3 negative modes")


def test_many_sizes_are_pooled():
    found = [spectrum(JAMMED["H0"], JAMMED["Hp"], JAMMED["H"], P=P) for P in range(4, 10)]
    assert [len(histograms(axis)) for axis in figures.spectrum(found).axes] == [1, 2, 1]


def test_satisfied_runs_have_no_spectrum():
    assert "every eigenvalue is 0" in labels(
        figures.spectrum([spectrum([0] * 4, [0] * 4, [0] * 4, final_loss=0.0)])
    )


def test_a_single_unsatisfied_pattern_can_be_drawn():
    figures.render(
        figures.spectrum([spectrum([0, 0, 0, 1], [-0.1, 0, 0, 0.1], [0, 0, 0, 1], n_negative_H=0)]), "png"
    )


def test_a_linear_network_has_no_Hp():
    figures.render(figures.spectrum([spectrum([0, 0, 0.5, 1], [0] * 4, [0, 0, 0.5, 1], c0=None)]), "png")


# --- JSON lines ---------------------------------------------------------------------------------------


def fitted(exponent: float, sign: int) -> dict:
    """What jam-gaps says of x^(sign exponent), without a tilt."""
    edges, x = np.geomspace(1e-3, 1, 11), np.geomspace(2e-3, 1, 30)
    density = (edges[1:] * edges[:-1]) ** (sign * exponent / 2)
    return {
        "exponent": exponent, "interval": [exponent - 0.1, exponent + 0.1], "n": 1000, "range": [2e-3, 1.0],
        "order": 1, "coefficients": [0.0], "p_null": 0.01,
        "histogram": {"edges": edges.tolist(), "counts": [9] * 9 + [0], "density": [*density[:-1], 0.0]},
        "curve": {"x": x.tolist(), "density": (x ** (sign * exponent)).tolist()},
    }  # fmt: skip


GAPS = {"kind": "gaps", "overlaps": fitted(0.3, 1), "gaps": fitted(0.2, -1)}


def test_the_distributions_show_histogram_fit_and_exponent():
    for axis, name, sign in zip(figures.distributions([GAPS]).axes, ("overlaps", "gaps"), (1, -1)):
        exponent, edges = GAPS[name]["exponent"], np.array(GAPS[name]["histogram"]["edges"])
        x, density = np.array(points(axis, "o")).T
        assert x == pytest.approx(np.sqrt(edges[1:] * edges[:-1])[:-1]), "empty bins have no logarithm"
        assert density == pytest.approx(x ** (sign * exponent))
        bare = next(line for line in axis.lines if line.get_linestyle() == "--")
        assert bare.get_ydata() == pytest.approx(bare.get_xdata() ** (sign * exponent))
        assert f"= {exponent}" in axis.get_legend().get_texts()[0].get_text()
        assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_the_power_law_is_the_fit_without_its_tilt():
    half = fitted(0.3, 1)
    x = np.array(half["curve"]["x"])
    half |= {"coefficients": [-2.0, 0.5]}
    half["curve"]["density"] = (x**0.3 * np.exp(-2 * x + 0.5 * x**2)).tolist()
    axis = figures.distributions([{**half, "kind": "exponent"}]).axes[0]
    bare = next(line for line in axis.lines if line.get_linestyle() == "--")
    assert bare.get_ydata() == pytest.approx(x**0.3)


def test_a_refused_distribution_gives_its_reason():
    record = {
        "overlaps": {"exponent": None, "refused": "7 values, expected 50", "n": 7},
        "gaps": GAPS["gaps"],
    }
    assert "7 values, expected 50" in labels(figures.distributions([record]))
    assert "not measured" in labels(figures.distributions([{"overlaps": GAPS["overlaps"]}]))


def nstar(P: int, n_star: int | None, interval: tuple, **fields: object) -> dict:
    record = {"kind": "nstar", "P": P, "n_star": n_star, "interval": list(interval), "success": "satisfied",
              "depth": 3, "d": 10, "loss": "hinge", "width": 5, "trials": [{"N": 77}]}  # fmt: skip
    return record | fields


def test_the_transition_shows_N_star_with_its_interval_and_both_lines():
    figure = figures.transition(
        [nstar(200, 70, (60, 90)), nstar(100, 40, (35, 40)), nstar(100, 30, (20, None), depth=5)]
    )
    (axis,) = figure.axes
    assert sorted(points(axis, "o")) == [(100, 30), (100, 40), (200, 70)]
    bars = [segment for bar in axis.collections for segment in bar.get_segments()]
    assert sorted(tuple(segment[:, 1]) for segment in bars) == [(20, 30), (35, 40), (60, 90)]
    straight = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    assert straight["$N^* = P$"] == [[100, 100], [200, 200]]
    assert straight["$N^* = 4P$"] == [[100, 400], [200, 800]]
    assert {"$L$ = 3", "$L$ = 5"} <= {text.get_text() for text in axis.get_legend().get_texts()}


def test_an_N_star_beyond_what_was_tried_is_a_limit():
    (axis,) = figures.transition([nstar(100, None, (None, None)), nstar(200, None, (50, None))]).axes
    assert points(axis, "^") == [(100, 77), (200, 77)]


def test_a_fit_is_drawn_over_the_points():
    fit = {
        "kind": "nstar-fit",
        "slope": 0.9,
        "prefactor": 0.5,
        "points": [{"P": 100, "n_star": 30}, {"P": 400, "n_star": 110}],
    }
    for given in ([fit], [nstar(100, 30, (20, 40)), nstar(400, 110, (90, 120)), fit]):
        (axis,) = figures.transition(given).axes
        line = next(line for line in axis.lines if line.get_linestyle() == ":")
        assert line.get_ydata() == pytest.approx(0.5 * np.array([100, 400]) ** 0.9)
        assert points(axis, "o") == [(100, 30), (400, 110)]


def test_a_fit_alone_shows_the_searches_of_all_seeds_put_together():
    """Per seed 8 failures at one width and 8 successes at the next: together the median is between their N."""
    N = [Architecture(10, width, 1).n_effective for width in (4, 5)]
    asked = {"depth": 1, "max_width": 9, "vary": "width", "activation": "relu", "batch_norm": False, "precision": 0.2,
             "level": 0.95, "outputs": 1}  # fmt: skip
    cells = [nstar(P, None, (None, None), **asked, seeds=[seed],
                   trials=[{"seed": seed, "P": P, "width": width, "N": N[width - 4], "outcome": outcome, "steps": 9}
                           for width, outcome in ((4, "unsatisfied"), (5, "success"))] * 8)
             for P in (100, 200) for seed in (0, 1, 2)]  # fmt: skip
    (axis,) = figures.transition([scaling.fit(cells)]).axes
    (first, low), (second, high) = sorted(points(axis, "o"))
    assert (first, second) == (100, 200) and N[0] < low == high < N[1]
    bars = [segment[:, 1] for bar in axis.collections for segment in bar.get_segments()]
    assert len(bars) == 2 and all(N[0] < bottom < low < top < N[1] for bottom, top in bars)


def test_n_star_at_several_times_is_a_curve_each():
    times = [
        {"steps": t, "n_star": n, "median": n - 1.0, "median_interval": [n - 5.0, n + 5.0]}
        for t, n in ((900, 60), (10000, 40))
    ]
    search = nstar(100, 42, (30, 50), at_times=times, steps=10000, median=41.0, median_interval=[33.0, 49.0])
    (axis,) = figures.transition([search]).axes
    assert sorted(points(axis, "o")) == [(100, 41), (100, 59)], (
        "at its end as it is, undecided trials and all"
    )
    labels_there = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels_there[:2] == ["$L$ = 3, $t$ = 900", "$L$ = 3, $t$ = 10000"]


def test_where_patterns_varied_the_bars_lie_along_P():
    record = nstar(180, 50, (40, 60), vary="patterns", median=181.0, median_interval=[150.0, 220.0])
    (axis,) = figures.transition([record]).axes
    assert points(axis, "s") == [(181, 50)]
    (segment,) = (segment for bar in axis.collections for segment in bar.get_segments())
    assert segment.tolist() == [[150, 50], [220, 50]]


def test_the_bound_as_measured_is_a_line():
    fit = {
        "kind": "nstar-fit",
        "slope": None,
        "points": [{"P": 100, "n_star": 30}],
        "bound": {"P_over_N": 0.2},
    }
    (axis,) = figures.transition([fit]).axes
    line = next(line for line in axis.lines if line.get_linestyle() == "-.")
    assert line.get_ydata() == pytest.approx(line.get_xdata() / 0.2)


def test_searches_of_different_dynamics_are_no_one_curve():
    records = [nstar(P, P // 3, (20, 40), optimizer=optimizer, certify=certify) for P in (100, 200)
               for optimizer, certify in (("newton", False), ("adam", False), ("adam", True))]  # fmt: skip
    (axis,) = figures.transition(records).axes
    legend = {text.get_text() for text in axis.get_legend().get_texts()}
    assert {"$L$ = 3, newton", "$L$ = 3, adam", "$L$ = 3, adam, certified"} <= legend


def test_what_tells_searches_apart_is_in_the_legend():
    records = [nstar(100, 30, (20, 40), success=success, loss=loss) for success, loss in
               (("satisfied", "hinge"), ("classified", "hinge"), ("classified", "cross-entropy"))]  # fmt: skip
    text = labels(figures.transition(records))
    for label in (
        "$L$ = 3, hinge, satisfied",
        "$L$ = 3, hinge, classified",
        "$L$ = 3, cross-entropy, classified",
    ):
        assert label in text


def test_n_effective_is_held_against_the_parameters_less_the_symmetries():
    fields = ("n_parameters", "n_hidden", "n_effective")
    records = [dict(zip(fields, values)) for values in ((341, 30, 311), (100, 20, 79), (10, 2, None))]
    (axis,) = figures.effective(records).axes
    assert points(axis, "o") == [(311, 311), (80, 79)]
    diagonal = next(line for line in axis.lines if line.get_marker() == "None")
    assert (diagonal.get_xdata() == diagonal.get_ydata()).all()
    with pytest.raises(InputError, match="no run of known N_eff"):
        figures.effective(records[2:])


def layer(j: int, mass: float) -> dict:
    edges = [-1.5, -0.5, 0.5, 1.5]
    return {"layer": j, "mass_train": mass, "mass_fresh": 0.0,
            "histogram": {"edges": edges, "train": [0.2, 0.6, 0.2], "fresh": [0.3, 0.4, 0.3]}}  # fmt: skip


def test_cusps_have_a_panel_a_layer_with_the_mean_mass_at_zero():
    figure = figures.cusps([{"layers": [layer(1, 0.1), layer(2, 0.3)]}, {"layers": [layer(1, 0.2)]}])
    first, second = figure.axes
    assert [len(histograms(axis)) for axis in (first, second)] == [4, 2]
    assert [text.get_text() for text in first.get_legend().get_texts()] == [
        "training: 0.15 at 0",
        "fresh: 0 at 0",
    ]
    assert histograms(second)[0][0].tolist() == [0.2, 0.6, 0.2]


# --- bytes and the command ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", MAGIC)
def test_the_same_records_give_the_same_bytes(form):
    first, second = (figures.render(figures.spectrum([JAMMED]), form, "jam-plot") for _ in range(2))
    assert first == second
    assert first.startswith(MAGIC[form])


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = {name: matplotlib.rcParams[name] for name in style.STYLE}
    figures.render(figures.jump([run()]), "svg")
    assert {name: matplotlib.rcParams[name] for name in style.STYLE} == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.safetensors").write_bytes(dataset_bytes(dataset(), STEPS))
    (tmp_path / "runs.safetensors").write_bytes(runs_bytes(runs(run(), run(seed=1)), STEPS))
    (tmp_path / "spectra.safetensors").write_bytes(spectra_bytes([JAMMED], STEPS))
    (tmp_path / "gaps.jsonl").write_text(json.dumps(GAPS))
    return tmp_path


def test_the_name_of_the_output_gives_the_format(folder):
    jam("plot", "spectra.safetensors", "-o", "a.pdf", cwd=folder, check=True)
    assert (folder / "a.pdf").read_bytes().startswith(MAGIC["pdf"])


def test_standard_output_is_png_and_carries_the_commands(folder):
    done = jam("plot", input=(folder / "gaps.jsonl").read_bytes(), check=True)
    assert done.stdout.startswith(MAGIC["png"])
    assert b'"command": "jam-plot"' in done.stdout
    assert done.stderr == ""


def test_a_figure_and_a_format_can_be_asked_for(folder):
    plot.plot([str(folder / "runs.safetensors")], figure="jump", form="svg", output=str(folder / "a.dat"))
    assert (folder / "a.dat").read_bytes().startswith(MAGIC["svg"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"files": ["data.safetensors"]},
            InputError,
            "got a dataset, expected runs, spectra or the JSON lines of",
        ),
        (
            {"files": ["runs.safetensors", "gaps.jsonl"]},
            InputError,
            "got gaps and runs, expected inputs of one kind",
        ),
        (
            {"files": ["spectra.safetensors"], "figure": "jump"},
            InputError,
            "got spectra, expected runs for --figure jump",
        ),
        (
            {"files": ["runs.safetensors"], "output": "a.gif"},
            typer.BadParameter,
            "ends in .png, .pdf or .svg, or --format",
        ),
        ({"files": ["flawed.jsonl"]}, InputError, "got nstar without the field 'P'"),
        ({"files": ["other.jsonl"]}, InputError, "got JSON lines of another kind"),
        ({"files": ["none.safetensors"]}, InputError, "got a file without any runs"),
    ],
)
def test_what_cannot_be_drawn_is_refused(folder, monkeypatch, arguments, error, message):
    monkeypatch.chdir(folder)
    (folder / "flawed.jsonl").write_text('{"kind": "nstar", "n_star": 3}')
    (folder / "other.jsonl").write_text('{"a": 3}')
    (folder / "none.safetensors").write_bytes(runs_bytes(runs(), []))
    (folder / "a.gif").write_text("old")
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=message):
        plot.plot(**{"output": "a.png", **arguments})
    assert (sorted(folder.iterdir()), (folder / "a.gif").read_text()) == (before, "old")


def test_an_unknown_ending_is_one_line(folder):
    line = refusal(jam("plot", "runs.safetensors", "-o", "a.gif", cwd=folder), 2)
    assert "got 'a.gif' for the output, expected a name that ends in .png, .pdf or .svg, or --format" in line


def test_an_estimated_density_is_drawn_with_its_band_and_the_mass_at_zero_written_out():
    x = np.linspace(0, 1, 50)
    density = {"x": x, "y": 100 * np.exp(-x), "error": np.full(50, 5.0)}
    estimates = {"H0": {"dimension": 200, "zero": {"value": 100.0, "resolved": True}}}
    one = Spectrum({}, {**JAMMED.info, "estimates": estimates}, densities={"H0": density})
    figure = figures.spectrum([one])
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), density["y"] / 200)
    assert "0.50 at" in figure.axes[0].get_legend().get_texts()[0].get_text()
