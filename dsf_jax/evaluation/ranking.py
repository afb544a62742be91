"""How good a ranking is: average precision and its bounded forms, precision, recall and NDCG in the
first K, and Kendall's rank correlation.

Each query has its own ranking of the whole gallery. Scores come query by query, for intervals, and
as sums and counts, so that blocks of queries of any size add up to the exact mean. Queries without
a relevant item have no average precision or recall; they are left out of every mean and counted.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array
Divisor = Literal["possible", "retrieved"]

# Public code disagrees about most of these: every table says which is meant.
VARIANTS = {
    "mAP": "non-interpolated average precision over the whole gallery, equal distances in gallery order",
    "P": "relevant among the first K, divided by K",
    "recall": "relevant among the first K, divided by all relevant",
    "NDCG": "gain 2^relevance - 1, discount log2(rank + 1), ideal order of the whole gallery",
    "bounded mAP": "sum of P(k) over the relevant ranks k <= K, divided by min(K, all relevant)",
    "bounded mAP (retrieved)": "the same sum, divided by the relevant among the first K",
}

QUERY_BLOCK = 256
GALLERY_BLOCK = 8192
MOST_DISTANCES = 2**24  # held at a time: 64 MiB in float32, whatever the gallery's size
SORTED_AT_ONCE = 2**17  # distances whose keys, 1 MiB, stay in cache


class Cutoffs(NamedTuple):
    """The K of each metric that looks at the first K alone."""

    precision: tuple[int, ...] = ()
    recall: tuple[int, ...] = ()
    ndcg: tuple[int, ...] = ()
    bounded: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class RankingSums:
    """Metric sums over queries; `a + b` joins two blocks of queries."""

    sums: Mapping[str, float]  # by name: "mAP", "recall@10", "P@10", ...
    count: int  # queries with at least one relevant item: what the sums run over
    without_relevant: int  # queries left out because nothing in the gallery is relevant to them

    def __add__(self, other: "RankingSums") -> "RankingSums":
        """Join two disjoint sets of queries."""
        _check_same_metrics(self.sums, other.sums)
        return RankingSums(
            {name: total + other.sums[name] for name, total in self.sums.items()},
            self.count + other.count,
            self.without_relevant + other.without_relevant,
        )

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over the counted queries; NaN if there are none."""
        return {k: v / self.count if self.count else float("nan") for k, v in self.sums.items()}


@dataclasses.dataclass(frozen=True)
class RankingScores:
    """Metrics query by query; `a + b` joins two blocks of queries in this order."""

    values: Mapping[str, np.ndarray]  # by name, as in `RankingSums`: [q] float64
    counted: np.ndarray  # [q] bool: the query has a relevant item; elsewhere the values say nothing

    def __add__(self, other: "RankingScores") -> "RankingScores":
        """Join two disjoint sets of queries."""
        _check_same_metrics(self.values, other.values)
        return RankingScores(
            {name: np.concatenate([x, other.values[name]]) for name, x in self.values.items()},
            np.concatenate([self.counted, other.counted]),
        )

    def sums(self) -> RankingSums:
        """Return the sums over the counted queries."""
        sums = {name: float(x.sum(where=self.counted)) for name, x in self.values.items()}
        count = int(self.counted.sum())
        return RankingSums(sums, count, len(self.counted) - count)


def _check_same_metrics(a: Mapping[str, object], b: Mapping[str, object]) -> None:
    if a.keys() != b.keys():
        raise ValueError(
            f"cannot add metrics {sorted(a)} and {sorted(b)}: use the same cutoffs for every block"
        )


def average_precision(relevant: Array) -> jax.Array:
    """Non-interpolated AP over the whole gallery: the mean of P(rank) over the relevant ranks.

    Equals scikit-learn's average_precision_score where no distances tie; ties are resolved by the
    ranking given (gallery order), where scikit-learn merges them into one threshold.

    Args:
        relevant: [n] bool, in rank order.

    Returns:
        [] float32; 0 where nothing is relevant (leave such queries out of a mean).
    """
    return bounded_average_precision(relevant, len(relevant))


