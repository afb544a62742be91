"""A JPEG XL file's size is known before anything is decoded."""

import io

import pytest
from PIL import Image

from dsf_jax.data import jpeg_xl
from dsf_jax.data.pictures import decode_picture

SMALL = bytes.fromhex("ff0acb0600138802")  # 64 x 48, as libjxl 0.11 begins it


def header(bits):
    """A codestream that begins with bits, lowest first: (number, how many)."""
    value = place = 0
    for number, count in bits:
        value |= number << place
        place += count
    return b"\xff\x0a" + value.to_bytes(16, "little")


def container(*boxes):
    content = b"\0\0\0\x0cJXL \r\n\x87\n"
    for kind, body in boxes:
        content += (8 + len(body)).to_bytes(4) + kind + body
    return content


def test_sizes_in_every_form():
    assert jpeg_xl.size(SMALL) == (64, 48)
    huge = header([(0, 1), (3, 2), (2**30 - 1, 30), (0, 3), (0, 2), (4, 9)])
    assert jpeg_xl.size(huge) == (5, 2**30)
    assert jpeg_xl.size(header([(1, 1), (1, 5), (5, 3)])) == (16 * 16 // 9, 16)


def test_the_size_stands_in_the_first_part_of_a_container():
    ftyp = (b"ftyp", b"jxl \0\0\0\0jxl ")
    assert jpeg_xl.size(container(ftyp, (b"jxlc", SMALL))) == (64, 48)
    assert jpeg_xl.size(container(ftyp, (b"jxlp", b"\0\0\0\0" + SMALL), (b"jxlp", SMALL))) == (
        64,
        48,
    )
    for content in (b"", b"\xff", container(), container(ftyp, (b"jxlp", b"")), bytes(90)):
        with pytest.raises(ValueError, match="states no size"):
            jpeg_xl.size(content)


def test_a_bomb_is_refused_undecoded():
    pytest.importorskip("pillow_jxl", reason="needs pillow-jxl-plugin, of the extra `formats`")
    bomb = header([(0, 1), (3, 2), (2**29, 30), (1, 3)])
    with pytest.raises(ValueError, match="more than 100000000 pixels"):
        decode_picture(io.BytesIO(bomb), "a.jxl")


def test_pictures_are_read_upright(tmp_path):
    pytest.importorskip("pillow_jxl", reason="needs pillow-jxl-plugin, of the extra `formats`")
    exif = Image.Exif()
    exif[0x0112] = 6
    red = Image.new("RGB", (24, 16), "red")
    red.save(tmp_path / "own.jxl", exif=exif.tobytes(), lossless=True, effort=1)
    # What its EXIF says of a picture that is no JPEG's is not meant for its pixels.
    read = decode_picture(io.BytesIO((tmp_path / "own.jxl").read_bytes()), "a")
    assert read.shape == (16, 24, 3) and (read == (255, 0, 0)).all()
    red.save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as jpeg:
        jpeg.save(tmp_path / "of_jpeg.jxl", lossless_jpeg=True)
    content = (tmp_path / "of_jpeg.jxl").read_bytes()
    assert decode_picture(io.BytesIO(content), "a").shape == (24, 16, 3)
