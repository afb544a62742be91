"""Retrieval metrics: non-interpolated average precision, recall@K and precision@K.

Each query has its own ranking of the whole gallery. Queries without a relevant item have no average
precision or recall; they are left out of every metric and counted. Sums and counts are returned, so
that blocks of queries of any size add up to the exact mean.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True)
class RankingSums:
    """Metric sums over queries; `a + b` joins two blocks of queries."""

    sums: Mapping[str, float]  # by name: "mAP", "recall@10", "precision@10", ...
    count: int  # queries with at least one relevant item: what the sums run over
    without_relevant: int  # queries left out because nothing in the gallery is relevant to them

    def __add__(self, other: "RankingSums") -> "RankingSums":
        """Join two disjoint sets of queries."""
        if self.sums.keys() != other.sums.keys():
            raise ValueError(
                f"cannot add metrics {sorted(self.sums)} and {sorted(other.sums)}:"
                " use the same recall_at and precision_at for every block"
            )
        return RankingSums(
            {name: total + other.sums[name] for name, total in self.sums.items()},
            self.count + other.count,
            self.without_relevant + other.without_relevant,
        )

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the counted queries; NaN if there are none."""
        return {k: v / self.count if self.count else float("nan") for k, v in self.sums.items()}


def average_precision(relevant: Array) -> jax.Array:
    """Non-interpolated AP over the whole gallery: the mean of P(rank) over the relevant ranks.

    Equals scikit-learn's average_precision_score where no distances tie; ties are resolved by the
    ranking given (gallery order), where scikit-learn merges them into one threshold.

    Args:
        relevant: [n] bool, in rank order.

    Returns:
        [] float32; 0 where nothing is relevant (leave such queries out of a mean).
    """
    hits = jnp.cumsum(relevant, dtype=jnp.int32)
    ranks = jnp.arange(1, len(relevant) + 1, dtype=jnp.int32)
    return jnp.sum(jnp.where(relevant, hits / ranks, 0.0)) / jnp.maximum(hits[-1], 1)


def recall_at_k(relevant: Array, k: int) -> jax.Array:
    """Recall@K = (relevant items among the first K) / (relevant items in the gallery).

    With one relevant item a query it is the hit rate. It stays below 1 where K < R.

    Args:
        relevant: [n] bool, in rank order.
        k: K, at most n.

    Returns:
        [] float32; 0 where nothing is relevant (leave such queries out of a mean).
    """
    return jnp.sum(relevant[:k]) / jnp.maximum(jnp.sum(relevant), 1)


def precision_at_k(relevant: Array, k: int) -> jax.Array:
    """Precision@K = (relevant items among the first K) / K.

    Args:
        relevant: [n] bool, in rank order.
        k: K, at most n.

    Returns:
        [] float32.
    """
    return jnp.sum(relevant[:k]) / k


@jax.jit
def rank_by_distance(distances: Array) -> jax.Array:
    """Rank the gallery for each query, nearest first, ties by gallery order.

    Args:
        distances: [q, n] float32.

    Returns:
        [q, n] int32 gallery indices.
    """
    return jnp.argsort(distances, axis=1, stable=True).astype(jnp.int32)


def ranking_sums(
    ranking: Array,
    query_labels: Array,
    gallery_labels: Array,
    *,
    query_mask: Array | None = None,
    recall_at: tuple[int, ...] = (1, 10),
    precision_at: tuple[int, ...] = (),
) -> RankingSums:
    """Sum the metrics over a block of queries; a gallery item is relevant if its label is equal.

    Call it block after block and add the results: [q, n] is then never held for all queries.
    Blocks of one size (the last padded, with a mask) share one compiled function.

    Args:
        ranking: [q, n] int, each row a permutation of the gallery, nearest first.
        query_labels: [q] int.
        gallery_labels: [n] int.
        query_mask: [q] bool, False for padding, which is neither summed nor counted.
        recall_at: the K of each recall@K.
        precision_at: the K of each precision@K.

    Returns:
        Sums under "mAP", "recall@K" and "precision@K".

    Raises:
        ValueError: shapes that do not fit, a K outside 1..n, a row that is no permutation.
    """
    q, n = ranking.shape
    mask = np.ones(q, bool) if query_mask is None else np.asarray(query_mask, bool)
    if query_labels.shape != (q,) or mask.shape != (q,) or gallery_labels.shape != (n,):
        raise ValueError(
            f"ranking {ranking.shape} needs query labels and mask ({q},) and gallery labels ({n},),"
            f" got {query_labels.shape}, {mask.shape} and {gallery_labels.shape}:"
            " rank the whole gallery"
        )
    for k in (*recall_at, *precision_at):
        if not 1 <= k <= n:
            raise ValueError(f"recall@K or precision@K at {k}, expected K between 1 and n = {n}")
    metrics, total, complete = _metrics(
        ranking, query_labels, gallery_labels, recall_at=recall_at, precision_at=precision_at
    )
    broken = np.flatnonzero(mask & ~np.asarray(complete))
    if broken.size:
        raise ValueError(
            f"ranking row {broken[0]} is not a permutation of 0..{n - 1}: rank the whole gallery"
        )
    used = mask & (np.asarray(total) > 0)
    sums = {k: float(np.asarray(v, np.float64).sum(where=used)) for k, v in metrics.items()}
    return RankingSums(sums, int(used.sum()), int(mask.sum() - used.sum()))


@functools.partial(jax.jit, static_argnames=("recall_at", "precision_at"))
def _metrics(
    ranking: Array,
    query_labels: Array,
    gallery_labels: Array,
    *,
    recall_at: tuple[int, ...],
    precision_at: tuple[int, ...],
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """Return each metric [q], the relevant items [q] and whether each row is a permutation [q]."""
    n = len(gallery_labels)
    seen = jax.vmap(lambda row: jnp.zeros(n, bool).at[row].set(True, mode="drop").all())(ranking)
    complete = seen & (ranking >= 0).all(axis=1)  # a negative index would count from the end
    relevant = gallery_labels[ranking] == query_labels[:, None]
    metrics = {"mAP": jax.vmap(average_precision)(relevant)}
    for k in recall_at:
        metrics[f"recall@{k}"] = jax.vmap(functools.partial(recall_at_k, k=k))(relevant)
    for k in precision_at:
        metrics[f"precision@{k}"] = jax.vmap(functools.partial(precision_at_k, k=k))(relevant)
    return metrics, relevant.sum(axis=1), complete
