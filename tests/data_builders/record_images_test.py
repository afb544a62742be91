"""Photos are stored as they are where every reader agrees on them, and made plain where not."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_builders.faults import BadFile
from data_builders.record_images import photo_bytes, sketch_image, sketch_record
from dsf_jax.data import pictures
from dsf_jax.data.pictures import decode_picture
from dsf_jax.images.points import points_from_image
from tests.data_builders.drawn import drawing, encoded, photo

RAMP = np.stack(np.meshgrid(np.arange(0, 240, 8), np.arange(0, 160, 8)), -1).astype(np.uint8)
RGB = np.concatenate([RAMP, 255 - RAMP[..., :1]], -1)  # [20, 30, 3]


def _stored(data, channels=3):
    """What reading a record gives back."""
    feature = tfds.features.Image(shape=(None, None, channels), encoding_format="png")
    return feature.decode_example_np(data)


def _chunk(kind, body):
    """A part of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _with(png, kind, body):
    """A PNG with one more part behind its header."""
    return png[:33] + _chunk(kind, body) + png[33:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_plain_photos_stay_byte_for_byte(kind):
    data = encoded(RGB, kind)
    assert photo_bytes(data, "a") is data
    difference = _stored(data).astype(int) - decode_picture(io.BytesIO(data), "a")
    assert np.abs(difference).max() <= 3  # two JPEG decoders


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(RGB, "JPEG", exif=exif, quality=98)


def _deep_rgb():
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in RGB)
    header = struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=98), "JPEG"),
        (encoded(RGB[..., 0], "JPEG", quality=98), "JPEG"),
        (_turned(), "JPEG"),
        (encoded(RGB[..., 0]), "PNG"),
        (encoded(RGB[..., 0].astype(np.uint16) * 257), "PNG"),
        (encoded(Image.fromarray(RGB).quantize(64)), "PNG"),
        (encoded(np.dstack([RGB, RGB[..., 0]])), "PNG"),
        (encoded(RGB, "WEBP", lossless=True), "PNG"),
        (encoded(RGB, "BMP"), "PNG"),
        (encoded(RGB, "TIFF"), "PNG"),
        (_deep_rgb(), "PNG"),
    ],
    ids=lambda value: value if isinstance(value, str) else len(value),
)
def test_all_others_are_made_plain(data, kind):
    made = photo_bytes(data, "a")
    assert made is not data
    with Image.open(io.BytesIO(made)) as picture:
        assert (picture.format, picture.mode) == (kind, "RGB") and not picture.getexif()
    expected = decode_picture(io.BytesIO(data), "a").astype(int)
    read = _stored(made).astype(int)
    assert read.shape == expected.shape
    assert np.abs(read - expected).mean() < (2 if kind == "JPEG" else 0.01)
    assert photo_bytes(made, "a") is made


@pytest.mark.parametrize(
    "data",
    [
        encoded(RGB, "JPEG", quality=98, subsampling=0)[:-2],
        encoded(RGB, "JPEG", quality=98, subsampling=0)[:-1],
        encoded(RGB)[:-12],
        encoded(RGB)[:-5],
        _with(encoded(RGB), b"ABCD", b""),
        _with(encoded(RGB), b"eXIf", b"junk"),
    ],
    ids=["jpeg without end", "half an end", "png without end", "half an IEND", "critical", "exif"],
)
def test_photos_that_are_read_are_read_from_their_records_too(data):
    expected = decode_picture(io.BytesIO(data), "a").astype(int)
    made = photo_bytes(data, "a")
    read = _stored(made).astype(int)
    assert read.shape == expected.shape and np.abs(read - expected).mean() < 2
    assert Image.open(io.BytesIO(made)).format == Image.open(io.BytesIO(data)).format


@pytest.mark.parametrize(
    "data",
    [
        drawing(9)[:-12],
        _with(drawing(9), b"ABCD", b""),
        _with(drawing(9), b"eXIf", b"junk"),
    ],
    ids=["without end", "critical", "exif"],
)
def test_drawings_that_are_read_are_read_from_their_records_too(data):
    png, grey = sketch_image(data, "a")
    np.testing.assert_array_equal(_stored(png, 1)[..., 0], grey)
    np.testing.assert_array_equal(grey, sketch_image(drawing(9), "a")[1])


