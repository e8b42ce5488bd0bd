"""Raw files, written here byte by byte or by numpy, read back; a local server stands in for the mirrors."""

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jamtools.errors import InputError
from jamtools.io.download import MIRRORS, download_mnist
from jamtools.io.idx import CHECKSUMS, read_images
from jamtools.io.user_arrays import read_arrays
from tests.support.commands import EXAMPLE_IMAGES, ROOT
from tests.support.idx import idx_bytes, write_images

MNIST = ROOT.parent / "shared" / "mnist"
X = np.arange(6, dtype=np.float32).reshape(3, 2) / 4
Y = np.array([1, -1, 1])


# --- images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["{}-idx{}-ubyte", "{}.idx{}-ubyte", "{}-idx{}-ubyte.gz", "{}.idx{}-ubyte.gz"]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read_under_their_usual_names(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    arrays = write_images(tmp_path, name, pack)
    images = read_images(str(tmp_path))
    both = [
        np.concatenate([arrays[f"{part}-{what}"] for part in ("train", "t10k")])
        for what in ("images", "labels")
    ]
    assert np.array_equal(images.pixels, both[0].reshape(10, 6))
    assert np.array_equal(images.labels, both[1])
    assert images.n_train == 7


def damaged(data: bytes, how: str) -> bytes:
    return {
        "empty": b"",
        "magic of labels": b"\0\0\x08\x01" + data[4:],
        "magic of floats": b"\0\0\x0d\x03" + data[4:],
        "header only": data[:16],
        "cut short": data[:-1],
        "a byte too many": data + b"\0",
        "cut gzip": gzip.compress(data)[:-9],
        "broken gzip": gzip.compress(data)[:12] + b"\xff" * 20,
        "wrong checksum": gzip.compress(data)[:-8] + b"\0" * 8,
        "text": b"<html>404</html>",
    }[how]


