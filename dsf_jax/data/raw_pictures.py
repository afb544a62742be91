"""Cameras' raw files -> the preview that is in them, or what they develop to."""

import io
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

MIN_PREVIEW = 512  # pixels of the longer side: from here on, a preview shows what is searched by
MIN_HALVED = 1024  # of the shorter side, at which every second pixel is enough

# TIFF's tags, and the photometric interpretations of what a sensor saw.
_SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _MAKE, _DNG_VERSION = 254, 259, 262, 271, 50706
_OF_SENSORS = (32803, 34892)


def is_raw(file: BinaryIO) -> bool:
    """Returns whether a TIFF is a raw file: a camera's, whose first picture is a small one or no usual one.

    Args:
      file: the TIFF; is read at any place and left anywhere.
    """
    try:
        file.seek(0)
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        is_unusual = (
            tags.get(_SUBFILE_TYPE, 0) & 1
            or tags.get(_PHOTOMETRIC) in _OF_SENSORS
            or tags.get(_COMPRESSION, 1) not in COMPRESSION_INFO
        )
        return _DNG_VERSION in tags or bool(_MAKE in tags and is_unusual)
    except Exception:  # a damaged TIFF: Pillow's reader of pictures says so
        return False


def read_raw(file: BinaryIO, max_pixels: int) -> bytes | np.ndarray:
    """Reads a raw file.

    Args:
      file: readable and seekable.
      max_pixels: number of pixels above which it is not developed.

    Returns:
      The preview as a JPEG, whose EXIF says how it is turned; where there is none of `MIN_PREVIEW`, what
      the sensor saw [h, w, 3] uint8, upright, in half its size if it is large.

    Raises:
      ValueError: when it cannot be read, or is too large.
    """
    import rawpy

    try:
        with rawpy.imread(file) as raw:
            preview = _preview(raw)
            if preview is not None:
                return preview
            sides = raw.sizes.raw_width, raw.sizes.raw_height
            if sides[0] * sides[1] > max_pixels:
                raise Image.DecompressionBombError
            seen = raw.postprocess(use_camera_wb=True, half_size=min(sides) >= MIN_HALVED)
            return (
                seen if seen.shape[2] == 3 else seen[..., :1].repeat(3, axis=2)
            )  # one without colours
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error


def _preview(raw: Any) -> bytes | None:
    """Returns the preview of an opened file; None where there is no JPEG that is large enough."""
    import rawpy

    try:
        found = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if found.format != rawpy.ThumbFormat.JPEG:
        return None
    with Image.open(io.BytesIO(found.data), formats=("JPEG",)) as picture:
        return found.data if max(picture.size) >= MIN_PREVIEW else None
