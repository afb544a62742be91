"""Picture files as people have them: every kind is read upright in RGB, or named in one clear line."""

import io
import re
import struct
import warnings
import zlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from dsf_jax.data import pictures
from dsf_jax.data.pictures import (
    MAX_PIXELS,
    SUFFIXES,
    decode_picture,
    read_picture,
)

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


def quarters(size=32):
    """[32, 48, 3]: red and green above blue and grey; no turn or mirror image of it is equal."""
    top = np.concatenate(
        [np.full((size // 2, size, 3), RED), np.full((size // 2, size // 2, 3), GREEN)], 1
    )
    below = np.concatenate(
        [np.full((size // 2, size, 3), BLUE), np.full((size // 2, size // 2, 3), GREY)], 1
    )
    return np.concatenate([top, below]).astype(np.uint8)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_listed_format_is_read(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(quarters()).save(path)
    read = read_picture(path)
    assert read.dtype == np.uint8 and read.shape == (32, 48, 3)
    inside = np.s_[4::8, 4::8]  # lossy formats blur the borders
    np.testing.assert_allclose(read[inside].astype(int), quarters()[inside].astype(int), atol=6)


def test_a_png_is_read_exactly_by_either_kind_of_path(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), pixels)
    np.testing.assert_array_equal(read_picture(str(tmp_path / "a.png")), pixels)


@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("L", "a.png", {}),
        ("1", "a.png", {}),
        ("P", "a.png", {}),
        ("P", "a.gif", {}),
        ("LA", "a.png", {}),
        ("L", "a.jpg", {"quality": 100}),
        ("CMYK", "a.jpg", {"quality": 100, "subsampling": 0}),
        ("CMYK", "a.tif", {}),
    ],
)
def test_every_colour_mode_becomes_rgb(tmp_path, mode, name, options):
    picture = Image.fromarray(quarters())
    if mode in ("L", "1", "LA"):  # a bright and a dark half
        picture = Image.fromarray(np.repeat([[255] * 9, [0] * 9], 8, axis=0).astype(np.uint8))
    expected = np.asarray(picture.convert("RGB")).astype(int)
    converted = picture.quantize(4) if mode == "P" else picture.convert(mode)
    assert converted.mode == mode
    converted.save(tmp_path / name, **options)
    read = read_picture(tmp_path / name)
    assert read.shape == expected.shape and read.dtype == np.uint8
    np.testing.assert_allclose(read.astype(int), expected, atol=6)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_keep_their_brightness(tmp_path, name):
    deep = np.linspace(0, 65535, 30 * 20).round().astype(np.uint16).reshape(30, 20)
    Image.fromarray(deep).save(tmp_path / name)
    read = read_picture(tmp_path / name).astype(int)
    assert read.shape == (30, 20, 3)
    np.testing.assert_allclose(read, np.repeat(deep[..., None] / 257, 3, axis=2), atol=1)


def grey_tiff(values, bits, *, white_is_zero):
    """A TIFF [h, w] of so many bits per value, tags in order, unpacked rows behind them."""
    height, width = values.shape
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in values]
    packed = b"".join(int(row, 2).to_bytes(len(row) // 8) for row in rows)
    content = values.astype("<u2").tobytes() if bits == 16 else packed
    tags = [
        (256, width), (257, height), (258, bits), (259, 1), (262, 0 if white_is_zero else 1),
        (273, 122), (277, 1), (278, height), (279, len(content)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


@pytest.mark.parametrize(
    ("bits", "white_is_zero"),
    [(1, False), (1, True), (4, True), (8, False), (8, True), (12, False), (16, False), (16, True)],
)
def test_a_grey_tiff_is_as_bright_as_its_tags_say(tmp_path, bits, white_is_zero):
    most = 2**bits - 1
    values = np.linspace(0, most, 8 * 16).round().astype(int).reshape(8, 16)
    (tmp_path / "a.tif").write_bytes(grey_tiff(values, bits, white_is_zero=white_is_zero))
    expected = 255 * values / most
    if white_is_zero:
        expected = 255 - expected
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif")[..., 1], expected, atol=0.5)


def test_a_tiff_of_a_kind_that_is_not_read_is_not_said_to_be_no_picture(tmp_path):
    content = grey_tiff(np.zeros((8, 16), int), 12, white_is_zero=True)
    (tmp_path / "a.tif").write_bytes(content)
    assert_named(tmp_path / "a.tif", r"read as a picture \(a TIFF that is damaged, or of a kind")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_orientation_is_undone(tmp_path, orientation):
    # What EXIF asks a viewer to do, by number; the stored picture is the inverse of it.
    undone = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
        8: lambda x: np.rot90(x, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), undone(quarters()))
    Image.fromarray(quarters()).save(tmp_path / "a.tif", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), undone(quarters()))
    Image.fromarray(quarters()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    read, expected = read_picture(tmp_path / "a.jpg"), undone(quarters())
    assert read.shape == expected.shape
    np.testing.assert_allclose(
        read[4::8, 4::8].astype(int), expected[4::8, 4::8].astype(int), atol=6
    )


def test_transparent_parts_are_paper(tmp_path):
    """Black ink on a transparent black background, as drawing programs export it."""
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1, 1] = (0, 0, 0, 255)
    pixels[2, 2] = (255, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = np.full((4, 4, 3), 255)
    expected[1, 1] = 0
    expected[2, 2] = (255, 127, 127)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), expected)
    Image.fromarray(pixels).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.webp"), expected)


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_transparent_palette_entry_is_paper(tmp_path, name):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / name, transparency=0)
    expected = [[(255, 255, 255), RED], [RED, (255, 255, 255)]]
    np.testing.assert_array_equal(read_picture(tmp_path / name), expected)


def test_grey_with_a_transparent_level_is_paper(tmp_path):
    Image.fromarray(np.array([[0, 90]], np.uint8)).save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), [[(255,) * 3, (90,) * 3]])


@pytest.mark.parametrize(("paper", "shown"), [("white", 255), ("black", 0)])
def test_a_transparent_level_of_sixteen_bits_is_paper(paper, shown):
    file = io.BytesIO()
    deep = np.array([[1000, 1001, 40_000]], np.uint16)
    Image.fromarray(deep).save(file, "PNG", transparency=1000)
    file.seek(0)
    read = decode_picture(file, "a.png", paper=paper)
    np.testing.assert_array_equal(read, [[(shown,) * 3, (4,) * 3, (156,) * 3]])


def encoded(suffix):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, Image.registered_extensions()[suffix])
    return buffer.getvalue()


