"""The files raw data come in: IDX images, .npy, .npz, .csv and .safetensors arrays, and MNIST's download.

    IDX: 0x00 0x00 type n_dims | n_dims sizes, big-endian uint32 | the bytes, last index fastest

Each reader gives arrays as they are in the file; `datasets` turns them into patterns. Every failure is an
InputError that names the file.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jamtools.data.images import Images
from jamtools.errors import InputError, OutputError

Named = dict[str, NDArray[Any]]

#: IDX magic number less the number of dimensions: two zero bytes, type 8 (unsigned byte).
IDX_UBYTE = 0x0800
GZIP_MAGIC = b"\x1f\x8b"

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
#: The files of MNIST, and of whatever follows its format, with the SHA-256 of MNIST's own gzip files
#: (9912422, 28881, 1648877 and 4542 bytes) as several public projects record it.
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
TIMEOUT = 30.0  # seconds a mirror may be silent


# --- images ------------------------------------------------------------------------------------------


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


# --- arrays ------------------------------------------------------------------------------------------


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


# --- download ----------------------------------------------------------------------------------------


def download_mnist(
    folder: str, mirrors: Sequence[str] = MIRRORS, checksums: Mapping[str, str] = CHECKSUMS
) -> list[str]:
    """Fetches the files of MNIST that `folder` lacks, making it if need be; gives their names.

    Each mirror is tried in turn; a file whose SHA-256 differs is thrown away. What is there already, under
    any of its usual names, is left alone. InputError when no mirror has it, OutputError for the folder.
    """
    wanted = [name for name in checksums if _find(folder, name) is None]
    if wanted:
        _make_folder(folder)
    failures = []
    for mirror in mirrors:
        try:
            _fetch_missing(mirror, folder, checksums)
            return wanted
        except (OSError, ValueError) as error:  # pooch: ValueError for a checksum that differs
            what = "checksum differs" if isinstance(error, ValueError) else type(error).__name__
            failures.append(f"{mirror}: {what}")
    where = _where_to_put(folder, missing_files(folder))
    raise InputError(f"could not fetch MNIST ({', '.join(failures)}); {where} by hand")


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: {(error.strerror or str(error)).lower()}; name another folder"
        ) from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: permission denied; name a folder that can be written to")


def _fetch_missing(mirror: str, folder: str, checksums: Mapping[str, str]) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")  # else it tells where it writes, on stderr
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
    for name, sha256 in checksums.items():
        if _find(folder, name) is None:
            known = f"sha256:{sha256}"
            pooch.retrieve(mirror + name, known, fname=name, path=folder, downloader=downloader)
