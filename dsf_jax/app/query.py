"""What a client sends -> what the network takes: pen strokes, scanned drawings and photos, within
limits; knows no HTTP.
"""

import io
import threading
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from dsf_jax.data.mixtures import square_photo
from dsf_jax.data.pictures import decode_picture
from dsf_jax.images.points import CANVAS, points_from_ink, points_from_strokes

Kind = Literal["auto", "drawing", "photo"]
Box = tuple[float, float, float, float]

FILLED = (
    0.78  # of the canvas's side, by the drawing's longer one: TU-Berlin's sketches fill .77 to .79
)
SMALLEST = 0.25  # of the surface: a dot is not blown up to fill the canvas
FARTHEST = 1e9  # units of a surface's side
SCANNED = 1000  # pixels of a scan's longer side: more do not change its centre lines
PAPER_CELLS = 16  # of a scan's side: the light on the paper is measured in so many places
QUARTER = 0.25  # of the way from paper to ink: the threshold of `ink_of`
FAINTEST = 0.05  # of the paper's brightness: below that, what differs from paper is its grain

# A drawing, of this longer side, has at most this share of pixels whose channels are so many levels
# apart, at least this share of paper, and at most this share of pixels in the middle of dark squares
# this wide. Of 116 TU-Berlin and PACS sketches it knows all; of 125 Sketchy photos, 203 PACS photos and
# 112 OpenMoji pictures it takes 2, 1 and 2 % for drawings.
LOOKED_AT, LOOKED_AT_CELLS = 256, 8
COLOURED, MOST_COLOUR, LEAST_PAPER = 60, 0.15, 0.7
THICK, MOST_AREA = 9, 0.005


class Limits(NamedTuple):
    """How much a client may send.

    Attributes:
      drawing_bytes: of a drawing as JSON.
      picture_bytes: of a picture file.
      strokes: of a drawing.
      points: of all its strokes.
    """

    drawing_bytes: int = 2 * 2**20
    picture_bytes: int = 16 * 2**20
    strokes: int = 1_000
    points: int = 20_000


class Seen(NamedTuple):
    """What the network is shown: exactly one of the two.

    Attributes:
      points: [p, 2] uint16 canvas points of a drawing.
      photo: [256, 256, 3] uint8.
    """

    points: np.ndarray | None = None
    photo: np.ndarray | None = None


LIMITS = Limits()
ONE_AT_A_TIME = threading.Semaphore()  # decoded, a picture may take hundreds of megabytes


def seen_strokes(
    strokes: Sequence[Sequence[Sequence[float]]], box: Box, *, limits: Limits = LIMITS
) -> Seen:
    """Makes canvas points of pen strokes; the drawing is moved to the middle and brought to the size
    of the sketches that networks are trained on, wherever and however small it was drawn.

    Args:
      strokes: each a list of points (x, y).
      box: left, top, width and height of the surface drawn on, in the same units.
      limits: on strokes and points.

    Returns:
      The points.

    Raises:
      ValueError: for too many strokes or points, a point or box that `points_from_strokes` refuses,
        or nothing inside of the box.
    """
    total = sum(map(len, strokes))
    for what, count, most in (
        ("strokes", len(strokes), limits.strokes),
        ("points", total, limits.points),
    ):
        if count > most:
            raise ValueError(
                f"the drawing has {count} {what}, at most {most} are taken; leave out points that lie "
                "on a line"
            )
    left, top, width, height = map(float, box)
    if not all(1 / FARTHEST <= size <= FARTHEST for size in (width, height)):
        raise ValueError(
            f"the box is {width} wide and {height} high, each must be {1 / FARTHEST} to {FARTHEST}; choose "
            "other units"
        )
    arrays = [np.array(stroke, np.float64).reshape(-1, 2) for stroke in strokes]
    drawn = points_from_strokes(arrays, (left, top, width, height))  # checks every point
    if not len(drawn):
        raise ValueError("nothing is drawn inside of the box; draw a stroke")
    unit = max(width, height) / CANVAS  # the box lies in the middle of the canvas
    corner = np.array([left + width / 2, top + height / 2]) - CANVAS * unit / 2
    low, high = drawn.min(axis=0) * unit, (drawn.max(axis=0) + 1.0) * unit
    side = max(*(high - low), SMALLEST * CANVAS * unit) / FILLED
    x, y = corner + (low + high - side) / 2
    return Seen(points=points_from_strokes(arrays, (x, y, side, side)))