def bounded_average_precision(
    relevant: Array, k: int, *, divisor: Divisor = "possible"
) -> jax.Array:
    """AP@K = sum of P(rank) over the relevant ranks up to K, divided by what could be found there.

    Args:
        relevant: [n] bool, in rank order.
        k: K; above n the same as n.
        divisor: "possible" divides by min(K, R), R relevant items in the gallery: 1 for the best
            possible ranking alone. "retrieved" divides by the relevant items among the first K: it
            does not see what was missed.

    Returns:
        [] float32; 0 where nothing relevant is found.
    """
    first = jnp.asarray(relevant)[:k]
    hits = jnp.cumsum(first, dtype=jnp.int32)
    ranks = jnp.arange(1, len(first) + 1, dtype=jnp.int32)
    if divisor == "possible":
        best = jnp.minimum(k, jnp.sum(relevant))
    elif divisor == "retrieved":
        best = hits[-1]
    else:
        raise ValueError(f"divisor={divisor!r} is unknown; choose possible or retrieved")
    return jnp.sum(jnp.where(first, hits / ranks, 0.0)) / jnp.maximum(best, 1)


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
    """P@K = (relevant items among the first K) / K.

    Args:
        relevant: [n] bool, in rank order.
        k: K, at most n.

    Returns:
        [] float32.
    """
    return jnp.sum(relevant[:k]) / k


def ndcg_at_k(relevance: Array, k: int) -> jax.Array:
    """NDCG@K with the gain 2^relevance - 1 and the discount log2(rank + 1).

    The ideal it is divided by is the best order of the whole gallery. Binary relevance has the
    gains 0 and 1. scikit-learn's ndcg_score takes gains: give it 2^relevance - 1.

    Args:
        relevance: [n] bool, or grades of at least 0, in rank order.
        k: K, at most n.

    Returns:
        [] float32; 0 where nothing is relevant (leave such queries out of a mean).
    """
    grades = jnp.asarray(relevance, jnp.float32)
    discounts = 1 / jnp.log2(jnp.arange(2, k + 2, dtype=jnp.float32))
    ideal = jnp.sum((jnp.exp2(jax.lax.top_k(grades, k)[0]) - 1) * discounts)
    found = jnp.sum((jnp.exp2(grades[:k]) - 1) * discounts)
    return found / jnp.where(ideal > 0, ideal, 1.0)


