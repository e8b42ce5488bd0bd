"""MNIST from its mirrors, with checksums verified."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from jamtools.errors import InputError, OutputError
from jamtools.io.idx import MNIST_SHA256, find_idx, listed, missing_files

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

#: Seconds without data after which a mirror is given up.
MIRROR_TIMEOUT = 30.0


def download_mnist(
    folder: str, mirrors: Sequence[str] = MNIST_MIRRORS, checksums: Mapping[str, str] = MNIST_SHA256
) -> list[str]:
    """Fetches the files of MNIST that `folder` does not have, creates the folder if needed, and returns their names.

    The mirrors are tried in turn; a file with another SHA-256 is deleted. Files that are there already, under any of
    their usual names, are left alone. Raises InputError when no mirror has a file, OutputError when the folder cannot be
    created or written to.
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

    pooch.get_logger().setLevel("ERROR")  # otherwise pooch prints on stderr where it writes
    downloader = pooch.HTTPDownloader(timeout=MIRROR_TIMEOUT)
    for name, sha256 in checksums.items():
        if find_idx(folder, name) is None:
            pooch.retrieve(mirror + name, f"sha256:{sha256}", fname=name, path=folder, downloader=downloader)
