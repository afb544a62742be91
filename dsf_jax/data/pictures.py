"""Reads picture files that people have: any format, colour mode and orientation, in good or bad order."""

import os
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture upright, in RGB, transparent parts on white.

    Args:
      path: of a file that Pillow can decode.

    Returns:
      [h, w, 3] uint8.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it is no picture, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file; name an existing picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # the limit is checked here
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise ValueError(
                        f"{path} has {width} x {height} pixels, more than {MAX_PIXELS}; shrink it first"
                    )
                upright = ImageOps.exif_transpose(picture)
                return np.asarray(_on_white(upright).convert("RGB"))
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} has more than {MAX_PIXELS} pixels; shrink it first") from error
    except (
        OSError,
        SyntaxError,
        EOFError,
    ) as error:  # Pillow raises SyntaxError for broken PNG chunks
        raise ValueError(
            f"{path} cannot be read as a picture ({error}); replace or remove it"
        ) from error


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture.convert("RGBA"))


def picture_files(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Lists the picture files of a folder and its sub-folders, sorted by path.

    Args:
      folder: to walk; hidden files and folders are passed over.

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
