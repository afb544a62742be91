"""Sketch pixels or pen strokes to point lists on the canvas lattice: where a pen went, and how hard it
was pressed there.

The canvas is a square of `CANVAS` = 681 units per side, x to the right, y down; a drawing that is not
square lies centred on the canvas of its longer side. A point list is the set of canvas cells that
a pen went through, [p, 3] uint16 (x, y, darkness), each cell once, in raster order; the darkness is
1 to `DARKEST`. A list [p, 2] knows places only, all of full darkness. 681 is three times 227: a cell
is a third of a pixel of the network's input, so cells closer than that are one point, whatever the
resolution of the source (method of the paper, section 3.1, "edge-preserving sketch resizing").

A source that is coarser than the lattice is enlarged to it while it is grey, and binarised and
thinned there: grey values say where within a pixel a line lies, and thinning the source's own pixels
would turn slanted lines into stairs. A finer source is thinned as it is.

Every list is gap-free: pixels that touch in the source (8-connectivity), and points that follow each
other in a stroke, become cells joined by a chain of touching cells, also where the source is coarser
than the lattice.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from dsf_jax.images.clipping import clipped_segments, clipped_stroke
from dsf_jax.images.enlarging import enlarged, with_firm_lines
from dsf_jax.images.thinning import centre_lines, inked, inside_of_areas, largest_around, recentred

CANVAS = 681
DARKEST = 255  # darkness of a point that was inked fully
THRESHOLD = 0.25  # how dark ink is at least, between paper (0) and full ink (1)
PADDING = np.iinfo(np.uint16).max
PADDED_LENGTHS = (512, 1024, 2048, 4096, 8192)

_FARTHEST = 1e6  # canvas sides; rounding errors stay below a millionth of a cell up to there
_SEGMENTS_AT_ONCE = 4096  # at most 682 cells each: some 50 MB of work space
_AROUND = 7  # cells a side in which a point's darkness is looked for: the width of a thin line

Polarity = Literal["black_on_white", "white_on_black"]


def check_polarity(polarity: str) -> None:
    """Raises ValueError unless `polarity` is one of the two known names."""
    if polarity not in get_args(Polarity):
        raise ValueError(
            f"polarity={polarity!r} is unknown; choose one of {', '.join(get_args(Polarity))}"
        )


def ink_of(
    image: np.ndarray, *, polarity: Polarity = "black_on_white", threshold: float = THRESHOLD
) -> np.ndarray:
    """Finds the ink of a drawing.

    Args:
      image: [h, w] or [h, w, 3] uint8.
      polarity: whether the strokes are darker or lighter than the paper.
      threshold: how far from paper (0) to full ink (1) a pixel must be, in (0, 1). A quarter keeps
        strokes whole that are thinner than a pixel and therefore grey, as in sketches that were
        shrunk with anti-aliasing.

    Returns:
      [h, w] bool.

    Raises:
      ValueError: for another dtype or rank, an unknown polarity, or a threshold outside (0, 1).
    """
    _check_drawing(image, polarity)
    return _strength(image, polarity) >= _level(threshold)


def _check_drawing(image: np.ndarray, polarity: str) -> None:
    check_polarity(polarity)
    if image.dtype != np.uint8 or image.ndim < 2 or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"a drawing must be uint8 [h, w] or [h, w, 3], got {image.dtype} {list(image.shape)}; convert it first"
        )


def _strength(image: np.ndarray, polarity: Polarity) -> np.ndarray:
    """Returns how strongly a drawing is inked, [h, w] uint8 from paper (0) to full ink (255)."""
    if image.ndim == 3:
        image = np.round(image @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)
    return 255 - image if polarity == "black_on_white" else image


def _level(threshold: float) -> int:
    """Returns the least byte that is ink: bytes compared with a byte take a tenth of the time of floats."""
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold={threshold} must lie between 0 and 1, both excluded")
    return int(np.sum(np.arange(256) <= 255.0 * threshold))


def points_from_ink(ink: np.ndarray, *, thinned: bool = True) -> np.ndarray:
    """Lists the canvas points of a binary drawing, which knows places only.

    Args:
      ink: [h, w] bool.
      thinned: see `points_from_image`.

    Returns:
      [p, 2] uint16 x and y, unique, in raster order; [0, 2] for a drawing without ink.
    """
    if ink.dtype != bool or ink.ndim != 2:
        raise ValueError(f"ink must be bool [h, w], got {ink.dtype} {list(ink.shape)}; see ink_of")
    image = np.where(ink, np.uint8(0), np.uint8(DARKEST))
    return points_from_image(image, thinned=thinned)[:, :2]


def points_from_image(
    image: np.ndarray,
    *,
    thinned: bool = True,
    polarity: Polarity = "black_on_white",
    threshold: float = THRESHOLD,
) -> np.ndarray:
    """Lists the canvas points of a drawing.

    Args:
      image: [h, w] or [h, w, 3] uint8.
      thinned: True thins the strokes to their centre lines, as the method's text says (Fig. 1, 6th
        column); areas much wider than a stroke keep their extent. False keeps every ink pixel
        (5th column). What was measured of both is in docs/experiments.md, "Thinned strokes and
        the ink threshold".
      polarity: see `ink_of`.
      threshold: see `ink_of`.

    Returns:
      [p, 3] uint16 canvas points, unique, in raster order; each as dark as the drawing is within
      three cells of it. [0, 3] for a drawing without ink.
    """
    _check_drawing(image, polarity)
    find = _line_darkness if thinned else _area_darkness
    return _listed(find(_strength(image, polarity), _level(threshold)))


def _line_darkness(strength: np.ndarray, level: int) -> np.ndarray:
    """Thins a drawing: [CANVAS, CANVAS] uint8, the darkness of each point, 0 elsewhere."""
    side = max(strength.shape)
    if side < CANVAS:
        on_canvas = enlarged(strength, CANVAS)
        ink = enlarged(with_firm_lines(strength, level, CANVAS), CANVAS) >= level
        line = recentred(centre_lines(ink), on_canvas, math.ceil(1.5 * CANVAS / side))
        kept = line | inside_of_areas(ink, line)
        return np.where(kept, largest_around(on_canvas, _AROUND), 0)
    around = largest_around(strength, round(_AROUND * side / CANVAS / 2 - 0.5) * 2 + 1)
    darkness = _on_canvas(np.where(centre_lines(strength >= level), around, 0))
    area = _area_darkness(strength, level)
    return np.where(inside_of_areas(area > 0, darkness > 0), area, darkness)


def points_from_strokes(
    strokes: Sequence[np.ndarray], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Lists the canvas points of pen strokes, without a picture in between.

    The box plays the part of the picture: its longer side becomes the canvas, and it lies centred
    on it. As on any drawing surface, what a stroke does outside of the box is not seen: the parts
    inside stay, and nothing is drawn along the border. A wider box is a margin.

    Args:
      strokes: arrays [n, 2] of x, y in the box's units, y down, each a pen's way from touch to
        lift; the points are joined by straight lines. A single point is a dot, none is nothing.
        [n, 3] holds the pen's pressure too, in [0, 1]; without it, it is 1.
      box: left, top, width, height. Its right and bottom edges belong to it.

    Returns:
      [p, 3] uint16 canvas points, unique, in raster order; each stroke's part inside the box is a
      chain of touching cells. [0, 3] where nothing lies in the box.

    Raises:
      ValueError: for a box without area, another shape or dtype, a pressure beyond [0, 1], or a point
        that is not finite or further than a million canvas sides away.

    Examples:
      >>> line = np.array([[0, 0, 1.0], [3, 1, 0.4]])  # x, y, pressure
      >>> points_from_strokes([line], box=(0, 0, CANVAS, CANVAS)).tolist()
      [[0, 0, 255], [1, 0, 178], [2, 0, 140], [3, 1, 102]]
    """
    corner = _corner(box)
    low, high = np.append(corner, -np.inf), np.append(CANVAS - corner, np.inf)
    darkness = np.zeros((CANVAS, CANVAS), np.uint8)
    for vertices in canvas_strokes(strokes, box):
        if vertices.shape[1] == 2:
            vertices = np.insert(vertices, 2, 1.0, axis=1)
        starts, ends = (vertices, vertices) if len(vertices) == 1 else (vertices[:-1], vertices[1:])
        for first in range(0, len(starts), _SEGMENTS_AT_ONCE):
            some = slice(first, first + _SEGMENTS_AT_ONCE)
            x, y, pressure = _line_cells(*clipped_segments(starts[some], ends[some], low, high)).T
            dark = np.clip(np.round(DARKEST * pressure), 1, DARKEST).astype(np.uint8)
            np.maximum.at(darkness, (y.astype(np.intp), x.astype(np.intp)), dark)
    return _listed(darkness)


