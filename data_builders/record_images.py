"""Picture files of any kind -> the encoded images that records hold."""

import functools
import io
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data_builders.faults import BadFile
from data_builders.records_format import Domain, record_features
from dsf_jax.data.picture_formats import HEAD_BYTES, format_of
from dsf_jax.data.pictures import Paper, decode_picture, orientation
from dsf_jax.images.points import Polarity, ink_of, points_from_image

_UPRIGHT = 1
_QUALITY = 95  # of JPEGs that must be encoded again


def photo_bytes(data: bytes, where: str) -> bytes:
    """Returns a photo as the record holds it: a JPEG or PNG that every decoder reads the same way.

    A JPEG or PNG that is RGB, upright and opaque stays as it is, byte for byte; whatever is grey,
    CMYK, of 16 bits, turned by its EXIF tag, with a palette, transparent (white shows through), without
    its end, too large (it is shrunk) or in another format is encoded again: JPEGs as JPEG of quality 95,
    others as PNG.

    Args:
      data: the file.
      where: its name in messages.

    Raises:
      BadFile: when it is empty, no picture, damaged or cut short, or has too many pixels.
    """
    pixels = _decode(data, where)
    if _is_plain(data, pixels, ("JPEG", "PNG")) and _is_read(data, pixels, "photo"):
        return data
    return _encode(pixels, "JPEG" if _format(data) == "JPEG" else "PNG")


def sketch_image(data: bytes, where: str, *, paper: Paper = "white") -> tuple[bytes, np.ndarray]:
    """Returns a drawing as the record holds it, a grey PNG, and its pixels.

    Args:
      data: the file, of any picture format; transparent parts are paper.
      where: its name in messages.
      paper: the paper's colour.

    Returns:
      The PNG (the file itself if it is a grey one of 8 bits), and [h, w] uint8.

    Raises:
      BadFile: as for photos.
    """
    grey = np.asarray(Image.fromarray(_decode(data, where, paper)).convert("L"))
    if _is_plain(data, grey, ("PNG",)) and _is_read(data, grey, "sketch"):
        return data, grey
    return png_bytes(grey), grey


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
    paper: Paper = "white" if polarity == "black_on_white" else "black"
    png, grey = sketch_image(data, where, paper=paper)
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


def _decode(data: bytes, where: str, paper: Paper = "white") -> np.ndarray:
    if not data:
        raise BadFile(where, "empty file")
    try:
        return decode_picture(io.BytesIO(data), where, paper=paper)
    except ValueError as error:
        reason, _, remedy = str(error).removeprefix(where).strip().rpartition("; ")
        raise BadFile(where, reason, remedy) from error


def _encode(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": _QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _format(data: bytes) -> str | None:
    return format_of(data[:HEAD_BYTES])


def _is_plain(data: bytes, pixels: np.ndarray, formats: Collection[str]) -> bool:
    """Returns whether a file that shows some pixels holds them as every decoder reads them: in one of some
    formats, RGB or grey as they are, of their size, upright, opaque, 8 bits.
    """
    if (name := _format(data)) is None or name not in formats:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as `decode_picture` does, which has read it all
            with Image.open(io.BytesIO(data), formats=(name,)) as picture:
                return (
                    picture.format == name  # not an MPO, which holds several pictures
                    and picture.mode == ("RGB" if pixels.ndim == 3 else "L")
                    and picture.size == pixels.shape[1::-1]
                    and not picture.has_transparency_data
                    and orientation(picture) == _UPRIGHT
                    and not _is_deep(data)
                )
    except Exception:  # too large for Pillow, or odd in another way that the pixels do not share
        return False


def _is_read(data: bytes, pixels: np.ndarray, domain: Domain) -> bool:
    """Returns whether the decoder that records are read by takes a file: it refuses some that Pillow
    forgives, as those without an end.
    """
    try:
        read = _image_feature(domain).decode_example_np(data)
    except Exception:  # whatever it trips over, the file is at fault
        return False
    return bool(read.shape == np.atleast_3d(pixels).shape)


@functools.cache
def _image_feature(domain: Domain) -> tfds.features.Image:
    return record_features(domain)["image"]


def _is_deep(data: bytes) -> bool:
    """Returns whether a PNG has more than 8 bits per channel: Pillow shows its mode as RGB all the same."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] > 8
