"""The files raw data come in: IDX images, .npy, .npz, .csv and .safetensors arrays, and MNIST's download.

    IDX: 0x00 0x00 type n_dims | n_dims sizes, big-endian uint32 | the bytes, last index fastest

Each reader gives arrays as they are in the file; `datasets` turns them into patterns. Every failure is an
InputError that names the file.
"""

from __future__ import annotations

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError

Named = dict[str, NDArray[Any]]


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turns what goes wrong while a file is read into one InputError that names it."""
    try:
        yield
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise InputError(f"{path}: damaged or of another format ({error}); make the file again") from error
    except OSError as error:
        why = error.strerror.lower() if error.strerror else str(error)
        raise InputError(f"{path}: cannot be read ({why}); check the path") from error


def read_arrays(files: Sequence[str], test_files: Sequence[str] = ()) -> Named:
    """x and y, perhaps x_test and y_test, out of one file or two, and as many for a test set.

    One file: .npz or .safetensors with arrays of these names, or .csv with the label in the last column.
    Two: x and y, each .npy or .csv. A CSV file may have a line of column names. No pickles are read.
    """
    arrays = _read_pair(files)
    if test_files:
        if "x_test" in arrays:
            raise InputError(f"{files[0]} holds a test set already; leave --test-arrays out")
        test = _read_pair(test_files)
        arrays |= {f"{name}_test": test[name] for name in ("x", "y")}
    return arrays


def _read_pair(files: Sequence[str]) -> Named:
    if len(files) == 2:
        x, y = (_read_single(file) for file in files)
        return {"x": x, "y": y}
    file = files[0]
    suffix = Path(file).suffix.lower()
    if suffix == ".npz":
        return _read_npz(file)
    if suffix == ".safetensors":
        return _read_safetensors(file)
    if suffix == ".csv":
        return _read_labelled_csv(file)
    if suffix == ".npy":
        raise InputError(f"{file}: one array, expected two files, X.npy Y.npy; name the labels as well")
    raise InputError(
        f"{file}: an unknown format, expected .npy, .npz, .csv or .safetensors; convert it first"
    )


def _read_single(file: str) -> NDArray[Any]:
    suffix = Path(file).suffix.lower()
    if suffix == ".csv":
        return _read_csv(file)
    if suffix != ".npy":
        raise InputError(f"{file}: expected .npy or .csv, as one of two files; convert it first")
    with _readable(file), open(file, "rb") as stream:  # np.load closes no file of its own when it fails
        array = np.load(stream, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{file}: an archive of arrays, expected one array; name it .npz")
        return array


def _read_npz(file: str) -> Named:
    with _readable(file), open(file, "rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{file}: one array, expected an archive of x and y; name it .npy")
        return {name: archive[name] for name in _wanted(file, archive.files)}


def _read_safetensors(file: str) -> Named:
    from safetensors import SafetensorError, safe_open

    with _readable(file):
        try:
            with safe_open(file, framework="numpy") as tensors:
                return {name: tensors.get_tensor(name) for name in _wanted(file, list(tensors.keys()))}
        except (SafetensorError, TypeError) as error:  # TypeError: a dtype that numpy lacks
            raise ValueError(error) from error


def _wanted(file: str, names: Sequence[str]) -> list[str]:
    """x, y, x_test, y_test as far as they are there; the first two must be."""
    for name in ("x", "y"):
        if name not in names:
            shown = ", ".join(sorted(names)[:8]) or "nothing"
            raise InputError(f"{file}: holds {shown}, expected arrays named x and y; rename them")
    return [name for name in ("x", "y", "x_test", "y_test") if name in names]


def _read_labelled_csv(file: str) -> Named:
    table = _read_csv(file)
    if table.shape[1] < 2:
        raise InputError(
            f"{file}: one column, expected the components of x and the label last; add the label, or name a second file"
        )
    return {"x": table[:, :-1], "y": table[:, -1]}


def _read_csv(file: str) -> NDArray[Any]:
    """All numbers [rows, columns], a first line of names passed over."""
    with _readable(file):
        lines = [line for line in Path(file).read_text("utf-8-sig").splitlines() if line.strip()]
        body = lines[1:] if lines and _is_header(lines[0]) else lines
        if not body:
            raise InputError(f"{file}: no line of numbers, expected one pattern a line; check the file")
        return np.loadtxt(body, delimiter=",", ndmin=2, comments=None)


def _is_header(line: str) -> bool:
    """True when no cell is a number; a line with some of both is data with a mistake in it."""
    return not any(_is_number(cell) for cell in line.split(","))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
