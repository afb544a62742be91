"""Exact search in a gallery that is cut into shards: over the devices of a process, and over processes.

Each process holds some rows of the gallery, and the devices of a process some of these. Every shard is
searched by itself for the k nearest, and these are merged: what travels between processes is k
distances and row numbers per query, never a row.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from dsf_jax.retrieval.euclidean import MARGIN, Neighbours, search, squared_lengths
from dsf_jax.retrieval.row_blocks import Array

DEVICE_BLOCK_BYTES = 256 * 2**20  # rows that an accelerator compares at a time
DEVICE_FRACTION = 0.5  # of an accelerator's memory that a shard may take


class Shard(NamedTuple):
    """Rows [n, d] of a gallery, and their squared lengths [n] float32, which every search of them needs."""

    rows: Array
    squares: np.ndarray

    @classmethod
    def of(cls, rows: Array) -> "Shard":
        """Makes a shard of rows, which must not change."""
        return cls(rows, squared_lengths(rows))


def own_rows(n: int) -> range:
    """Returns which of n rows this process holds: processes in order, sizes that differ by one."""
    process, processes = jax.process_index(), jax.process_count()
    return range(n * process // processes, n * (process + 1) // processes)


def place(rows: np.ndarray) -> tuple[Shard, ...]:
    """Cuts rows into one shard per local device, if these are accelerators with room for them.

    Args:
      rows: [n, d] those of this process, which must not change.

    Returns:
      The shards in order. On a CPU, whose one device uses all cores, and where the rows do not fit, it
      is only `rows`, which `search` reads block by block.
    """
    devices = jax.local_devices()
    if devices[0].platform == "cpu" or len(rows) < len(devices):
        return (Shard.of(rows),)
    room = (devices[0].memory_stats() or {}).get("bytes_limit", 0) * DEVICE_FRACTION
    if rows.nbytes / len(devices) > room:
        return (Shard.of(rows),)
    cuts = np.array_split(rows, len(devices))
    placed = (jax.device_put(x, device) for x, device in zip(cuts, devices, strict=True))
    return tuple(map(Shard.of, placed))


def search_shards(queries: np.ndarray, shards: Sequence[Shard], k: int) -> Neighbours:
    """Finds the k nearest rows in the shards of this process.

    Args:
      queries: [q, d] float32.
      shards: their rows are counted through them in order.
      k: number of rows.

    Returns:
      Squared distances [q, min(k, all rows)] and row numbers, equal distances in order of the rows.
    """
    shards = [shard for shard in shards if len(shard.rows)]
    firsts = np.cumsum([0, *(len(shard.rows) for shard in shards)])
    if len(shards) == 1:
        return _search(queries, shards[0], k)
    if not shards:
        nothing = (len(queries), 0)
        return Neighbours(np.empty(nothing, np.float32), np.empty(nothing, np.int32))
    with ThreadPoolExecutor(len(shards)) as pool:
        found = list(pool.map(lambda shard: _search(queries, shard, k), shards))
    parts = [
        Neighbours(part.squared_distances, part.indices + first)
        for part, first in zip(found, firsts[:-1].astype(np.int32), strict=True)
    ]
    return merge(parts, k)


def search_processes(
    queries: np.ndarray, shards: Sequence[Shard], k: int, *, first: int
) -> Neighbours:
    """Finds the k nearest rows in the shards of all processes, which call it together.

    Args:
      queries: [q, d] float32, the same on all processes.
      shards: shards of this process.
      k: number of rows, the same on all processes.
      first: number of this process's first row among all.

    Returns:
      Squared distances [q, min(k, all rows)] and row numbers among all, the same on all processes.

    Raises:
      ConnectionError: when another process is gone.
    """
    found = search_shards(queries, shards, k)
    if jax.process_count() == 1:
        return Neighbours(found.squared_distances, found.indices + np.int32(first))
    missing = ((0, 0), (0, k - found.indices.shape[1]))  # all processes send as much
    distances = np.pad(found.squared_distances, missing, constant_values=np.inf)
    indices = np.pad(found.indices + np.int32(first), missing, constant_values=-1)
    try:
        gathered = multihost_utils.process_allgather((distances, indices))
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"another process of this search is gone ({reason}); start all of them again"
        ) from error
    return merge([Neighbours(*pair) for pair in zip(*map(np.asarray, gathered), strict=True)], k)


def merge(parts: Sequence[Neighbours], k: int) -> Neighbours:
    """Merges neighbours found in several places; a distance of infinity stands for none.

    Args:
      parts: each [q, any number], the row numbers of no two parts equal.
      k: largest number of rows.

    Returns:
      The k nearest, equal distances in order of the rows.
    """
    distances = np.concatenate([part.squared_distances for part in parts], axis=1)
    indices = np.concatenate([part.indices for part in parts], axis=1)
    real = int(np.isfinite(distances[:1]).sum())  # the same for all queries
    order = np.lexsort((indices, distances))[:, : min(k, real)]
    return Neighbours(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)
    )


def _search(queries: np.ndarray, shard: Shard, k: int) -> Neighbours:
    """Searches few rows filled up to a power of two with zeros, so that few forms are compiled, and
    those on an accelerator in large blocks.
    """
    rows, squares = shard
    n, d = rows.shape
    if n < k + MARGIN:
        few = np.zeros((1 << max(n - 1, MARGIN).bit_length(), d), rows.dtype)
        few[:n] = rows
        found = search(queries, few, len(few), block=len(few))  # all, whichever are nearer
        real = found.indices < n
        return Neighbours(*(x[real].reshape(len(queries), n)[:, :k] for x in found))
    if isinstance(rows, jax.Array):
        block = max(1, DEVICE_BLOCK_BYTES // (d * rows.dtype.itemsize))
        return search(queries, rows, k, squares=squares, block=block)
    return search(queries, rows, k, squares=squares)