def seen_picture(data: bytes, kind: Kind = "auto") -> tuple[Seen, Literal["drawing", "photo"]]:
    """Reads a picture file that was sent, as a photo or as a drawing on paper.

    Args:
      data: the file.
      kind: what it shows; "auto" looks (`looks_drawn`).

    Returns:
      Points or photo, and which it was taken for.

    Raises:
      ValueError: when it cannot be read (`decode_picture`), or shows no strokes as a drawing.
    """
    with ONE_AT_A_TIME:
        picture = decode_picture(io.BytesIO(data), "the picture")
        small, square = _shrunk(picture, SCANNED), square_photo(picture)
        del picture
    if kind == "photo" or (kind == "auto" and not looks_drawn(small)):
        return Seen(photo=square), "photo"
    points = points_from_ink(_filling(scanned_ink(small)))
    return Seen(points=points), "drawing"


def looks_drawn(picture: np.ndarray) -> bool:
    """Tells a drawing on paper from a photo: mostly paper, hardly any colour, and lines, no areas.

    Args:
      picture: [h, w, 3] uint8.
    """
    small = _shrunk(picture, LOOKED_AT)
    colour = small.max(axis=-1).astype(np.int16) - small.min(axis=-1)
    brightness = _on_paper(_grey(small), LOOKED_AT_CELLS)
    paper, ink = _two_levels(brightness)
    dark = Image.fromarray(np.uint8(255) * (brightness < (paper + ink) / 2))
    areas = np.asarray(dark.filter(ImageFilter.MinFilter(THICK)))
    return bool(
        (colour > COLOURED).mean() < MOST_COLOUR
        and (np.abs(brightness - paper) < 0.1).mean() > LEAST_PAPER
        and areas.astype(bool).mean() < MOST_AREA
    )


def scanned_ink(picture: np.ndarray) -> np.ndarray:
    """Finds the ink of a drawing that was scanned or photographed, in uneven light, dark on light or
    light on dark.

    Args:
      picture: [h, w, 3] uint8.

    Returns:
      [h, w] bool.

    Raises:
      ValueError: for a picture without strokes.
    """
    # A mean of 3 x 3 takes off two thirds of the grain.
    padded = np.pad(_grey(picture), 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    brightness = _on_paper((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, PAPER_CELLS)
    paper, ink = _two_levels(brightness)
    if paper - ink < FAINTEST:
        raise ValueError(
            f"the picture shows no strokes: its darkest parts are {paper - ink:.0%} darker than the "
            f"paper, at least {FAINTEST:.0%} are needed; use a darker pen, or search with it as a photo"
        )
    return brightness < paper - QUARTER * (paper - ink)


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrinks a picture's longer side to `side`, if it is longer."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([0.299, 0.587, 0.114], np.float32)


def _on_paper(grey: np.ndarray, cells: int) -> np.ndarray:
    """Brightness [h, w] of dark strokes relative to the paper around them, about 1 for paper."""
    if np.median(grey) < 128:
        grey = 255.0 - grey
    bounds = [np.linspace(0, n, min(n, cells) + 1).astype(int) for n in grey.shape]
    bright = [
        [np.percentile(grey[a:b, c:d], 90) for c, d in zip(bounds[1], bounds[1][1:], strict=False)]
        for a, b in zip(bounds[0], bounds[0][1:], strict=False)
    ]
    light = Image.fromarray(np.array(bright, np.float32))
    paper = np.asarray(light.resize(grey.shape[::-1], Image.Resampling.BILINEAR))
    return np.clip(grey / np.maximum(paper, 1.0), 0.0, 1.0)


def _two_levels(brightness: np.ndarray) -> tuple[float, float]:
    """Means of the two classes of values in 0..1 that differ most between them (Otsu's method):
    the brighter, the darker.
    """
    count = np.bincount((brightness * 255).astype(np.uint8).ravel(), minlength=256).astype(float)
    level = np.arange(256) / 255
    below, mass = np.cumsum(count), np.cumsum(count * level)
    above, rest = below[-1] - below, mass[-1] - mass
    both = (below > 0) & (above > 0)
    dark = np.divide(mass, below, out=np.zeros(256), where=both)
    bright = np.divide(rest, above, out=np.zeros(256), where=both)
    best = int(np.argmax(below * above * (bright - dark) ** 2))
    if not both[best]:  # a single level
        return (mass[-1] / below[-1],) * 2
    return float(bright[best]), float(dark[best])


def _filling(ink: np.ndarray) -> np.ndarray:
    """Cuts paper off, or adds some, so that the ink fills as much of a square as strokes do."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("the picture shows no strokes; send it as a photo, or use a darker pen")
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(*cut.shape, round(SMALLEST * max(ink.shape)))
    free = [side - n for n in cut.shape]
    border = round((1 / FILLED - 1) / 2 * side)
    return np.pad(cut, [(border + n // 2, border + n - n // 2) for n in free])
