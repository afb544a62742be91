"""Features reduced to fewer dimensions by principal component analysis.

Distances of components are those of the features, except for what is left out.
"""

import io
import math
from typing import NamedTuple

import numpy as np

from dsf_jax.retrieval.euclidean import search

NUM_QUERIES, TOP_K = 200, 10  # of the recall that is reported


class Projection(NamedTuple):
    """A linear map of features.

    Attributes:
      mean: [d] float32, subtracted first.
      matrix: [d, p] float32, principal directions.
    """

    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Reduces features.

        Args:
          features: [n, d] float32.

        Returns:
          [n, p] float32.
        """
        return (features - self.mean) @ self.matrix

    def to_bytes(self) -> bytes:
        """Serialises it as an .npz file."""
        file = io.BytesIO()
        np.savez(file, **self._asdict())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Projection":
        """Reads what `to_bytes` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields})


def learn_projection(features: np.ndarray, dimensions: int) -> Projection:
    """Learns principal components.

    It takes the eigenvectors of the smaller one of covariance [d, d] and inner products [n, n].

    Args:
      features: [n, d] float32.
      dimensions: p, the number of components.

    Returns:
      The projection.

    Raises:
      ValueError: when there are too few features for this number of dimensions.
    """
    import scipy.linalg

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
    values, vectors = values[::-1].astype(np.float32), np.asfortranarray(vectors[:, ::-1])
    if not wide:
        return Projection(mean, vectors)
    # Copies of few pictures span few directions: what is rounding next to the first is left at 0.
    kept = np.where(values > values[0] * size * np.finfo(np.float32).eps, values, np.inf)
    return Projection(mean, centred.T @ (vectors / np.sqrt(kept)))


def recall(
    queries: np.ndarray,
    gallery: np.ndarray,
    other_queries: np.ndarray,
    other_gallery: np.ndarray,
) -> float:
    """Returns the fraction of the nearest `TOP_K` rows that are found in another form of the rows.

    Args:
      queries: [q, d] float32.
      gallery: [n, d] float32.
      other_queries: [q, p] the same queries in the other form.
      other_gallery: [n, p] the same rows in the other form.
    """
    expected = search(queries, gallery, TOP_K).indices
    found = search(other_queries, other_gallery, TOP_K).indices
    return overlap(expected, found)


def overlap(expected: np.ndarray, found: np.ndarray) -> float:
    """Returns the mean fraction of each row of `expected` [q, k] that is in the same row of `found`."""
    common = [len(np.intersect1d(a, b)) for a, b in zip(expected, found, strict=True)]
    return math.fsum(common) / max(expected.size, 1)
