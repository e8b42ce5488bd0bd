"""--where in every command that reads runs: the same condition keeps the same runs, and none at all is refused."""

import shlex

import pytest

from tests.support.contract import complaint, header, objects, side_by_side, typed

#: Of the eight runs, the last two: width 4, P 60, seeds 0 and 1.
WHERE = "width == 4 and P == 60"

LINES = {
    "show": "jam-show runs.safetensors",
    "neff": "jam-neff runs.safetensors",
    "cusps": "jam-cusps runs.safetensors",
    "gaps": "jam-gaps runs.safetensors --per-run",
    "verify": "jam-train --verify runs.safetensors",
    "evaluate": "jam-train data.safetensors --evaluate runs.safetensors",
    "hessian": "jam-hessian runs.safetensors --inertia",
    "finish": "jam-train --finish runs.safetensors --steps 2",
    "from": "jam-train data.safetensors --from runs.safetensors --steps 2",
    "plot": "jam-plot runs.safetensors",
    "fit": "jam-nstar fit runs.safetensors",
}
#: Lines whose output names the runs.
NAMING = ("show", "neff", "cusps", "gaps", "verify", "evaluate")


@pytest.fixture(scope="module")
def selections(artefact_folder):
    lines = [f"{line} --where {shlex.quote(WHERE)}" for line in LINES.values()]
    return dict(zip(LINES, side_by_side(lines, artefact_folder)))


@pytest.mark.parametrize("name", LINES)
def test_every_command_says_how_many_runs_a_condition_kept(name, selections):
    done = selections[name]
    assert done.returncode == 0, done.stderr
    assert f"2 of 8 runs kept by '{WHERE}'" in done.stderr


@pytest.mark.parametrize("name", NAMING)
def test_the_runs_that_are_kept_have_their_numbers_among_all_runs(name, selections):
    assert [record["run"] for record in objects(selections[name].stdout)] == ["r0006", "r0007"]


@pytest.mark.parametrize("name", ["hessian", "finish", "from"])
def test_an_artefact_holds_the_runs_that_were_kept(name, selections):
    metadata = header(selections[name].stdout)
    kept = [(info["width"], info["P"], info["seed"]) for info in metadata[metadata["kind"]]]
    assert kept == [(4, 60, 0), (4, 60, 1)]
    assert metadata["provenance"][-1]["argv"][-2:] == ["--where", WHERE]


def test_an_empty_selection_is_one_line_with_the_file_and_the_values(artefact_folder):
    lines = [
        f"{LINES[name]} --where 'depth == 7'" for name in ("show", "neff", "finish", "from", "plot", "fit")
    ]
    for line, done in zip(lines, side_by_side(lines, artefact_folder)):
        message = complaint(done, line)
        assert message.endswith("runs.safetensors: none of 8 runs fulfils 'depth == 7'; depth is 2"), message


def test_spectra_and_searches_are_selected_too(artefact_folder):
    shown = typed("jam-show spectra.safetensors --where 'width == 3 and seed == 1'", artefact_folder)
    assert [record["run"] for record in objects(shown.stdout)] == ["r0001", "r0003"]
    shown = typed("jam-show nstar.jsonl --where 'P > 30'", artefact_folder)
    assert [record["P"] for record in objects(shown.stdout)] == [40]


def test_where_without_runs_or_beside_a_view_of_arrays_is_a_usage_error(artefact_folder):
    for line in (
        "jam-train data.safetensors --where jammed",
        "jam-show runs.safetensors --arrays --where jammed",
    ):
        complaint(typed(line, artefact_folder), line, 2)
