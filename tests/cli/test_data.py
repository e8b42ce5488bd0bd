"""jam-data as users run it: its datasets equal those of the library, and bad input leaves no file."""

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, load_file

from jamtools.data.images import Recipe, image_dataset
from jamtools.data.sphere import random_gaussian, random_sphere
from jamtools.io.idx import read_images
from tests.support.commands import EXAMPLE_IMAGES, ROOT, jam, refusal
from tests.support.idx import write_images

MNIST = ROOT.parent / "shared" / "mnist"
IMAGES = ("images", EXAMPLE_IMAGES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty training and 41 test images of 4 × 5 pixels: 51 even digits, 50 odd ones."""
    write_images(tmp_path / "images", sizes=(60, 41), pixels=(4, 5))
    return tmp_path / "images"


def metadata(data: bytes) -> dict:
    """The one key of a safetensors header, read by its format: the length, JSON."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])["__metadata__"]
    assert list(header) == ["jamtools"]
    return json.loads(header["jamtools"])


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A folder with X.npy [6, 2] and Y.npy [6]."""
    np.save(tmp_path / "X.npy", np.arange(12).reshape(6, 2))
    np.save(tmp_path / "Y.npy", np.array([1, -1] * 3))
    return tmp_path


# --- what is written ---------------------------------------------------------------------------------


def test_random_writes_the_librarys_dataset() -> None:
    done = jam("data", "random", "-P", "1k", "-d", 5, "--seed", 3, "--test", 7, check=True)
    assert done.stderr == ""
    tensors, expected = load(done.stdout), random_sphere(1000, 5, 3, "random", 7)
    assert sorted(tensors) == ["x", "x_test", "y", "y_test"]
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float64
        assert np.array_equal(tensor, getattr(expected, name))


def test_gaussian_patterns_are_the_librarys_and_are_recorded() -> None:
    done = jam("data", "random", "--gaussian", "-P", 40, "-d", 5, "--seed", 3, "--test", 7, check=True)
    tensors, expected = load(done.stdout), random_gaussian(40, 5, 3, "random", 7)
    for name, tensor in tensors.items():
        assert np.array_equal(tensor, getattr(expected, name))
    assert metadata(done.stdout)["dataset"]["preprocessing"]["distribution"] == "gaussian"


def test_random_takes_long_options_and_records_them() -> None:
    done = jam("data", "random", "--patterns", 4, "--dimension", 2, "--labels", "balanced", "-q", check=True)
    header = metadata(done.stdout)
    assert (header["kind"], header["version"]) == ("dataset", 1)
    assert header["dataset"] == {
        "source": "random", "seed": 0, "P": 4, "d": 2, "classes": 2,
        "preprocessing": {"distribution": "sphere", "labels": "balanced", "P_test": 0},
    }  # fmt: skip
    (step,) = header["provenance"]
    assert step["command"] == "jam-data"
    assert step["argv"] == ["random", "--patterns", "4", "--dimension", "2", "--labels", "balanced"]
    assert load(done.stdout)["y"].tolist() == [1, -1, 1, -1]


def test_images_writes_the_librarys_dataset(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "images.safetensors"
    jam("data", "images", folder, "--pca", 6, "-P", 50, "--seed", 1, "--test", 30, "-o", output, check=True)
    images = read_images(str(folder))
    expected = image_dataset(images, Recipe(pca=6), 50, 1, 30)
    tensors = load_file(output)
    for name in ("y", "y_test"):
        assert np.array_equal(tensors[name], getattr(expected, name))
    for name in ("x", "x_test"):  # the two processes may have different numbers of threads
        np.testing.assert_allclose(tensors[name], getattr(expected, name), atol=1e-11)
    header = metadata(output.read_bytes())
    assert header["dataset"] == dict(expected.info)
    argv = ["images", "images", "--pca", "6", "-P", "50", "--seed", "1", "--test", "30"]
    assert header["provenance"][0]["argv"] == argv


def test_the_options_of_images_decide_the_preprocessing(folder: Path) -> None:
    options = ("--labels", "classes", "--pca", 3, "--no-whiten", "--no-sphere")
    done = jam("data", "images", folder, *options, check=True)
    header, tensors = metadata(done.stdout)["dataset"], load(done.stdout)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "x": (60, 3), "y": (60, 10), "x_test": (41, 3), "y_test": (41, 10),
    }  # fmt: skip
    how = header["preprocessing"]
    assert (how["whiten"], how["sphere"], how["pca"], how["labels"]) == (False, False, 3, "classes")
    assert (header["classes"], header["P"], header["d"], header["seed"]) == (10, 60, 3, None)
    whole = np.vstack([tensors["x"], tensors["x_test"]])
    covariance = whole.T @ whole / len(whole)
    variances = np.diag(covariance)
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-13)
    assert variances[0] > variances[1] > variances[2] > 0


def test_more_images_than_balanced_classes_allow_are_taken_with_a_note(folder: Path) -> None:
    assert jam("data", "images", folder, "-P", 101, check=True).stderr == ""  # 51 and 50 are balanced
    command = ("images", folder, "--labels", "threshold:9", "-P", 90)
    done = jam("data", *command, check=True)
    assert done.stderr == (
        "jam-data: -P 90 is more than balanced classes allow; took what there is, classes of 80 and 10\n"
    )
    assert load(done.stdout)["x"].shape == (90, 20)
    assert jam("data", *command, "--quiet", check=True).stderr == ""


@pytest.mark.parametrize("form", ["two files", "npz", "csv", "safetensors"])
def test_arrays_in_every_file_format_give_the_same_dataset(arrays: Path, form: str) -> None:
    x, y = np.load(arrays / "X.npy"), np.load(arrays / "Y.npy")
    np.savez(arrays / "both.npz", x=x, y=y)
    np.savetxt(arrays / "both.csv", np.column_stack([x, y]), delimiter=",", header="a,b,label", comments="")
    (arrays / "both.safetensors").write_bytes(jam("data", "arrays", arrays / "both.npz").stdout)
    files = ["X.npy", "Y.npy"] if form == "two files" else [f"both.{form}"]
    done = jam("data", "arrays", *files, "--test-arrays", "both.csv", cwd=arrays, check=True)
    tensors = load(done.stdout)
    for name, expected in {"x": x, "y": y, "x_test": x, "y_test": y}.items():
        assert tensors[name].dtype == np.float64
        assert np.array_equal(tensors[name], expected)
    assert metadata(done.stdout)["dataset"]["source"] == "arrays"


def test_labels_0_and_1_are_refused_and_the_named_remedy_works(arrays: Path) -> None:
    np.save(arrays / "Y.npy", np.array([0, 1] * 3))
    line = refusal(jam("data", "arrays", "X.npy", "Y.npy", cwd=arrays))
    assert "y holds 0, expected labels +1 and -1" in line and "--labels parity" in line
    done = jam("data", "arrays", "X.npy", "Y.npy", "--labels", "parity", cwd=arrays, check=True)
    assert load(done.stdout)["y"].tolist() == [-1, 1] * 3


@pytest.mark.parametrize(
    "command", [("random", "-P", 50, "-d", 4, "--test", 9), (*IMAGES, "--pca", 5, "-P", 99)]
)
def test_the_same_command_writes_the_same_bytes_with_any_number_of_threads(
    command: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linear algebra has one thread unless OMP_NUM_THREADS asks for more."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    first = jam("data", *command, check=True).stdout
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    jam("data", *command, "-o", tmp_path / "file", check=True)
    assert first == (tmp_path / "file").read_bytes()


def test_bytes_do_not_depend_on_where_the_files_are(folder: Path) -> None:
    here = jam("data", "images", folder, check=True).stdout
    there = jam("data", "images", "images", cwd=folder.parent, check=True).stdout
    assert here == there
    assert str(folder.parent).encode() not in there


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("random -P 0 -d 3", 2, "expected at least 1"),
        ("random -P 5 -d 0", 2, "expected at least 1"),
        ("random -P 5 -d 3 --seed -1", 2, "expected at least 0"),
        ("random -P five -d 3", 2, "expected an integer"),
        ("random -d 3", 2, "--patterns"),
        ("random -P 5 -d 3 --labels parity", 2, "--labels"),
        ("random -P 5 -d 3 -o nowhere/out", 1, "its folder does not exist"),
        ("random -P 5 -d 3 -o /dev/full", 1, "no space left"),
        ("random -P 5 -d 3 -o .", 1, "is a folder"),
        ("frobnicate", 2, "No such command"),
        ("images nowhere", 1, "nowhere: no such folder; put train-images-idx3-ubyte, "),
        ("images .", 1, "files are missing; put train-images-idx3-ubyte, "),
        ("images DATA --labels threshold:x", 2, "expected an integer"),
        ("images DATA --labels even", 2, "expected parity, threshold:K or classes"),
        ("images DATA --labels threshold:10", 1, "in one class"),
        ("images DATA --whiten", 2, "expected --pca K"),
        ("images DATA --pca 21", 1, "asked for 21 components"),
        ("images DATA --pca 2 -P 102", 1, "there are 101 images; lower -P"),
        ("images DATA -P 0", 2, "expected at least 1"),
        ("arrays", 2, "Missing argument"),
        ("arrays X.npy Y.npy X.npy", 2, "got 3 files"),
        ("arrays X.npy", 1, "one array, expected two files"),
        ("arrays X.npy gone.npy", 1, "gone.npy: cannot be read (no such file"),
        ("arrays X.npy short.npy", 1, "x has 6 patterns and y has shape (5,)"),
        ("arrays nan.npy Y.npy", 1, "x is not finite (NaN or infinity in pattern 2)"),
        ("arrays X.npy labels.npy", 1, "y holds 3, expected labels +1 and -1"),
        ("arrays X.npy X.txt", 1, "expected .npy or .csv"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line_and_leaves_no_file(
    arrays: Path, folder: Path, command: str, code: int, message: str
) -> None:
    x, y = np.load(arrays / "X.npy"), np.load(arrays / "Y.npy")
    np.save(arrays / "short.npy", y[:5])
    np.save(arrays / "labels.npy", 3 * y)
    np.save(arrays / "nan.npy", np.where(np.arange(6)[:, None] == 2, np.nan, x))
    before = sorted(arrays.iterdir())
    words = [str(folder) if word == "DATA" else word for word in command.split()]
    assert message in refusal(jam("data", *words, cwd=arrays), code)
    assert sorted(arrays.iterdir()) == before


def test_an_existing_output_file_survives_a_failure(arrays: Path) -> None:
    output = arrays / "out"
    output.write_bytes(b"precious")
    refusal(jam("data", "arrays", "X.npy", "gone.npy", "-o", "out", cwd=arrays))
    assert output.read_bytes() == b"precious"
    assert sorted(path.name for path in arrays.iterdir()) == ["X.npy", "Y.npy", "out"]


def test_a_truncated_image_file_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(path.read_bytes())[:900])
    line = refusal(jam("data", "images", folder, "-o", tmp_path / "out"))
    assert "train-images-idx3-ubyte: damaged" in line
    assert not (tmp_path / "out").exists()


def test_without_a_network_the_download_says_which_files_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port, which does not answer
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    line = refusal(jam("data", "images", "mnist", "--download", "-o", "out", cwd=tmp_path))
    assert "could not fetch MNIST" in line
    assert "put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte" in line
    assert line.endswith("into mnist by hand")
    assert not (tmp_path / "out").exists()


def test_a_download_leaves_existing_files_unchanged(folder: Path) -> None:
    jam("data", "images", folder, "--download", check=True)
    assert len(list(folder.iterdir())) == 4


def test_a_terminal_is_refused_as_output() -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "jamtools.cli.data", "random", "-P", "1G", "-d", "1000"]
    done = subprocess.run(command, cwd=ROOT, stdout=slave, stderr=subprocess.PIPE, text=True, timeout=30)
    os.close(slave)
    os.close(master)
    assert done.returncode == 1
    assert done.stderr.startswith("jam-data: standard output is a terminal")
    assert "-o FILE" in done.stderr and done.stderr.count("\n") == 1


def test_a_reader_that_stops_early_causes_no_message() -> None:
    command = f"{sys.executable} -m jamtools.cli.data random -P 10k -d 30 | head -c 10 | wc -c"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("10", "")


# --- help --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subcommand", [(), ("random",), ("images",), ("arrays",)])
def test_every_subcommand_has_help_with_an_example_and_a_version(subcommand: tuple[str, ...]) -> None:
    text = jam("data", *subcommand, "--help", check=True).stdout.decode()
    assert " ".join(["  jam-data", *subcommand]) in text
    assert jam("data", *subcommand, "--version", check=True).stdout.startswith(b"jamtools ")


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="needs all of MNIST in ../shared/mnist")
def test_ten_components_of_all_mnist_images_have_the_class_counts_of_the_files() -> None:
    """Ten components of all 70000 images; exact balance ends at 68836, and -P 70k takes all."""
    done = jam("data", "images", MNIST, "--labels", "parity", "--pca", 10, "-P", "70k", check=True)
    assert "classes of 34418 and 35582" in done.stderr
    tensors = load(done.stdout)
    assert tensors["x"].shape == (70000, 10) and "x_test" not in tensors
    assert abs(tensors["y"][:68836].sum()) == 0
    np.testing.assert_allclose(np.linalg.norm(tensors["x"], axis=1), np.sqrt(10), rtol=1e-14)
