"""The contents of files and JSON lines: names, shapes, dtypes, fields and provenance, read without the library."""

import itertools
import json
import re
import socket

import numpy as np
import pytest

from jamtools import __version__
from tests.support.contract import PIPELINE, header, objects, tensors, typed

#: (width, P, seed) of the runs in their order; the command line names the values in another order.
CELLS = [(h, P, seed) for h in (3, 4) for P in (40, 60) for seed in (0, 1)]
NAMES = [f"r{i:04d}" for i in range(len(CELLS))]
D, DEPTH, EPSILON = 3, 2, 0.5

RUN_FIELDS = {
    "d", "width", "depth", "activation", "batch_norm", "P", "n_parameters", "n_hidden", "n_effective_expected",
    "loss", "epsilon", "optimizer", "protocol", "seed", "steps", "status", "certified", "final_loss",
    "n_unsatisfied", "n_contacts", "n_misclassified", "grad_norm",
}  # fmt: skip
SPECTRUM_FIELDS = {
    "n_unsatisfied", "n_negative_Hp", "n_negative_H", "n_zero_H0", "rank_H0", "gap_H0", "n_cusps", "c0",
    "bound_holds", "trace_error", "frobenius_error",
}  # fmt: skip
HISTORY = {
    "step", "loss", "n_unsatisfied", "n_misclassified", "grad_norm", "distance", "test_error", "test_loss",
}  # fmt: skip


def shapes(found):
    return {name: array.shape for name, array in found.items()}


def n_parameters(width: int) -> int:
    """Ñ = h(d+1) + (L-1) h (h+1) + (h+1)."""
    return width * (D + 1) + (DEPTH - 1) * width * (width + 1) + width + 1


def output(theta: np.ndarray, x: np.ndarray, width: int) -> np.ndarray:
    """f [P] of x [P, d]. theta [Ñ] holds for each layer the weight [out, in] row-major, then the bias; ρ = max(0, ·)."""
    sizes = [D] + [width] * DEPTH + [1]
    for fan_in, out in itertools.pairwise(sizes):
        weight, bias, theta = np.split(theta, [out * fan_in, out * (fan_in + 1)])
        x = x @ weight.reshape(out, fan_in).T + bias
        x = np.maximum(x, 0) if len(theta) else x
    return x[:, 0]


# --- dataset -----------------------------------------------------------------------------------------


def test_a_dataset_has_its_arrays_and_its_metadata(artefact_folder):
    found = tensors(artefact_folder / "data.safetensors")
    assert shapes(found) == {"x": (60, D), "y": (60,), "x_test": (20, D), "y_test": (20,)}
    assert {array.dtype for array in found.values()} == {np.dtype("float64")}
    assert set(np.unique(found["y"])) == {-1.0, 1.0}
    np.testing.assert_allclose((found["x"] ** 2).sum(axis=1), D, rtol=1e-14)
    metadata = header((artefact_folder / "data.safetensors").read_bytes())
    assert set(metadata) == {"kind", "version", "provenance", "dataset"}
    assert (metadata["kind"], metadata["version"]) == ("dataset", 1)
    info = metadata["dataset"]
    assert set(info) >= {"source", "seed", "P", "d", "classes", "preprocessing"}
    assert (info["source"], info["seed"], info["P"], info["d"], info["classes"]) == ("random", 1, 60, D, 2)


# --- runs --------------------------------------------------------------------------------------------


def test_a_file_of_runs_holds_the_training_set_once_and_the_arrays_of_each_run(artefact_folder):
    found, data = tensors(artefact_folder / "runs.safetensors"), tensors(artefact_folder / "data.safetensors")
    for name, array in data.items():
        assert np.array_equal(found.pop(name), array)
    for prefix, (width, P, _) in zip(NAMES, CELLS):
        for name in ("theta", "theta0"):
            assert found.pop(f"{prefix}/{name}").shape == (n_parameters(width),)
        assert found.pop(f"{prefix}/gaps").shape == (P,)
        found.pop(f"{prefix}/dead", None)
        columns = [found.pop(f"{prefix}/history/{column}") for column in sorted(HISTORY)]
        assert len({column.shape for column in columns}) == 1 and columns[0].ndim == 1
    assert not found


def test_arrays_of_runs_are_float64_and_counts_are_int64(artefact_folder):
    for name, array in tensors(artefact_folder / "runs.safetensors").items():
        counts = name.rpartition("/")[2] in ("step", "n_unsatisfied", "n_misclassified", "dead")
        assert array.dtype == (np.int64 if counts else np.float64), name


