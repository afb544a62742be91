"""Sketch queries against photos of the same classes: mean average precision, and precision, recall
and NDCG in the first K.

A photo is relevant if it shows the query's class. Average precision is the non-interpolated one
over the whole gallery, ties keep gallery order, and queries without any relevant photo are omitted
and counted.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf_jax.evaluation.ranking import RankingScores, at_cutoff, definitions, ranking_scores
from dsf_jax.evaluation.results import ResultRecord, own_configuration
from dsf_jax.evaluation.statistics import bootstrap, describe_bootstrap
from dsf_jax.retrieval.distances import distance_blocks, rank_by_distance

PROTOCOL = "category_retrieval"
AT_CUTOFFS = ("P", "recall", "NDCG")  # metrics besides mAP, each at every K
# What others call mAP@K: they divide by one or the other, or interpolate.
BOUNDED = ("bounded mAP", "bounded mAP (retrieved)", "bounded mAP (interpolated)")
INTERPOLATED = "mAP (interpolated)"  # what others of these call mAP@all
WITHOUT_RELEVANT = {
    "queries without relevant": "a query of whose class there is no photo is omitted from every mean, and "
    "counted"
}


def category_retrieval(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    configuration: Mapping[str, Any],
    ks: tuple[int, ...] = (1, 10),
    bounded: bool = False,
) -> ResultRecord:
    """Ranks the gallery for each query by Euclidean distance and scores the rankings.

    Args:
      queries: [q, d] float32, L2-normalised features of sketches.
      query_labels: [q] int.
      gallery: [n, d] float32, L2-normalised features of photos; may be a mapped file.
      gallery_labels: [n] int, in the same numbering.
      configuration: everything else that the result depends on, for the record: layer, data, ...
      ks: the K of P@K, recall@K and NDCG@K; those above n are omitted.
      bounded: whether mAP@K is computed too, in each of the ways that it is defined in, and mAP with
        interpolated precision.

    Returns:
      Numbers "mAP", "P@K", "recall@K", "NDCG@K" and, if bounded, those of `BOUNDED` and `INTERPOLATED`,
      with bootstrap intervals over the queries.

    Raises:
      ValueError: when no query has a relevant photo, or shapes do not fit.
    """
    n = len(gallery)
    ks = tuple(k for k in ks if k <= n)
    whole = ("mAP", INTERPOLATED) if bounded else ("mAP",)
    kinds = (*BOUNDED, *AT_CUTOFFS) if bounded else AT_CUTOFFS
    metrics = (*whole, *(at_cutoff(name, k) for name in kinds for k in ks))
    defined = definitions((*whole, *kinds)) | WITHOUT_RELEVANT
    scores = category_scores(queries, query_labels, gallery, gallery_labels, metrics=metrics)
    used = scores.counted
    return ResultRecord(
        PROTOCOL,
        {name: bootstrap(x[used]) for name, x in scores.values.items()},
        own_configuration(configuration, ks=list(ks), definitions=defined),
        {
            "queries": int(used.sum()),
            "queries_without_relevant": int((~used).sum()),
            "gallery": n,
            "classes": len(np.unique(query_labels[used])),
        },
        describe_bootstrap("queries"),
        {},
    )


def category_scores(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    metrics: Sequence[str] = ("mAP",),
) -> RankingScores:
    """Scores each query's ranking of the gallery.

    Args:
      queries: [q, d] float32; see `category_retrieval`.
      query_labels: [q] int.
      gallery: [n, d] float32.
      gallery_labels: [n] int.
      metrics: see `ranking_scores`; a K is at most n.

    Returns:
      One score per query of each metric; "counted" are the queries with a photo of their class.

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
    return functools.reduce(
        RankingScores.__add__,
        (
            ranking_scores(
                rank_by_distance(distances),
                query_labels[rows, None] == gallery_labels[None, :],
                metrics=metrics,
            )
            for rows, distances in distance_blocks(queries, gallery)
        ),
    )
