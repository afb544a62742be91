"""Reads picture files that people have: any format, colour mode and orientation, in good or bad order.

The content decides the format, not the suffix. A picture whose decoder is not installed is refused by
a `MissingLibraryError`, which names what to install.
"""

import functools
import io
import os
import pathlib
import warnings
from collections.abc import Callable
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from dsf_jax.data import jpeg_xl
from dsf_jax.data.picture_formats import HEAD_BYTES, MissingLibraryError, format_of, remedy
from dsf_jax.data.raw_pictures import is_raw, read_raw
from dsf_jax.data.vector_pictures import render_svg

Paper = Literal["white", "black"]  # what transparent parts are laid on

MAX_PIXELS = 100_000_000
MAX_JPEG_PIXELS = 1_000_000_000  # that are shrunk to `MAX_PIXELS` while they are decoded
# Suffixes that pictures of the usual formats have; others are found by their content.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_END_OF_JPEG = b"\xff\xd9"
# Bits that decode to some pixels or other, at the end of JPEG data and after every restart marker; where
# all pixels have been read, decoders skip them.
_NOISE = b"\xaa" * 64
_FILLING = _NOISE + b"".join(bytes((0xFF, 0xD0 + i)) + _NOISE for i in range(8))
# What undoes an orientation of EXIF, by its number.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_IS_ZERO = 0  # photometric interpretation of a TIFF
_ON_THEIR_SIDE = (5, 6, 7, 8)  # the orientations whose width is the upright picture's height


class SizedPicture(NamedTuple):
    """A picture, shrunk perhaps, and the size that its file has.

    Attributes:
      pixels: [h, w, 3] uint8.
      width: width in the file, in pixels, upright.
      height: height in the file, in pixels, upright.
    """

    pixels: np.ndarray
    width: int
    height: int


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture upright, in RGB, transparent parts on white.

    Args:
      path: file of any format of `data.picture_formats`.

    Returns:
      [h, w, 3] uint8.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: see `decode_picture`.
    """
    with open_picture(path) as file:
        return decode_picture(file, str(path))


def read_shrunk(path: str | os.PathLike[str], *, least_side: int) -> SizedPicture:
    """Reads a picture as `decode_shrunk` does; FileNotFoundError when there is no such file."""
    with open_picture(path) as file:
        return decode_shrunk(file, str(path), least_side=least_side)


def open_picture(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for reading; FileNotFoundError when there is no such file."""
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file; name an existing picture")
    return pathlib.Path(path).open("rb")


def decode_picture(file: BinaryIO, where: str, *, paper: Paper = "white") -> np.ndarray:
    """Reads a picture from an open file, upright, in RGB, transparent parts on paper.

    Of a camera's raw file, that is its preview, where it has one; an SVG is drawn.

    Args:
      file: readable and seekable.
      where: name of the file in messages.
      paper: colour that shows through transparent parts.

    Returns:
      [h, w, 3] uint8.

    Raises:
      MissingLibraryError: when the library that reads its format is not installed.
      ValueError: when it is no picture, is damaged, or has more than `MAX_PIXELS` pixels, a JPEG of
        one scan more than `MAX_JPEG_PIXELS`; a smaller one is shrunk to a half, a quarter or an eighth.

    Examples:
      >>> file = io.BytesIO()
      >>> Image.new("RGBA", (2, 1), (255, 0, 0, 51)).save(file, "PNG")  # red, a fifth opaque
      >>> file.seek(0)
      0
      >>> decode_picture(file, "pale.png").tolist()
      [[[255, 204, 204], [255, 204, 204]]]
    """
    return _decoded(file, where, None, paper).pixels


def decode_shrunk(file: BinaryIO, where: str, *, least_side: int) -> SizedPicture:
    """Reads a picture as `decode_picture` does, but a large JPEG at a half, a quarter or an eighth of its
    size: in a fraction of the time, and of the memory.

    Args:
      file: readable and seekable.
      where: name of the file in messages.
      least_side: pixels that the sides have at least after the shrinking; smaller pictures stay as they are.

    Raises:
      MissingLibraryError: as `decode_picture`.
      ValueError: as `decode_picture`.
    """
    return _decoded(file, where, least_side, "white")


