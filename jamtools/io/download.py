"""The download of MNIST from its mirrors. The checksum of each file is verified."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from jamtools.errors import InputError, OutputError
from jamtools.io.idx import MNIST_SHA256, find_idx, listed, missing_files

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

#: Seconds without data after which the next mirror is tried.
MIRROR_TIMEOUT = 30.0


def download_mnist(
    folder: str, mirrors: Sequence[str] = MNIST_MIRRORS, checksums: Mapping[str, str] = MNIST_SHA256
) -> list[str]:
    """Fetches the files of MNIST that are missing in `folder`, which it creates if needed. Returns the names of these files.

    The mirrors are tried one after the other; a file with another SHA-256 is deleted. Files that exist already, under any
    of their usual names, are not changed. Raises InputError when no mirror has a file, OutputError when the folder cannot
    be created or written to.
    """
    missing = [name for name in checksums if find_idx(folder, name) is None]
    if missing:
        _make_folder(folder)
    failures = []
    for mirror in mirrors:
        try:
            _fetch_missing(mirror, folder, checksums)
            return missing
        except (OSError, ValueError) as error:  # pooch raises ValueError for a checksum that differs
            reason = "checksum differs" if isinstance(error, ValueError) else type(error).__name__
            failures.append(f"{mirror}: {reason}")
    files = listed(missing_files(folder))
    raise InputError(f"could not fetch MNIST ({', '.join(failures)}); put {files} into {folder} by hand")


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

    pooch.get_logger().setLevel("ERROR")  # otherwise pooch prints on stderr where it writes the file
    downloader = pooch.HTTPDownloader(timeout=MIRROR_TIMEOUT)
    for name, sha256 in checksums.items():
        if find_idx(folder, name) is None:
            pooch.retrieve(mirror + name, f"sha256:{sha256}", fname=name, path=folder, downloader=downloader)
