"""Formats of picture files, found by their first bytes, and the libraries that read them."""

import importlib.util
import re
import zlib
from typing import NamedTuple

HEAD_BYTES = 4096  # of a file, which say its format: an SVG's comments come first
RAW_SUFFIXES = frozenset(
    (
        ".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf",
        ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf",
        ".pef", ".ptx", ".pxn", ".r3d", ".raf", ".raw", ".rw2", ".rwl", ".rwz", ".sr2", ".srf",
        ".srw", ".x3f",
    )
)  # fmt: skip

# Most cameras' raw files begin as a TIFF does.
_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "JXL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "RAW": (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*"),
}
_CANON_RAW = {8: b"CR", 6: b"HEAPCCDR"}  # at these bytes, behind what a TIFF begins with or alone
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes in bytes
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
# Possessive: what comes from outside may be made to be tried again and again.
_SVG = re.compile(
    rb"(?:\s++|<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*+(?:\[.*?\]\s*+)?>)*+<(?:[\w-]++:)?svg[\s>]",
    re.DOTALL,
)
_GZIP = b"\x1f\x8b"


class Library(NamedTuple):
    """A library that is not always installed: its name to import, and to install it by."""

    module: str
    package: str


# Of the extra `formats`; Pillow reads all others.
LIBRARIES = {
    "HEIF": Library("pillow_heif", "pillow-heif"),
    "JXL": Library("pillow_jxl", "pillow-jxl-plugin"),
    "RAW": Library("rawpy", "rawpy"),
    "SVG": Library("resvg_py", "resvg-py"),
}


class MissingLibraryError(ValueError):
    """A picture that only this installation cannot read."""


def format_of(head: bytes) -> str | None:
    """Returns the format of a picture, whatever its file is called.

    Args:
      head: first `HEAD_BYTES` of the file, or all of a shorter one.

    Returns:
      Pillow's name of the format, "RAW" or "SVG"; None for what is no picture of any of these. Most raw
      files are TIFFs to their first bytes.

    >>> format_of(b"GIF89a...")
    'GIF'
    """
    if any(head[place:].startswith(mark) for place, mark in _CANON_RAW.items()):
        return "RAW"
    for name, marks in _SIGNATURES.items():
        if head.startswith(marks):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        return _of_brands(head[8 : int.from_bytes(head[:4])])
    return "SVG" if _is_svg(head) else None


def remedy(name: str) -> str | None:
    """Returns what to do to have a format read; None where its library is installed, or none is needed."""
    library = LIBRARIES.get(name)
    if library is None or importlib.util.find_spec(library.module):
        return None
    return f"run `pip install {library.package}` or install this project's extra `formats`"


def _of_brands(brands: bytes) -> str | None:
    """Returns the format of an ISO media file, most of which are videos."""
    names = {brands[i : i + 4] for i in range(0, len(brands), 4)}
    if brands[:4] == b"crx ":
        return "RAW"
    if names & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if names & _HEIF_BRANDS else None


def _is_svg(head: bytes) -> bool:
    """Returns whether a file's root is an SVG's, in UTF-8 or UTF-16, compressed or not."""
    if head.startswith(_GZIP):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
        except zlib.error:
            return False
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe").replace(b"\0", b"")
    return bool(_SVG.match(text))
