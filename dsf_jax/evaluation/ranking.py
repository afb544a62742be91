"""Scores of rankings: average precision, bounded and interpolated or not, and precision, recall and NDCG
in the first K.

Each query has its own ranking of the whole gallery. Scores come query by query, for intervals, and
blocks of queries of any size are joined. Queries without a relevant item have no average precision
or recall; they are omitted from every mean and counted.

A new metric is a function and a row of `METRICS`.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array
Divisor = Literal["possible", "retrieved"]


def average_precision(relevance: Array) -> jax.Array:
    """Computes the non-interpolated AP over the whole gallery: the mean of P(rank) over the relevant ranks.

    Equals scikit-learn's average_precision_score where no distances tie; ties are resolved by the
    ranking given (gallery order), where scikit-learn merges them into one threshold.

    Args:
      relevance: [n] bool, or grades of at least 0, in rank order; above 0 is relevant.

    Returns:
      [] float32; 0 where nothing is relevant (omit such queries from a mean).

    Examples:
      >>> found = np.array([True, False, True, False, True])  # P at the three: 1, 2/3, 3/5
      >>> round(float(average_precision(found)), 4)
      0.7556
    """
    return bounded_average_precision(relevance, len(relevance))


def bounded_average_precision(
    relevance: Array, k: int, *, divisor: Divisor = "possible"
) -> jax.Array:
    """Computes AP@K = sum of P(rank) over the relevant ranks up to K, divided by what could be found there.

    Args:
      relevance: [n] bool, or grades of at least 0, in rank order; above 0 is relevant.
      k: the K; one above n is as good as n.
      divisor: "possible" divides by min(K, R), R relevant items in the gallery: 1 for the best
        ranking only. "retrieved" divides by those among the first K, blind to what was missed.

    Returns:
      [] float32; 0 where nothing relevant is found.

    Examples:
      >>> found = np.array([True, False, True, False, True])
      >>> round(float(bounded_average_precision(found, 2)), 4)  # the first of two that fit
      0.5
      >>> round(float(bounded_average_precision(found, 2, divisor="retrieved")), 4)
      1.0
    """
    relevant = jnp.asarray(relevance) > 0
    first = relevant[:k]
    hits = jnp.cumsum(first, dtype=jnp.int32)
    ranks = jnp.arange(1, len(first) + 1, dtype=jnp.int32)
    if divisor == "possible":
        best = jnp.minimum(len(first), jnp.sum(relevant))
    elif divisor == "retrieved":
        best = hits[-1]
    else:
        raise ValueError(f"divisor={divisor!r} is unknown; choose possible or retrieved")
    return jnp.sum(jnp.where(first, hits / ranks, 0.0)) / jnp.maximum(best, 1)


def interpolated_average_precision(relevance: Array, k: int | None = None) -> jax.Array:
    """Computes AP@K with interpolated precision: at each relevant rank the highest P at that rank or a later
    one up to K, summed and divided by min(K, R). It is never below `bounded_average_precision`.

    Args:
      relevance: [n] bool, or grades of at least 0, in rank order; above 0 is relevant.
      k: the K; one above n is as good as n, and None stands for the whole gallery.

    Returns:
      [] float32; 0 where nothing relevant is found.

    Examples:
      >>> found = np.array([True, False, False, True, True])  # P: 1, 2/4, 3/5; raised: 1, 3/5, 3/5
      >>> round(float(interpolated_average_precision(found)), 4)
      0.7333
    """
    relevant = jnp.asarray(relevance) > 0
    first = relevant[:k]
    ranks = jnp.arange(1, len(first) + 1, dtype=jnp.int32)
    precision = jnp.cumsum(first, dtype=jnp.int32) / ranks
    highest = jax.lax.cummax(precision, reverse=True)
    best = jnp.minimum(len(first), jnp.sum(relevant))
    return jnp.sum(jnp.where(first, highest, 0.0)) / jnp.maximum(best, 1)


def recall_at_k(relevance: Array, k: int) -> jax.Array:
    """Computes recall@K = (relevant items among the first K) / (relevant items in the gallery).

    With one relevant item per query it is the hit rate. It stays below 1 where K < R.

    Args:
      relevance: [n] bool, or grades of at least 0, in rank order; above 0 is relevant.
      k: the K, at most n.

    Returns:
      [] float32; 0 where nothing is relevant (omit such queries from a mean).

    Examples:
      >>> round(float(recall_at_k(np.array([True, False, True, False, True]), 3)), 4)
      0.6667
    """
    relevant = jnp.asarray(relevance) > 0
    return jnp.sum(relevant[:k]) / jnp.maximum(jnp.sum(relevant), 1)


def precision_at_k(relevance: Array, k: int) -> jax.Array:
    """Computes P@K = (relevant items among the first K) / K.

    Args:
      relevance: [n] bool, or grades of at least 0, in rank order; above 0 is relevant.
      k: the K, at most n.

    Returns:
      [] float32.

    Examples:
      >>> round(float(precision_at_k(np.array([True, False, True, False, True]), 4)), 4)
      0.5
    """
    return jnp.sum(jnp.asarray(relevance)[:k] > 0) / k


def ndcg_at_k(relevance: Array, k: int) -> jax.Array:
    """Computes NDCG@K with the gain 2^relevance - 1 and the discount log2(rank + 1).

    The ideal it is divided by is the best order of the whole gallery. Binary relevance has the
    gains 0 and 1. scikit-learn's ndcg_score takes gains: give it 2^relevance - 1.

    Args:
      relevance: [n] bool, or grades of at least 0, in rank order.
      k: the K, at most n.

    Returns:
      [] float32; 0 where nothing is relevant (omit such queries from a mean).

    Examples:
      >>> grades = np.array([0, 2, 1])  # (3 / log2(3) + 1 / log2(4)) / (3 / log2(2) + 1 / log2(3))
      >>> round(float(ndcg_at_k(grades, 3)), 4)
      0.659
    """
    grades = jnp.asarray(relevance, jnp.float32)
    discounts = 1 / jnp.log2(jnp.arange(2, k + 2, dtype=jnp.float32))
    ideal = jnp.sum((jnp.exp2(jax.lax.top_k(grades, k)[0]) - 1) * discounts)
    found = jnp.sum((jnp.exp2(grades[:k]) - 1) * discounts)
    return found / jnp.where(ideal > 0, ideal, 1.0)


class Metric(NamedTuple):
    """A score of one ranking.

    Attributes:
      function: (relevance [n] in rank order) -> [], or, if it has a cutoff, (relevance, K) -> [].
      definition: its definition, as tables and results print it: public code disagrees about most.
      cutoff: whether it looks at the first K only.
      beyond: whether K may exceed the gallery.
    """

    function: Callable[..., jax.Array]
    definition: str
    cutoff: bool = True
    beyond: bool = False


METRICS = {
    "mAP": Metric(
        average_precision,
        "mAP@all, non-interpolated average precision over the whole gallery, equal distances in gallery order",
        cutoff=False,
    ),
    "mAP (interpolated)": Metric(
        interpolated_average_precision,
        "mAP@all with the precision at a relevant rank raised to the highest at or after it, as SAKE and "
        "ZSE-SBIR have it",
        cutoff=False,
    ),
    "P": Metric(precision_at_k, "relevant among the first K, divided by K"),
    "recall": Metric(recall_at_k, "relevant among the first K, divided by all relevant"),
    "NDCG": Metric(
        ndcg_at_k,
        "gain 2^relevance - 1, discount log2(rank + 1), ideal order of the whole gallery",
    ),
    "bounded mAP": Metric(
        bounded_average_precision,
        "sum of P(k) over the relevant ranks k <= K, divided by min(K, all relevant)",
        beyond=True,
    ),
    "bounded mAP (retrieved)": Metric(
        functools.partial(bounded_average_precision, divisor="retrieved"),
        "the same sum, divided by the relevant among the first K, as SEM-PCYC and doodle2search have mAP@K; "
        "0 where none is",
        beyond=True,
    ),
    "bounded mAP (interpolated)": Metric(
        interpolated_average_precision,
        "sum of the highest P(j), k <= j <= K, over the relevant ranks k <= K, divided by min(K, all relevant), "
        "as SAKE and ZSE-SBIR have mAP@K",
        beyond=True,
    ),
}


def definitions(names: Sequence[str]) -> dict[str, str]:
    """Returns the definitions of some of `METRICS`, for a result's configuration."""
    return {name: METRICS[name].definition for name in names}


