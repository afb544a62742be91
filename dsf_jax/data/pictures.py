"""Reads picture files that people have: any format, colour mode and orientation, in good or bad order."""

import io
import os
import pathlib
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_END_OF_JPEG = b"\xff\xd9"
# Bits that decode to some pixels or other, at the end of JPEG data and after every restart marker; where
# all pixels have been read, decoders skip them.
_NOISE = b"\xaa" * 64
_FILLING = _NOISE + b"".join(bytes((0xFF, 0xD0 + i)) + _NOISE for i in range(8))


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture upright, in RGB, transparent parts on white.

    Args:
      path: file that Pillow can decode.

    Returns:
      [h, w, 3] uint8.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it is no picture, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file; name an existing picture")
    with pathlib.Path(path).open("rb") as file:
        return decode_picture(file, str(path))


def decode_picture(file: BinaryIO, where: str) -> np.ndarray:
    """Reads a picture from an open file: see `read_picture`.

    Args:
      file: readable and seekable.
      where: its name in messages.

    Returns:
      [h, w, 3] uint8.

    Raises:
      ValueError: when it is no picture, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of large sizes; here a picture is read or refused.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                return _decode(picture, file)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{where} has more than {MAX_PIXELS} pixels; shrink it first") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{where} is not a picture; replace or remove it") from error
    # Pillow raises SyntaxError, struct.error, ValueError, ... for damage.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{where} cannot be read as a picture ({reason}); replace or remove it"
        ) from error


def _decode(picture: Image.Image, file: BinaryIO) -> np.ndarray:
    """Decodes an opened picture; a JPEG that lacks nothing but its end marker is whole."""
    try:
        return np.asarray(_in_rgb(ImageOps.exif_transpose(picture)))
    except OSError as error:
        if picture.format not in ("JPEG", "MPO") or "truncated" not in str(error):
            raise
        file.seek(0)
        content = file.read().removesuffix(_END_OF_JPEG[:1])
        ended, filled = (_decode_ended(content + more) for more in (b"", _FILLING))
        if not np.array_equal(ended, filled):  # there were pixels left to be read from the filling
            raise
        return ended


def _decode_ended(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content + _END_OF_JPEG), formats=("JPEG",)) as picture:
        return np.asarray(_in_rgb(ImageOps.exif_transpose(picture)))


def _in_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F"):
        raise ValueError("32 bits per value have no known white; save it with 8 or 16")
    if picture.mode.startswith("I;16"):  # Pillow's own conversion cuts at 255
        picture = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
    return _on_white(picture).convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture.convert("RGBA"))