def assert_named(path, pattern=" is not a picture| cannot be read as a picture"):
    with pytest.raises(ValueError, match=pattern) as caught:
        read_picture(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in (".jpeg", ".tiff")])
@pytest.mark.parametrize("kept", [0, 1, 10, 100, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, suffix, kept):
    whole = encoded(suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    assert_named(path)


JPEG_OPTIONS = (
    {},
    {"optimize": True},
    {"progressive": True},
    {"subsampling": 0, "quality": 95},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
)


def jpeg(options, pixels=None):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3)) if pixels is None else pixels
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", JPEG_OPTIONS, ids=str)
@pytest.mark.parametrize("ending", [b"", b"\xff", bytes(50)])
def test_a_jpeg_that_lacks_its_end_marker_is_whole(options, ending):
    content = jpeg(options)
    whole = decode_picture(io.BytesIO(content), "whole")
    assert content.endswith(b"\xff\xd9")
    cut = decode_picture(io.BytesIO(content[:-2] + ending), "cut")
    np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize("options", JPEG_OPTIONS, ids=str)
@pytest.mark.parametrize("pixels", ["noise", "plain"])
def test_a_jpeg_that_lacks_pixels_is_refused_wherever_it_was_cut(options, pixels):
    content = jpeg(options, np.full((40, 50, 3), 200) if pixels == "plain" else None)
    if pixels == "plain" and "progressive" in options:
        pytest.skip("the first scan has all that there is to see")
    data = content.index(b"\xff\xda")
    markers = re.finditer(rb"\xff[\xd0-\xd7]", content[data:])
    borders = [data + place for marker in markers for place in marker.span()][:-2]
    for kept in (*borders, (data + len(content)) // 2, len(content) * 9 // 10):
        with pytest.raises(ValueError, match=r"cut cannot be read as a picture"):
            decode_picture(io.BytesIO(content[:kept]), "cut")


@pytest.mark.parametrize("name", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_what_stands_behind_a_picture_is_no_part_of_it(name):
    buffer = io.BytesIO()
    Image.fromarray(quarters()).save(buffer, name)
    whole = decode_picture(io.BytesIO(buffer.getvalue()), "a")
    for behind in (b"\0" * 70, b"\0\0\0\x18ftypmp42" + bytes(range(256)), jpeg({})):
        np.testing.assert_array_equal(
            decode_picture(io.BytesIO(buffer.getvalue() + behind), "a"), whole
        )


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_costs_no_pixels(name):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker of cameras"
    good, rng = exif.tobytes(), np.random.default_rng(0)
    for _ in range(40):
        bad = bytearray(good)
        for place in rng.integers(6, len(good), 4):
            bad[place] = rng.integers(256)
        buffer = io.BytesIO()
        Image.fromarray(quarters()).save(buffer, name, exif=bytes(bad), quality=95)
        shape = decode_picture(io.BytesIO(buffer.getvalue()), "a").shape
        assert sorted(shape) == [3, 32, 48]


@pytest.mark.parametrize("ending", [b"", b"\xff\xd9"])
@pytest.mark.parametrize(("most", "shrinking"), [(1536, 1), (1535, 2), (384, 2), (96, 4), (24, 8)])
def test_a_jpeg_of_too_many_pixels_is_shrunk_while_it_is_decoded(
    monkeypatch, most, shrinking, ending
):
    monkeypatch.setattr(pictures, "MAX_PIXELS", most)
    exif = Image.Exif()
    exif[0x0112] = 3
    content = jpeg({"exif": exif, "subsampling": 0, "quality": 95}, quarters())
    read = decode_picture(io.BytesIO(content.removesuffix(b"\xff\xd9") + ending), "a")
    assert read.shape == (32 // shrinking, 48 // shrinking, 3)
    np.testing.assert_allclose(read[-1, -1].astype(int), RED, atol=6)
    np.testing.assert_allclose(read[0, -1].astype(int), BLUE, atol=6)


@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize(
    ("least", "shrinking"), [(33, 1), (32, 1), (17, 1), (16, 2), (9, 2), (8, 4), (4, 8), (1, 8)]
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_large_jpeg_is_decoded_small_and_its_size_is_told(options, least, shrinking, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = jpeg({"exif": exif, "subsampling": 0, "quality": 95, **options}, quarters())
    read = pictures.decode_shrunk(io.BytesIO(content), "a", least_side=least)
    upright = decode_picture(io.BytesIO(content), "a")
    assert (read.height, read.width) == upright.shape[:2]
    assert read.pixels.shape == (*(n // shrinking for n in upright.shape[:2]), 3)
    np.testing.assert_allclose(read.pixels[0, 0], upright[0, 0], atol=6)
    np.testing.assert_allclose(read.pixels[-1, 0], upright[-1, 0], atol=6)


def test_what_is_no_jpeg_or_lacks_its_end_keeps_its_size(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "a.png")
    cut = jpeg({"quality": 95}, quarters()).removesuffix(b"\xff\xd9")
    for content in ((tmp_path / "a.png").read_bytes(), cut):
        read = pictures.decode_shrunk(io.BytesIO(content), "a", least_side=4)
        np.testing.assert_array_equal(read.pixels, decode_picture(io.BytesIO(content), "a"))
        assert (read.width, read.height) == (48, 32)


def test_a_jpeg_that_decoders_would_hold_all_of_is_refused(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    whole = jpeg({}, quarters())
    scan = whole.index(b"\xff\xda")
    of_several_scans = whole[: scan + 4] + b"\x01" + whole[scan + 5 :]
    for content in (jpeg({"progressive": True}, quarters()), of_several_scans):
        with pytest.raises(ValueError, match="has more than 1000 pixels; shrink it first"):
            decode_picture(io.BytesIO(content), "a")
    monkeypatch.setattr(pictures, "MAX_JPEG_PIXELS", 1100)
    with pytest.raises(ValueError, match="has more than 1000 pixels; shrink it first"):
        decode_picture(io.BytesIO(whole), "a")


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_heic_is_read_upright(orientation):
    pillow_heif = pytest.importorskip(
        "pillow_heif", reason="needs pillow-heif, of the extra `formats`"
    )
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffers = io.BytesIO(), io.BytesIO()
    for buffer, name in zip(buffers, ("HEIF", "PNG"), strict=True):
        big = Image.fromarray(quarters(64))
        big.save(buffer, name, exif=exif.tobytes(), quality=95)
        buffer.seek(0)
    heic, png = (decode_picture(buffer, "a").astype(int) for buffer in buffers)
    assert heic.shape == png.shape
    np.testing.assert_allclose(heic[8::16, 8::16], png[8::16, 8::16], atol=8)
    with pytest.raises(ValueError, match=r"^a (cannot be read as|is not) a picture"):
        decode_picture(io.BytesIO(buffers[0].getvalue()[:-90]), "a")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_under_a_pictures_name_is_named(tmp_path, suffix):
    path = tmp_path / f"note{suffix}"
    path.write_text("shopping list: bread, milk\n" * 9)
    assert_named(path)


@pytest.mark.parametrize(
    "start", [b"P6 4x 4 255\n", b"P3\nten\n", b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 x y\n", b"DDS "]
)
def test_other_formats_in_bad_order_are_named_too(tmp_path, start):
    path = tmp_path / "other.png"
    path.write_bytes(start + bytes(300))
    assert_named(path)


@pytest.mark.slow
@hypothesis.given(
    suffix=st.sampled_from([s for s in SUFFIXES if s not in (".jpeg", ".tiff")]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    early=st.booleans(),
)
@hypothesis.settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_changed_bytes_give_a_picture_or_the_error(tmp_path, suffix, places, early):
    content = bytearray(encoded(suffix))
    for place, value in places:
        content[int(place * (min(200, len(content)) - 1 if early else len(content) - 1))] = value
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    try:
        read = read_picture(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert read.dtype == np.uint8 and read.ndim == 3 and read.shape[2] == 3


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (10_001, 10_000)])
def test_a_header_of_huge_dimensions_is_refused_unread(tmp_path, width, height):
    """The smaller is below Pillow's own limit, at which it warns."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    assert_named(path, f"more than {MAX_PIXELS}; shrink it first|more than {MAX_PIXELS} pixels")


@pytest.mark.slow
def test_large_pictures_are_read_without_a_warning(tmp_path):
    assert MAX_PIXELS > Image.MAX_IMAGE_PIXELS, "Pillow warns from its own limit on"
    path = tmp_path / "large.png"
    Image.new("1", (9_500, 9_500)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(path).shape == (9_500, 9_500, 3)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "nothing.png", tmp_path):
        with pytest.raises(FileNotFoundError, match="is not a file; name an existing picture") as e:
            read_picture(path)
        assert str(path) in str(e.value)


def test_open_files_are_decoded_and_named_as_told():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    buffer.seek(0)
    np.testing.assert_array_equal(decode_picture(buffer, "a.zip: b.png"), pixels)
    with pytest.raises(ValueError, match=r"a\.zip: c\.png is not a picture"):
        decode_picture(io.BytesIO(b"text"), "a.zip: c.png")


def test_files_are_closed(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        read_picture(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
