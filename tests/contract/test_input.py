"""Bad input: exit code 1, one line that says what came and what to do, no output and no temporary file."""

import gzip
import os
import pty
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from jamtools.io.write import dataset_bytes, runs_bytes, spectra_bytes
from tests.support import artefacts
from tests.support.contract import complaint, contents, side_by_side, typed

DATA = dataset_bytes(artefacts.dataset(P=40), artefacts.PROVENANCE)
RUNS = runs_bytes(artefacts.runs(artefacts.run()), artefacts.PROVENANCE)
SPECTRA = spectra_bytes([artefacts.spectrum([0, 1], [-1, 1], [-1, 2])], artefacts.PROVENANCE)


def changed(data: bytes, name: str, change) -> bytes:
    """The artefact with one array replaced by change(array), or without it where that is None."""

    def replace(tensors, metadata):
        array = change(tensors.pop(name))
        if array is not None:
            tensors[name] = np.ascontiguousarray(array)

    return artefacts.refit(data, replace)


def described(data: bytes, **fields) -> bytes:
    """The artefact with other metadata."""
    return artefacts.refit(data, lambda tensors, metadata: metadata.update(fields))


def with_value(value: float):
    def change(x):
        x = x.copy()
        x[3] = value
        return x

    return change


def run_of(**fields) -> bytes:
    return artefacts.refit(RUNS, lambda tensors, metadata: metadata["runs"][0].update(fields))


FILES = {
    "data": DATA,
    "runs": RUNS,
    "spectra": SPECTRA,
    "json": b'{"kind": "neff", "n_effective": 3}\n',
    "words": b"Once upon a time there was a file of another kind.\n",
    "numbers": b"1 2 3\n4 five 6\n",
    "bad-line": b'{"n_star": 9, "P": 20}\n{"n_star": 8, "P" 10}\n',
    "figure": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "zipped": gzip.compress(b'{"kind": "neff"}'),
    "noise": bytes(range(16, 256)),
    "latin": "Zwölf Läufe".encode("latin-1"),
    "figure.npy": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "empty": b"",
    "truncated": RUNS[:-100],
    "truncated-header": RUNS[:100],
    "truncated-json": b'{"kind": "nstar", "P": 10, "n_st',
    "long-header": struct.pack("<Q", 10**6) + RUNS[8:],
    "endless-header": struct.pack("<Q", 2**63) + RUNS[8:],
    "foreign": save({"x": np.ones((3, 2)), "y": np.ones(3)}),
    "foreign-metadata": save({"x": np.ones((3, 2))}, {"jamtools": "no JSON"}),
    "version-2": described(RUNS, version=2),
    "kind-of-its-own": described(RUNS, kind="poems"),
    "float32": changed(RUNS, "x", lambda x: x.astype(np.float32)),
    "float32-theta": changed(RUNS, "r0000/theta", lambda theta: theta.astype(np.float32)),
    "float32-data": changed(DATA, "x", lambda x: x.astype(np.float32)),
    "integers": changed(DATA, "y", lambda y: y.astype(np.int64)),
    "nan": changed(RUNS, "x", with_value(np.nan)),
    "nan-data": changed(DATA, "x", with_value(np.nan)),
    "inf-data": changed(DATA, "x", with_value(-np.inf)),
    "label-0": changed(DATA, "y", with_value(0.0)),
    "label-2": changed(RUNS, "y", with_value(2.0)),
    "fewer-labels": changed(DATA, "y", lambda y: y[:-1]),
    "fewer-labels-runs": changed(RUNS, "y", lambda y: y[:-1]),
    "flat": changed(RUNS, "x", np.ravel),
    "no-x": changed(RUNS, "x", lambda x: None),
    "no-theta": changed(RUNS, "r0000/theta", lambda theta: None),
    "short-theta": changed(RUNS, "r0000/theta", lambda theta: theta[:-1]),
    "no-history": changed(RUNS, "r0000/history/loss", lambda loss: None),
    "no-list": described(RUNS, runs=None),
    "no-epsilon": artefacts.refit(RUNS, lambda tensors, metadata: metadata["runs"][0].pop("epsilon")),
    "more-patterns": run_of(P=7),
    "half-a-neuron": run_of(width=2.5),
    "no-H0": changed(SPECTRA, "r0000/H0", lambda H0: None),
    "short-H0": changed(SPECTRA, "r0000/H0", lambda H0: H0[:-1]),
}  # fmt: skip

