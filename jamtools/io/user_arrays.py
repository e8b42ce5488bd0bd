"""Arrays of patterns and labels from a user's files: .npy, .npz, .csv and .safetensors.

The readers return the arrays as they are in the files; jamtools.data turns them into patterns. Every failure is an
InputError that names the file. No pickles are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.errors import InputError, Remedy
from jamtools.io.file_errors import input_errors

#: The first bytes of .npy and of .npz files.
NUMPY_MAGIC = (b"\x93NUMPY", b"PK")

NamedArrays = dict[str, NDArray[Any]]

#: The largest number of array names that a message lists.
MAX_ARRAYS_LISTED = 8


def read_arrays(files: Sequence[str], test_files: Sequence[str] = ()) -> NamedArrays:
    """The arrays x and y, and x_test and y_test if there is a test set, of any shape and dtype.

    Both `files` and `test_files` are one file or two. One file: .npz or .safetensors with arrays of these names, or .csv
    with the label in the last column. Two files: x and y, each .npy or .csv. A CSV file may begin with a line of column
    names. Raises InputError for other files.
    """
    arrays = _read_pair(files)
    if test_files:
        if "x_test" in arrays:
            raise InputError(f"{files[0]} holds a test set already", Remedy.ONE_TEST_SET)
        test = _read_pair(test_files)
        arrays |= {f"{name}_test": test[name] for name in ("x", "y")}
    return arrays


def _read_pair(files: Sequence[str]) -> NamedArrays:
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
    with input_errors(file), open(file, "rb") as stream:  # np.load would leave the file open when it fails
        array = _loaded(stream)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{file}: an archive of arrays, expected one array; name it .npz")
        return array


def _loaded(stream: BufferedReader) -> Any:
    """What numpy reads from a stream. For what is no file of numpy it would advise to load a pickle."""
    head = stream.peek(len(NUMPY_MAGIC[0]))
    if head and not head.startswith(NUMPY_MAGIC):
        raise ValueError("no file of numpy")
    return np.load(stream, allow_pickle=False)


def _read_npz(file: str) -> NamedArrays:
    with input_errors(file), open(file, "rb") as stream:
        archive = _loaded(stream)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{file}: one array, expected an archive of x and y; name it .npy")
        return {name: archive[name] for name in _pattern_names(file, archive.files)}


def _read_safetensors(file: str) -> NamedArrays:
    from safetensors import SafetensorError, safe_open

    with input_errors(file):
        try:
            with safe_open(file, framework="numpy") as tensors:
                names = _pattern_names(file, list(tensors.keys()))
                return {name: tensors.get_tensor(name) for name in names}
        except (SafetensorError, TypeError) as error:  # TypeError: numpy does not support the dtype
            raise ValueError(error) from error


def _pattern_names(file: str, names: Sequence[str]) -> list[str]:
    """The names among x, y, x_test, y_test that a file has. Raises InputError if x or y is missing."""
    for name in ("x", "y"):
        if name not in names:
            shown = ", ".join(sorted(names)[:MAX_ARRAYS_LISTED]) or "nothing"
            raise InputError(f"{file}: holds {shown}, expected arrays named x and y; rename them")
    return [name for name in ("x", "y", "x_test", "y_test") if name in names]


def _read_labelled_csv(file: str) -> NamedArrays:
    table = _read_csv(file)
    if table.shape[1] < 2:
        raise InputError(
            f"{file}: one column, expected the components of x and the label last; add the label, or name a second file"
        )
    return {"x": table[:, :-1], "y": table[:, -1]}


def _read_csv(file: str) -> NDArray[Any]:
    """The numbers [rows, columns] of a CSV file. A first line with column names is skipped."""
    with input_errors(file):
        lines = [line for line in Path(file).read_text("utf-8-sig").splitlines() if line.strip()]
        body = lines[1:] if lines and _is_header(lines[0]) else lines
        if not body:
            raise InputError(f"{file}: no line of numbers, expected one pattern a line; check the file")
        return np.loadtxt(body, delimiter=",", ndmin=2, comments=None)


def _is_header(line: str) -> bool:
    """True if no cell is a number. A line with both numbers and words is not a header but data with a mistake."""
    return not any(_is_number(cell) for cell in line.split(","))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
