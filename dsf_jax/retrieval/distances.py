"""Squared Euclidean distances: their definition, and tables of them for rankings of a whole gallery.

The definition is the plain formula of `paired_distances`. What measures few pairs uses it: search,
and the comparison with people's ratings. A ranking of a whole gallery takes all distances of a query,
for which the formula is an order of magnitude slower than a matrix product; `distance_blocks` uses
the product, and may order rows otherwise than search where their distances differ by its rounding.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array

QUERY_BLOCK = 256
GALLERY_BLOCK = 8192
MOST_DISTANCES = 2**24  # held at a time: 64 MiB in float32, whatever the gallery's size
SORTED_AT_ONCE = 2**17  # distances whose keys, 1 MiB, stay in cache


@jax.jit
def paired_distances(queries: Array, owner: Array, rows: Array) -> jax.Array:
    """Computes the squared distance of each row to its own query.

    Args:
      queries: [q, d] float32.
      owner: [p] int, the query that each row is compared with.
      rows: [p, d] float32, float16 or bfloat16.

    Returns:
      [p] float32, sum((queries[owner] - rows)**2): equal pairs of one call have bit-equal distances in any
      place; of calls of other sizes, the last bit may differ.

    Examples:
      >>> queries = np.array([[0, 0], [3, 3]], np.float32)
      >>> rows = np.array([[3, 4], [3, 4]], np.float32)
      >>> paired_distances(queries, np.array([0, 1]), rows).tolist()
      [25.0, 1.0]
    """
    return jnp.sum((queries[owner] - rows.astype(jnp.float32)) ** 2, axis=1)


def distance_blocks(queries: Array, gallery: Array) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields the squared distances of a block of queries to the whole gallery, block after block.

    They come from matrix products, whose last bits depend on a row's place: equal gallery rows get
    the distance of the first of them, so that they tie. The gallery is read block by block too, so
    that it may be a mapped file.

    Args:
      queries: [q, d] float.
      gallery: [n, d] float.

    Yields:
      The place of the block among the queries, and [b, n] float32.

    Raises:
      ValueError: shapes that do not fit, or a distance that is not finite.

    Examples:
      >>> queries = np.array([[0, 0], [3, 3]], np.float32)
      >>> gallery = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
      >>> for rows, distances in distance_blocks(queries, gallery):
      ...     print(rows, distances.tolist())
      slice(0, 2, None) [[0.0, 25.0, 1.0], [18.0, 1.0, 13.0]]
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries {queries.shape} and gallery {gallery.shape}: expected [q, d] and [n, d]:"
            " extract both with the same layers"
        )
    n = len(gallery)
    size = max(1, min(QUERY_BLOCK, MOST_DISTANCES // max(n, 1)))
    equal = first_equal(gallery)
    repeated = np.flatnonzero(equal != np.arange(n))
    for start in range(0, len(queries), size):
        rows = slice(start, min(start + size, len(queries)))
        distances = np.empty((rows.stop - start, n), np.float32)
        for first in range(0, n, GALLERY_BLOCK):
            part = slice(first, first + GALLERY_BLOCK)
            distances[:, part] = _distance_table(queries[rows], gallery[part])
        distances[:, repeated] = distances[:, equal[repeated]]
        if not np.isfinite(distances).all():
            query, item = np.argwhere(~np.isfinite(distances))[0]
            raise ValueError(
                f"the distance of query {start + query} to gallery row {item} is not finite:"
                " look at the drawing and the picture that these features came from"
            )
        yield rows, distances


def ranks_before(distances: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns which items rank before a chosen one; equal distances rank in gallery order.

    Args:
      distances: [b, n] of queries to the gallery.
      places: [b] int, the gallery's number of each query's chosen item.

    Returns:
      [b, n] bool.

    Examples:
      >>> ranks_before(np.array([[2.0, 1.0, 1.0]]), np.array([2])).tolist()
      [[False, True, False]]
    """
    chosen = places[:, None]
    distance = np.take_along_axis(distances, chosen, axis=1)
    earlier = np.arange(distances.shape[1]) < chosen
    before: np.ndarray = (distances < distance) | ((distances == distance) & earlier)
    return before


def first_equal(rows: Array) -> np.ndarray:
    """Returns the first row that equals each of the rows [n, d], bit by bit: [n] int."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.blake2b(x.tobytes(), digest_size=16).digest() for x in np.asarray(rows))
    return np.array([seen.setdefault(x, i) for i, x in enumerate(digests)], int)


@jax.jit
def _distance_table(queries: Array, gallery: Array) -> jax.Array:
    """Computes |q|^2 - 2qg + |g|^2: [q, d], [n, d] -> [q, n] float32."""
    queries, gallery = (jnp.asarray(x, jnp.float32) for x in (queries, gallery))
    products = jnp.matmul(queries, gallery.T, precision="highest")
    squares = [jnp.sum(x * x, axis=1) for x in (queries, gallery)]
    return squares[0][:, None] - 2 * products + squares[1][None, :]


def rank_by_distance(distances: Array) -> np.ndarray:
    """Ranks the gallery for each query, nearest first, ties by gallery order.

    On the host, on all cores: sorting whole integers, distance before index, is faster than XLA's
    sort of pairs on a CPU, and `distance_blocks` yields host arrays anyway.

    Args:
      distances: [q, n] float32; infinite where an item is no candidate: it comes last.

    Returns:
      [q, n] int32 gallery indices.

    Examples:
      >>> rank_by_distance(np.array([[2.0, 1.0, 1.0]])).tolist()
      [[1, 2, 0]]
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
    """Returns integers [q, n] in the order of float32 numbers, NaN last; both zeros are one."""
    values = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative numbers descend by their bits