def canvas_strokes(
    strokes: Sequence[np.ndarray], box: tuple[float, float, float, float]
) -> list[np.ndarray]:
    """Moves strokes from their box to the canvas, as `points_from_strokes` does.

    Args:
      strokes: see `points_from_strokes`.
      box: see `points_from_strokes`.

    Returns:
      The strokes in canvas units, [n, 2] or [n, 3] float64; what lies in the box is in 0..681.

    Raises:
      ValueError: see `points_from_strokes`.
    """
    corner = _corner(box)
    left, top, width, height = box
    scale = CANVAS / max(width, height)
    moved = []
    for number, stroke in enumerate(strokes):
        with np.errstate(over="ignore"):  # what overflows is told below
            vertices = _checked_stroke(stroke, number)
            vertices[:, :2] = (vertices[:, :2] - (left, top)) * scale + corner
        near = (np.abs(vertices) <= _FARTHEST * CANVAS).all(axis=1)  # not so for NaN
        if not near.all():
            row = int(np.argmin(near))
            x, y = np.asarray(stroke)[row, :2]
            raise ValueError(
                f"point {row} of stroke {number} is ({x}, {y}), not finite or more than "
                f"{_FARTHEST:.0e} times the size of box={box} away from it; repair or leave out the "
                "stroke"
            )
        moved.append(vertices)
    return moved


