"""What each resizing of a sketch leaves of its strokes (Fig. 1 of the paper)."""

import numpy as np

from dsf_jax.images.points import CANVAS, pad_points, points_from_image
from dsf_jax.images.resize import (
    BINARY_PEN,
    PEN,
    SIZE,
    edge_preserving_resize,
    interpolating_resize,
)

DARK = 128  # of 256 levels of brightness: below, a pixel reads as ink


def resized(sketch: np.ndarray, *, size: int = SIZE) -> dict[str, np.ndarray]:
    """Resizes a sketch by each method of Fig. 1, and by this library's pen.

    Args:
      sketch: square image [s, s] uint8, black on white.
      size: h = w of the results.

    Returns:
      {name: [size, size] uint8}.
    """
    levels = {"cubic": None, "cubic > .3": 0.3, "cubic > .5": 0.5, "cubic > .99": 0.99}
    made = {
        name: interpolating_resize(sketch, size=size, binarise_at=level)
        for name, level in levels.items()
    }
    forms = (
        ("edge-preserving", False, BINARY_PEN),
        ("thinned", True, BINARY_PEN),
        ("drawn with a pen", True, PEN),
    )
    for name, thinned, pen in forms:
        points = pad_points([points_from_image(sketch, thinned=thinned)])[0]
        made[name] = edge_preserving_resize(points, size=size, pen=pen)
    return {name: np.asarray(image) for name, image in made.items()}


def kept_strokes(sketch: np.ndarray, small: np.ndarray) -> float:
    """Measures what Fig. 1 is about: the fraction of a sketch's strokes that a resized one still shows.

    Args:
      sketch: square image [s, s] uint8, black on white.
      small: [size, size] uint8, made from it.

    Returns:
      The fraction of the points on the strokes' middle lines that fall on a dark pixel.
    """
    points = points_from_image(sketch)[:, :2].astype(np.int64)
    columns, rows = ((2 * points + 1) * len(small) // (2 * CANVAS)).T
    return float(np.mean(small[rows, columns] < DARK))