@pytest.mark.parametrize(
    "data",
    [_with(encoded(RGB), b"eXIf", b"junk"), encoded(RGB, "JPEG", exif=b"Exif\0\0junk")],
    ids=["PNG", "JPEG"],
)
def test_photos_with_damaged_metadata_stay_where_every_reader_agrees(data):
    assert photo_bytes(data, "a") is data


def test_what_was_shrunk_is_encoded_again(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 400)  # RGB has 600
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 200
    )  # Pillow's: opening more than twice as many fails
    data = encoded(RGB, "JPEG", quality=98)
    read = _stored(photo_bytes(data, "a"))
    assert read.shape == (10, 15, 3)
    assert np.abs(read - decode_picture(io.BytesIO(data), "a").astype(int)).mean() < 2
    _, grey = sketch_image(data, "a")
    assert grey.shape == (10, 15)


def test_a_drawing_may_be_an_svg_with_the_suffix_of_a_picture():
    pytest.importorskip("resvg_py")
    svg = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">
    <path d="M10 10 L90 90" stroke="black"/></svg>"""
    made = sketch_record(svg, "a.png")
    assert len(made["points"]) and _stored(made["image"], 1).shape[2] == 1
    assert _stored(photo_bytes(svg, "a.png")).shape[2] == 3


@pytest.mark.parametrize("make", [photo_bytes, sketch_image, sketch_record])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "is not a picture"),
        (photo(1)[:-30], "cannot be read as a picture"),
        (photo(1, "JPEG")[:-200], "cannot be read as a picture"),
    ],
)
def test_broken_files_are_named(make, data, reason):
    with pytest.raises(BadFile, match=f"^src: a/1.png: {reason}") as caught:
        make(data, "src: a/1.png")
    assert "\n" not in str(caught.value) and "src" not in caught.value.reason


def test_a_bomb_is_refused_before_it_is_decoded():
    data = bytearray(encoded(np.zeros((4, 4), np.uint8)))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(BadFile, match="more than 100000000 pixels"):
        photo_bytes(bytes(data), "a")


def test_a_grey_png_drawing_stays_and_others_become_one():
    data = drawing(9)
    png, grey = sketch_image(data, "a")
    assert png is data and grey.shape == (40, 40) and (grey[9, 5:-5] == 0).all()
    transparent = np.zeros((40, 40, 4), np.uint8)
    transparent[9, 5:-5, 3] = 255
    png, same = sketch_image(encoded(transparent), "a")
    np.testing.assert_array_equal(same, grey)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), grey)


def test_a_sketch_record_is_black_on_white_whatever_the_file_is():
    plain = sketch_record(drawing(9), "a")
    _, grey = sketch_image(drawing(9), "a")
    inverted = sketch_record(encoded(255 - grey), "a", polarity="white_on_black")
    np.testing.assert_array_equal(plain["points"], points_from_image(grey))
    np.testing.assert_array_equal(plain["points"], inverted["points"])
    np.testing.assert_array_equal(sketch_image(inverted["image"], "a")[1], grey)
    thick = sketch_record(drawing(9), "a", thinned=False)
    assert len(thick["points"]) > len(plain["points"])


def test_transparent_parts_are_paper_whatever_its_colour():
    grey = sketch_image(drawing(9), "a")[1]
    clear = np.zeros((40, 40, 4), np.uint8)
    clear[9, 5:-5, 3] = 255
    chalk = clear.copy()
    chalk[9, 5:-5, :3] = 255
    for pixels, polarity in ((clear, "black_on_white"), (chalk, "white_on_black")):
        made = sketch_record(encoded(pixels), "a", polarity=polarity)
        np.testing.assert_array_equal(made["points"], points_from_image(grey))
        np.testing.assert_array_equal(_stored(made["image"], 1)[..., 0], grey)


def test_drawings_without_ink_or_with_more_ink_than_paper_are_faults():
    blank = encoded(np.full((9, 9), 255, np.uint8))
    with pytest.raises(BadFile, match="a: nothing is drawn; remove it"):
        sketch_record(blank, "a")
    inverted = encoded(255 - sketch_image(drawing(9), "a")[1])
    with pytest.raises(BadFile, match=r"more ink than paper .* black_on_white; .*other polarity"):
        sketch_record(inverted, "a")
