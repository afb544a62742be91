"""Sketch pixels or pen strokes to point lists on the canvas lattice; pixels are binarised and thinned
(or not) first.

The canvas is a square of `CANVAS` = 681 units per side, x to the right, y down; a drawing that is not
square lies centred on the canvas of its longer side. A point list is the set of canvas cells that
hold ink, [p, 2] uint16 (x, y), each cell once, in raster order. 681 is three times 227: a cell is a
third of a pixel of the network's input, so cells closer than that are one point, whatever the
resolution of the source (method of the paper, section 3.1, "edge-preserving sketch resizing").

Every list is gap-free: pixels that touch in the source (8-connectivity), and points that follow each
other in a stroke, become cells joined by a chain of touching cells, also where the source is coarser
than the lattice.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

CANVAS = 681
PADDING = np.iinfo(np.uint16).max
PADDED_LENGTHS = (512, 1024, 2048, 4096, 8192)

_FARTHEST = 1e6  # canvas sides; rounding errors stay below a millionth of a cell up to there
_SEGMENTS_AT_ONCE = 4096  # at most 682 cells each: some 50 MB of work space

Polarity = Literal["black_on_white", "white_on_black"]


def check_polarity(polarity: str) -> None:
    """Raises ValueError unless `polarity` is one of the two known names."""
    if polarity not in get_args(Polarity):
        raise ValueError(
            f"polarity={polarity!r} is unknown; choose one of {', '.join(get_args(Polarity))}"
        )


def ink_of(
    image: np.ndarray, *, polarity: Polarity = "black_on_white", threshold: float = 0.25
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
    check_polarity(polarity)
    if image.dtype != np.uint8 or not (
        image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    ):
        raise ValueError(
            f"a drawing must be uint8 [h, w] or [h, w, 3], got {image.dtype} {list(image.shape)}; convert it first"
        )
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold={threshold} must lie between 0 and 1, both excluded")
    if image.ndim == 3:
        grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
        return (255.0 - grey if polarity == "black_on_white" else grey) > 255.0 * threshold
    # Bytes compared with a byte: a tenth of the time of the same in floating point.
    levels = int(np.sum(np.arange(256) > 255.0 * threshold))
    return image < levels if polarity == "black_on_white" else image >= 256 - levels


def points_from_ink(ink: np.ndarray, *, thinned: bool = True) -> np.ndarray:
    """Lists the canvas points of a binary drawing.

    Args:
      ink: [h, w] bool.
      thinned: True thins the strokes to one-pixel centre lines first, as the method's text says
        (Fig. 1, 6th column); False keeps every ink pixel (5th column). BUILD_NOTES.md has what was
        measured of both.

    Returns:
      [p, 2] uint16 canvas points, unique, in raster order; [0, 2] for a drawing without ink.
    """
    if ink.dtype != bool or ink.ndim != 2:
        raise ValueError(f"ink must be bool [h, w], got {ink.dtype} {list(ink.shape)}; see ink_of")
    side = max(ink.shape)
    if thinned:
        ink = _thinned(ink)
    to_cells = _centre_cells if thinned or side >= CANVAS else _area_cells
    return _unique(to_cells(ink, side))


def _thinned(ink: np.ndarray) -> np.ndarray:
    """Thins strokes to their centre lines, [h, w] bool both."""
    # Imported here: it takes a third of all that a search imports, and points need no thinning.
    from skimage.morphology import skeletonize

    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    thin = np.zeros_like(ink)
    if len(rows):  # the paper around a drawing takes as long as the drawing
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        thin[box] = skeletonize(ink[box])
    return thin


def points_from_image(
    image: np.ndarray,
    *,
    thinned: bool = True,
    polarity: Polarity = "black_on_white",
    threshold: float = 0.25,
) -> np.ndarray:
    """Lists the canvas points of a drawing: `points_from_ink` of its `ink_of`.

    Args:
      image: [h, w] or [h, w, 3] uint8.
      thinned: see `points_from_ink`.
      polarity: see `ink_of`.
      threshold: see `ink_of`.

    Returns:
      [p, 2] uint16 canvas points.
    """
    return points_from_ink(ink_of(image, polarity=polarity, threshold=threshold), thinned=thinned)


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
      box: left, top, width, height. Its right and bottom edges belong to it.

    Returns:
      [p, 2] uint16 canvas points, unique, in raster order; each stroke's part inside the box is a
      chain of touching cells. [0, 2] where nothing lies in the box.

    Raises:
      ValueError: for a box without area, another shape or dtype, or a point that is not finite or
        further than a million canvas sides away.
    """
    corner = _corner(box)
    occupied = np.zeros((CANVAS, CANVAS), bool)
    for vertices in canvas_strokes(strokes, box):
        starts, ends = (vertices, vertices) if len(vertices) == 1 else (vertices[:-1], vertices[1:])
        for first in range(0, len(starts), _SEGMENTS_AT_ONCE):
            some = slice(first, first + _SEGMENTS_AT_ONCE)
            cells = _line_cells(*_clipped(starts[some], ends[some], corner, CANVAS - corner))
            occupied[cells[:, 1], cells[:, 0]] = True
    return _listed(occupied)


