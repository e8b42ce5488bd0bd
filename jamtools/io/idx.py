"""Images from IDX files: MNIST and others of its format."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jamtools.data.images import Images
from jamtools.errors import InputError
from jamtools.io.user_arrays import _readable

#: IDX magic number less the number of dimensions: two zero bytes, type 8 (unsigned byte).
IDX_UBYTE = 0x0800

GZIP_MAGIC = b"\x1f\x8b"

#: The files of MNIST, and of whatever follows its format, with the SHA-256 of MNIST's own gzip files
#: (9912422, 28881, 1648877 and 4542 bytes) as several public projects record it.
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def read_images(folder: str) -> Images:
    """The four IDX files of a folder, training and test: pixels as rows.

    InputError when one is missing, damaged, or of other sizes than its partner.
    """
    missing = missing_files(folder)
    if missing:
        why = "files are missing" if os.path.isdir(folder) else "no such folder"
        raise InputError(
            f"{folder}: {why}; {_where_to_put(folder, missing)}, or add --download to fetch MNIST"
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
    """The IDX files that a folder lacks under any of their usual names, by their plain names."""
    return [name.removesuffix(".gz") for name in CHECKSUMS if _find(folder, name) is None]


def _where_to_put(folder: str, names: Sequence[str]) -> str:
    return f"put {', '.join(names)} (gzipped or not) into {folder}"


def _find(folder: str, name: str) -> Path | None:
    """`train-images-idx3-ubyte` also goes by `train-images.idx3-ubyte`, each with .gz or without."""
    plain = name.removesuffix(".gz")
    names = (plain, plain.replace("-idx", ".idx"))
    paths = (Path(folder, name + suffix) for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _read_part(folder: str, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [n, rows, columns] and labels [n] of "train" or "t10k"."""
    images = _read_found(folder, f"{part}-images-idx3-ubyte", 3)
    labels = _read_found(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(images) != len(labels) or images.size == 0:
        raise InputError(
            f"{folder}: {part} has {len(images)} images of shape {images.shape[1:]} and {len(labels)} labels, "
            "expected as many of both and at least one; take both files from one source"
        )
    return images, labels


def _read_found(folder: str, name: str, n_dims: int) -> NDArray[np.uint8]:
    path = _find(folder, name)
    assert path is not None, "missing_files has looked"
    return read_idx(path, n_dims)


def read_idx(path: Path, n_dims: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, gzipped or not, of n_dims dimensions."""
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
    with _readable(str(path)):
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
