"""Images from IDX files, the format of MNIST.

    IDX: 0x00 0x00 type n_dims | n_dims sizes, big-endian uint32 | the values, last index fastest

Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database (file formats).
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jamtools.data.images import Images
from jamtools.errors import InputError, Remedy
from jamtools.io.file_errors import input_errors

#: The magic number of an IDX file of unsigned bytes (two zero bytes, type 8) with 0 in place of the number of dimensions.
IDX_UBYTE = 0x0800

#: The first bytes of a gzip file.
GZIP_MAGIC = b"\x1f\x8b"

#: The files of MNIST, and of other images in its format. The values are the SHA-256 of the gzip files of MNIST
#: (9912422, 28881, 1648877 and 4542 bytes), as several public projects record them.
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def read_images(folder: str) -> Images:
    """The images of the four IDX files in a folder, training and test, with pixels [images, pixels] and labels [images].

    Raises InputError when a file is missing or damaged, or when its sizes do not fit those of another.
    """
    missing = missing_files(folder)
    if missing:
        absent = "is a file, expected a folder" if os.path.isfile(folder) else "no such folder"
        reason = "files are missing" if os.path.isdir(folder) else absent
        raise InputError(
            f"{folder}: {reason}", Remedy.PUT_OR_DOWNLOAD_IMAGES, files=listed(missing), folder=folder
        )
    parts = [_read_part(folder, part) for part in ("train", "t10k")]
    shapes = [images.shape[1:] for images, labels in parts]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{folder}: training images of shape {shapes[0]} and test images of shape {shapes[1]}, "
            "expected one shape; take both from one source"
        )
    pixels, labels = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    return Images(pixels.reshape(len(pixels), -1), labels, n_train=len(parts[0][0]))


def missing_files(folder: str) -> list[str]:
    """The plain names of the IDX files that a folder does not have under any of their usual names."""
    return [name.removesuffix(".gz") for name in MNIST_SHA256 if find_idx(folder, name) is None]


def listed(names: Sequence[str]) -> str:
    """The names of missing files, as a part of a message."""
    return f"{', '.join(names)} (gzipped or not)"


def find_idx(folder: str, name: str) -> Path | None:
    """The path of an IDX file in a folder, or None.

    The file `train-images-idx3-ubyte` may also be called `train-images.idx3-ubyte`. Both names may end in .gz.
    """
    plain = name.removesuffix(".gz")
    names = (plain, plain.replace("-idx", ".idx"))
    paths = (Path(folder, name + suffix) for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _read_part(folder: str, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images [n, rows, columns] and labels [n] of the part "train" or "t10k"."""
    images = _read_existing(folder, f"{part}-images-idx3-ubyte", 3)
    labels = _read_existing(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(images) != len(labels) or images.size == 0:
        raise InputError(
            f"{folder}: {part} has {len(images)} images of shape {images.shape[1:]} and {len(labels)} labels, "
            "expected as many of both and at least one; take both files from one source"
        )
    return images, labels


def _read_existing(folder: str, name: str, n_dims: int) -> NDArray[np.uint8]:
    path = find_idx(folder, name)
    assert path is not None, "read_images has checked that no file is missing"
    return read_idx(path, n_dims)


def read_idx(path: Path, n_dims: int) -> NDArray[np.uint8]:
    """The array (any shape with n_dims axes) in an IDX file of unsigned bytes, gzipped or not. InputError for others."""
    data = _unzipped(path)
    start = 4 + 4 * n_dims
    magic = int.from_bytes(data[:4])
    if len(data) < start or magic != IDX_UBYTE + n_dims:
        raise InputError(
            f"{path}: begins with {data[:4].hex() or 'nothing'}, expected {IDX_UBYTE + n_dims:08x} of an IDX file "
            f"of unsigned bytes in {n_dims} dimension{'s' * (n_dims > 1)}; get the file again"
        )
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", n_dims, offset=4))
    if len(data) - start != math.prod(shape):
        raise InputError(
            f"{path}: holds {len(data) - start} bytes, expected {math.prod(shape)} by its header; "
            "it was cut short or damaged, get it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _unzipped(path: Path) -> bytes:
    with input_errors(str(path)):
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
