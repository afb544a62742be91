"""Lines of a Quick, Draw! file -> records: pure functions, without TFDS.

A line is a JSON object whose `drawing` is a list of strokes. A simplified stroke is [xs, ys]: the
drawing was moved to the top left corner of a square of 256, scaled to fill it, and its strokes were
thinned out. A raw stroke is [xs, ys, ts], in pixels of the screen that it was drawn on, with times.
Both are put on the canvas in the same way, by the drawing's own extent.
"""

import codecs
import dataclasses
import io
import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from data_builders.faults import BadFile
from data_builders.pen import stroke_record
from data_builders.sources import SourceFile
from dsf_jax.data.picture_folders import is_utf8

# TU-Berlin's sketches fill 78 % of their canvas: 87.52 of 800 units are free at both ends of the
# longer extent. The same look, and room to turn a drawing without losing its corners.
MARGIN = 87.52 / (800 - 2 * 87.52)

_LONGEST_LINE = 2**20  # a raw drawing of the game's 20 seconds has some 10 kB


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One line of a file.

    Attributes:
      key: its `key_id`, unique in the whole data set.
      class_name: the `word` that was to be drawn.
      recognized: whether the game recognised it.
      where: file and line, for messages.
      line: the JSON itself.
    """

    key: str
    class_name: str
    recognized: bool
    where: str
    line: bytes


def drawings_in(file: SourceFile) -> Iterator[Drawing | BadFile]:
    """Reads a file line by line.

    Args:
      file: an .ndjson file. In a folder it may have any size; in an archive it is read at once.

    Yields:
      The drawing of each line that is not blank, or what is wrong with it.
    """
    empty = True
    with _opened(file) as lines:
        for number, line in enumerate(iter(lambda: lines.readline(_LONGEST_LINE), b""), 1):
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                yield BadFile(file.where, "UTF-16 text, not UTF-8", "save it as UTF-8")
                return
            if line.strip():
                empty = False
                yield _drawing(line, f"{file.where} line {number}")
    if empty:
        yield BadFile(file.where, "empty file")


def record(drawing: Drawing) -> dict[str, Any]:
    """Returns what a record holds of a drawing: points, strokes, and a picture of the points.

    Raises:
      BadFile: when its strokes are neither simplified nor raw ones, or nothing is drawn.
    """
    strokes = _strokes(json.loads(drawing.line)["drawing"], drawing.where)
    return stroke_record(strokes, box_around(strokes), drawing.where)


def box_around(strokes: Sequence[np.ndarray]) -> tuple[float, float, float, float]:
    """Returns left, top, width and height of the box that holds strokes with a `MARGIN` around.

    Args:
      strokes: arrays [n, 2], together at least one finite point.
    """
    every = np.concatenate(strokes)
    low, extent = every.min(axis=0), np.ptp(every, axis=0)
    # A lone dot has no extent; it then lies in the middle of a box of any size.
    margin = MARGIN * (extent.max() or 1.0)
    left, top = low - margin
    width, height = extent + 2 * margin
    return float(left), float(top), float(width), float(height)


def _opened(file: SourceFile) -> IO[bytes]:
    """Opens a file of a folder for reading by and by; one of an archive is read first."""
    if isinstance(file.entry, str):
        return (file.source / file.entry).open("rb")
    return io.BytesIO(file.read())


def _drawing(line: bytes, where: str) -> Drawing | BadFile:
    """Reads all of a line but its strokes."""
    try:
        fields = json.loads(line)
        key, word = fields["key_id"], fields["word"]
        fields["drawing"]
    except (ValueError, RecursionError):  # also bytes that are not UTF-8
        return BadFile(where, "not a whole line of JSON")
    except (KeyError, TypeError):
        return BadFile(where, "has no key_id, word or drawing")
    texts = isinstance(key, str) and isinstance(word, str) and is_utf8(key + word)
    if not (texts and key and word.strip()):
        return BadFile(where, "its key_id or word is not a text")
    name = unicodedata.normalize("NFC", word.strip())
    return Drawing(key, name, bool(fields.get("recognized", True)), where, line)


def _strokes(drawing: Any, where: str) -> list[np.ndarray]:
    """Checks the strokes of a drawing and makes them arrays [n, 2]."""
    if not isinstance(drawing, list) or not drawing:
        raise BadFile(where, "nothing drawn")
    strokes = []
    for stroke in drawing:
        if not isinstance(stroke, list) or len(stroke) not in (2, 3):
            raise BadFile(where, "a stroke is neither simplified, [xs, ys], nor raw, [xs, ys, ts]")
        try:
            xy = np.array(stroke[:2])
        except ValueError as error:
            raise BadFile(where, "a stroke has not as many x as y") from error
        if xy.ndim != 2 or xy.dtype.kind not in "iuf" or not np.isfinite(xy).all():
            raise BadFile(where, "a stroke's x or y is not a list of finite numbers")
        strokes.append(xy.T.astype(np.float64))
    if not any(map(len, strokes)):
        raise BadFile(where, "nothing drawn")
    return strokes
