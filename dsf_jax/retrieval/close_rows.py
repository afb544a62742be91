"""Queries for which more rows lie about as far as the k-th nearest than `search` keeps: all these rows are
found by one pass over the gallery, and measured, equal ones once.

Thousands of equal rows, as of blank pictures, are the usual case: no bound tells them apart.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.retrieval.distances import first_equal, paired_distances

MEASURED = 4 * 2**20  # bytes of rows, as float32, gathered and measured at a time

Array = np.ndarray | jax.Array


def nearest_of_close(
    queries: np.ndarray,
    reach: np.ndarray,
    blocks: Iterator[tuple[Array, int, int]],
    k: int,
    within: Callable[[Array, Array, Array], jax.Array],
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest rows of queries, among the rows that bounds do not exclude.

    Args:
      queries: [q, d] float32.
      reach: [q] float32, squared distance that excludes a row whose bound is larger; at least k rows of
        each query are within.
      blocks: blocks of the gallery in its order: rows [m, d], the first one's index, and the first index
        that no earlier block had.
      k: number of rows.
      within: (queries [c, d], rows [m, d], reach [c]) -> [m, c] bool, rows that are not excluded.

    Returns:
      Squared distances [q, k] float32 by the plain formula and gallery rows [q, k] int32, nearest first,
      equal distances in gallery order.
    """
    q = len(queries)
    spare = (1 << (q - 1).bit_length()) - q  # few sizes, each compiled once
    padded = jnp.asarray(np.pad(queries, ((0, spare), (0, 0))))
    limits = jnp.asarray(np.pad(reach, (0, spare), constant_values=-np.inf))
    nothing = (np.empty(0, np.float32), np.empty(0, np.int32))
    best = [nothing] * q
    for rows, first, fresh in blocks:
        close = np.asarray(within(padded, rows, limits))[fresh - first :, :q]
        places = np.flatnonzero(close.any(axis=1))
        if places.size:
            members = np.asarray(rows)[places + (fresh - first)]
            found = _measured(padded, members, close[places])
            index = (places + fresh).astype(np.int32)
            best = [_merged(*pair, index, k) for pair in zip(best, found, strict=True)]
    return np.stack([x for x, _ in best]), np.stack([x for _, x in best])


def _measured(queries: Array, rows: np.ndarray, close: np.ndarray) -> list[np.ndarray]:
    """Returns the distances [m] of rows [m, d] to each query, infinite where they are not close [m, q]."""
    equal = first_equal(rows)
    wanted = np.zeros(close.shape, bool)  # of equal rows, the first
    np.logical_or.at(wanted, equal, close)
    owner, place = (x.astype(np.int32) for x in np.nonzero(wanted.T))
    distances = np.empty(len(owner), np.float32)
    size = max(1, MEASURED // (4 * rows.shape[1]))
    for start in range(0, len(owner), size):
        pairs = np.arange(start, start + size)
        pairs = np.minimum(pairs, len(owner) - 1)  # one shape: the last one is repeated
        distances[pairs] = paired_distances(queries, owner[pairs], rows[place[pairs]])
    table = np.full(close.T.shape, np.inf, np.float32)
    table[owner, place] = distances
    return list(np.where(close.T, table[:, equal], np.inf))


def _merged(
    best: tuple[np.ndarray, np.ndarray], distances: np.ndarray, index: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k nearest of those so far and of later rows; equal distances keep their order."""
    near = np.isfinite(distances)
    all_distances = np.concatenate([best[0], distances[near]])
    order = np.argsort(all_distances, kind="stable")[:k]
    return all_distances[order], np.concatenate([best[1], index[near]])[order]