def test_runs_are_ordered_by_width_then_patterns_then_seed(artefact_folder):
    metadata = header((artefact_folder / "runs.safetensors").read_bytes())
    assert (metadata["kind"], metadata["version"]) == ("runs", 1)
    assert [(run["width"], run["P"], run["seed"]) for run in metadata["runs"]] == CELLS


def test_every_run_has_the_fields_of_the_contract(artefact_folder):
    for run in header((artefact_folder / "runs.safetensors").read_bytes())["runs"]:
        assert set(run) >= RUN_FIELDS
        width = run["width"]
        assert (run["n_parameters"], run["n_hidden"]) == (n_parameters(width), DEPTH * width)
        assert run["n_effective_expected"] == run["n_parameters"] - run["n_hidden"]
        assert (run["d"], run["depth"], run["activation"], run["batch_norm"]) == (D, DEPTH, "relu", False)
        assert (run["loss"], run["epsilon"], run["optimizer"]) == ("hinge", EPSILON, "adam")
        assert run["certified"] is None
        assert run["status"] == ("satisfied" if run["n_unsatisfied"] == 0 else "budget")
        assert run["steps"] == 400 or run["status"] == "satisfied"


@pytest.mark.parametrize("i", range(len(CELLS)))
def test_gaps_loss_and_counts_follow_from_theta_in_its_documented_order(i, artefact_folder):
    """The network is written out here, and evaluated on the first P patterns."""
    found, (width, P, _) = tensors(artefact_folder / "runs.safetensors"), CELLS[i]
    run = header((artefact_folder / "runs.safetensors").read_bytes())["runs"][i]
    x, y = found["x"][:P], found["y"][:P]
    f = output(found[f"r{i:04d}/theta"], x, width)
    gaps = EPSILON - y * f
    np.testing.assert_allclose(found[f"r{i:04d}/gaps"], gaps, atol=1e-13)
    loss = (np.maximum(gaps, 0) ** 2).sum() / (2 * P)
    np.testing.assert_allclose(run["final_loss"], loss, rtol=1e-10)
    assert (run["n_unsatisfied"], run["n_misclassified"]) == ((gaps > 0).sum(), (y * f < 0).sum())
    assert run["n_contacts"] == (abs(gaps) <= 1e-10 * EPSILON).sum()
    last = {column: found[f"r{i:04d}/history/{column}"][-1] for column in HISTORY}
    assert last["step"] == run["steps"] and found[f"r{i:04d}/history/step"][0] == 0
    for column in ("n_unsatisfied", "n_misclassified", "grad_norm"):
        assert last[column] == run[column]
    assert last["loss"] == run["final_loss"]
    f_test = output(found[f"r{i:04d}/theta"], found["x_test"], width)
    assert last["test_error"] == (found["y_test"] * f_test < 0).mean()
    start = EPSILON - y * output(found[f"r{i:04d}/theta0"], x, width)
    np.testing.assert_allclose(
        found[f"r{i:04d}/history/loss"][0], (np.maximum(start, 0) ** 2).mean() / 2, rtol=1e-10
    )


# --- spectra -----------------------------------------------------------------------------------------


def test_a_file_of_spectra_holds_three_spectra_and_two_matrices_for_each_run(artefact_folder):
    found = tensors(artefact_folder / "spectra.safetensors")
    assert {array.dtype for array in found.values()} == {np.dtype("float64")}
    for prefix, (width, _, _) in zip(NAMES, CELLS):
        n = n_parameters(width)
        parts = {name: found.pop(f"{prefix}/matrix/{name}") for name in ("H0", "Hp")}
        for name, matrix in {**parts, "H": parts["H0"] + parts["Hp"]}.items():
            values = found.pop(f"{prefix}/{name}")
            assert values.shape == (n,) and (np.diff(values) >= 0).all()
            exact = np.linalg.eigvalsh(matrix)
            np.testing.assert_allclose(values, exact, atol=1e-12 * max(abs(exact).max(), 1e-300))
    assert not found


