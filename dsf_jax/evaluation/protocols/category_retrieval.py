"""Sketch queries against photos of the same classes: mean average precision, and precision, recall
and NDCG in the first K.

A photo is relevant if it shows the query's class. Average precision is the non-interpolated one
over the whole gallery, ties keep gallery order, and queries without any relevant photo are left out
and counted.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsf_jax.evaluation.ranking import (
    VARIANTS,
    Cutoffs,
    RankingScores,
    distance_blocks,
    rank_by_distance,
    ranking_scores,
)
from dsf_jax.evaluation.results import (
    ResultRecord,
    bootstrap,
    bootstrap_interval,
    own_configuration,
)

PROTOCOL = "category_retrieval"


def category_retrieval(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    configuration: Mapping[str, Any],
    ks: tuple[int, ...] = (1, 10),
) -> ResultRecord:
    """Ranks the gallery for each query by Euclidean distance and scores the rankings.

    Args:
      queries: [q, d] float32, L2-normalised features of sketches.
      query_labels: [q] int.
      gallery: [n, d] float32, L2-normalised features of photos; may be a mapped file.
      gallery_labels: [n] int, in the same numbering.
      configuration: what the result depends on, for the record: layer, checkpoint, data, ...
      ks: the K of P@K, recall@K and NDCG@K; those above n are left out.

    Returns:
      Numbers "mAP", "P@K", "recall@K" and "NDCG@K", with bootstrap intervals over the queries.

    Raises:
      ValueError: when no query has a relevant photo, or shapes do not fit.
    """
    n = len(gallery)
    ks = tuple(k for k in ks if k <= n)
    scores = category_scores(queries, query_labels, gallery, gallery_labels, ks=ks)
    used = scores.counted
    return ResultRecord(
        PROTOCOL,
        {name: bootstrap(x[used]) for name, x in scores.values.items()},
        own_configuration(
            configuration,
            ks=list(ks),
            definitions={name: VARIANTS[name] for name in ("mAP", "P", "recall", "NDCG")},
        ),
        {
            "queries": int(used.sum()),
            "queries_without_relevant": int((~used).sum()),
            "gallery": n,
            "classes": len(np.unique(query_labels[used])),
        },
        bootstrap_interval("queries"),
        {},
    )


def category_scores(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    ks: tuple[int, ...] = (),
) -> RankingScores:
    """Scores each query's ranking of the gallery.

    Args:
      queries: see `category_retrieval`, as are the next three.
      query_labels: [q] int.
      gallery: [n, d] float32.
      gallery_labels: [n] int.
      ks: the K of P@K, recall@K and NDCG@K, at most n.

    Returns:
      One score a query of each metric; "counted" are the queries with a photo of their class.

    Raises:
      ValueError: when no query has a relevant photo, or shapes do not fit.
    """
    q, n = len(queries), len(gallery)
    if query_labels.shape != (q,) or gallery_labels.shape != (n,):
        raise ValueError(
            f"{q} queries and {n} photos need as many labels, got {query_labels.shape} and "
            f"{gallery_labels.shape}; give each a label"
        )
    counted = np.isin(query_labels, gallery_labels)
    if not counted.any():
        raise ValueError(
            f"none of {q} queries has a photo of its class among {n}; "
            "choose data sets and splits that share classes"
        )
    cutoffs = Cutoffs(precision=ks, recall=ks, ndcg=ks)
    return functools.reduce(
        RankingScores.__add__,
        (
            ranking_scores(
                rank_by_distance(distances),
                query_labels[rows, None] == gallery_labels[None, :],
                cutoffs=cutoffs,
            )
            for rows, distances in distance_blocks(queries, gallery)
        ),
    )
