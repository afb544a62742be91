"""Exact nearest neighbours by Euclidean distance, block by block.

The distance is the plain formula, sum((query - row)**2) in float32: it gives equal rows bit-equal
distances and a query's own row the distance zero. It cannot use a matrix product, so it is applied
to candidates only. A matrix product bounds every distance from below; the k + MARGIN rows of least
bound are measured by the formula, and the best k of them are the answer if no other row's bound
reaches the k-th distance. Where that cannot be shown (a crowd of equal rows across the last place),
`close_rows` measures all rows whose bounds reach it, equal ones once.

Bounds take the squared lengths of all rows, which do not change from one search to the next: whoever searches
a gallery more than once computes them once (`squared_lengths`). Without them, and where rows would have to be
widened first, a single query is measured against every row, which is then the quicker way.
"""

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dsf_jax.retrieval.close_rows import nearest_of_close
from dsf_jax.retrieval.distances import paired_distances
from dsf_jax.retrieval.row_blocks import Array, aligned_empty, in_place, row_blocks

MARGIN = 32  # the further the first row left out lies behind the k-th, the rarer a second pass
# Rows of which the best is ranked first: ranking costs more than the matrix product's rest.
GROUP = 8
BLOCK = 16384  # gallery rows bounded at a time
MEASURED = 4 * 2**20  # bytes of candidate rows gathered and measured at a time: they stay in cache


class Neighbours(NamedTuple):
    """The nearest gallery rows of each query, nearest first, equal distances in gallery order."""

    squared_distances: np.ndarray  # [q, k] float32
    indices: np.ndarray  # [q, k] int32


class _Candidates(NamedTuple):
    """The gallery rows of least bound so far, for one block of queries."""

    negated: Array  # [q, c] float32: minus the lower bound of the squared distance, descending
    indices: Array  # [q, c] int32
    unusable: Array  # [] int32: a gallery row that is not finite, or -1


def squared_lengths(gallery: Array) -> np.ndarray:
    """Computes the squared lengths of a gallery's rows, for searches in it.

    Args:
      gallery: [n, d] float32, float16 or bfloat16, as `search` takes it.

    Returns:
      [n] float32.

    Examples:
      >>> squared_lengths(np.array([[0, 0], [3, 4]], np.float32)).tolist()
      [0.0, 25.0]
    """
    squares = np.empty(len(gallery), np.float32)
    if len(gallery):
        for rows, first, _ in row_blocks(in_place(gallery), BLOCK):
            squares[first : first + len(rows)] = _squares(rows)
    return squares


def search(
    queries: Array,
    gallery: Array,
    k: int,
    *,
    squares: np.ndarray | None = None,
    block: int = BLOCK,
    query_block: int = 256,
) -> Neighbours:
    """Finds the k nearest gallery rows of every query, exactly.

    A distance's relative error is at most (d + 2) * 2**-24, about sqrt(d) * 2**-24 in practice;
    unlike that of |q|^2 + |g|^2 - 2qg it does not grow where a query nearly equals a row. (Float32
    itself ends at squares of about 1e-38: distances below 1e-16 lose digits, scale such rows.) Memory
    besides the gallery is two blocks of it (not copied on a CPU that can read in place: a jax array,
    a mapped .npy file), query_block x block bounds, k + MARGIN candidates per query, whatever n is.

    Args:
      queries: [q, d] float32, float16 or bfloat16.
      gallery: [n, d] of the same types: jax or numpy array or memory map, read block by block.
      k: number of rows to find; above n, all n come back.
      squares: [n] float32, `squared_lengths` of just these rows, where known: one query is faster then.
      block: gallery rows bounded at a time.
      query_block: queries bounded at a time.

    Returns:
      Squared distances [q, min(k, n)] float32 and gallery rows [q, min(k, n)] int32.

    Raises:
      ValueError: wrong shape or type, empty gallery, a row not finite, an option below 1.

    Examples:
      >>> gallery = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
      >>> found = search(np.array([[0, 0], [3, 3]], np.float32), gallery, 2)
      >>> found.indices.tolist(), found.squared_distances.tolist()
      ([[0, 2], [1, 2]], [[0.0, 1.0], [1.0, 13.0]])
    """
    _check(queries, gallery, squares, k=k, block=block, query_block=query_block)
    gallery = in_place(gallery)
    shape = (len(queries), min(k, len(gallery)))
    best = Neighbours(np.empty(shape, np.float32), np.empty(shape, np.int32))
    if len(queries) == 1 and (squares is None or gallery.dtype != np.float32):
        _scan(np.asarray(queries, np.float32), gallery, block, best)
        return best
    chunks = _chunks(queries, query_block)
    bounded = _filter(list(chunks.values()), gallery, squares, k, block)
    for (first, chunk), found in zip(chunks.items(), bounded, strict=True):
        part = Neighbours(*(x[first : first + len(chunk)] for x in best))  # views, filled in place
        _settle(chunk, gallery, found, part, block)
    return best