def test_every_spectrum_has_the_fields_of_its_run_and_of_the_contract(artefact_folder):
    metadata = header((artefact_folder / "spectra.safetensors").read_bytes())
    assert (metadata["kind"], metadata["version"]) == ("spectra", 1)
    runs = header((artefact_folder / "runs.safetensors").read_bytes())["runs"]
    assert len(metadata["spectra"]) == len(runs)
    for spectrum, run in zip(metadata["spectra"], runs):
        assert set(spectrum) >= RUN_FIELDS | SPECTRUM_FIELDS
        assert {name: spectrum[name] for name in RUN_FIELDS} == {name: run[name] for name in RUN_FIELDS}
        assert spectrum["n_zero_H0"] + spectrum["rank_H0"] == run["n_parameters"]
        assert spectrum["rank_H0"] <= min(run["n_unsatisfied"], run["n_effective_expected"])
        assert isinstance(spectrum["bound_holds"], bool)
        assert spectrum["c0"] == pytest.approx(spectrum["n_negative_Hp"] / run["n_effective_expected"])
        assert max(spectrum["trace_error"], spectrum["frobenius_error"]) < 1e-12


# --- provenance --------------------------------------------------------------------------------------

STEPS = {
    "data.safetensors": ["jam-data"],
    "runs.safetensors": ["jam-data", "jam-train"],
    "spectra.safetensors": ["jam-data", "jam-train", "jam-hessian"],
}


@pytest.mark.parametrize("name", STEPS)
def test_each_command_adds_one_step_to_the_provenance(name, artefact_folder):
    steps = header((artefact_folder / name).read_bytes())["provenance"]
    assert [step["command"] for step in steps] == STEPS[name]
    before = (
        header((artefact_folder / list(STEPS)[len(steps) - 2]).read_bytes())["provenance"]
        if len(steps) > 1
        else []
    )
    assert steps[:-1] == before
    for step in steps:
        assert set(step) == {"command", "argv", "jamtools", "torch", "device", "dtype"}
        assert (step["jamtools"], step["device"].partition(":")[0] in ("cpu", "cuda")) == (__version__, True)
        assert step["dtype"] == "float64" and re.match(r"\d+\.\d+", step["torch"])


def test_a_recorded_command_line_has_no_outputs_no_flags_of_reporting_and_no_folders(
    artefact_folder, tmp_path
):
    folder = tmp_path / "lr=0.1"  # an equals sign in the name of a folder does not make it an option
    folder.mkdir()
    (folder / "mine.safetensors").write_bytes((artefact_folder / "data.safetensors").read_bytes())
    ends = [
        "-o out",
        "--output=out",
        "-oout --quiet",
        "-qo out",
        "-qoout --debug",
        f"--output {tmp_path}/out -q",
    ]
    argv = "--width=2 --depth 1 --steps 1"
    assert typed(f"jam-train '{folder}/mine.safetensors' {argv} -qo out", tmp_path).returncode == 0
    step = header((tmp_path / "out").read_bytes())["provenance"][-1]
    assert step["argv"] == ["mine.safetensors", *argv.split()]
    for end in ends:
        assert typed(f"jam-data random -P 2 -d 2 {end}", tmp_path).returncode == 0
        step = header((tmp_path / "out").read_bytes())["provenance"][-1]
        assert step["argv"] == ["random", "-P", "2", "-d", "2"], end


@pytest.mark.parametrize("name", PIPELINE)
def test_no_file_contains_a_folder_a_host_name_or_a_time(name, artefact_folder):
    data = (artefact_folder / name).read_bytes()
    assert str(artefact_folder).encode() not in data and artefact_folder.name.encode() not in data
    host = socket.gethostname()
    assert len(host) < 6 or host.encode() not in data, (
        "the bytes of a picture may contain a shorter name by chance"
    )
    assert not re.search(rb"/home/|/root/|/tmp/", data)
    assert not re.search(rb"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d|CreationDate", data)


# --- JSON lines --------------------------------------------------------------------------------------


def test_jam_neff_prints_a_line_for_each_run(artefact_folder):
    records = objects((artefact_folder / "neff.jsonl").read_bytes())
    assert [record["run"] for record in records] == NAMES
    for record, (width, _, _) in zip(records, CELLS):
        assert set(record) >= {"run", "n_parameters", "n_hidden", "n_effective", "rank_gap"}
        assert (record["n_parameters"], record["n_hidden"]) == (n_parameters(width), DEPTH * width)
        assert 0 < record["n_effective"] <= record["n_parameters"] - record["n_hidden"]


