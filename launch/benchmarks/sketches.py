"""A drawing to time with, as strokes, points and pixels; and its 18 views as others make them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dsf_jax.images.points import CANVAS, PADDING, pad_points, points_from_strokes
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import VIEW_ANGLES, VIEW_FLIPS

SIDE = 1111  # pixels, as TU-Berlin's
PEN = 2  # pixels to either side of the line
CURVES = 6  # some 3,400 points in all


def strokes(seed: int = 0) -> list[np.ndarray]:
    """Draws closed curves, [n, 2] x and y in pixels, closer than a pixel."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0.0, 2 * np.pi, 1500)
    drawn = []
    for _ in range(CURVES):
        centre, radius = rng.uniform(300, SIDE - 300, 2), rng.uniform(80, 130)
        wave = 1 + 0.3 * np.sin(rng.integers(2, 6) * turn + rng.uniform(0, 6))
        drawn.append(centre + radius * np.stack([wave * np.cos(turn), wave * np.sin(turn)], axis=1))
    return drawn


def pixels_of(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Draws strokes with a square pen, [SIDE, SIDE] uint8, black on white."""
    image = np.full((SIDE, SIDE), 255, np.uint8)
    for x, y in np.concatenate(lines).astype(int):
        image[y - PEN : y + PEN + 1, x - PEN : x + PEN + 1] = 0
    return image


def points_of(lines: Sequence[np.ndarray]) -> np.ndarray:
    """The canvas points of strokes, padded, [p, 3]."""
    return pad_points([points_from_strokes(lines, (0, 0, SIDE, SIDE))])[0]


def looped_views(points: np.ndarray) -> np.ndarray:
    """The 18 views by a loop over them in NumPy, each point's place in float32.

    Args:
      points: [p, 3] without padding.

    Returns:
      [v, SIZE, SIZE] uint8.
    """
    centred = (points[:, :2].astype(np.float32) + np.float32(0.5)) / np.float32(
        CANVAS
    ) - np.float32(0.5)
    views = np.full((len(VIEW_ANGLES), SIZE, SIZE), 255, np.uint8)
    for view, angle, flip in zip(views, np.deg2rad(VIEW_ANGLES), VIEW_FLIPS, strict=True):
        cos, sin = np.cos(angle), np.sin(angle)
        x, y = (-centred[:, 0] if flip else centred[:, 0]), centred[:, 1]
        columns = np.floor((cos * x + sin * y + np.float32(0.5)) * SIZE).astype(np.int32)
        rows = np.floor((-sin * x + cos * y + np.float32(0.5)) * SIZE).astype(np.int32)
        inside = (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE)
        view[rows[inside], columns[inside]] = 0
    return views


def unpadded(points: np.ndarray) -> np.ndarray:
    """Drops the padding of a point list."""
    return points[points[:, 0] != PADDING]


def warped_views(cv2: Any, image: np.ndarray) -> np.ndarray:
    """The 18 views by turning and shrinking the pixels 18 times, in OpenCV.

    Args:
      cv2: OpenCV.
      image: [SIDE, SIDE] uint8.

    Returns:
      [v, SIZE, SIZE] uint8, grey.
    """
    views = np.empty((len(VIEW_ANGLES), SIZE, SIZE), np.uint8)
    middle = (SIDE - 1) / 2
    for view, angle, flip in zip(views, VIEW_ANGLES, VIEW_FLIPS, strict=True):
        turn = cv2.getRotationMatrix2D((middle, middle), float(angle), 1.0)
        drawing = cv2.flip(image, 1) if flip else image
        turned = cv2.warpAffine(drawing, turn, (SIDE, SIDE), borderValue=255)
        cv2.resize(turned, (SIZE, SIZE), dst=view, interpolation=cv2.INTER_AREA)
    return views


def lost_ink(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of our ink that theirs does not show within a pixel, [v, h, w] both: 0 where the views
    are of one drawing and turned alike.
    """
    dark = np.pad(theirs < 255, ((0, 0), (1, 1), (1, 1)))
    height, width = ours.shape[1:]
    near: Callable[[int, int], np.ndarray] = lambda i, j: dark[:, i : i + height, j : j + width]  # noqa: E731
    reached = np.any([near(i, j) for i in range(3) for j in range(3)], axis=0)
    return float(1.0 - np.mean(reached[ours == 0]))
