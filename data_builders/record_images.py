"""Picture files of any kind -> the encoded images that records hold."""

import io
from typing import Any

import numpy as np
from PIL import Image

from data_builders.faults import BadFile
from dsf_jax.data.pictures import decode_picture
from dsf_jax.images.points import Polarity, ink_of, points_from_image

_UPRIGHT = 1
_ORIENTATION = 0x0112
_QUALITY = 95  # of JPEGs that must be encoded again


def photo_bytes(data: bytes, where: str) -> bytes:
    """Returns a photo as the record holds it: a JPEG or PNG that every decoder reads the same way.

    A JPEG or PNG that is RGB, upright and opaque stays as it is, byte for byte; whatever is grey,
    CMYK, of 16 bits, turned by its EXIF tag, with a palette, transparent (white shows through) or in
    another format is encoded again: JPEGs as JPEG of quality 95, others as PNG.

    Args:
      data: the file.
      where: its name in messages.

    Raises:
      BadFile: when it is empty, no picture, damaged or cut short, or has too many pixels.
    """
    pixels = _decode(data, where)
    with Image.open(io.BytesIO(data)) as picture:
        kind, plain = picture.format, _is_plain(picture, data)
    if plain:
        return data
    return _encode(pixels, "JPEG" if kind in ("JPEG", "MPO") else "PNG")


def _is_plain(picture: Image.Image, data: bytes) -> bool:
    """Returns whether every decoder reads a picture the same way: RGB, upright, opaque, 8 bits."""
    return (
        picture.format in ("JPEG", "PNG")
        and picture.mode == "RGB"
        and not picture.has_transparency_data
        and picture.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
        and not _is_deep(data)
    )


def sketch_image(data: bytes, where: str) -> tuple[bytes, np.ndarray]:
    """Returns a drawing as the record holds it, a grey PNG, and its pixels.

    Args:
      data: the file, of any picture format; transparent parts are paper.
      where: its name in messages.

    Returns:
      The PNG (the file itself if it is a grey one of 8 bits), and [h, w] uint8.

    Raises:
      BadFile: as for photos.
    """
    grey = np.asarray(Image.fromarray(_decode(data, where)).convert("L"))
    with Image.open(io.BytesIO(data)) as picture:
        plain = (
            picture.format == "PNG"
            and picture.mode == "L"
            and not picture.has_transparency_data
            and picture.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
        )
    return (data if plain else png_bytes(grey)), grey


def sketch_record(
    data: bytes, where: str, *, thinned: bool = True, polarity: Polarity = "black_on_white"
) -> dict[str, Any]:
    """Returns what a sketch record holds of a drawn picture: `image`, black on white, and `points`.

    Args:
      data: the file.
      where: its name in messages.
      thinned: see dsf_jax.images.points.points_from_image.
      polarity: whether the strokes are darker or lighter than the paper in the file; the record is black on white in any case.

    Raises:
      BadFile: as for photos, and when nothing is drawn or more is ink than paper.
    """
    png, grey = sketch_image(data, where)
    ink = ink_of(grey, polarity=polarity)
    _check_ink(ink, where, polarity)
    if polarity == "white_on_black":
        png = png_bytes(255 - grey)
    points = points_from_image(grey, polarity=polarity, thinned=thinned)
    return {"image": png, "points": points}


def _check_ink(ink: np.ndarray, where: str, polarity: Polarity) -> None:
    """Raises where nothing is drawn, or more is ink than paper."""
    if not ink.any():
        raise BadFile(where, "nothing is drawn", "remove it")
    if 2 * np.count_nonzero(ink) > ink.size:
        raise BadFile(
            where,
            f"more ink than paper for a drawing that is {polarity}",
            "repair or remove it, or choose the other polarity",
        )


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encodes [h, w] or [h, w, 3] uint8 as PNG."""
    return _encode(pixels, "PNG")


def _decode(data: bytes, where: str) -> np.ndarray:
    if not data:
        raise BadFile(where, "empty file")
    try:
        return decode_picture(io.BytesIO(data), where)
    except ValueError as error:
        reason, _, remedy = str(error).removeprefix(where).strip().rpartition("; ")
        raise BadFile(where, reason, remedy) from error


def _encode(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": _QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _is_deep(data: bytes) -> bool:
    """Returns whether a PNG has more than 8 bits per channel: Pillow shows its mode as RGB all the same."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] > 8