def test_jam_cusps_prints_a_line_for_each_run(artefact_folder):
    records = objects((artefact_folder / "cusps.jsonl").read_bytes())
    assert [record["run"] for record in records] == NAMES
    for record in records:
        assert set(record) >= {"run", "n_cusps", "n_cusps_per_parameter", "layers", "clarke_norm"}
        assert len(record["layers"]) == DEPTH
        assert record["n_cusps"] == sum(layer["n_cusps"] for layer in record["layers"])


def exponent_of(fit):
    """The exponent of a fit whose fields agree with each other."""
    assert set(fit) >= {"exponent", "interval", "n", "range", "p_null"}
    assert fit["interval"][0] <= fit["exponent"] <= fit["interval"][1]
    assert 0 < fit["range"][0] < fit["range"][1]
    return fit["exponent"]


def test_jam_gaps_prints_one_object_with_both_exponents(artefact_folder):
    (record,) = objects((artefact_folder / "gaps.jsonl").read_bytes())
    assert set(record) >= {"overlaps", "gaps"}
    exponent_of(record["overlaps"])
    exponent_of(record["gaps"])


def test_jam_gaps_gives_the_exponent_t_of_plain_numbers(tmp_path):
    """The values u^(1/(1+t)) of a uniform grid u have the density x^t; here t = -0.4."""
    values = ((np.arange(2000) + 0.5) / 2000) ** (1 / 0.6)
    np.savetxt(tmp_path / "values.txt", values)
    by_name, by_pipe = (
        typed(line, tmp_path)
        for line in (
            "jam-gaps --values values.txt -q --order 0",
            "cat values.txt | jam-gaps --values - -q --order 0",
        )
    )
    assert by_name.stdout == by_pipe.stdout
    (record,) = objects(by_name.stdout)
    assert exponent_of(record) == pytest.approx(-0.4, abs=0.05)


def test_jam_nstar_search_prints_an_object_for_each_number_of_patterns(artefact_folder):
    records = objects((artefact_folder / "nstar.jsonl").read_bytes())
    assert [record["P"] for record in records] == [20, 40]
    for record in records:
        assert set(record) >= {"P", "n_star", "interval", "success", "width", "trials"}
        assert record["success"] == "satisfied"
        low, high = record["interval"]
        assert low < record["n_star"] <= high
        assert record["n_star"] == 4 * record["width"] + 1, "one hidden layer, d = 3"
        assert low < record["median"] <= record["n_star"]
        seeds = [trial["seed"] for trial in record["trials"]]
        assert {seed % 10_000 for seed in seeds} == {0, 1}
        assert len(set(zip(seeds, (trial["width"] for trial in record["trials"])))) == len(seeds), (
            "a trial occurs twice"
        )


def test_jam_nstar_fit_prints_one_object(artefact_folder):
    (record,) = objects((artefact_folder / "fit.jsonl").read_bytes())
    searches = objects((artefact_folder / "nstar.jsonl").read_bytes())
    ratio = searches[1]["median"] / searches[0]["median"]
    assert record["slope"] == pytest.approx(np.log(ratio) / np.log(2))
    assert record["n_points"] == 2


def test_jam_show_prints_the_metadata_of_each_run(artefact_folder):
    records = objects((artefact_folder / "shown.jsonl").read_bytes())
    runs = header((artefact_folder / "runs.safetensors").read_bytes())["runs"]
    assert records == [{"kind": "runs", "run": name, **run} for name, run in zip(NAMES, runs)]


def test_several_files_are_read_as_one_ensemble_with_runs_numbered_through(artefact_folder):
    first, second = "runs.safetensors", "../road-second.safetensors"
    (artefact_folder / second).write_bytes((artefact_folder / first).read_bytes())
    for line, many in (
        (f"jam-show {first} {second}", 16),
        (f"jam-neff {second} - {first} -q < {second}", 24),
    ):
        records = objects(typed(line, artefact_folder).stdout)
        assert [record["run"] for record in records] == [f"r{i:04d}" for i in range(many)]
        assert [(record["width"], record["P"], record["seed"]) for record in records] == CELLS * (many // 8)
    (artefact_folder / second).unlink()


def test_json_lines_contain_no_nan(artefact_folder):
    """JSON has no NaN; null stands for it."""
    for name in PIPELINE:
        if name.endswith(".jsonl"):
            json.loads(
                "[" + ",".join((artefact_folder / name).read_text().splitlines()) + "]",
                parse_constant=pytest.fail,
            )
