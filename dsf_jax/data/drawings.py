"""A picture of a drawing, or pen strokes -> what a network is shown of it: the one reading, of the command
line and of the page.
"""

from collections.abc import Sequence
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from dsf_jax.data.mixtures import square_photo
from dsf_jax.data.pictures import decode_picture
from dsf_jax.images.points import (
    CANVAS,
    Polarity,
    points_from_image,
    points_from_strokes,
    strokes_inside,
)
from dsf_jax.images.scan import MIN_CONTRAST, SCANNED, is_blank, looks_drawn, scanned, shrunk

PictureKind = Literal["drawing", "photo"]
RequestedKind = Literal["auto", "drawing", "photo"]

FILLED = 0.78  # of the canvas's side, by the drawing's longer one, as TU-Berlin's sketches fill it
FAINT = 0.1  # darkness that is left to the paper's grain
MIN_EXTENT = 0.25  # of the surface: a dot is not blown up to fill the canvas
_WHOLE = (0.0, 0.0, float(CANVAS), float(CANVAS))


class Query(NamedTuple):
    """What the network is shown: exactly one of the first two.

    Attributes:
      points: [p, 3] uint16 canvas points of a drawing.
      photo: [256, 256, 3] uint8.
      drawing: [s, s] uint8 black on white, the drawing that `points` are of, for networks that take
        drawings resized by interpolation; None for a photo, and for pen strokes.
      notes: how a picture was read, where that is not obvious: one short text each, for people.
    """

    points: np.ndarray | None = None
    photo: np.ndarray | None = None
    drawing: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def decode_shown(file: BinaryIO, where: str, polarity: Polarity | None = None) -> np.ndarray:
    """Reads a picture to search by as `decode_picture` does, whose transparent parts are white or, where
    strokes are light and so cannot be seen on it, black.

    Args:
      file: see `decode_picture`.
      where: see `decode_picture`.
      polarity: strokes on paper; None finds out.

    Returns:
      [h, w, 3] uint8.

    Raises:
      ValueError: see `decode_picture`.
    """
    picture = decode_picture(
        file, where, paper="black" if polarity == "white_on_black" else "white"
    )
    if polarity is None and picture.min() > 255 * (1 - MIN_CONTRAST):
        file.seek(0)
        picture = decode_picture(file, where, paper="black")
    return picture


def query_from_pixels(
    picture: np.ndarray, kind: RequestedKind = "auto", polarity: Polarity | None = None
) -> Query:
    """Reads a picture as a photo or as a drawing on paper.

    A drawing is moved to the middle and scaled to the size of the sketches that networks are trained
    on, wherever on the paper it lies.

    Args:
      picture: [h, w, 3] uint8.
      kind: what it shows; "auto" decides by `looks_drawn`.
      polarity: strokes on paper of a drawing; None finds out.

    Returns:
      Points or photo.

    Raises:
      ValueError: when it shows no strokes as a drawing, or no paper; see `scanned`.
    """
    small = shrunk(picture, SCANNED)
    is_photo = kind == "auto" and not looks_drawn(small) and not is_blank(small)
    if kind == "photo" or is_photo:
        notes = (
            () if kind == "photo" else ("taken for a photo: it has areas or colours, not lines",)
        )
        return Query(photo=square_photo(picture), notes=notes)
    scan = scanned(small, polarity)
    pen = np.where(scan.darkness < FAINT, 0.0, scan.darkness)
    drawing = 255 - np.rint(255 * _framed(pen, scan.ink)).astype(np.uint8)
    return Query(points=points_from_image(drawing), drawing=drawing, notes=scan.notes)


def framed_points(
    strokes: Sequence[np.ndarray], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Lists the canvas points of pen strokes; the drawing is moved to the middle and scaled to the size of
    the sketches that networks are trained on, wherever and however small it was drawn. Of strokes that
    leave the box, what lies inside is the drawing.

    Args:
      strokes: see `points_from_strokes`.
      box: left, top, width and height of the surface drawn on, in the same units.

    Returns:
      [p, 3] uint16 canvas points, at least one.

    Raises:
      ValueError: when nothing is drawn inside of the box, or as `points_from_strokes` does.
    """
    seen = strokes_inside(strokes, box)
    drawn = points_from_strokes(seen, _WHOLE)[:, :2]
    if not len(drawn):
        raise ValueError("nothing is drawn inside of the box; draw a stroke")
    low, high = drawn.min(axis=0), drawn.max(axis=0) + 1.0
    side = max(*(high - low), MIN_EXTENT * CANVAS) / FILLED
    x, y = (low + high - side) / 2
    return points_from_strokes(seen, (x, y, side, side))


def _framed(values: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Crops or pads values [h, w] of the paper so that the ink fills as much of a square as strokes do."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    cropped = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(*cropped.shape, round(MIN_EXTENT * max(ink.shape)))
    free = [side - n for n in cropped.shape]
    border = round((1 / FILLED - 1) / 2 * side)
    return np.pad(cropped, [(border + n // 2, border + n - n // 2) for n in free])
