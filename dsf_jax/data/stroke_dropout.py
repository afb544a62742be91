"""Drawings some of whose strokes are left out at random, as people leave them out; anew in each batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsf_jax.data.mixtures import Examples
from dsf_jax.data.partial_drawings import strokes_of
from dsf_jax.images.points import CANVAS, points_from_strokes

# Strokes lie on the middles of cells: a bit closer to each other, those of touching cells are joined by
# nothing but these cells. In whole steps, lines would be looked at between them, where others touch.
_CLOSER = 1 - 2e-6


class StrokeDropout:
    """Reads drawings with strokes left out, where their records have strokes; others whole."""

    def __init__(self, drawings: Examples, *, share: float, seed: int) -> None:
        """Checks that there are strokes.

        Args:
          drawings: n drawings, as points.
          share: probability of a stroke to be left out, in (0, 1).
          seed: seed of what is left out.

        Raises:
          ValueError: when they are shown as pixels, or none has more than one stroke.
        """
        if "points" not in drawings[0]:
            raise ValueError(
                f"strokes_left_out={share} is for drawings that travel as points, and these are resized by "
                "interpolation; take resizing=edge_preserving, or strokes_left_out=0"
            )
        self._drawings, self._share, self._seed = drawings, share, seed
        self._table = drawings.reader("strokes")
        if not any(len(self._strokes(row)) > 1 for row in range(len(drawings))):
            raise ValueError(
                f"strokes_left_out={share} needs drawings of several strokes, and none of {len(drawings)} has "
                "any: they were made of pictures; take Quick, Draw!'s or SVG files, or strokes_left_out=0"
            )

    def _strokes(self, row: int) -> list[np.ndarray]:
        """Reads the strokes of a drawing; none where its record has none."""
        table = self._table(row)
        return [] if table is None or not len(table) else strokes_of(table)

    def read(self, row: int, step: int, number: int) -> dict[str, Any]:
        """Reads a drawing.

        Args:
          row: which one.
          step: number of the batch.
          number: number of the example within the batch.

        Returns:
          {"points": [p, 3] uint16, "label": int}, a function of (seed, step, number); not more points than
          the whole drawing has, and at least one.
        """
        example = self._drawings[row]
        strokes = self._strokes(row)
        if len(strokes) < 2:
            return example
        rng = np.random.default_rng([self._seed, step, number])
        left = some_strokes(strokes, self._share, rng)
        if len(left) == len(strokes):
            return example
        points = _drawn(left)
        # What is left may lie beyond the canvas. And of strokes, whose places are rounded, there may be a
        # few points more than the record has, too many for a batch.
        fits = 0 < len(points) <= len(example["points"])
        return example | {"points": points} if fits else example


def _drawn(strokes: Sequence[np.ndarray]) -> np.ndarray:
    """Lists the points of strokes as their records have them."""
    return points_from_strokes([_CLOSER * stroke for stroke in strokes], (0, 0, CANVAS, CANVAS))


def some_strokes(
    strokes: Sequence[np.ndarray], share: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Leaves each stroke out with a probability `share`, but never all: then one of them stays."""
    kept = rng.random(len(strokes)) >= share
    kept[rng.integers(len(strokes))] |= not kept.any()
    return [stroke for stroke, stays in zip(strokes, kept, strict=True) if stays]
