"""The download of MNIST, with a server on this machine in place of the mirrors."""

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jamtools.errors import InputError
from jamtools.io.download import MNIST_MIRRORS, download_mnist
from jamtools.io.idx import MNIST_SHA256, read_images
from tests.support.idx import write_images


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """A function that serves a folder on this machine and returns its address."""
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
    """The folder of a mirror, which is reached without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_images(tmp_path / "mirror", "{}-idx{}-ubyte.gz", gzip.compress)
    return tmp_path / "mirror"


def checksums(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MNIST_SHA256}


def closed_port() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.server_close()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_the_second_mirror_is_used_when_the_first_does_not_answer(
    tmp_path: Path, mirrored: Path, serve: Callable[[Path], str]
) -> None:
    folder = tmp_path / "new" / "mnist"
    mirrors = [closed_port(), serve(mirrored)]
    fetched = download_mnist(str(folder), mirrors, checksums(mirrored))
    assert sorted(fetched) == sorted(path.name for path in folder.iterdir()) == sorted(MNIST_SHA256)
    assert read_images(str(folder)).n_train == 7
    assert download_mnist(str(folder), [closed_port()], checksums(mirrored)) == []


def test_a_file_that_exists_already_is_not_replaced(
    tmp_path: Path, mirrored: Path, serve: Callable[[Path], str]
) -> None:
    existing = tmp_path / "train-labels.idx1-ubyte"
    existing.write_bytes(b"mine")
    fetched = download_mnist(str(tmp_path), [serve(mirrored)], checksums(mirrored))
    assert "train-labels-idx1-ubyte.gz" not in fetched and len(fetched) == 3
    assert existing.read_bytes() == b"mine"
    assert not (tmp_path / "train-labels-idx1-ubyte.gz").exists()


def test_a_file_with_another_checksum_is_deleted_and_the_next_mirror_is_tried(
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


def test_there_are_two_mirrors_and_every_checksum_is_a_sha256() -> None:
    assert len(MNIST_MIRRORS) > 1
    assert all(len(bytes.fromhex(value)) == 32 for value in MNIST_SHA256.values())
