"""Pen strokes -> the fields of a sketch record: points, the strokes themselves, and a small picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.faults import BadFile
from data_builders.record_images import png_bytes
from dsf_jax.images.points import CANVAS, canvas_strokes, points_from_strokes

PICTURE_SIZE = CANVAS // 3  # 227, the network's input

_FARTHEST = np.iinfo(np.int16)
_MAX_STROKES = _FARTHEST.max + 1  # that their numbers tell apart


def stroke_feature() -> tfds.features.FeatureConnector:
    """Describes the field `strokes`, in drawing order.

    It is [n, 3] int16: x and y in canvas units, and the number of the stroke; [0, 3] where the source has only pixels.
    """
    return tfds.features.Tensor(shape=(None, 3), dtype=np.int16, encoding="zlib")


def no_strokes() -> np.ndarray:
    """Returns what `strokes` holds for a drawing that comes as pixels."""
    return np.zeros((0, 3), np.int16)


def stroke_record(
    strokes: Sequence[np.ndarray], box: tuple[float, float, float, float], where: str
) -> dict[str, Any]:
    """Makes the fields of a drawing that comes as strokes.

    Args:
      strokes: see `points_from_strokes`.
      box: see `points_from_strokes`.
      where: the drawing's name in messages.

    Returns:
      `points`, `strokes` and `image`, which is drawn from the points.

    Raises:
      BadFile: when nothing lies in the box, there are more strokes than can be numbered, or as
        `points_from_strokes` raises ValueError.
    """
    if len(strokes) > _MAX_STROKES:
        raise BadFile(where, f"more than {_MAX_STROKES} strokes", "join strokes or remove it")
    try:
        points = points_from_strokes(strokes, box)
    except ValueError as error:
        reason, _, remedy = str(error).rpartition("; ")
        raise BadFile(where, reason, remedy) from error
    if not len(points):
        raise BadFile(where, "nothing drawn")
    return {
        "image": png_bytes(picture_of(points)),
        "points": points,
        "strokes": _stroke_table(canvas_strokes(strokes, box)),
    }


def picture_of(points: np.ndarray) -> np.ndarray:
    """Draws points with a pen three cells wide, which is one pixel of the picture.

    Args:
      points: [p, 3] uint16 canvas points.

    Returns:
      [227, 227] uint8, black on white, grey where the pen covers a part of the pixel.
    """
    thick = np.zeros((CANVAS + 2, CANVAS + 2), bool)
    for right in range(3):
        for down in range(3):
            thick[points[:, 1] + down, points[:, 0] + right] = True
    cells = thick[1:-1, 1:-1].reshape(PICTURE_SIZE, 3, PICTURE_SIZE, 3)
    return np.round(255 * (1 - cells.mean(axis=(1, 3)))).astype(np.uint8)


def _stroke_table(strokes: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks strokes in canvas units into [n, 3] int16; of vertices in one cell, the first stays."""
    rows = [np.zeros((0, 3), np.int16)]
    for number, stroke in enumerate(strokes):
        cells = np.clip(np.floor(stroke), _FARTHEST.min, _FARTHEST.max).astype(np.int16)
        moved = np.any(np.diff(cells, axis=0) != 0, axis=1)
        cells = cells[np.concatenate([np.ones(min(len(cells), 1), bool), moved])]
        rows.append(np.insert(cells, 2, number, axis=1))
    return np.concatenate(rows)
