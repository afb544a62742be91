"""Ink to its centre lines, without losing anything; the only importer of scikit-image's thinning."""

import numpy as np

# What is more than this many times as wide as a drawing's strokes is an area: a pupil, a filled wheel.
_AREA_WIDTHS = 2
_NARROWEST_AREA = 9  # cells; a pen two pixels wide draws lines of six
_LINES = 8  # a drawing has strokes when all together are this many times as long as wide
_MARGIN = 3  # cells between an area's border and its outermost points: half a pen of two pixels


def centre_lines(ink: np.ndarray) -> np.ndarray:
    """Thins strokes to their centre lines, [h, w] bool both."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    thin = np.zeros_like(ink)
    if len(rows):  # the paper around a drawing takes as long as the drawing
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        thin[box] = _skeleton(ink[box])
    return thin


def _skeleton(ink: np.ndarray) -> np.ndarray:
    """Thins strokes as scikit-image does, and keeps what that loses, [h, w] bool both.

    Zhang's algorithm eats slanted lines two pixels wide from their ends, and squares of 2 x 2
    (scikit-image, issues 6321 and 7704). Where it did, they are made a pixel wider, and thinned again.
    """
    # Imported here: it takes a third of all that a search imports, and points need no thinning.
    from skimage.morphology import skeletonize

    line = skeletonize(ink)
    lost = _lost(ink, line)
    if not lost.any():
        return line
    wider = np.pad(ink, [(0, 0), (0, 1)])
    wider[:, 1:] |= ink & _dilated(lost, 5)
    line = skeletonize(wider)[:, :-1] & ink
    return line | _lost(ink, line)


def _lost(ink: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Finds ink at most two pixels wide, [h, w] bool, of which thinning left no `line`."""
    wide = _dilated(_eroded(ink, 3), 3)
    narrow = ink & ~_dilated(wide, 3)  # what touches a wide stroke is its border
    if not narrow.any():
        return narrow
    # Ends may lose two pixels. Other strokes are further away: steps stay within the ink.
    return narrow & ~_dilated(ink & _dilated(line, 3), 3)


def recentred(line: np.ndarray, strength: np.ndarray, reach: int) -> np.ndarray:
    """Moves centre lines to where the ink around them has its middle, by two cells at most.

    Thinning knows only which cells are ink: it puts a line as much as a cell beside the middle of what
    was drawn.

    Args:
      line: [h, w] bool.
      strength: [h, w] uint8, how strongly cells are inked.
      reach: cells to each side that are looked at.

    Returns:
      [h, w] bool; cells that touched are joined by touching cells.
    """
    places = np.stack(inked(line), axis=1)
    offset = _middles(strength, places, reach) - places
    far = np.abs(offset).max(axis=1, keepdims=True) > 2  # another stroke
    moved = places + np.where(far | _ends(line, places)[:, None], 0.0, offset)
    number = np.zeros((line.shape[0] + 1, line.shape[1] + 2), np.intp)
    number[:-1, 1:-1][line] = np.arange(1, len(places) + 1)
    found = [moved]
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        neighbour = number[places[:, 0] + down, places[:, 1] + 1 + right]
        pairs = np.flatnonzero(neighbour)
        start, end = moved[pairs], moved[neighbour[pairs] - 1]
        found += [start + (end - start) * (part / 5) for part in range(1, 5)]
    rows, columns = np.round(np.concatenate(found)).astype(np.intp).T
    joined = np.zeros_like(line)
    joined[np.clip(rows, 0, line.shape[0] - 1), np.clip(columns, 0, line.shape[1] - 1)] = True
    return joined


def _ends(line: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns which places of lines have one neighbour at most, [n]: behind them, all ink is inwards."""
    padded = np.pad(line, 1).astype(np.uint8)
    rows, columns = places.T
    around = [padded[rows + down, columns + right] for down in range(3) for right in range(3)]
    return np.sum(around, axis=0) <= 2


def _middles(strength: np.ndarray, places: np.ndarray, reach: int) -> np.ndarray:
    """Returns the centre of gravity of strengths [h, w] within `reach` of each place, [n, 2] both."""
    framed = np.pad(strength, [(reach, reach), (1, 0)]).astype(np.int32)
    before = framed.cumsum(axis=1, dtype=np.int32)  # a canvas's moments, too, are below 2^31
    moments = (framed * np.arange(-1, strength.shape[1], dtype=np.int32)).cumsum(
        axis=1, dtype=np.int32
    )
    rows, columns = places.T
    left = np.maximum(columns - reach, 0)
    right = np.minimum(columns + reach + 1, strength.shape[1])
    mass, down, across = np.zeros((3, len(places)), np.int64)
    for row in rows + np.arange(2 * reach + 1)[:, None]:  # counted in the frame
        own = before[row, right] - before[row, left]
        mass += own
        down += own * (row - reach)
        across += moments[row, right] - moments[row, left]
    return np.stack([down, across], axis=1) / mass[:, None]


def inside_of_areas(ink: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Finds points that show how far areas reach that are wider than strokes.

    Args:
      ink: [h, w] bool, three cells per pixel of the network's input.
      line: [h, w] bool, its centre lines.

    Returns:
      [h, w] bool: the areas' outlines, a pen's half width inside of them, and every third row
      within, an output pixel apart: all of it touches.
    """
    length = int(np.count_nonzero(line))
    stroke = int(np.count_nonzero(ink)) / max(length, 1)  # width of a usual one
    wide = _AREA_WIDTHS * round(stroke) + 1 if length > _LINES * stroke else 0
    wide = max(wide, _NARROWEST_AREA)
    core = _eroded(ink, wide)
    if not core.any():
        return core
    inside = _eroded(ink, 2 * _MARGIN + 1) & _dilated(core, wide)
    outline = inside & ~_eroded(inside, 3)
    outline[1::3] = inside[1::3]
    return outline


def inked(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lists the rows and columns, [n] both, of what is not 0 in [h, w], in raster order.

    NumPy's own `nonzero` takes ten times as long for bytes in two dimensions as for flat truth values.
    """
    rows, columns = np.divmod(np.flatnonzero(values != 0), max(values.shape[1], 1))
    return rows, columns


def _dilated(ink: np.ndarray, width: int) -> np.ndarray:
    """Widens ink [h, w] bool by half of an odd `width` in x and in y."""
    return largest_around(ink.view(np.uint8), width).view(bool)


def _eroded(ink: np.ndarray, width: int) -> np.ndarray:
    """Narrows ink [h, w] bool by half of an odd `width` in x and in y; around it lies paper."""
    return ~largest_around((~ink).view(np.uint8), width, beyond=1).view(bool)


def largest_around(values: np.ndarray, width: int, *, beyond: int = 0) -> np.ndarray:
    """Takes the maximum over the square of odd `width` around each of the values [h, w] uint8."""
    half = (width // 2, width // 2)
    for _ in range(2):
        values, reach = np.pad(values, [half, (0, 0)], constant_values=beyond), 1
        while reach < width:
            step = min(reach, width - reach)
            values, reach = np.maximum(values[:-step], values[step:]), reach + step
        values = values.T  # rows, then columns
    return values
