"""What a client sends -> what the network takes: pen strokes, scanned drawings and photos, within
limits; knows no HTTP.
"""

import io
import threading
from collections.abc import Sequence

import numpy as np

from dsf_jax.data.drawings import (
    PictureKind,
    Query,
    RequestedKind,
    decode_shown,
    framed_points,
    query_from_pixels,
)
from dsf_jax.images.points import check_pressure

Box = tuple[float, float, float, float]

MAX_DRAWING_BYTES = 2 * 2**20  # of a drawing as JSON
MAX_PICTURE_BYTES = 16 * 2**20  # of a picture file
MAX_STROKES, MAX_POINTS = 1_000, 20_000  # of a drawing, of all its strokes
MAX_UNITS = 1e9  # of a surface's side

LIGHTEST = 0.4  # darkness where a pen is hardly pressed; 1 where the drawing's hardest is

DECODING = threading.Lock()  # one at a time: decoded, a picture may take hundreds of megabytes


def query_from_strokes(strokes: Sequence[Sequence[Sequence[float]]], box: Box) -> Query:
    """Makes canvas points of pen strokes; the drawing is moved to the middle and scaled to the size
    of the sketches that networks are trained on, wherever and however small it was drawn.

    Args:
      strokes: list of points per stroke, (x, y) or (x, y, pressure), the pressure in [0, 1].
      box: left, top, width and height of the surface drawn on, in the same units.

    Returns:
      The points.

    Raises:
      ValueError: for too many strokes or points, a pressure beyond 0 to 1, a point or box that
        `points_from_strokes` refuses, or nothing inside of the box.
    """
    _check_counts(strokes)
    left, top, width, height = map(float, box)
    if not all(1 / MAX_UNITS <= size <= MAX_UNITS for size in (width, height)):
        raise ValueError(
            f"the box is {width} wide and {height} high, each must be {1 / MAX_UNITS} to {MAX_UNITS}; "
            "choose other units"
        )
    arrays = [_array(stroke, number) for number, stroke in enumerate(strokes)]
    hardest = max((float(stroke[:, 2].max()) for stroke in arrays if len(stroke)), default=0.0)
    for stroke in arrays:  # a hand that presses lightly draws as dark as any other
        pressed = stroke[:, 2] / hardest if hardest else 1.0  # a pen may feel no pressure and say 0
        stroke[:, 2] = LIGHTEST + (1.0 - LIGHTEST) * pressed
    return Query(points=framed_points(arrays, (left, top, width, height)))


def query_from_picture(data: bytes, kind: RequestedKind = "auto") -> tuple[Query, PictureKind]:
    """Reads a picture file that was sent, as a photo or as a drawing on paper.

    Args:
      data: content of the file.
      kind: what it shows; "auto" decides by `looks_drawn`.

    Returns:
      Points or photo, and which it was taken for.

    Raises:
      ValueError: when it cannot be read (`decode_shown`), or shows no strokes as a drawing.
    """
    with DECODING:
        picture = decode_shown(io.BytesIO(data), "the file")
        query = query_from_pixels(picture, kind)
    return query, "drawing" if query.photo is None else "photo"


def _array(stroke: Sequence[Sequence[float]], number: int) -> np.ndarray:
    """Makes an array [n, 3] of a stroke's points; where there is no pressure, it is 1."""
    points = [(*point, 1.0)[:3] for point in stroke]
    array = np.array(points, np.float64).reshape(-1, 3)
    check_pressure(array, number)
    return array


def _check_counts(strokes: Sequence[Sequence[Sequence[float]]]) -> None:
    """Raises ValueError for too many strokes or points."""
    for what, count, limit, remedy in (
        ("strokes", len(strokes), MAX_STROKES, "undo or erase some of them"),
        ("points", sum(map(len, strokes)), MAX_POINTS, "omit points that lie on a line"),
    ):
        if count > limit:
            raise ValueError(f"the drawing has {count} {what}, at most {limit} are taken; {remedy}")
