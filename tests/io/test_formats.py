"""A content is recognised by its first bytes, written by the programs that own the formats."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from jamtools.io.formats import is_safetensors, is_text, recognised


def written(write, *arguments) -> bytes:
    stream = io.BytesIO()
    write(stream, *arguments)
    return stream.getvalue()


def figure(form: str) -> bytes:
    from matplotlib.figure import Figure

    return written(lambda stream: Figure().savefig(stream, format=form))


def archive() -> bytes:
    return written(lambda stream: zipfile.ZipFile(stream, "w").writestr("a", "b"))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: figure("png"), "a PNG image"),
        (lambda: figure("pdf"), "a PDF"),
        (lambda: figure("ps"), "a PostScript file"),
        (lambda: figure("svg"), "text"),
        (lambda: gzip.compress(b"x"), "a gzip file"),
        (lambda: bz2.compress(b"x"), "a bzip2 file"),
        (lambda: lzma.compress(b"x"), "an xz file"),
        (archive, "a zip archive, such as .npz or .pt"),
        (lambda: written(np.savez, np.ones(3)), "a zip archive, such as .npz or .pt"),
        (lambda: written(np.save, np.ones(3)), "an array of numpy (.npy)"),
        (lambda: save({"x": np.ones(3)}), "a safetensors file"),
        (lambda: b'\n {"a": 1}', "JSON"),
        (lambda: b"root:x:0:0:root:/root:/bin/bash\n", "text"),
        (lambda: "Zwölf Läufe".encode("latin-1"), "text"),
        (lambda: ("ä" * 100).encode(), "text"),  # the head ends within a character
        (lambda: b"", None),
        (lambda: bytes(range(20)), None),
    ],
)  # fmt: skip
def test_a_content_is_recognised(make, name):
    assert recognised(make()) == name


def test_a_safetensors_file_that_is_cut_or_has_a_wrong_length_is_still_one():
    whole = save({"x": np.ones(3)})
    assert all(is_safetensors(whole[:length]) for length in range(2, len(whole)))
    assert is_safetensors(b"\xff" * 8 + whole[8:])
    assert not any(is_text(whole[:length]) for length in range(3, len(whole)))
