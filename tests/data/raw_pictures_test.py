"""A raw file is shown by its preview where that is large enough, else by what the sensor saw; always upright."""

import io

import numpy as np
import pytest
from PIL import Image

from dsf_jax.data.pictures import decode_picture
from dsf_jax.data.raw_pictures import MIN_PREVIEW, is_raw
from tests.data.raw_files import dng

rawpy = pytest.importorskip("rawpy", reason="needs rawpy, of the extra `formats`")


def preview(side):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side // 2), "blue").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(("orientation", "shape"), [(1, (256, 512, 3)), (6, (512, 256, 3))])
def test_a_large_preview_is_read_turned(orientation, shape):
    content = dng(preview(MIN_PREVIEW), orientation=orientation)
    read = decode_picture(io.BytesIO(content), "a.dng")
    assert read.shape == shape and read[9, 9].argmax() == 2


@pytest.mark.parametrize(("orientation", "shape"), [(1, (48, 64, 3)), (8, (64, 48, 3))])
@pytest.mark.parametrize("side", [0, 160])
def test_without_one_it_is_developed(side, orientation, shape):
    content = dng(preview(side) if side else b"", orientation=orientation)
    read = decode_picture(io.BytesIO(content), "a.dng")
    assert read.shape == shape and read.dtype == np.uint8 and read[20, 20].argmax() == 0


def test_one_without_colours_is_grey():
    # From a pattern of colours to one value per pixel (DNG's LinearRaw).
    content = dng().replace((32803).to_bytes(2, "little"), (34892).to_bytes(2, "little"))
    read = decode_picture(io.BytesIO(content), "a.dng")
    assert read.shape == (48, 64, 3) and (read[..., 0] == read[..., 2]).all()


def test_a_damaged_or_huge_one_is_named():
    content = dng()
    for damaged in (content[:400], content[:3000]):
        with pytest.raises(ValueError, match=r"^a\.dng (cannot be read as|is not) a picture"):
            decode_picture(io.BytesIO(damaged), "a.dng")
    header = dng(size=(60_000, 2)).replace(*(n.to_bytes(4, "little") for n in (2, 2000)))
    with pytest.raises(ValueError, match=r"^a\.dng "):
        decode_picture(io.BytesIO(header), "a.dng")


def test_tiffs_of_people_are_not_raw():
    assert is_raw(io.BytesIO(dng())) and is_raw(io.BytesIO(dng(preview(64))))
    exif = Image.Exif()
    exif[271] = "Maker"
    for options in ({}, {"exif": exif}, {"compression": "tiff_lzw", "exif": exif}):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "TIFF", **options)
        assert not is_raw(buffer)
    assert not is_raw(io.BytesIO(b"II*\0junk")) and not is_raw(io.BytesIO(b""))
