"""Pipes of commands as the shell runs them, compared with torch.func; numbers and lists as users type them."""

import json

import numpy as np
import pytest

from tests.support.contract import header, objects, side_by_side, tensors, typed


def hessian_of_the_hinge(
    theta: np.ndarray, x: np.ndarray, y: np.ndarray, width: int, depth: int
) -> np.ndarray:
    """The Hessian [Ñ, Ñ] of L = (1/P) Σ ½Δ²θ(Δ) by torch.func, through an independent network."""
    import torch

    from jamtools.network.architecture import Architecture
    from tests.support.oracle import f, hinge

    arch = Architecture(x.shape[1], width, depth)
    x_, y_ = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    return torch.func.hessian(lambda t: hinge(f(arch, t, x_), y_))(torch.from_numpy(theta)).numpy()


def test_the_pipe_of_the_readme_gives_the_eigenvalues_of_torch_func(tmp_path):
    line = (
        "jam-data random -P 1000 -d 10 | jam-train --width 10 --depth 3 --steps 300 --lr 1e-3 "
        "| tee runs.safetensors | jam-hessian > spectra.safetensors"
    )
    done = typed(line, tmp_path)
    assert done.returncode == 0 and done.stdout == b""
    runs, spectra = (tensors(tmp_path / f"{name}.safetensors") for name in ("runs", "spectra"))
    exact = np.linalg.eigvalsh(hessian_of_the_hinge(runs["r0000/theta"], runs["x"], runs["y"], 10, 3))
    assert exact.shape == (341,)
    np.testing.assert_allclose(spectra["r0000/H"], exact, rtol=0, atol=1e-9 * abs(exact).max())


def test_every_matrix_of_an_ensemble_equals_that_of_torch_func(artefact_folder):
    runs, spectra = (
        tensors(artefact_folder / "runs.safetensors"),
        tensors(artefact_folder / "spectra.safetensors"),
    )
    for i, info in enumerate(header((artefact_folder / "runs.safetensors").read_bytes())["runs"]):
        x, y = runs["x"][: info["P"]], runs["y"][: info["P"]]
        exact = hessian_of_the_hinge(runs[f"r{i:04d}/theta"], x, y, info["width"], info["depth"])
        found = spectra[f"r{i:04d}/matrix/H0"] + spectra[f"r{i:04d}/matrix/Hp"]
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9 * abs(exact).max())


def test_jam_gaps_fits_an_exponent_to_a_glob_of_files(artefact_folder, tmp_path):
    (tmp_path / "runs").mkdir()
    for i in range(2):
        (tmp_path / "runs" / f"{i}.safetensors").write_bytes(
            (artefact_folder / "runs.safetensors").read_bytes()
        )
    done = typed("jam-gaps --quiet runs/*.safetensors", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert isinstance(json.loads(done.stdout)["overlaps"]["exponent"], float)


def test_jam_plot_draws_a_search_with_its_fit(artefact_folder):
    done = typed("cat nstar.jsonl fit.jsonl | jam-plot --quiet --format pdf", artefact_folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(b"%PDF")


def test_after_a_failure_in_a_pipe_each_command_prints_one_line(tmp_path):
    line = "jam-data random -P 5 | jam-show -o kept"
    (tmp_path / "kept").write_bytes(b"precious")
    done = typed(line, tmp_path)
    assert done.returncode == 1
    assert sorted(done.stderr.splitlines()) == [
        "jam-data: Missing option '--dimension' / '-d'; see jam-data --help",
        "jam-show: empty input, expected an artefact; did the command before it fail?",
    ]
    assert (tmp_path / "kept").read_bytes() == b"precious"


# --- numbers and lists -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed_number", "P"),
    [("12", 12), ("10k", 10_000), ("1.5k", 1500), ("0.002M", 2000), ("0.00001G", 10_000)],
)
def test_a_number_may_have_a_suffix_for_thousands_or_millions(typed_number, P, tmp_path):
    done = typed(f"jam-data random -P {typed_number} -d 2 | jam-show", tmp_path)
    assert objects(done.stdout)[0]["P"] == P


def test_lists_and_ranges_give_one_run_for_each_combination(tmp_path):
    """Ranges are half open and may have a step; a value that is named twice counts once."""
    line = (
        "jam-data random -P 400 -d 2 | jam-train --width 3,1:3,2 --depth 1 --patterns 100:401:150,100 --seeds 5,0:2 "
        "--steps 2 --quiet | jam-show"
    )
    records = objects(typed(line, tmp_path).stdout)
    expected = [(h, P, seed) for h in (1, 2, 3) for P in (100, 250, 400) for seed in (0, 1, 5)]
    assert [(record["width"], record["P"], record["seed"]) for record in records] == expected
    assert [record["run"] for record in records] == [f"r{i:04d}" for i in range(27)]


# --- training ----------------------------------------------------------------------------------------

EASY = "jam-train data.safetensors -P 4 --width 8 --lr 1e-2 --steps 2k --quiet"
TRAININGS = {
    "by name": "jam-train data.safetensors --protocol paper-hinge --steps 100 --require satisfied --quiet",
    "satisfied": f"{EASY} --require satisfied",
    "certified": f"{EASY} --require certified",
    "diverged": "jam-train data.safetensors --width 2 --depth 2 --steps 20 --lr 1e300 --quiet --require stationary",
}


@pytest.fixture(scope="module")
def trainings(artefact_folder):
    """Exit code and metadata of the one run of each line; nothing is printed on stderr."""
    outcome = {}
    for name, done in zip(TRAININGS, side_by_side(TRAININGS.values(), artefact_folder)):
        assert done.stderr == ""
        outcome[name] = (done.returncode, *header(done.stdout)["runs"])
    return outcome


def test_a_protocol_has_its_defaults_and_an_unmet_requirement_is_exit_code_3(trainings):
    """By default the width is d and the depth 3. The output is written; exit code 3 means that N_Δ > 0."""
    code, run = trainings["by name"]
    assert code == 3
    assert (run["width"], run["depth"], run["P"], run["seed"]) == (3, 3, 60, 0)
    assert (run["protocol"], run["steps"], run["status"]) == ("paper-hinge", 100, "budget")
    settings = [run[name] for name in ("loss", "epsilon", "optimizer", "activation")]
    assert settings == ["hinge", 0.5, "adam", "relu"]
    assert run["n_unsatisfied"] > 0


@pytest.mark.parametrize(("require", "code"), [("satisfied", 0), ("certified", 3)])
def test_a_satisfied_run_meets_the_requirement_satisfied_but_not_certified(require, code, trainings):
    got, run = trainings[require]
    assert got == code
    assert (run["status"], run["n_unsatisfied"], run["final_loss"]) == ("satisfied", 0, 0.0)
    assert run["steps"] < 2000


def test_a_diverged_run_is_a_result_and_meets_no_requirement(trainings):
    code, run = trainings["diverged"]
    assert (code, run["status"], run["final_loss"]) == (3, "diverged", None)
