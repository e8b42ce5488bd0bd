"""jam-plot: formats, choice of the figure, and the inputs that it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from jamtools.cli import plot
from jamtools.errors import InputError
from jamtools.io.write import dataset_bytes, runs_bytes, spectra_bytes
from tests.support.artefacts import PROVENANCE, dataset, run, runs
from tests.support.commands import jam, refusal
from tests.support.figures import FIRST_BYTES, GAPS, jammed_spectrum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.safetensors").write_bytes(dataset_bytes(dataset(), PROVENANCE))
    (tmp_path / "runs.safetensors").write_bytes(runs_bytes(runs(run(), run(seed=1)), PROVENANCE))
    (tmp_path / "spectra.safetensors").write_bytes(spectra_bytes([jammed_spectrum()], PROVENANCE))
    (tmp_path / "gaps.jsonl").write_text(json.dumps(GAPS))
    return tmp_path


def test_the_name_of_the_output_gives_the_format(folder):
    jam("plot", "spectra.safetensors", "-o", "a.pdf", cwd=folder, check=True)
    assert (folder / "a.pdf").read_bytes().startswith(FIRST_BYTES["pdf"])


def test_standard_output_is_png_and_carries_the_provenance(folder):
    done = jam("plot", input=(folder / "gaps.jsonl").read_bytes(), check=True)
    assert done.stdout.startswith(FIRST_BYTES["png"])
    assert b'"command": "jam-plot"' in done.stdout
    assert done.stderr == ""


def test_a_figure_and_a_format_can_be_chosen(folder):
    plot.plot([str(folder / "runs.safetensors")], figure="jump", form="svg", output=str(folder / "a.dat"))
    assert (folder / "a.dat").read_bytes().startswith(FIRST_BYTES["svg"])


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
            "got gaps .*gaps.jsonl. and runs .*runs.safetensors., expected inputs of one kind",
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
def test_inputs_that_cannot_be_drawn_are_refused_without_output(
    folder, monkeypatch, arguments, error, message
):
    monkeypatch.chdir(folder)
    (folder / "flawed.jsonl").write_text('{"kind": "nstar", "n_star": 3}')
    (folder / "other.jsonl").write_text('{"a": 3}')
    (folder / "none.safetensors").write_bytes(runs_bytes(runs(), []))
    (folder / "a.gif").write_text("old")
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=message):
        plot.plot(**{"output": "a.png", **arguments})
    assert (sorted(folder.iterdir()), (folder / "a.gif").read_text()) == (before, "old")


def test_an_unknown_file_ending_is_refused_in_one_line(folder):
    line = refusal(jam("plot", "runs.safetensors", "-o", "a.gif", cwd=folder), 2)
    assert "got 'a.gif' for the output, expected a name that ends in .png, .pdf or .svg, or --format" in line


@pytest.fixture
def searches(tmp_path: Path) -> Path:
    """Searches on two kinds of data."""
    lines = [
        {"kind": "nstar", "P": P, "n_star": P / 2, "depth": 3, "dataset": name}
        for P in (50, 100)
        for name in "ab"
    ]
    (tmp_path / "nstar.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_what_fields_asked_for_pool_is_said(searches):
    for by, said in (("none", "data (a, b)"), ("dataset", ""), ("P", "data (a, b)")):
        done = jam("plot", "nstar.jsonl", "--by", by, "-o", "a.png", cwd=searches, check=True)
        assert done.stderr == (f"jam-plot: pooled by --by {by}: {said}\n" if said else "")


def test_fields_of_groups_that_no_record_has_or_that_are_no_names_are_refused(searches):
    line = refusal(jam("plot", "nstar.jsonl", "--by", "dept", "-o", "a.png", cwd=searches))
    assert "no field 'dept'; did you mean depth?" in line
    line = refusal(jam("plot", "nstar.jsonl", "--by", "depth,", "-o", "a.png", cwd=searches), 2)
    assert "expected names of fields such as depth,loss, or none" in line


def test_a_figure_without_groups_or_without_dead_runs_refuses_their_options(folder, searches):
    for file, option in (("gaps.jsonl", ("--by", "depth")), ("nstar.jsonl", ("--dead", "keep"))):
        line = refusal(jam("plot", file, *option, "-o", "a.png", cwd=folder), 2)
        assert f"got {option[0]} with --figure" in line