#: A line -> its message: all of it if it begins with the name of the command, else a part.
LINES = {
    # another kind, with the remedy
    "jam-train < runs": "jam-train: got runs, expected a dataset; make one with jam-data",
    "jam-nstar search < spectra": "jam-nstar: got spectra, expected a dataset; make one with jam-data",
    "jam-hessian < data": "jam-hessian: got a dataset, expected runs; pipe it through jam-train first",
    "jam-hessian spectra": "jam-hessian: spectra: got spectra, expected runs; pipe it through jam-train first",
    "jam-neff < data": "jam-neff: got a dataset, expected runs; pipe it through jam-train first",
    "jam-cusps < data": "jam-cusps: got a dataset, expected runs; pipe it through jam-train first",
    "jam-gaps < data": "jam-gaps: got a dataset, expected runs; pipe it through jam-train first",
    "jam-runs < spectra": "jam-runs: got spectra, expected runs; pipe it through jam-train first",
    "jam-gaps < spectra": "jam-gaps: got spectra, expected runs; pipe it through jam-train first",
    "jam-nstar fit < data": "jam-nstar: got a dataset, expected searches; make them with jam-nstar search",
    "jam-nstar fit json runs": "jam-nstar: json: got neff, expected searches; make them with jam-nstar search",
    "jam-nstar fit < spectra": "jam-nstar: got spectra alone, expected searches beside them; add what jam-nstar search "
    "prints",
    "jam-nstar fit json": "got neff, expected searches; make them with jam-nstar search",
    "jam-plot data": "got a dataset, expected runs, spectra or the JSON lines of",
    "jam-plot runs spectra": "got runs (runs) and spectra (spectra), expected inputs of one kind",
    "jam-plot runs --figure nstar": "got runs, expected nstar for --figure nstar",
    "jam-show --array x json": "got JSON lines, which hold neither arrays nor provenance",
    "jam-neff json": "got JSON, expected an artefact in safetensors",
    "jam-nstar fit words": "words: not JSON lines: line 1 of the text is no JSON (expecting value, column 1)",
    "jam-gaps --values words": "words: line 1: 'Once' is no number, expected numbers as text or .npy",
    "jam-gaps --values numbers": "numbers: line 2: 'five' is no number, expected numbers as text or .npy",
    # a text that is no JSON, a figure, a compressed file, and bytes that tell nothing
    "jam-neff words": "words: got text, expected an artefact in safetensors; name a file that jamtools wrote",
    **{f"{command} words": "words: not JSON lines: line 1 of the text is no JSON" for command in
       ("jam-plot", "jam-show", "jam-show --table")},
    **{f"{command} bad-line": "bad-line: not JSON lines: line 2 of the text is no JSON (expecting ':' delimiter, column 19)"
       for command in ("jam-plot", "jam-show", "jam-nstar fit")},
    **{f"{command} figure": "figure: got a PNG image, expected an artefact in safetensors" for command in
       ("jam-plot", "jam-show", "jam-gaps", "jam-train", "jam-nstar fit")},
    "jam-plot zipped": "zipped: got a gzip file, expected an artefact in safetensors",
    "jam-show noise": "noise: neither JSON lines nor safetensors, expected an artefact",
    "jam-plot latin": "latin: not JSON lines: text that is not UTF-8",
    "jam-gaps --values figure": "figure: got a PNG image, expected numbers as text or .npy",
    "jam-data arrays figure.npy figure.npy": "figure.npy: damaged or of another format, it begins like a PNG image",
    # an empty or truncated file
    **{f"{command} < empty": "empty input, expected an artefact; did the command before it fail?" for command in
       ("jam-train", "jam-neff", "jam-cusps", "jam-gaps", "jam-plot", "jam-runs", "jam-show")},
    "jam-nstar fit < empty": "empty input, expected JSON lines; did the command before it fail?",
    "jam-gaps --values empty": "no values, expected at least",
    "jam-neff -": "empty input",
    **{f"{command} truncated": "truncated: not a whole safetensors file" for command in
       ("jam-hessian", "jam-neff", "jam-cusps", "jam-gaps", "jam-plot", "jam-runs", "jam-show")},
    "jam-neff < truncated": "neff: not a whole safetensors file",
    "jam-neff truncated-header": "not a whole safetensors file",
    "jam-nstar fit truncated-json": "truncated-json: not JSON lines",
    "jam-show truncated-json": "truncated-json: not JSON lines",
    "jam-neff long-header": "not a whole safetensors file",
    "jam-show endless-header": "not a whole safetensors file",
    # files of other programs or other versions
    "jam-neff foreign": "got a safetensors file that jamtools did not write; load arrays with jam-data arrays",
    "jam-show foreign-metadata": "got a safetensors file that jamtools did not write",
    "jam-neff version-2": "got runs of format version 2, expected version 1; use the jamtools that wrote it",
    "jam-neff kind-of-its-own": "got poems, expected runs",
    # wrong contents
    "jam-neff float32": "x is F32, expected F64",
    "jam-cusps float32-theta": "r0000/theta is F32, expected F64",
    "jam-train float32-data": "x is F32, expected F64",
    "jam-nstar search integers": "y is I64, expected F64",
    "jam-gaps nan": "x is not finite (NaN or infinity in pattern 3)",
    "jam-train nan-data": "nan-data: x is not finite (NaN or infinity in pattern 3)",
    "jam-nstar search inf-data": "x is not finite (NaN or infinity in pattern 3)",
    "jam-train label-0": "y holds 0, expected labels +1 and -1 only",
    "jam-plot label-2": "y holds 2, expected labels +1 and -1 only",
    "jam-train fewer-labels": "x has 40 patterns and y has shape (39,), expected as many labels",
    "jam-neff fewer-labels-runs": "x has 6 patterns and y has shape (5,)",
    "jam-neff flat": "x has shape (18,), expected [P, d]",
    "jam-neff no-x": "runs file without x",
    "jam-neff no-theta": "runs file without r0000/theta",
    "jam-neff short-theta": "theta has shape (10,), expected 11 parameters as in the metadata",
    "jam-neff no-history": "a run without history/loss",
    "jam-neff no-list": "a runs file without its metadata",
    "jam-neff no-epsilon": "a run without the field epsilon",
    "jam-runs short-theta": "theta has shape (10,), expected 11 parameters as in the metadata",
    "jam-neff more-patterns": "expected 7 patterns as in the metadata",
    "jam-neff half-a-neuron": "a run of width 2.5, expected an integer of at least 1",
    "jam-plot no-H0": "spectra file without r0000/H0",
    "jam-plot short-H0": "expected as many eigenvalues as parameters",
    "jam-show --array r0001/theta runs": "no array r0001/theta; it holds ",
    "jam-show --array r0002/theta runs runs": "no run r0002: the files hold 2 runs, counted from r0000",
    # more than the input has
    "jam-train data --patterns 10,41": "asked for 41 patterns, the dataset has 40; make a larger one with jam-data",
    "jam-gaps runs": "no exponent from 1 run(s): overlaps: ",
    # missing files
    **{f"{command} nowhere": "nowhere: no such file or directory; check the path" for command in
       ("jam-neff", "jam-cusps", "jam-gaps", "jam-nstar fit", "jam-plot", "jam-show")},
    "jam-show .": ".: is a directory; check the path",
    "jam-data images nowhere": "nowhere: no such folder; put ",
    "jam-data arrays nowhere.npy data.npy": "nowhere.npy: cannot be read (no such file or directory)",
    "jam-neff <&-": "no input: standard input is closed; pipe an artefact in or name a file",
}  # fmt: skip


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    (folder / "kept.png").write_bytes(b"precious")
    (folder / "temporary").mkdir()
    return folder