def at_cutoff(name: str, k: int | str) -> str:
    """Returns the name of a metric of `METRICS` with its K: "P@10", "bounded mAP@150 (retrieved)"."""
    metric, space, variant = name.partition(" (")
    return f"{metric}@{k}{space}{variant}"


@dataclasses.dataclass(frozen=True)
class RankingScores:
    """Metrics query by query; `a + b` joins two blocks of queries in this order."""

    values: Mapping[str, np.ndarray]  # {name, with its K: [q] float64}
    # [q] bool: whether the query has a relevant item; elsewhere the values have no meaning.
    counted: np.ndarray

    def __add__(self, other: "RankingScores") -> "RankingScores":
        """Joins two disjoint sets of queries."""
        if self.values.keys() != other.values.keys():
            raise ValueError(
                f"cannot join metrics {sorted(self.values)} and {sorted(other.values)}; "
                "use the same metrics for every block"
            )
        return RankingScores(
            {name: np.concatenate([x, other.values[name]]) for name, x in self.values.items()},
            np.concatenate([self.counted, other.counted]),
        )


def ranking_scores(
    ranking: Array, relevance: Array, *, metrics: Sequence[str] = ("mAP",)
) -> RankingScores:
    """Scores a block of rankings, query by query.

    Call it block after block and add the results: [q, n] is then never held for all queries.

    Args:
      ranking: [q, n] int, each row a permutation of the gallery, nearest first.
      relevance: [q, n] bool, or grades of at least 0, in gallery order; above 0 is relevant.
      metrics: names of `METRICS`, with their K: "mAP", "P@10", "bounded mAP@150 (retrieved)".

    Returns:
      The scores under these names.

    Raises:
      ValueError: shapes that do not fit, an unknown metric, a K below 1, or one above n where the
        metric has no meaning there, a row that is no permutation, a grade that is NaN or below 0.

    Examples:
      >>> ranking = np.array([[2, 0, 1], [0, 1, 2]])
      >>> relevance = np.array([[True, False, True], [False, False, False]])  # in gallery order
      >>> scores = ranking_scores(ranking, relevance, metrics=("mAP", "P@1"))
      >>> scores.values["mAP"][scores.counted].tolist()  # of the query that has an answer
      [1.0]
    """
    if ranking.ndim != 2 or ranking.shape != relevance.shape:
        raise ValueError(
            f"ranking has shape {ranking.shape} and relevance {relevance.shape}, expected [q, n]"
            " for both: rank the whole gallery"
        )
    n = ranking.shape[1]
    for name in metrics:
        _check_cutoff(name, *_parsed(name), n)
    scores, counted, complete, graded = _scores(ranking, relevance, metrics=tuple(metrics))
    if (broken := np.flatnonzero(~np.asarray(complete))).size:
        raise ValueError(
            f"ranking row {broken[0]} is not a permutation of 0..{n - 1}: rank the whole gallery"
        )
    if (wrong := np.flatnonzero(~np.asarray(graded))).size:
        raise ValueError(
            f"relevance row {wrong[0]} holds a grade that is NaN or below 0; give grades of at least 0"
        )
    values = {name: np.asarray(scores[name], np.float64) for name in metrics}
    return RankingScores(values, np.asarray(counted))


