"""Files in the IDX format, written as its documentation describes."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of any shape as unsigned bytes: 0, 0, type 8, number of sizes; the sizes, big-endian; the values."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_images(
    folder: Path,
    name: str = "{}-idx{}-ubyte",
    pack: Callable[[bytes], bytes] = bytes,
    sizes: tuple[int, int] = (7, 3),
    pixels: tuple[int, int] = (2, 3),
) -> dict[str, np.ndarray]:
    """Writes training and test images with random pixels and the labels 0, 1, …, 9, 0, …, and returns the arrays.

    name: the pattern of the file names; pack: what compresses a file; sizes: numbers of images; pixels: rows, columns.
    """
    rng = np.random.default_rng(1)
    arrays = {}
    for part, n in zip(("train", "t10k"), sizes):
        arrays[f"{part}-images", 3] = rng.integers(0, 256, (n, *pixels))
        arrays[f"{part}-labels", 1] = np.arange(n) % 10
    folder.mkdir(exist_ok=True)
    for (kind, n_dims), array in arrays.items():
        (folder / name.format(kind, n_dims)).write_bytes(pack(idx_bytes(array)))
    return {kind: array for (kind, _), array in arrays.items()}
