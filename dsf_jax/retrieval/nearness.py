"""How near is near: distances and answers by the standard of the pictures that are searched."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

SAMPLE_SIZE = 1_000  # pictures that a query's distances are compared with
NUM_PROBES = 64  # of them, whose own nearest pictures calibrate the standard
# Fractions of the gallery's pictures whose own nearest one stands out less than a result of 2, 3, 4 and
# 5 of 5 steps. Some picture is the nearest of any query, far ahead of the mean even where none is like
# it: only the gallery shows how far ahead those are that belong together.
STEPS = (0.25, 0.5, 0.75, 0.95)
NO_STEPS = (math.inf,) * len(STEPS)
FAR_STEPS = 3  # of the nearest result, at most, where results unlike each other are not near
NUM_COMPARED = 5  # results that are compared with each other
ALIKE = 0.9  # fraction of the gallery's pictures whose own nearest are more alike than where nothing is near
ROUNDING = 1e-5

# [p, d] vectors and k -> vectors [at most k, d] of the nearest pictures of each, nearest first.
FindVectors = Callable[[np.ndarray, int], Sequence[np.ndarray]]


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


def spread(vectors: np.ndarray) -> float:
    """Measures how unlike each other pictures are: the mean distance of two of them.

    Args:
      vectors: [k, d] vectors of the pictures; fewer than two are alike.
    """
    first, second = np.triu_indices(len(vectors), 1)
    if not len(first):
        return 0.0
    return float(np.linalg.norm(vectors[first] - vectors[second], axis=1).mean())


class Nearness(NamedTuple):
    """Vectors of some of a gallery's pictures, less their mean, as rounding grows with their length, and
    how the nearest pictures of some of them lie.

    Attributes:
      gallery_size: number of pictures in the gallery that it is from.
      mean: [d] mean vector.
      centred: [s, d] vectors less the mean.
      squares: [s] squared lengths of `centred`.
      bounds: deviations that are needed for 2, 3, 4 and 5 steps; infinite where there are too few pictures.
      spread_bound: spread of the first results beyond which nothing may be near.
    """

    gallery_size: int
    mean: np.ndarray
    centred: np.ndarray
    squares: np.ndarray
    bounds: tuple[float, ...] = NO_STEPS
    spread_bound: float = math.inf

    @classmethod
    def of(cls, vectors: np.ndarray, gallery_size: int) -> "Nearness":
        """Makes a standard of vectors [s, d], not calibrated."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        return cls(gallery_size, mean, centred, np.einsum("sd,sd->s", centred, centred))

    @classmethod
    def calibrated(cls, vectors: np.ndarray, gallery_size: int, find: FindVectors) -> "Nearness":
        """Makes a standard of vectors of random pictures, calibrated by the nearest ones of the first.

        Args:
          vectors: [s, d].
          gallery_size: number of pictures in the gallery that they are from.
          find: finds the gallery's pictures nearest to vectors, those pictures themselves among them.
        """
        drawn = cls.of(vectors, gallery_size)
        probes = vectors[:NUM_PROBES]
        found = [near[1:] for near in find(probes, NUM_COMPARED + 1)]  # without the probe itself
        pairs = [(probe, near) for probe, near in zip(probes, found, strict=True) if len(near)]
        if not pairs:
            return drawn
        ahead = [
            drawn.distances(probe).deviations(float(np.linalg.norm(near[0] - probe)))
            for probe, near in pairs
        ]
        spreads = [spread(near) for _, near in pairs]
        return drawn._replace(
            bounds=tuple(float(bound) for bound in np.quantile(ahead, STEPS)),
            spread_bound=float(np.quantile(spreads, ALIKE)),
        )

    def distances(self, vector: np.ndarray) -> DistanceSample:
        """Computes the Euclidean distances of the sample from a vector [d]."""
        moved = vector - self.mean
        squares = self.squares - 2 * (self.centred @ moved) + moved @ moved
        return DistanceSample(np.sort(np.sqrt(np.maximum(squares, 0.0))))

    def steps(self, deviations: float) -> int:
        """Returns 1 to 5: how a result stands out, by the standard of the gallery's own pictures."""
        return 1 + sum(deviations >= bound for bound in self.bounds)

    def nothing_near(self, vector: np.ndarray, found: np.ndarray) -> bool:
        """Returns whether what was found most likely has nothing to do with the query: the nearest does
        not stand out, or not much, and the first results are too unlike each other. Where a gallery has
        what is looked for, they look alike; where not, each has something else in common with the query.

        Args:
          vector: [d] query.
          found: [k, d] vectors of the first NUM_COMPARED results, nearest first; at least one.
        """
        if self.bounds == NO_STEPS:  # nothing to judge by
            return False
        ahead = self.distances(vector).deviations(float(np.linalg.norm(found[0] - vector)))
        steps = self.steps(ahead)
        return steps == 1 or (steps <= FAR_STEPS and spread(found) > self.spread_bound)