def distance_blocks(
    queries: Array, gallery: Array, *, block: int = QUERY_BLOCK
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the squared distances of a block of queries to the whole gallery, block after block.

    They come from matrix products, whose last bits depend on a row's place: equal gallery rows get
    the distance of the first of them, so that they tie. The gallery is read block by block too, so
    that it may be a mapped file.

    Args:
        queries: [q, d] float.
        gallery: [n, d] float.
        block: queries at a time, fewer where the gallery is large.

    Yields:
        The rows of the queries, and [b, n] float32.

    Raises:
        ValueError: shapes that do not fit, or a distance that is not finite.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries {queries.shape} and gallery {gallery.shape}: expected [q, d] and [n, d]:"
            " extract both with the same layers"
        )
    n = len(gallery)
    size = max(1, min(block, MOST_DISTANCES // max(n, 1)))
    first_equal = _first_equal(gallery)
    repeated = np.flatnonzero(first_equal != np.arange(n))
    for start in range(0, len(queries), size):
        rows = slice(start, min(start + size, len(queries)))
        distances = np.empty((rows.stop - start, n), np.float32)
        for first in range(0, n, GALLERY_BLOCK):
            part = slice(first, first + GALLERY_BLOCK)
            distances[:, part] = _squared_distances(queries[rows], gallery[part])
        distances[:, repeated] = distances[:, first_equal[repeated]]
        if not np.isfinite(distances).all():
            query, item = np.argwhere(~np.isfinite(distances))[0]
            raise ValueError(
                f"the distance of query {start + query} to gallery row {item} is not finite:"
                " look at the drawing and the picture that these features came from"
            )
        yield rows, distances


def _first_equal(rows: Array) -> np.ndarray:
    """Find the first row that equals each of the rows [n, d], bit by bit: [n] int."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(x.tobytes(), digest_size=16).digest() for x in np.asarray(rows))
    return np.array([seen.setdefault(x, i) for i, x in enumerate(digests)], int)


@jax.jit
def _squared_distances(queries: Array, gallery: Array) -> jax.Array:
    """[q, d], [n, d] -> [q, n] float32."""
    queries, gallery = (jnp.asarray(x, jnp.float32) for x in (queries, gallery))
    products = jnp.matmul(queries, gallery.T, precision="highest")
    squares = [jnp.sum(x * x, axis=1) for x in (queries, gallery)]
    return squares[0][:, None] - 2 * products + squares[1][None, :]


def rank_by_distance(distances: Array) -> np.ndarray:
    """Rank the gallery for each query, nearest first, ties by gallery order.

    On the host, on all cores: sorting whole integers, distance before index, is 7 times as fast as
    XLA's sort of pairs on a CPU, and `distance_blocks` hands out host arrays anyway.

    Args:
        distances: [q, n] float32; infinite where an item is no candidate: it comes last.

    Returns:
        [q, n] int32 gallery indices.
    """
    distances = np.asarray(distances, np.float32)
    q, n = distances.shape
    ranking = np.empty((q, n), np.int32)
    rows = max(1, SORTED_AT_ONCE // max(n, 1))

    def rank(start: int) -> None:
        part = slice(start, start + rows)
        keys = _ascending(distances[part]).astype(np.int64) << 32 | np.arange(n)
        keys.sort(axis=1)
        ranking[part] = keys  # the low half, the index

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(rank, range(0, q, rows)))
    return ranking


def _ascending(values: np.ndarray) -> np.ndarray:
    """Integers [q, n] in the order of float32 numbers, NaN last; both zeros are one."""
    values = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative numbers descend by their bits


def ranking_scores(ranking: Array, relevance: Array, *, cutoffs: Cutoffs) -> RankingScores:
    """Score a block of rankings, query by query.

    Call it block after block and add the results: [q, n] is then never held for all queries.

    Args:
        ranking: [q, n] int, each row a permutation of the gallery, nearest first.
        relevance: [q, n] bool, or grades of at least 0, in gallery order; above 0 is relevant.
        cutoffs: the K of each metric.

    Returns:
        Scores under "mAP", "P@K", "recall@K", "NDCG@K", "bounded mAP@K" and "bounded mAP@K
        (retrieved)"; `VARIANTS` defines each.

    Raises:
        ValueError: shapes that do not fit, a K below 1, or one above n where the metric has no
            meaning there (all but the bounded mAP), a row that is no permutation.
    """
    if ranking.ndim != 2 or ranking.shape != relevance.shape:
        raise ValueError(
            f"ranking has shape {ranking.shape} and relevance {relevance.shape}, expected [q, n]"
            " for both: rank the whole gallery"
        )
    n = ranking.shape[1]
    for name, ks in cutoffs._asdict().items():
        most = None if name == "bounded" else n
        if wrong := [k for k in ks if k < 1 or (most is not None and k > most)]:
            raise ValueError(
                f"cutoffs.{name} holds K = {wrong[0]}, expected at least 1"
                + (f" and at most n = {n}" if most is not None else "")
            )
    metrics, counted, complete = _metrics(ranking, relevance, cutoffs=cutoffs)
    if (broken := np.flatnonzero(~np.asarray(complete))).size:
        raise ValueError(
            f"ranking row {broken[0]} is not a permutation of 0..{n - 1}: rank the whole gallery"
        )
    values = {name: np.asarray(x, np.float64) for name, x in metrics.items()}
    return RankingScores(values, np.asarray(counted))


@functools.partial(jax.jit, static_argnames="cutoffs")
def _metrics(
    ranking: Array, relevance: Array, *, cutoffs: Cutoffs
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """Return each metric [q], whether anything is relevant [q], whether each row is a permutation [q]."""
    n = ranking.shape[1]
    seen = jax.vmap(lambda row: jnp.zeros(n, bool).at[row].set(True, mode="drop").all())(ranking)
    complete = seen & (ranking >= 0).all(axis=1)  # a negative index would count from the end
    grades = jnp.take_along_axis(jnp.asarray(relevance), ranking, axis=1)
    relevant = grades > 0
    metrics = {"mAP": jax.vmap(average_precision)(relevant)}
    for k in cutoffs.precision:
        metrics[f"P@{k}"] = jax.vmap(functools.partial(precision_at_k, k=k))(relevant)
    for k in cutoffs.recall:
        metrics[f"recall@{k}"] = jax.vmap(functools.partial(recall_at_k, k=k))(relevant)
    for k in cutoffs.ndcg:
        metrics[f"NDCG@{k}"] = jax.vmap(functools.partial(ndcg_at_k, k=k))(grades)
    for k in cutoffs.bounded:
        bounded = functools.partial(bounded_average_precision, k=k)
        metrics[f"bounded mAP@{k}"] = jax.vmap(bounded)(relevant)
        metrics[f"bounded mAP@{k} (retrieved)"] = jax.vmap(
            functools.partial(bounded, divisor="retrieved")
        )(relevant)
    return metrics, relevant.any(axis=1), complete


class KendallTau(NamedTuple):
    """Rank correlation of each query's items; NaN where it is not defined."""

    tau_b: np.ndarray  # [q] float64: NaN where all of `first`, or all of `second`, are equal
    tau_a: np.ndarray  # [q] float64: NaN where there are fewer than two items


def kendall_tau(
    first: np.ndarray, second: np.ndarray, *, mask: np.ndarray | None = None
) -> KendallTau:
    """Kendall's rank correlation, with the correction for ties (tau-b) and without (tau-a).

    With n_c concordant and n_d discordant of N pairs, and U, V pairs that tie in `first`, `second`:
    tau-b = (n_c - n_d) / sqrt((N - U) (N - V)), tau-a = (n_c - n_d) / N. Order and ties are those of
    the numbers given, in their own precision.

    Args:
        first: [q, n] numbers, the rating of each of a query's items.
        second: [q, n] numbers, what is compared with it.
        mask: [q, n] bool, False for padding where queries have fewer items; all by default.

    Returns:
        Both correlations of each query; tau-b is that of scipy.stats.kendalltau.

    Raises:
        ValueError: shapes that do not fit, or a number that is NaN.
    """
    used = np.ones(first.shape, bool) if mask is None else np.asarray(mask, bool)
    if first.ndim != 2 or first.shape != second.shape or used.shape != first.shape:
        raise ValueError(
            f"first has shape {first.shape}, second {second.shape} and mask {used.shape},"
            " expected [q, n] for all"
        )
    for name, x in (("first", first), ("second", second)):
        if (bad := np.argwhere(used & np.isnan(x))).size:
            raise ValueError(
                f"{name} of query {bad[0][0]} is NaN at item {bad[0][1]}: mask it or leave it out"
            )
    counts = _pair_counts(_codes(first, used), _codes(second, used), used)
    score, pairs, untied_first, untied_second = (np.asarray(x, np.float64) for x in counts)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is promised
        return KendallTau(score / np.sqrt(untied_first * untied_second), score / pairs)


def _codes(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Replace numbers by their place among the query's distinct ones, [q, n] int32: float64 on the
    host orders and ties what float32 on the device would not. Codes of unused numbers say nothing.
    """
    values = np.where(used, values, 0)  # a masked NaN would order itself anywhere
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.zeros(values.shape, np.int32)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=places[:, 1:])
    codes = np.empty_like(places)
    np.put_along_axis(codes, order, places, axis=1)
    return codes


@jax.jit
@jax.vmap
def _pair_counts(
    first: Array, second: Array, used: Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return n_c - n_d, N, N - U and N - V of one query [n]; int32 holds them up to n = 46,340."""
    pair = used[:, None] & used[None, :]
    # Every pair counts from both sides. Signs of a byte: 16 times as many at once as in int32.
    signs = [
        ((x[:, None] > x[None, :]).astype(jnp.int8) - (x[:, None] < x[None, :])) * pair
        for x in (first, second)
    ]
    twice = [jnp.sum(x, dtype=jnp.int32) for x in (signs[0] * signs[1], *(s != 0 for s in signs))]
    count = jnp.sum(used, dtype=jnp.int32)
    return twice[0] // 2, count * (count - 1) // 2, twice[1] // 2, twice[2] // 2