@pytest.mark.parametrize(
    "how",
    ["empty", "magic of labels", "magic of floats", "header only", "cut short", "a byte too many", "cut gzip",
     "broken gzip", "wrong checksum", "text"],
)  # fmt: skip
def test_a_damaged_image_file_is_refused_by_name(tmp_path: Path, how: str) -> None:
    write_images(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte: .*(expected|damaged)"):
        read_images(str(tmp_path))


def test_a_missing_file_is_named_and_where_to_put_it(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="put train-labels-idx1-ubyte .*--download"):
        read_images(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte", np.zeros(6), "7 images of shape .* and 6 labels"),
        ("t10k-images-idx3-ubyte", np.zeros((3, 4, 4)), "one shape"),
        ("t10k-images-idx3-ubyte", np.zeros((0, 2, 3)), "at least one"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    write_images(tmp_path)
    (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(InputError, match=message):
        read_images(str(tmp_path))


def test_the_example_images_are_a_subset_of_2000() -> None:
    images = read_images(str(EXAMPLE_IMAGES))
    assert images.pixels.shape == (2000, 784)
    assert images.n_train == 1600
    assert set(images.labels) == set(range(10))


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs all of MNIST in ../shared/mnist")
def test_mnist_is_read_whole_and_the_example_is_its_beginning() -> None:
    """Published: 60000 + 10000 images; these counts of the ten digits."""
    images = read_images(str(MNIST))
    example = read_images(str(EXAMPLE_IMAGES))
    counts = [np.bincount(part).tolist() for part in np.split(images.labels, [images.n_train])]
    assert counts[0] == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts[1] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.array_equal(images.pixels[:1600], example.pixels[:1600])
    assert np.array_equal(images.pixels[60000:60400], example.pixels[1600:])
    assert np.array_equal(images.labels[60000:60400], example.labels[1600:])


# --- arrays ------------------------------------------------------------------------------------------


def write_csv(path: Path, *columns: np.ndarray, header: str = "") -> None:
    rows = np.column_stack(columns).tolist()
    path.write_text(header + "".join(",".join(map(repr, row)) + "\n" for row in rows))


def write_arrays(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "X.npy", X)
    np.save(folder / "Y.npy", Y)
    np.savez(folder / "both.npz", x=X, y=Y, other=np.ones(7))
    np.savez_compressed(folder / "all.npz", x=X, y=Y, x_test=X[:2], y_test=Y[:2])
    save_file({"x": X, "y": Y}, folder / "both.safetensors")
    write_csv(folder / "both.csv", X, Y)
    write_csv(folder / "named.csv", X, Y, header="\ufeff length,width,label\n\n")
    write_csv(folder / "X.csv", X, header="length,width\n")
    write_csv(folder / "Y.csv", Y)


@pytest.mark.parametrize(
    "names",
    ["X.npy Y.npy", "both.npz", "all.npz", "both.safetensors", "both.csv", "named.csv", "X.csv Y.csv", "X.npy Y.csv"],
)  # fmt: skip
def test_every_format_gives_the_arrays_back(tmp_path: Path, names: str) -> None:
    write_arrays(tmp_path)
    arrays = read_arrays([str(tmp_path / name) for name in names.split()])
    assert np.array_equal(arrays["x"], X)
    assert np.array_equal(np.ravel(arrays["y"]), Y)
    assert sorted(arrays) == (["x", "x_test", "y", "y_test"] if names == "all.npz" else ["x", "y"])


def test_a_test_set_comes_in_the_same_forms(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    files = [str(tmp_path / name) for name in ("X.npy", "Y.npy")]
    for test in (files, [str(tmp_path / "both.csv")], [str(tmp_path / "all.npz")]):
        arrays = read_arrays(files, test)
        assert np.array_equal(arrays["x_test"], X) and np.array_equal(np.ravel(arrays["y_test"]), Y)
    with pytest.raises(InputError, match="holds a test set already"):
        read_arrays([str(tmp_path / "all.npz")], files)


class Trap:
    """A pickle that would tell if it were ever loaded."""

    loaded = False

    def __reduce__(self) -> tuple:
        return setattr, (Trap, "loaded", True)


def save(path: Path, **arrays: np.ndarray) -> None:
    """An .npz archive, or the last array alone under any other name."""
    with open(path, "wb") as file:
        if path.suffix == ".npz":
            np.savez(file, allow_pickle=True, **arrays)
        else:
            np.save(file, list(arrays.values())[-1], allow_pickle=True)


def bad_file(path: Path, what: str) -> None:
    """A file that is not what its name says."""
    table = {
        "empty": lambda: path.write_bytes(b""),
        "text": lambda: path.write_text("hello\n"),
        "cut": lambda: path.write_bytes(path.read_bytes()[:-5]),
        "pickle": lambda: save(path, x=X, y=np.array([Trap()], dtype=object)),
        "no y": lambda: save(path, x=X),
        "gone": path.unlink,
        "folder": lambda: (path.unlink(), path.mkdir()),
        "ragged": lambda: path.write_text("1,2,1\n3,-1\n"),
        "words": lambda: path.write_text("1,2,1\n3,four,-1\n"),
        "words at once": lambda: path.write_text("1,two,1\n3,4,-1\n"),
        "header alone": lambda: path.write_text("a,b\n"),
        "one column": lambda: path.write_text("1\n-1\n"),
        "no text": lambda: path.write_bytes(b"\xff\xfe\x00\x01"),
    }
    table[what]()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *[("X.npy", what) for what in ("empty", "text", "cut", "pickle", "gone", "folder")],
        *[("both.npz", what) for what in ("empty", "text", "cut", "pickle", "no y", "gone")],
        *[("both.safetensors", what) for what in ("empty", "text", "cut", "gone", "folder")],
        *[("both.csv", what) for what in ("empty", "ragged", "words", "words at once", "header alone")],
        *[("both.csv", what) for what in ("one column", "no text", "gone")],
    ],
)
def test_a_bad_array_file_is_refused_by_name(tmp_path: Path, name: str, what: str) -> None:
    write_arrays(tmp_path)
    path = tmp_path / name
    bad_file(path, what)
    files = [str(path), str(tmp_path / "Y.npy")] if path.suffix == ".npy" else [str(path)]
    with pytest.raises(InputError, match=f"{name}: .*; "):
        read_arrays(files)
    assert not Trap.loaded


@pytest.mark.parametrize(
    ("names", "message"),
    [("X.npy", "one array, expected two files"), ("X.txt", "unknown format"), ("both.npz Y.npy", "expected .npy or .csv")],
)  # fmt: skip
def test_files_of_other_formats_are_refused(tmp_path: Path, names: str, message: str) -> None:
    write_arrays(tmp_path)
    with pytest.raises(InputError, match=message):
        read_arrays([str(tmp_path / name) for name in names.split()])


# --- download ----------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves folders on the loopback interface, each at its own address."""
    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror's folder; no proxy stands between."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_images(tmp_path / "mirror", "{}-idx{}-ubyte.gz", gzip.compress)
    return tmp_path / "mirror"


def checksums(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CHECKSUMS}


def closed_port() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.server_close()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_the_second_mirror_serves_when_the_first_is_dead(
    tmp_path: Path, mirrored: Path, serve: Callable[[Path], str]
) -> None:
    folder = tmp_path / "new" / "mnist"
    mirrors = [closed_port(), serve(mirrored)]
    fetched = download_mnist(str(folder), mirrors, checksums(mirrored))
    assert sorted(fetched) == sorted(path.name for path in folder.iterdir()) == sorted(CHECKSUMS)
    assert read_images(str(folder)).n_train == 7
    assert download_mnist(str(folder), [closed_port()], checksums(mirrored)) == []


def test_a_file_that_is_there_already_is_left_alone(
    tmp_path: Path, mirrored: Path, serve: Callable[[Path], str]
) -> None:
    own = tmp_path / "train-labels.idx1-ubyte"
    own.write_bytes(b"mine")
    fetched = download_mnist(str(tmp_path), [serve(mirrored)], checksums(mirrored))
    assert "train-labels-idx1-ubyte.gz" not in fetched and len(fetched) == 3
    assert own.read_bytes() == b"mine"
    assert not (tmp_path / "train-labels-idx1-ubyte.gz").exists()


def test_a_corrupted_file_is_refused_and_the_next_mirror_asked(
    tmp_path: Path, mirrored: Path, serve: Callable[[Path], str]
) -> None:
    right = checksums(mirrored)
    corrupt = tmp_path / "corrupt"
    write_images(corrupt, "{}-idx{}-ubyte.gz", gzip.compress)
    (corrupt / "t10k-images-idx3-ubyte.gz").write_bytes(b"not what was asked for")
    alone, both = tmp_path / "alone", tmp_path / "both"
    with pytest.raises(InputError, match="checksum differs.*put t10k-images-idx3-ubyte, t10k-labels"):
        download_mnist(str(alone), [serve(corrupt)], right)
    assert "t10k-images-idx3-ubyte.gz" not in {path.name for path in alone.iterdir()}
    download_mnist(str(both), [serve(corrupt), serve(mirrored)], right)
    assert checksums(both) == right


def test_the_mirrors_files_are_those_of_the_published_sizes() -> None:
    assert len(MIRRORS) > 1
    assert all(len(bytes.fromhex(value)) == 32 for value in CHECKSUMS.values())
