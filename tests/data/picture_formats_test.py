"""The content decides what a file is, whatever it is called."""

import gzip
import io

import pytest
from PIL import Image

from dsf_jax.data import picture_formats
from dsf_jax.data.picture_formats import LIBRARIES, MissingLibraryError, format_of, remedy
from dsf_jax.data.pictures import decode_picture

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60)


@pytest.mark.parametrize("name", ["AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_what_pillow_writes_is_known(name):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, name)
    assert format_of(buffer.getvalue()) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (HEIC, "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "RAW"),
        (b"II*\0\x10\0\0\0CR\x02\0", "RAW"),
        (b"II\x1a\0\0\0HEAPCCDR", "RAW"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (b"\xff\x0a\xfa\x07", "JXL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
        (b"<svg>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- > -->\n<svg xmlns='x'>", "SVG"),
        (b"<!DOCTYPE svg PUBLIC 'x' [<!ENTITY a 'b'>]>\n<s:svg ", "SVG"),
        ("<svg >".encode("utf-16"), "SVG"),
        (gzip.compress(b"<svg viewBox='0 0 9 9'>", mtime=0), "SVG"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", None),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", None),
        (b"<html><svg></svg></html>", None),
        (b"<svgs>", None),
        (gzip.compress(b"a table", mtime=0), None),
        (b"\x1f\x8bnothing", None),
        (b"BMW, Audi, Porsche, VW", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_formats_by_their_first_bytes(head, name):
    assert format_of(head) == name


def test_hostile_first_bytes_take_no_time():
    for head in (b"<!--" * 1024, b"<?xml?>" * 580, b" " * 4096, b"<!DOCTYPE [" * 370):
        assert format_of(head) is None


def test_a_library_that_is_absent_is_named(monkeypatch):
    monkeypatch.setattr(picture_formats.importlib.util, "find_spec", lambda name: None)
    assert remedy("PNG") is None
    for name, library in LIBRARIES.items():
        assert f"`pip install {library.package}`" in remedy(name)
    with pytest.raises(
        MissingLibraryError, match=r"^a\.jpg is of the format HEIF, which is not"
    ) as e:
        decode_picture(io.BytesIO(HEIC), "a.jpg")
    assert str(e.value).endswith(
        "pip install pillow-heif` or install this project's extra `formats`"
    )