def _chunks(queries: Array, query_block: int) -> dict[int, jax.Array]:
    """Cuts queries evenly into float32 blocks of one shape, zero rows at the end, by their first row."""
    size = math.ceil(len(queries) / max(math.ceil(len(queries) / query_block), 1))
    return {
        first: jnp.asarray(_pad(np.asarray(queries[first : first + size], np.float32), size))
        for first in range(0, len(queries), max(size, 1))
    }


def _settle(chunk: Array, gallery: Array, found: _Candidates, best: Neighbours, block: int) -> None:
    """Measures the candidates of a block of queries, and all rows that may be as near as the k-th where the
    candidates are not all of these.
    """
    real, k = best.indices.shape
    _measure(chunk, gallery, np.asarray(found.indices)[:real], best)
    reach = best.squared_distances[:, -1] * (1 + _roundoff(chunk.shape[1]))
    open_rows = np.flatnonzero(reach >= -np.asarray(found.negated)[:real, -1])
    if open_rows.size and found.negated.shape[1] < len(gallery):
        best.squared_distances[open_rows], best.indices[open_rows] = nearest_of_close(
            np.asarray(chunk)[open_rows], reach[open_rows], row_blocks(gallery, block), k, _within
        )


def _filter(
    chunks: list[jax.Array], gallery: Array, squares: np.ndarray | None, k: int, block: int
) -> list[_Candidates]:
    """Keeps the min(k + MARGIN, n) rows of least bound for every query of every chunk."""
    if not chunks:
        return []
    n = len(gallery)
    shape = (len(chunks[0]), min(k + MARGIN, n))
    # -inf is below every bound, and n rows come for at most n places: no start value survives.
    start = _Candidates(jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32), jnp.int32(-1))
    states = [start] * len(chunks)
    for rows, first, fresh in row_blocks(gallery, block):
        jax.block_until_ready(states)  # the next block was read meanwhile; never hold a third
        wide = rows if rows.dtype == np.float32 else _widened(rows)
        known = _squares(wide) if squares is None else squares[first : first + len(rows)]
        states = [
            _absorb(state, chunk, wide, known, first, fresh)
            for state, chunk in zip(states, chunks, strict=True)
        ]
    if (row := int(states[0].unusable)) >= 0:
        raise _unusable(row, n)
    return states


def _unusable(row: int, n: int) -> ValueError:
    """Formats the error of a gallery row that cannot be measured."""
    return ValueError(
        f"gallery row {row} of {n} is not finite, or too large to square in float32:"
        " remove it, or look at the picture it came from"
    )


@jax.jit
def _squares(rows: Array) -> jax.Array:
    """Computes squared lengths: [m, d] -> [m] float32."""
    return jnp.sum(jnp.square(rows.astype(jnp.float32)), axis=1)


@jax.jit
def _widened(rows: Array) -> jax.Array:
    """Converts half-precision rows [m, d] to float32, once for all queries."""
    return jnp.asarray(rows, jnp.float32)