def canvas_strokes(
    strokes: Sequence[np.ndarray], box: tuple[float, float, float, float]
) -> list[np.ndarray]:
    """Moves strokes from their box to the canvas, as `points_from_strokes` does.

    Args:
      strokes: see `points_from_strokes`.
      box: see `points_from_strokes`.

    Returns:
      The strokes in canvas units, [n, 2] float64; what lies in the box is in 0..681.

    Raises:
      ValueError: see `points_from_strokes`.
    """
    corner = _corner(box)
    left, top, width, height = box
    scale = CANVAS / max(width, height)
    moved = []
    for number, stroke in enumerate(strokes):
        with np.errstate(over="ignore"):  # what overflows is told below
            vertices = (_checked_stroke(stroke, number) - (left, top)) * scale + corner
        near = (np.abs(vertices) <= _FARTHEST * CANVAS).all(axis=1)  # not so for NaN
        if not near.all():
            row = int(np.argmin(near))
            x, y = np.asarray(stroke)[row]
            raise ValueError(
                f"point {row} of stroke {number} is ({x}, {y}), not finite or more than "
                f"{_FARTHEST:.0e} times the size of box={box} away from it; repair or leave out the "
                "stroke"
            )
        moved.append(vertices)
    return moved


def padded_length(length: int) -> int:
    """Returns the length that a list of `length` points is padded to: few lengths mean few
    compilations.

    One of `PADDED_LENGTHS`, or beyond them the next multiple of the longest.
    """
    longest = PADDED_LENGTHS[-1]
    return next((n for n in PADDED_LENGTHS if n >= length), -(-length // longest) * longest)


def pad_points(lists: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """Stacks point lists of different lengths; `PADDING` coordinates lie far off the canvas, so
    that no map ever shows them.

    Args:
      lists: b arrays [p_i, 2] uint16.
      length: p; by default the `padded_length` of the longest list.

    Returns:
      [b, p, 2] uint16.

    Raises:
      ValueError: when a list is longer than `length`; nothing is ever cut off.
    """
    longest = max((len(points) for points in lists), default=0)
    length = padded_length(longest) if length is None else length
    if longest > length:
        raise ValueError(
            f"a list of {longest} points does not fit into length={length}; raise length"
        )
    padded = np.full((len(lists), length, 2), PADDING, np.uint16)
    for row, points in zip(padded, lists, strict=True):
        row[: len(points)] = points
    return padded


def _to_cells(positions: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Source (row, column) pixel positions -> canvas cells (x, y) of their centres."""
    margin = (side - np.asarray(shape)) / 2  # centres the shorter side on the square canvas
    cells = np.floor((positions + 0.5 + margin) * (CANVAS / side))
    return np.clip(cells, 0, CANVAS - 1)[:, ::-1].astype(np.uint16)


def _centre_cells(ink: np.ndarray, side: int) -> np.ndarray:
    """Cells of the ink pixels' centres; where pixels lie further apart than cells, touching ones are joined by straight lines."""
    positions = np.argwhere(ink)
    if side >= CANVAS:
        return _to_cells(positions, side, ink.shape)
    # Touching centres are at most one pixel apart in x and in y, so steps of side / CANVAS pixels
    # never skip a cell.
    along = np.linspace(0.0, 1.0, int(np.ceil(CANVAS / side)) + 1)[:, None, None]
    joined = [positions]
    for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
        starts = _pairs(ink, step)
        joined.append((starts + along * np.array(step)).reshape(-1, 2))
    return _to_cells(np.concatenate(joined), side, ink.shape)


def _pairs(ink: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Positions [n, 2] of the ink pixels whose neighbour at `step` (row 0 or 1, column -1..1) is ink too."""
    down, right = step
    padded = np.pad(ink, ((0, down), (1, 1)))
    height, width = ink.shape
    return np.argwhere(ink & padded[down : down + height, 1 + right : 1 + right + width])


def _area_cells(ink: np.ndarray, side: int) -> np.ndarray:
    """All cells whose centre lies in an ink pixel, for sources coarser than the lattice: a pixel is a
    square, and stays one.
    """
    height, width = ink.shape
    centre = (np.arange(CANVAS) + 0.5) * (side / CANVAS)  # in source pixels from the square's edge
    row, column = (np.floor(centre - (side - n) / 2).astype(int) for n in (height, width))
    inside = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))
    covered = ink[np.clip(row, 0, height - 1)][:, np.clip(column, 0, width - 1)]
    return np.argwhere(covered & inside)[:, ::-1].astype(np.uint16)


def _unique(cells: np.ndarray) -> np.ndarray:
    """Sorts canvas cells into raster order and drops repeated ones."""
    occupied = np.zeros((CANVAS, CANVAS), bool)
    occupied[cells[:, 1], cells[:, 0]] = True
    return _listed(occupied)


def _listed(occupied: np.ndarray) -> np.ndarray:
    """Lists the occupied cells (x, y) of a canvas [CANVAS, CANVAS] bool in raster order."""
    return np.argwhere(occupied)[:, ::-1].astype(np.uint16)


def _corner(box: tuple[float, float, float, float]) -> np.ndarray:
    """Returns where the box's top left corner lies on the canvas, [2] x and y."""
    size = np.array(box[2:], np.float64)
    if not (size.min() > 0 and np.isfinite(box).all()):
        raise ValueError(
            f"box={box} must be left, top and a width and height above 0, all finite; enlarge it"
        )
    return (CANVAS - size * (CANVAS / size.max())) / 2


def _checked_stroke(stroke: np.ndarray, number: int) -> np.ndarray:
    """Returns a stroke as float64 [n, 2], or says what else it is."""
    stroke = np.asarray(stroke)
    if stroke.ndim != 2 or stroke.shape[1] != 2 or stroke.dtype.kind not in "iuf":
        raise ValueError(
            f"stroke {number} must be numbers [n, 2], got {stroke.dtype} {list(stroke.shape)}; "
            "stack its x and y as columns"
        )
    return stroke.astype(np.float64)


def _clipped(
    starts: np.ndarray, ends: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts line segments down to an upright rectangle and drops those that miss it.

    Args:
      starts: [n, 2] float64; a segment holds the points `start + t (end - start)`, t in [0, 1].
      ends: [n, 2] float64.
      low: [2] the rectangle's corner nearest to the origin; it belongs to the rectangle.
      high: [2] the opposite one; it belongs to it too.

    Returns:
      The starts and ends [m, 2] of what is left.
    """
    delta = ends - starts
    still = delta == 0
    slope = np.where(still, 1.0, delta)
    # A coordinate that stands still bounds t not at all, or leaves nothing.
    with np.errstate(over="ignore"):  # one that hardly moves reaches no edge: infinity is right
        one = np.where(still, -np.inf, (low - starts) / slope)
        other = np.where(still, np.inf, (high - starts) / slope)
    inside = (starts >= low) & (starts <= high)
    enter = np.maximum(np.minimum(one, other).max(axis=1), 0.0)[:, None]
    leave = np.minimum(np.maximum(one, other).min(axis=1), 1.0)[:, None]
    seen = (enter <= leave)[:, 0] & (inside | ~still).all(axis=1)
    starts, delta, enter, leave = starts[seen], delta[seen], enter[seen], leave[seen]
    return starts + enter * delta, starts + leave * delta


def _line_cells(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Chains of touching cells [m, 2] along line segments [n, 2] that lie on the lattice.

    A segment is sampled at steps of less than one cell in x and in y, ends included, so neighbouring
    samples lie in the same cell or in touching ones.
    """
    # The millionth keeps a step below one cell after rounding too.
    steps = np.ceil(np.abs(ends - starts).max(axis=1) + 1e-6).astype(int)
    counts = steps + 1
    segment = np.repeat(np.arange(len(starts)), counts)
    sample = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)
    along = (sample / steps[segment])[:, None]
    positions = starts[segment] * (1.0 - along) + ends[segment] * along
    return np.clip(positions, 0, CANVAS - 1).astype(np.intp)
