"""Sketch queries against photos of the same classes: mean average precision, recall and precision
in the first K.

A photo is relevant if it shows the query's class. Average precision is the non-interpolated one
over the whole gallery, ties keep gallery order, and queries without any relevant photo are left out
and counted.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.evaluation.ranking import RankingSums, rank_by_distance, ranking_sums

QUERY_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class RetrievalResult:
    """How well one kind of feature retrieves.

    Attributes:
      layer: the feature, L6, L7 or L6+L7.
      metrics: {"mAP", "recall@K", "precision@K"}: means over the queries.
      queries: how many queries the means run over.
      queries_without_relevant: how many were left out.
      gallery: how many photos were ranked.
    """

    layer: str
    metrics: dict[str, float]
    queries: int
    queries_without_relevant: int
    gallery: int


@jax.jit
def _squared_distances(queries: jax.Array, gallery: jax.Array) -> jax.Array:
    """[q, d], [n, d] -> [q, n] float32."""
    products = jnp.matmul(queries, gallery.T, precision="highest")
    squares = [jnp.sum(x * x, axis=1) for x in (queries, gallery)]
    return squares[0][:, None] - 2 * products + squares[1][None, :]


def category_retrieval(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    layer: str,
    ks: tuple[int, ...] = (1, 10),
) -> RetrievalResult:
    """Ranks the gallery for each query by Euclidean distance and scores the rankings.

    Args:
      queries: [q, d] float32, L2-normalised features of sketches.
      query_labels: [q] int.
      gallery: [n, d] float32, L2-normalised features of photos.
      gallery_labels: [n] int, in the same numbering.
      layer: name of the feature, for the result.
      ks: the K of recall@K and precision@K; those above n are left out.

    Returns:
      The result.

    Raises:
      ValueError: when no query has a relevant photo, or shapes do not fit.
    """
    ks = tuple(k for k in ks if k <= len(gallery))
    blocks = [
        _score(
            queries[i : i + QUERY_BLOCK],
            query_labels[i : i + QUERY_BLOCK],
            gallery,
            gallery_labels,
            ks,
        )
        for i in range(0, max(1, len(queries)), QUERY_BLOCK)
    ]
    total = functools.reduce(RankingSums.__add__, blocks)
    if not total.count:
        raise ValueError(
            f"none of {len(queries)} queries has a photo of its class among {len(gallery)}; "
            "choose data sets and splits that share classes"
        )
    return RetrievalResult(layer, total.means(), total.count, total.without_relevant, len(gallery))


def _score(
    queries: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    ks: tuple[int, ...],
) -> RankingSums:
    ranking = rank_by_distance(_squared_distances(queries, gallery))
    return ranking_sums(ranking, labels, gallery_labels, recall_at=ks, precision_at=ks)