def _decoded(file: BinaryIO, where: str, least_side: int | None, paper: Paper) -> SizedPicture:
    """Decodes a file; errors name it."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of large sizes; here a picture is read or refused.
            warnings.simplefilter("ignore")
            return _decode(file, least_side, paper)
    except MissingLibraryError as error:
        raise MissingLibraryError(f"{where} {error}") from None
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


def _decode(file: BinaryIO, least_side: int | None, paper: Paper) -> SizedPicture:
    """Decodes a file by what reads its format; JPEGs may be shrunk."""
    name = format_of(file.read(HEAD_BYTES))
    if name == "TIFF" and is_raw(file):
        name = "RAW"
    file.seek(0)
    if name is None:
        raise UnidentifiedImageError
    if todo := remedy(name):
        raise MissingLibraryError(f"is of the format {name}, which is not read here; {todo}")
    if name == "JPEG":
        return _decode_jpeg(file, least_side)
    decoders: dict[str, Callable[[BinaryIO, Paper], np.ndarray]] = {
        "JXL": _decode_jxl, "RAW": _decode_raw, "SVG": _decode_svg, "HEIF": _decode_heif,
    }  # fmt: skip
    pixels = decoders.get(name, functools.partial(_decode_plain, name=name))(file, paper)
    height, width, _ = pixels.shape
    return SizedPicture(pixels, width, height)


def _decode_plain(file: BinaryIO, paper: Paper, *, name: str) -> np.ndarray:
    """Decodes a format by Pillow, or by what a library has added to it."""
    try:
        opened = Image.open(file, formats=(name,))
    except UnidentifiedImageError as error:  # its first bytes say what it is
        raise ValueError(f"a {name} that is damaged, or of a kind that is not read") from error
    with opened as picture:
        _check_size(*picture.size)
        picture.load()
        return _pixels(picture, paper)


def _decode_heif(file: BinaryIO, paper: Paper) -> np.ndarray:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return _decode_plain(file, paper, name="HEIF")


def _decode_jxl(file: BinaryIO, paper: Paper) -> np.ndarray:
    from pillow_jxl.JpegXLImagePlugin import JXLImageFile

    content = file.read()
    _check_size(*jpeg_xl.size(content))
    picture = JXLImageFile(io.BytesIO(content))
    with picture:
        # Unless it holds a JPEG, its decoder has turned it, and EXIF says nothing of that.
        return _pixels(picture, paper) if picture.jpeg else np.asarray(_in_rgb(picture, paper))


def _decode_raw(file: BinaryIO, paper: Paper) -> np.ndarray:
    del paper  # nothing in it is transparent
    found = read_raw(file, MAX_PIXELS)
    return _decode_jpeg(io.BytesIO(found)).pixels if isinstance(found, bytes) else found


def _decode_svg(file: BinaryIO, paper: Paper) -> np.ndarray:
    return _decode_plain(io.BytesIO(render_svg(file.read())), paper, name="PNG")


def _decode_jpeg(file: BinaryIO, least_side: int | None = None) -> SizedPicture:
    """Decodes a JPEG; one that lacks nothing but its end marker is whole."""
    try:
        return _shrunk_jpeg(file, least_side)
    except OSError as error:
        if "truncated" not in str(error):
            raise
        file.seek(0)
        content = file.read().removesuffix(_END_OF_JPEG[:1])
        ended, filled = (
            _shrunk_jpeg(io.BytesIO(content + more + _END_OF_JPEG)) for more in (b"", _FILLING)
        )
        # Else there were pixels left to be read from the filling.
        if not np.array_equal(ended.pixels, filled.pixels):
            raise
        return ended


def _shrunk_jpeg(file: BinaryIO, least_side: int | None = None) -> SizedPicture:
    """Decodes a JPEG, to an eighth of its sides at least where it has too many pixels or more than asked for."""
    # Not by Image.open, which refuses what can be shrunk.
    with JpegImageFile(file) as picture:
        width, height = picture.size
        if width * height > MAX_JPEG_PIXELS or not _is_of_one_scan(picture, file):
            _check_size(width, height)
        shrinking = next(s for s in (1, 2, 4, 8) if width * height <= MAX_PIXELS * s * s)
        if least_side:
            small = (s for s in (8, 4, 2) if min(width, height) >= s * least_side)
            shrinking = max(shrinking, next(small, 1))
        if shrinking > 1:
            picture.draft(picture.mode, (width // shrinking, height // shrinking))
        picture.load()
        if orientation(picture) in _ON_THEIR_SIDE:
            width, height = height, width
        return SizedPicture(_pixels(picture, "white"), width, height)


def _is_of_one_scan(picture: Image.Image, file: BinaryIO) -> bool:
    """Returns whether a JPEG that was just opened is decoded row by row; of any other, decoders hold all of
    it, however much they shrink it.
    """
    count: int = picture.layers  # type: ignore[attr-defined]  # of components
    header = b"\xff\xda" + (6 + 2 * count).to_bytes(2) + bytes((count,))
    file.seek(-(8 + 2 * count), os.SEEK_CUR)  # Pillow has read the header of the first scan
    return "progressive" not in picture.info and file.read(len(header)) == header


def _check_size(width: int, height: int) -> None:
    """Raises DecompressionBombError for too many pixels."""
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError


def orientation(picture: Image.Image) -> int:
    """Returns how a camera held the picture, as EXIF has it; 1 is upright."""
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of damaged metadata: all pixels are there
        return 1


def _pixels(picture: Image.Image, paper: Paper) -> np.ndarray:
    """Returns what a loaded picture shows, turned as EXIF says: [h, w, 3] uint8."""
    turn = _TURNS.get(orientation(picture))
    shown = _in_rgb(picture, paper)  # before it is turned: what is turned has lost its TIFF's tags
    return np.asarray(shown if turn is None else shown.transpose(turn))


def _in_rgb(picture: Image.Image, paper: Paper) -> Image.Image:
    if picture.mode in ("I", "F"):
        raise ValueError("32 bits per value have no known white; save it with 8 or 16")
    if picture.mode.startswith("I;16"):
        picture = _in_bytes(picture)
    return _on_paper(picture, paper).convert("RGB")


def _in_bytes(picture: Image.Image) -> Image.Image:
    """Returns grey of more than 8 bits with 8: Pillow's own conversion cuts at 255, and knows neither how
    many bits a TIFF has, nor that its 0 may be white, nor a transparent level.
    """
    values, most, is_negative = np.asarray(picture), 2**16 - 1, False
    if isinstance(picture, TiffImageFile):
        most = 2 ** picture.tag_v2[BITSPERSAMPLE][0] - 1
        is_negative = (
            picture.tag_v2.get(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO) == _WHITE_IS_ZERO
        )
    grey = np.round(values / (most / 255)).astype(np.uint8)
    level = picture.info.get("transparency")
    if level is not None:
        grey = np.stack([grey, np.where(values == level, 0, 255).astype(np.uint8)], axis=-1)
    return Image.fromarray(255 - grey if is_negative else grey)


def _on_paper(picture: Image.Image, paper: Paper) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, paper), picture.convert("RGBA"))
