"""Sketch pixels to point lists: binarise, thin (or not), put on the canvas lattice.

The canvas is a square of `CANVAS` = 681 units a side, x to the right, y down; a drawing that is not
square lies centred on the canvas of its longer side. A point list is the set of canvas cells that
hold ink, [p, 2] uint16 (x, y), each cell once, in raster order. 681 is three times 227: a cell is a
third of a pixel of the network's input, so cells closer than that are one point, whatever the
resolution of the source (method of the paper, section 3.1, "edge-preserving sketch resizing").

Every list is gap-free: pixels that touch in the source (8-connectivity) become cells joined by a
chain of touching cells, also where the source is coarser than the lattice.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from skimage.morphology import skeletonize

CANVAS = 681
PADDING = np.iinfo(np.uint16).max
PADDED_LENGTHS = (512, 1024, 2048, 4096, 8192)

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
    grey = image if image.ndim == 2 else image @ np.array([0.299, 0.587, 0.114], np.float32)
    ink = 255.0 - grey if polarity == "black_on_white" else grey
    return ink > 255.0 * threshold


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
        ink = skeletonize(ink)
    to_cells = _centre_cells if thinned or side >= CANVAS else _area_cells
    return _unique(to_cells(ink, side))


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
    """All cells whose centre lies in an ink pixel, for sources coarser than the lattice: a pixel is a square, and stays one."""
    square = np.zeros((side, side), bool)
    top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    square[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    source = ((np.arange(CANVAS) + 0.5) * (side / CANVAS)).astype(int)
    return np.argwhere(square[source][:, source])[:, ::-1].astype(np.uint16)


def _unique(cells: np.ndarray) -> np.ndarray:
    """Sorts canvas cells into raster order and drops repeated ones."""
    occupied = np.zeros((CANVAS, CANVAS), bool)
    occupied[cells[:, 1], cells[:, 0]] = True
    return np.argwhere(occupied)[:, ::-1].astype(np.uint16)