@jax.jit
def _absorb(
    best: _Candidates,
    queries: Array,
    rows: Array,
    row_squares: Array,
    first: int,
    fresh: int,
) -> _Candidates:
    """Merges the rows [m, d] with indices from fresh on into the candidates of queries [q, d]."""
    index = first + jnp.arange(len(rows), dtype=jnp.int32)
    new = index >= fresh
    negated = _negated_bounds(queries, rows, row_squares)
    negated = jnp.where(new[:, None], negated, -jnp.inf)
    negated, at = _top(best.negated, negated)
    keep = best.indices.shape[1]
    old = jnp.take_along_axis(best.indices, jnp.minimum(at, keep - 1), axis=1)
    indices = jnp.where(at < keep, old, first + at - keep)
    bad = new & ~jnp.isfinite(4 * row_squares)  # 4: the sums above stay finite
    unusable = jnp.max(jnp.where(bad, index, -1), initial=best.unusable)
    return _Candidates(negated, indices, unusable)


def _negated_bounds(queries: Array, rows: Array, row_squares: Array) -> jax.Array:
    """Computes minus the lower bounds of squared distances, [m, q], of rows [m, d] to queries [q, d]."""
    squares = row_squares[:, None] + jnp.sum(queries * queries, axis=1)[None, :]
    # Rounding moves |q|^2 + |g|^2 - 2qg by at most e(|q| + |g|)^2 <= 2e(|q|^2 + |g|^2).
    # Rows lead in the product: XLA's CPU matmul is up to twice as fast that way round.
    products = jnp.matmul(rows, queries.T, precision=lax.Precision.HIGHEST)
    return 2 * products - (1 - 2 * _roundoff(rows.shape[1])) * squares


@jax.jit
def _within(queries: Array, rows: Array, reach: Array) -> jax.Array:
    """Returns which rows [m, d] have bounds within the reach [q] of queries [q, d]: [m, q] bool."""
    return _negated_bounds(queries, rows.astype(jnp.float32), _squares(rows)) >= -reach[None]


