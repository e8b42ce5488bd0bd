"""What a file is, by its first bytes, for the messages about a file of another format than expected.

    safetensors: the length of the header, uint64, little-endian | a JSON object | the arrays

Source: the first bytes that each format prescribes ("magic numbers").
"""

from __future__ import annotations

#: Bytes at the beginning of a file from which its format is read.
HEAD_BYTES = 64

#: How files of other programs begin, and what they are.
SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF",
    b"%!PS": "a PostScript file",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"PK\x03\x04": "a zip archive, such as .npz or .pt",
    b"\x93NUMPY": "an array of numpy (.npy)",
    b"\x89HDF": "an HDF5 file",
    b"\x00\x00\x08": "an IDX file, such as those of MNIST",
    b"\x7fELF": "a program",
}

#: The place of the brace that opens the header of a safetensors file.
HEADER_START = 8

#: Control characters that texts hold: tab, newline, form feed, carriage return, escape.
TEXT_CONTROLS = b"\t\n\f\r\x1b"

#: The first byte that is no control character: the space.
FIRST_PRINTABLE = 0x20


def recognised(data: bytes) -> str | None:
    """What the content `data` is: "a PNG image", "text", "JSON", …; None where its first bytes do not tell."""
    head = data[:HEAD_BYTES]
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    if is_safetensors(head):
        return "a safetensors file"
    if is_text(head):
        return "JSON" if head.lstrip()[:1] in (b"{", b"[") else "text"
    return None


def is_safetensors(data: bytes) -> bool:
    """Whether a content may be a safetensors file, even one that was cut short or whose header has another length."""
    length, header = data[:HEADER_START], data[HEADER_START:HEAD_BYTES]
    is_cut = not header and b"\0" in length
    return is_cut or (header.startswith(b"{") and not (length.isascii() and _is_printable(length)))


def is_text(data: bytes) -> bool:
    """Whether a content begins as a text of at least one character, in any encoding that has ASCII in it."""
    head = data[:HEAD_BYTES]
    is_foreign = is_safetensors(head) or any(head.startswith(signature) for signature in SIGNATURES)
    return bool(head) and not is_foreign and _is_printable(head)


def _is_printable(head: bytes) -> bool:
    return all(byte >= FIRST_PRINTABLE or byte in TEXT_CONTROLS for byte in head)
