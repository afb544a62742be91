"""Reads picture files that people have: any format, colour mode and orientation, in good or bad order."""

import os
import pathlib
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


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
                return np.asarray(_in_rgb(ImageOps.exif_transpose(picture)))
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


def picture_files(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Lists the picture files of a folder and its sub-folders, sorted by path.

    Args:
      folder: folder to walk; hidden files and folders are passed over.

    Returns:
      The files whose suffix is one of `SUFFIXES`.

    Raises:
      FileNotFoundError: when the folder does not exist or holds no picture.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; name an existing folder of pictures")
    files = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )
    if not files:
        raise FileNotFoundError(
            f"{root} holds no picture ({', '.join(SUFFIXES)}); name a folder that does"
        )
    return files