def _top(best: Array, fresh: Array) -> tuple[jax.Array, jax.Array]:
    """Finds the c largest of c old and m fresh values of each query.

    The best so far come first: top_k's heap starts from them, and few of the fresh ones enter it.
    Of many fresh ones groups are ranked by their largest; the c largest values lie in the c largest
    groups.

    Args:
      best: [q, c].
      fresh: [m, q].

    Returns:
      The values [q, c], descending, and their places [q, c]: in best, or c + those in fresh.
    """
    (q, c), m = best.shape, len(fresh)
    if m % GROUP or m <= c * GROUP:
        return lax.top_k(jnp.concatenate([best, fresh.T], axis=1), c)
    grouped = fresh.reshape(m // GROUP, GROUP, q)
    _, at = lax.top_k(jnp.concatenate([best, grouped.max(axis=1).T], axis=1), c)
    groups = jnp.maximum(at - c, 0)  # [q, c]
    members = grouped[groups, :, jnp.arange(q)[:, None]]  # [q, c, GROUP]
    members = jnp.where((at < c)[:, :, None], -jnp.inf, members).reshape(q, c * GROUP)
    values, at = lax.top_k(jnp.concatenate([best, members], axis=1), c)
    member = jnp.maximum(at - c, 0)
    place = jnp.take_along_axis(groups, member // GROUP, axis=1) * GROUP + member % GROUP
    return values, jnp.where(at < c, at, c + place)


def _roundoff(d: int) -> float:
    """Returns the relative rounding error of a float32 sum of d products: 8 deviations (Higham, Mary 2019)."""
    return 8 * math.sqrt(d + 2) * 2.0**-24


def _measure(queries: Array, gallery: Array, candidates: np.ndarray, best: Neighbours) -> None:
    """Fills best with the nearest of the candidates [q, c] by the plain formula."""
    c = candidates.shape[1]
    pairs = candidates.ravel()
    owner = np.repeat(np.arange(len(candidates), dtype=np.int32), c)
    distances = np.empty(pairs.shape, np.float32)
    size = min(len(pairs), max(1, MEASURED // gallery[:1].nbytes))
    buffers = threading.local()

    def measure(start: int) -> None:
        start = min(start, len(pairs) - size)  # one shape: the last step repeats some pairs
        span = slice(start, start + size)
        if isinstance(gallery, jax.Array):
            rows: Array = gallery[pairs[span]]
        else:  # mode: the default checks each index through a second buffer
            if not hasattr(buffers, "rows"):
                buffers.rows = aligned_empty((size, gallery.shape[1]), gallery.dtype)
            np.take(gallery, pairs[span], axis=0, out=buffers.rows, mode="clip")
            rows = buffers.rows
        distances[span] = paired_distances(
            queries, owner[span], rows
        )  # waits: the buffer is free again

    starts = range(0, len(pairs), size)
    # Gathering is one thread's work, and half of it; one more fills the gaps between its parts.
    with ThreadPoolExecutor(min(len(starts), 1 + (os.cpu_count() or 1))) as pool:
        list(pool.map(measure, starts))
    table = distances.reshape(candidates.shape)
    order = np.lexsort((candidates, table))[:, : best.indices.shape[1]]
    best.squared_distances[:] = np.take_along_axis(table, order, axis=1)
    best.indices[:] = np.take_along_axis(candidates, order, axis=1)


def _scan(query: Array, gallery: Array, block: int, best: Neighbours) -> None:
    """Fills best [1, k] with the nearest of all gallery rows to query [1, d] by the plain formula."""
    k, n = best.indices.shape[1], len(gallery)
    distances, indices = np.empty(0, np.float32), np.empty(0, np.int32)
    for rows, first, fresh in row_blocks(gallery, block):
        here = np.asarray(paired_distances(query, np.zeros(len(rows), np.int32), rows))[
            fresh - first :
        ]
        if (bad := np.flatnonzero(~np.isfinite(here))).size:
            raise _unusable(fresh + int(bad[0]), n)
        distances = np.concatenate([distances, here])
        indices = np.concatenate([indices, np.arange(fresh, fresh + len(here), dtype=np.int32)])
        last = np.partition(distances, min(k, len(distances)) - 1)[min(k, len(distances)) - 1]
        near = np.flatnonzero(distances <= last)  # few: only these are sorted
        nearest = near[np.argsort(distances[near], kind="stable")][:k]
        distances, indices = distances[nearest], indices[nearest]
    best.squared_distances[:], best.indices[:] = distances, indices


def _pad(rows: np.ndarray, count: int) -> np.ndarray:
    """Appends zero rows up to count."""
    return np.pad(rows, ((0, count - len(rows)), (0, 0))) if len(rows) < count else rows


def _check(queries: Array, gallery: Array, squares: np.ndarray | None, **options: int) -> None:
    """Refuses what search cannot answer exactly, except a gallery row that is not finite."""
    for name, value in options.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    for name, x in (("queries", queries), ("gallery", gallery)):
        if x.ndim != 2:
            raise ValueError(
                f"{name} has shape {x.shape}, expected 2 dimensions: [items, features]"
            )
        if not jnp.issubdtype(x.dtype, jnp.floating) or x.dtype.itemsize > 4:
            raise ValueError(f"{name} is {x.dtype}, expected float32, float16 or bfloat16: cast it")
    if queries.shape[1] != gallery.shape[1] or 0 in gallery.shape:
        raise ValueError(
            f"queries {queries.shape} and gallery {gallery.shape}: expected one feature size"
            " above 0 and at least one gallery row: extract both with the same layers"
        )
    if squares is not None and squares.shape != (len(gallery),):
        raise ValueError(
            f"squares has shape {squares.shape} for a gallery of {len(gallery)} rows: compute it by"
            " squared_lengths(gallery)"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sum(np.square(np.asarray(queries, np.float32)), axis=1)
        bad = np.flatnonzero(~np.isfinite(4 * lengths))
    if bad.size:
        raise ValueError(
            f"queries row {bad[0]} of {len(queries)} is not finite, or too large to square in"
            " float32: remove it, or look at the drawing it came from"
        )
