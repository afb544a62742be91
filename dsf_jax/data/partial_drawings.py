"""Drawings as they look while they are drawn: the first part of their strokes, framed as the page frames
what is drawn on it.

Prepared data keeps strokes in drawing order where its source has them: quickdraw, and tu_berlin made of SVGs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsf_jax.data.drawings import framed_points
from dsf_jax.data.mixtures import Examples
from dsf_jax.images.points import CANVAS


class PartialDrawings(Sequence[dict[str, Any]]):
    """The beginnings of drawings, as examples {"points": [p, 3] uint16, "label": int}."""

    def __init__(
        self, strokes: Sequence[Sequence[np.ndarray]], labels: np.ndarray, share: float
    ) -> None:
        """Names the drawings and how much of each is drawn.

        Args:
          strokes: [n] drawings, each a list of strokes [v, 2] in canvas units, in drawing order.
          labels: [n] int.
          share: fraction of a drawing's strokes, in (0, 1], see `drawn_until`.
        """
        self._strokes, self.labels, self._share = strokes, labels, share

    def __len__(self) -> int:
        """Returns the number of drawings."""
        return len(self._strokes)

    def __getitem__(self, index: Any) -> dict[str, Any]:  # type: ignore[override]
        """Draws the beginning of one drawing."""
        strokes = self._strokes[index]
        every = np.concatenate(strokes)
        # What lies beyond the canvas's edge is not lost before it is moved to the middle.
        low, high = min(0.0, float(every.min())), max(float(CANVAS), float(every.max()) + 1)
        box = (low, low, high - low, high - low)
        points = framed_points(drawn_until(strokes, self._share), box)
        return {"points": points, "label": int(self.labels[index])}


def partial_drawings(drawings: Examples, shares: Sequence[float]) -> list[PartialDrawings]:
    """Takes the beginnings of drawings.

    Args:
      drawings: n drawings, as points.
      shares: fractions of their strokes.

    Returns:
      All n of them, for each fraction.

    Raises:
      ValueError: when they are shown as pixels, or some have no strokes.
    """
    if "points" not in drawings[0]:
        raise ValueError(
            "the beginnings of drawings are drawn from strokes, but the network takes interpolated pixels; "
            "take one that was trained with --resizing=edge_preserving"
        )
    tables = drawings.values("strokes")
    if absent := [name for name, table in tables if not len(table)]:
        raise ValueError(
            f"{len(absent)} of {len(tables)} drawings have no strokes, of {absent[0]} for one: they were made "
            "of pictures; build it of SVG files or of Quick, Draw!'s"
        )
    strokes = [strokes_of(table) for _, table in tables]
    return [PartialDrawings(strokes, drawings.labels, share) for share in shares]


def strokes_of(table: np.ndarray) -> list[np.ndarray]:
    """Cuts a record's `strokes` into strokes.

    Args:
      table: [n, 3] int16, x and y of canvas cells and the number of the stroke.

    Returns:
      Arrays [v, 2] float64, in the middle of the cells.
    """
    starts = np.flatnonzero(np.diff(table[:, 2])) + 1
    return np.split(table[:, :2] + 0.5, starts)


def drawn_until(strokes: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """Returns the beginning of a drawing: its strokes in order up to a share of the length of all, the
    last one cut off there, as they lie on the page while the pen moves.

    Args:
      strokes: arrays [v, 2], each of one vertex at least.
      share: fraction, in (0, 1]; 1 is the whole drawing.

    Returns:
      Arrays [v, 2] float64. Of dots alone, which have no length, all.
    """
    lengths = [np.hypot(*np.diff(stroke, axis=0).T) for stroke in strokes]
    left = share * sum(float(own.sum()) for own in lengths)
    begun: list[np.ndarray] = []
    for stroke, own in zip(strokes, lengths, strict=True):
        if own.sum() > left and share < 1:
            return [*begun, _cut(stroke, own, left)] if left > 0 or not begun else begun
        begun.append(np.asarray(stroke, np.float64))
        left -= own.sum()
    return begun


def _cut(stroke: np.ndarray, lengths: np.ndarray, until: float) -> np.ndarray:
    """Cuts a stroke off at a distance from its beginning; `lengths` are those of its segments."""
    reached = np.concatenate([[0.0], np.cumsum(lengths)])
    end = [np.interp(until, reached, stroke[:, axis]) for axis in (0, 1)]
    return np.concatenate([stroke[reached < until], [end]])
