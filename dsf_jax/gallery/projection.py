"""Shorter features: their principal components, whitened if asked for.

Distances of components alone are those of the features but for what is left out. Whitening gives all
components the same weight; such vectors are scaled to length 1, without which they find still less.
"""

import io
import math
from typing import NamedTuple

import numpy as np
import scipy.linalg

from dsf_jax.retrieval.euclidean import search

QUERIES, NEAREST = 200, 10  # of the recall that is reported


class Projection(NamedTuple):
    """A linear map of features.

    Attributes:
      mean: [d] float32, subtracted first.
      matrix: [d, p] float32, principal directions, over their standard deviations if whitened.
      whitened: [] bool; the result is then scaled to length 1.
    """

    mean: np.ndarray
    matrix: np.ndarray
    whitened: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Reduces features.

        Args:
          features: [n, d] float32.

        Returns:
          [n, p] float32.
        """
        reduced = (features - self.mean) @ self.matrix
        if not self.whitened:
            return reduced
        lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
        return reduced / np.where(lengths > 0, lengths, 1)

    def to_bytes(self) -> bytes:
        """Serialises it, as a .npz file."""
        file = io.BytesIO()
        np.savez(file, **self._asdict())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Projection":
        """Reads what `to_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields})


def learn_projection(features: np.ndarray, dimensions: int, *, whiten: bool = False) -> Projection:
    """Learns principal components.

    It takes the eigenvectors of the smaller one of covariance [d, d] and inner products [n, n].

    Args:
      features: [n, d] float32.
      dimensions: p, how many numbers remain.
      whiten: whether to give all components the same variance.

    Returns:
      The projection.

    Raises:
      ValueError: when there are too few features for so many dimensions.
    """
    n, d = features.shape
    if not 1 <= dimensions < min(n, d):
        raise ValueError(
            f"dimensions={dimensions} cannot be learned from {n} pictures of {d} features each: it must "
            f"be less than both; choose fewer (0 keeps all {d}), or add pictures"
        )
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = features - mean
    wide = n < d
    products = centred @ centred.T if wide else centred.T @ centred
    size = len(products)
    values, vectors = scipy.linalg.eigh(
        products, subset_by_index=[size - dimensions, size - 1], overwrite_a=True
    )
    values, vectors = values[::-1].astype(np.float32), vectors[:, ::-1]
    # Copies of few pictures span few directions: what is rounding beside the first is left at 0.
    kept = np.where(values > values[0] * size * np.finfo(np.float32).eps, values, np.inf)
    directions = centred.T @ (vectors / np.sqrt(kept)) if wide else vectors
    scale = np.sqrt(np.float32(n) / kept) if whiten else np.float32(1)
    return Projection(mean, directions * scale, np.asarray(whiten))


def recall(
    queries: np.ndarray,
    gallery: np.ndarray,
    other_queries: np.ndarray,
    other_gallery: np.ndarray,
) -> float:
    """Returns the share of the nearest `NEAREST` rows that are found in another form of the rows.

    Args:
      queries: [q, d] float32.
      gallery: [n, d] float32.
      other_queries: [q, p] the same queries in the other form.
      other_gallery: [n, p] the same rows in the other form.
    """
    wanted = search(queries, gallery, NEAREST).indices
    found = search(other_queries, other_gallery, NEAREST).indices
    return shared(wanted, found)


def shared(wanted: np.ndarray, found: np.ndarray) -> float:
    """Returns the mean share of each row of `wanted` [q, k] that is in the same row of `found`."""
    common = [len(np.intersect1d(a, b)) for a, b in zip(wanted, found, strict=True)]
    return math.fsum(common) / max(wanted.size, 1)
