"""MNIST from its mirrors, with checksums verified."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from jamtools.errors import InputError, OutputError
from jamtools.io.idx import CHECKSUMS, _find, _where_to_put, missing_files

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

TIMEOUT = 30.0  # seconds a mirror may be silent


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