def _parsed(name: str) -> tuple[Metric, int | None]:
    """Splits a metric's name: "P@10" is `METRICS["P"]` and 10."""
    match = re.fullmatch(r"(?P<metric>[^@]+)@(?P<k>\d+)(?P<variant> \(.+\))?", name)
    plain = match["metric"] + (match["variant"] or "") if match else name
    k = int(match["k"]) if match else None
    metric = METRICS.get(plain)
    if metric is None or metric.cutoff != (k is not None):
        known = (at_cutoff(x, "K") if m.cutoff else x for x, m in METRICS.items())
        raise ValueError(f"metric {name!r} is unknown; choose one of {', '.join(known)}")
    return metric, k


def _check_cutoff(name: str, metric: Metric, k: int | None, n: int) -> None:
    """Raises ValueError where a K has no meaning for n items."""
    most = math.inf if metric.beyond else n
    if k is not None and not 1 <= k <= most:
        raise ValueError(
            f"the metric {name} has K = {k}, expected at least 1"
            + ("" if metric.beyond else f" and at most n = {n}")
            + "; choose another K"
        )


@functools.partial(jax.jit, static_argnames="metrics")
def _scores(
    ranking: Array, relevance: Array, *, metrics: tuple[str, ...]
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array, jax.Array]:
    """Returns each metric [q], whether anything is relevant [q], whether each row is a permutation [q], and
    whether its grades are numbers of at least 0 [q].
    """
    n = ranking.shape[1]
    seen = jax.vmap(lambda row: jnp.zeros(n, bool).at[row].set(True, mode="drop").all())(ranking)
    complete = seen & (ranking >= 0).all(axis=1)  # a negative index would count from the end
    ordered = jnp.take_along_axis(jnp.asarray(relevance), ranking, axis=1)
    scores = {}
    for name in metrics:
        metric, k = _parsed(name)
        function = metric.function if k is None else functools.partial(metric.function, k=k)
        scores[name] = jax.vmap(function)(ordered)
    return scores, (ordered > 0).any(axis=1), complete, (ordered >= 0).all(axis=1)
