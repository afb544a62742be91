"""Relevance feedback, and how near a distance is by the standards of one query."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Rocchio's beta and gamma, as Salton and Buckley (1990) settled them.
LIKED_WEIGHT, DISLIKED_WEIGHT = 0.75, 0.15
# Fractions of the gallery's pictures whose own nearest one stands out less than a result of 2, 3, 4 and
# 5 of 5 steps. Some picture is the nearest of any query, far ahead of the mean even where none is like
# it: only the gallery shows how far ahead those are that belong together.
STEPS = (0.25, 0.5, 0.75, 0.95)
NO_STEPS = (math.inf,) * len(STEPS)
ROUNDING = 1e-5


def rocchio(vector: np.ndarray, liked: np.ndarray, disliked: np.ndarray) -> np.ndarray:
    """Moves a query towards pictures that were marked as right and away from wrong ones: Rocchio's
    q + .75 mean(liked) - .15 mean(disliked), scaled to the length of q.

    Args:
      vector: [d] query as it was at first.
      liked: [i, d] vectors of right pictures, i may be 0.
      disliked: [j, d] vectors of wrong pictures, j may be 0.

    Returns:
      [d] float32.
    """
    moved = vector.astype(np.float64)
    if len(liked):
        moved = moved + LIKED_WEIGHT * liked.mean(axis=0, dtype=np.float64)
    if len(disliked):
        moved = moved - DISLIKED_WEIGHT * disliked.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(moved)
    return (moved * (np.linalg.norm(vector) / (length or 1.0))).astype(np.float32)


class DistanceSample(NamedTuple):
    """A query's distances from a sample of the gallery.

    Attributes:
      distances: [s] ascending.
    """

    distances: np.ndarray

    def percentile(self, distance: float) -> float:
        """Returns the fraction of the sample that is further away; the nearest one is part of it."""
        reach = distance * (1 + ROUNDING)  # a picture that is in the sample is as near as itself
        nearer = int(np.searchsorted(self.distances, reach, side="right"))
        return 1 - max(nearer, 1) / len(self.distances)

    def deviations(self, distance: float) -> float:
        """Returns by how many deviations the distance is less than the mean one."""
        deviation = float(self.distances.std())
        return (float(self.distances.mean()) - distance) / deviation if deviation > 0 else 0.0


def step_bounds(deviations: Sequence[float]) -> tuple[float, ...]:
    """Calibrates the steps.

    Args:
      deviations: distances by which the nearest picture of some of the gallery's stands out.

    Returns:
      The deviations from which on a result has 2, 3, 4 and 5 steps; infinite where there are no pictures.
    """
    if not len(deviations):
        return NO_STEPS
    return tuple(float(bound) for bound in np.quantile(deviations, STEPS))


class VectorSample(NamedTuple):
    """Vectors of some of a gallery's pictures, less their mean, as rounding grows with their length.

    Attributes:
      gallery_size: number of pictures in the gallery that it is from.
      mean: [d] mean vector.
      centred: [s, d] vectors less the mean.
      squares: [s] squared lengths of `centred`.
      bounds: deviations that are needed for 2, 3, 4 and 5 steps, see `step_bounds`.
    """

    gallery_size: int
    mean: np.ndarray
    centred: np.ndarray
    squares: np.ndarray
    bounds: tuple[float, ...] = NO_STEPS

    @classmethod
    def of(cls, vectors: np.ndarray, gallery_size: int) -> "VectorSample":
        """Makes a sample of vectors [s, d]."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        return cls(gallery_size, mean, centred, np.einsum("sd,sd->s", centred, centred))

    def distances(self, vector: np.ndarray) -> DistanceSample:
        """Computes the Euclidean distances from a vector [d]."""
        moved = vector - self.mean
        squares = self.squares - 2 * (self.centred @ moved) + moved @ moved
        return DistanceSample(np.sort(np.sqrt(np.maximum(squares, 0.0))))

    def steps(self, deviations: float) -> int:
        """Returns 1 to 5: how a result stands out, by the standard of the gallery's own pictures."""
        return 1 + sum(deviations >= bound for bound in self.bounds)