@pytest.fixture(scope="module")
def outcomes(shelf):
    """The outcome of each line, whose output exists or is new in turn, and the files of the folder before."""
    before = contents(shelf)
    targets = ("kept.png", "new.png")
    lines = [f"{line} -o {targets[i % 2]}" for i, line in enumerate(LINES)]
    done = side_by_side(lines, shelf, env={"TMPDIR": str(shelf / "temporary")})
    return dict(zip(LINES, done)), before


@pytest.mark.parametrize("line", LINES)
def test_bad_input_is_refused_in_one_line_that_names_a_remedy(line, outcomes):
    message, expected = complaint(outcomes[0][line], line), LINES[line]
    assert message == expected or (expected in message and not expected.startswith("jam-"))


def test_a_command_with_bad_input_writes_no_file_and_changes_none(outcomes, shelf):
    assert contents(shelf) == outcomes[1]
    assert list((shelf / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    "command",
    ["jam-train", "jam-neff", "jam-gaps", "jam-gaps --values -", "jam-nstar fit", "jam-plot", "jam-show"],
)
def test_a_terminal_is_refused_as_input(command, tmp_path):
    master, slave = pty.openpty()
    line = f"{command} -o out.png < {os.ttyname(slave)}"
    message = complaint(typed(line, tmp_path, timeout=60), line)
    os.close(slave)
    os.close(master)
    assert message.endswith("no input: standard input is a terminal; pipe an artefact in or name a file")
    assert list(tmp_path.iterdir()) == []


def test_unknown_arrays_in_a_file_are_ignored(shelf):
    more = artefacts.refit(
        RUNS, lambda tensors, metadata: tensors.update(later=np.ones(3), **{"r0000/new": np.ones(2)})
    )
    line = "jam-plot - --figure history --format svg"
    plain, extended = (typed(line, shelf, input=data) for data in (RUNS, more))
    assert (extended.returncode, extended.stderr) == (0, "")
    assert extended.stdout == plain.stdout
