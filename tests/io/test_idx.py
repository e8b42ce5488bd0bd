"""Image files that are written here byte by byte are read back."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jamtools.errors import InputError, Remedy
from jamtools.io.idx import read_images
from tests.support.commands import EXAMPLE_IMAGES, ROOT
from tests.support.idx import idx_bytes, write_images

MNIST = ROOT.parent / "shared" / "mnist"


@pytest.mark.parametrize(
    "name", ["{}-idx{}-ubyte", "{}.idx{}-ubyte", "{}-idx{}-ubyte.gz", "{}.idx{}-ubyte.gz"]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read_under_their_usual_names(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    arrays = write_images(tmp_path, name, pack)
    images = read_images(str(tmp_path))
    pixels, labels = (
        np.concatenate([arrays[f"{part}-{name}"] for part in ("train", "t10k")])
        for name in ("images", "labels")
    )
    assert np.array_equal(images.pixels, pixels.reshape(10, 6))
    assert np.array_equal(images.labels, labels)
    assert images.n_train == 7


def damaged(data: bytes, damage: str) -> bytes:
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
    }[damage]


@pytest.mark.parametrize(
    "damage",
    ["empty", "magic of labels", "magic of floats", "header only", "cut short", "a byte too many", "cut gzip",
     "broken gzip", "wrong checksum", "text"],
)  # fmt: skip
def test_a_damaged_image_file_is_refused_with_its_name(tmp_path: Path, damage: str) -> None:
    write_images(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(damaged(path.read_bytes(), damage))
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte: .*(expected|damaged)"):
        read_images(str(tmp_path))


def test_the_message_for_a_missing_image_file_names_it_and_its_place(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="put train-labels-idx1-ubyte .*download_mnist") as caught:
        read_images(str(tmp_path))
    assert caught.value.remedy == Remedy.PUT_OR_DOWNLOAD_IMAGES


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte", np.zeros(6), "7 images of shape .* and 6 labels"),
        ("t10k-images-idx3-ubyte", np.zeros((3, 4, 4)), "one shape"),
        ("t10k-images-idx3-ubyte", np.zeros((0, 2, 3)), "at least one"),
    ],
)
def test_image_files_of_contradicting_sizes_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    write_images(tmp_path)
    (tmp_path / name).write_bytes(idx_bytes(array))
    with pytest.raises(InputError, match=message):
        read_images(str(tmp_path))


def test_the_example_holds_2000_images_of_ten_digits() -> None:
    images = read_images(str(EXAMPLE_IMAGES))
    assert images.pixels.shape == (2000, 784)
    assert images.n_train == 1600
    assert set(images.labels) == set(range(10))


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs all of MNIST in ../shared/mnist")
def test_mnist_has_its_published_counts_and_the_example_is_its_beginning() -> None:
    """60000 + 10000 images, with the published counts of the ten digits."""
    images = read_images(str(MNIST))
    example = read_images(str(EXAMPLE_IMAGES))
    counts = [np.bincount(part).tolist() for part in np.split(images.labels, [images.n_train])]
    assert counts[0] == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts[1] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.array_equal(images.pixels[:1600], example.pixels[:1600])
    assert np.array_equal(images.pixels[60000:60400], example.pixels[1600:])
    assert np.array_equal(images.labels[60000:60400], example.labels[1600:])