def strokes_inside(
    strokes: Sequence[np.ndarray], box: tuple[float, float, float, float]
) -> list[np.ndarray]:
    """Cuts strokes down to what is seen of them in their box; one that leaves it and comes back is two.

    Args:
      strokes: see `points_from_strokes`.
      box: see `points_from_strokes`.

    Returns:
      The pieces in canvas units, see `canvas_strokes`.

    Raises:
      ValueError: see `points_from_strokes`.
    """
    low = _corner(box)
    return [
        piece
        for stroke in canvas_strokes(strokes, box)
        for piece in clipped_stroke(stroke, low, CANVAS - low)
    ]


def check_pressure(stroke: np.ndarray, number: int) -> None:
    """Raises ValueError for a stroke [n, 2] or [n, 3] with a pressure beyond [0, 1]; `number` names it."""
    pressure = stroke[:, 2:]
    fits = ((pressure >= 0) & (pressure <= 1)).all(axis=1)  # not so for NaN
    if not fits.all():
        row = int(np.argmin(fits))
        raise ValueError(
            f"point {row} of stroke {number} has the pressure {pressure[row, 0]}, expected 0 to 1; scale it"
        )


def padded_length(length: int) -> int:
    """Returns what a list of `length` points is padded to: one of `PADDED_LENGTHS`, or beyond them the
    next multiple of the longest. Few lengths mean few compilations.
    """
    longest = PADDED_LENGTHS[-1]
    return next((n for n in PADDED_LENGTHS if n >= length), -(-length // longest) * longest)


def pad_points(lists: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """Stacks point lists of different lengths; `PADDING` coordinates lie far off the canvas, so
    that no map ever shows them.

    Args:
      lists: b arrays [p_i, 3] uint16, or [p_i, 2] of places that are all fully dark.
      length: p; by default the `padded_length` of the longest list.

    Returns:
      [b, p, 3] uint16.

    Raises:
      ValueError: when a list is longer than `length`; nothing is ever cut off.
    """
    longest = max((len(points) for points in lists), default=0)
    length = padded_length(longest) if length is None else length
    if longest > length:
        raise ValueError(
            f"a list of {longest} points does not fit into length={length}; raise length"
        )
    padded = np.full((len(lists), length, 3), (PADDING, PADDING, DARKEST), np.uint16)
    for row, points in zip(padded, lists, strict=True):
        row[: len(points), : points.shape[1]] = points
    return padded


def _on_canvas(darkness: np.ndarray) -> np.ndarray:
    """Moves the pixels of a source no coarser than the lattice, [h, w] uint8, to the cells that their
    centres lie in, [CANVAS, CANVAS] uint8; of several in one cell, the darkest shows.
    """
    side, (rows, columns) = max(darkness.shape), inked(darkness)
    cells = []
    for length, places in zip(darkness.shape, (rows, columns), strict=True):
        margin = (side - length) / 2  # centres the shorter side on the canvas
        cell = np.floor((np.arange(length) + 0.5 + margin) * (CANVAS / side))
        cells.append(np.clip(cell, 0, CANVAS - 1).astype(np.intp)[places])
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    np.maximum.at(canvas, tuple(cells), darkness[rows, columns])
    return canvas


def _area_darkness(strength: np.ndarray, level: int) -> np.ndarray:
    """Keeps all ink of a drawing: [CANVAS, CANVAS] uint8, the darkness of each point, 0 elsewhere.

    A pixel of a source coarser than the lattice is a square, and stays one: its cells are those
    whose centre lies in it. Pixels of a finer source are the cells that their centres lie in.
    """
    side = max(strength.shape)
    strong = np.where(strength >= level, strength, 0).astype(np.uint8)
    if side >= CANVAS:
        return _on_canvas(strong)
    height, width = strength.shape
    centre = (np.arange(CANVAS) + 0.5) * (side / CANVAS)  # in source pixels from the square's edge
    row, column = (np.floor(centre - (side - n) / 2).astype(int) for n in (height, width))
    inside = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))
    covered = strong[np.clip(row, 0, height - 1)][:, np.clip(column, 0, width - 1)]
    return covered * inside


def _listed(darkness: np.ndarray) -> np.ndarray:
    """Lists the cells of a canvas [CANVAS, CANVAS] uint8 that are not 0, in raster order: [p, 3] uint16."""
    y, x = inked(darkness)
    return np.stack([x, y, darkness[y, x]], axis=1).astype(np.uint16)


def _corner(box: tuple[float, float, float, float]) -> np.ndarray:
    """Returns where the box's top left corner lies on the canvas, [2] x and y."""
    size = np.array(box[2:], np.float64)
    if not (size.min() > 0 and np.isfinite(box).all()):
        raise ValueError(
            f"box={box} must be left, top and a width and height above 0, all finite; enlarge it"
        )
    return (CANVAS - size * (CANVAS / size.max())) / 2


def _checked_stroke(stroke: np.ndarray, number: int) -> np.ndarray:
    """Returns a copy of a stroke as float64 [n, 2 or 3], or says what else it is."""
    stroke = np.asarray(stroke)
    if stroke.ndim != 2 or stroke.shape[1] not in (2, 3) or stroke.dtype.kind not in "iuf":
        raise ValueError(
            f"stroke {number} must be numbers [n, 2] or [n, 3], got {stroke.dtype} "
            f"{list(stroke.shape)}; stack its x and y, and its pressure if it has one, as columns"
        )
    check_pressure(stroke, number)
    return stroke.astype(np.float64)


def _line_cells(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Lists chains of touching cells along line segments [n, 3] that lie on the lattice: x, y, pressure.

    A segment is sampled at steps of less than one cell in x and in y, ends included, so neighbouring
    samples lie in the same cell or in touching ones.

    Returns:
      [m, 3] float64; x and y are whole numbers.
    """
    # The millionth keeps a step below one cell after rounding too.
    steps = np.ceil(np.abs(ends - starts)[:, :2].max(axis=1) + 1e-6).astype(int)
    counts = steps + 1
    segment = np.repeat(np.arange(len(starts)), counts)
    sample = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)
    along = (sample / steps[segment])[:, None]
    samples = starts[segment] * (1.0 - along) + ends[segment] * along
    samples[:, :2] = np.floor(np.clip(samples[:, :2], 0, CANVAS - 1))
    return samples
