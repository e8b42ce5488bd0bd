"""The IDX format as its documentation has it, for writing files the reader must read."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np


def idx_bytes(array: np.ndarray) -> bytes:
    """0, 0, type 8 (unsigned byte), number of sizes; the sizes, big-endian; the bytes."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_images(
    folder: Path,
    name: str = "{}-idx{}-ubyte",
    pack: Callable[[bytes], bytes] = bytes,
    sizes: tuple[int, int] = (7, 3),
    pixels: tuple[int, int] = (2, 3),
) -> dict[str, np.ndarray]:
    """Training and test images of random pixels, under the names and packing wanted; the digits take turns."""
    rng = np.random.default_rng(1)
    arrays = {}
    for part, n in zip(("train", "t10k"), sizes):
        arrays[f"{part}-images", 3] = rng.integers(0, 256, (n, *pixels))
        arrays[f"{part}-labels", 1] = np.arange(n) % 10
    folder.mkdir(exist_ok=True)
    for (what, n_dims), array in arrays.items():
        (folder / name.format(what, n_dims)).write_bytes(pack(idx_bytes(array)))
    return {what: array for (what, _), array in arrays.items()}
