"""One version of a gallery in memory: the list of its pictures, and their vectors.

A snapshot never changes, so that any number of threads read it. A newer one takes its place, and what it
holds: vectors are in memory once.
"""

import contextlib
import math
import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np

from dsf_jax.gallery.listing import ALL, Filter, Listing, Picture
from dsf_jax.gallery.store import Store
from dsf_jax.retrieval.euclidean import Neighbours
from dsf_jax.retrieval.sharded import Shard, own_rows, place, search_processes, search_shards

IN_MEMORY = 4 * 2**30  # bytes of vectors; more lie in a temporary file that is mapped
MOVED_ROWS = 1024  # from one snapshot to the next, at a time


class Neighbour(NamedTuple):
    """A picture that a search found, and the Euclidean distance of its stored vector."""

    picture: Picture
    distance: float


class Snapshot:
    """The pictures of one version of a store.

    Attributes:
      store: store, at that version.
      listing: its files, and the pictures that they hold.
      own: rows of pictures whose vectors this process holds.
    """

    def __init__(
        self,
        store: Store,
        *,
        hold_vectors: bool,
        sharded: bool = False,
        previous: "Snapshot | None" = None,
    ) -> None:
        """Reads the list.

        Args:
          store: store, which stays at its version.
          hold_vectors: whether to compare them here, read when a search first needs them; otherwise the
            store searches, by its index.
          sharded: whether to hold only this process's shard of them.
          previous: older snapshot, whose vectors need not be read again: where it has been searched, those
            that it lacks are read at once, and `take_over` must be called before this one is searched.
        """
        self.store, self._holds_vectors, self._sharded = store, hold_vectors, sharded
        self.listing = Listing(store)
        self.own = own_rows(len(self)) if sharded else range(len(self))
        self._vectors: np.ndarray | None = None
        self._shards: tuple[Shard, ...] = ()
        self._loading = threading.Lock()
        self._arriving: _Arriving | None = None
        if hold_vectors and previous is not None and previous._vectors is not None:
            if sharded:  # what this process will hold, others may have had
                previous._drop()
                self._load()
            else:
                self._arriving = self._read_missing(previous)

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.listing)

    def thumbnails(self, keys: Sequence[str]) -> list[bytes]:
        """Returns the thumbnails of ids, JPEGs; ValueError for an unknown one."""
        row_ids = self.listing.row_ids[self.listing.rows(keys)]
        found = self.store.take(row_ids, ["thumbnail"]).to_pydict()
        by_row = dict(zip(found["_rowid"], found["thumbnail"], strict=True))
        return [by_row[row_id] for row_id in row_ids.tolist()]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors [n, p] float32 of rows."""
        if self._vectors is not None and not self._sharded:
            return self._vectors[rows].astype(np.float32)
        found = np.empty((len(rows), self.store.config.dimensions), np.float32)
        distinct, places = np.unique(self.listing.row_ids[rows], return_inverse=True)
        for at, vectors in self.store.vectors(distinct):
            wanted = np.flatnonzero(np.isin(places, at))
            order = np.argsort(at)
            found[wanted] = vectors[order[np.searchsorted(at, places[wanted], sorter=order)]]
        return found

    def sample(self, count: int, seed: int) -> np.ndarray:
        """Returns the vectors [at most count, p] float32 of random rows, each once."""
        return self.vectors(np.random.default_rng(seed).permutation(len(self))[:count])

    def search(self, vectors: np.ndarray, k: int, filter: Filter) -> Neighbours:
        """Finds the k nearest pictures that pass a filter.

        Args:
          vectors: [q, p] float32.
          k: number of pictures.
          filter: filter that they pass.

        Returns:
          Squared distances [q, at most k] and files of `listing`: of each picture the first that passes.

        Raises:
          ValueError: when no picture has such a label or folder.
        """
        filter = filter.in_one_form()
        rows, files = self.listing.passing(filter)
        if not self._holds_vectors:
            return self._search_store(vectors, k, filter, (rows, files))
        self._load()
        first, last = np.searchsorted(rows, [self.own.start, self.own.stop])
        shards = self._shards if filter == ALL else (self._at(rows[first:last] - self.own.start),)
        within: Callable[..., Neighbours] = (
            partial(search_processes, first=int(first)) if self._sharded else search_shards
        )
        k = max(1, min(k, len(rows)))  # processes send k each, whatever they find
        found = within(vectors, shards, k)
        return Neighbours(found.squared_distances, files[found.indices])

    def neighbours(self, vectors: np.ndarray, k: int, filter: Filter) -> list[list[Neighbour]]:
        """Finds as `search` does; returns the pictures and their distances. There may be no picture at all."""
        if not len(self):
            return [[] for _ in vectors]
        found = self.search(vectors, k, filter)
        return [
            [Neighbour(self.listing.picture(file), float(square**0.5)) for square, file in pairs]
            for pairs in map(zip, found.squared_distances, found.indices)
        ]

    def _at(self, rows: np.ndarray) -> Shard:
        """Returns vectors as they are stored; of consecutive rows, as of a folder, without a copy."""
        assert self._vectors is not None
        squares = np.concatenate([shard.squares for shard in self._shards])
        consecutive = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        wanted = slice(rows[0], rows[-1] + 1) if consecutive else rows
        return Shard(self._vectors[wanted], squares[wanted])

    def _search_store(
        self, vectors: np.ndarray, k: int, filter: Filter, passing: tuple[np.ndarray, np.ndarray]
    ) -> Neighbours:
        """Lets the store search: by its index, or, under a filter, row by row."""
        rows, files = passing
        shown = np.zeros(len(self), np.int64)
        shown[rows] = files
        where = filter.condition()
        parts = [self._search_one(vector, k, where, shown) for vector in vectors]
        least = min((len(part.indices) for part in parts), default=0)
        distances = np.array([part.squared_distances[:least] for part in parts], np.float32)
        found = np.array([part.indices[:least] for part in parts], np.int64)
        shape = (len(parts), least)
        return Neighbours(distances.reshape(shape), found.reshape(shape))

    def _search_one(
        self, vector: np.ndarray, k: int, where: str | None, shown: np.ndarray
    ) -> Neighbours:
        """Searches for one vector; further files of a picture do not count. `shown` [n] are those that are
        shown.
        """
        wanted = k
        while True:
            ids, distances = self.store.nearest(
                vector, wanted, where=where, exact=where is not None
            )
            rows = self.listing.rows_of_files(ids)
            nearest = np.sort(np.unique(rows, return_index=True)[1])[:k]
            if len(nearest) == k or len(ids) < wanted:
                return Neighbours(distances[nearest], shown[rows[nearest]])
            wanted *= 2

    def _load(self) -> None:
        """Reads the vectors, once."""
        with self._loading:
            if self._vectors is None:
                vectors = self._allocated()
                self._read_rows(vectors, np.arange(len(vectors)))
                self._shards, self._vectors = place(vectors), vectors

    def take_over(self, previous: "Snapshot") -> None:
        """Moves vectors here that an older snapshot holds; nobody may read that one at the same time, nor
        search it afterwards. The old memory is given back bit by bit where the system allows it (Linux).
        """
        if self._arriving is None or previous._vectors is None:
            return
        (vectors, places), self._arriving = self._arriving, None
        there = np.flatnonzero(places >= 0)
        there = there[np.argsort(places[there])]
        old, released = previous._vectors, 0
        previous._drop()  # at once: it is never read half
        for start in range(0, len(there), MOVED_ROWS):
            part = there[start : start + MOVED_ROWS]
            vectors[part] = old[places[part]]
            released = _release(old, released, (int(places[part[-1]]) + 1) * old[:1].nbytes)
        del old  # before accelerators get theirs
        self._shards, self._vectors = place(vectors), vectors

    def _drop(self) -> None:
        """Forgets the vectors; a search would read them again."""
        self._vectors, self._shards = None, ()

    def _allocated(self) -> np.ndarray:
        """Returns memory for this process's vectors."""
        config = self.store.config
        return _allocate((len(self.own), config.dimensions), np.dtype(config.dtype))

    def _read_missing(self, previous: "Snapshot") -> "_Arriving":
        """Reads the vectors that an older snapshot does not hold. A picture's vector depends on nothing
        but its id.
        """
        earlier = previous.listing.position
        places = np.array([earlier.get(key, -1) for key in self.listing.position], np.int64)
        vectors = self._allocated()  # no memory yet: the system gives it as rows are written
        self._read_rows(vectors, np.flatnonzero(places < 0))
        return _Arriving(vectors, places)

    def _read_rows(self, held: np.ndarray, missing: np.ndarray) -> None:
        """Reads some of this process's rows into their places, and writes to no others."""
        if len(missing) <= len(held) // 2:
            for places, vectors in self.store.vectors(self.listing.row_ids[missing]):
                held[missing[places]] = vectors
            return
        own = self.listing.row_ids[self.own.start : self.own.stop]
        order = np.argsort(own)
        wanted = np.zeros(len(own), bool)
        wanted[missing] = True
        for row_ids, vectors in self.store.all_vectors():
            at = order[np.minimum(np.searchsorted(own, row_ids, sorter=order), len(own) - 1)]
            here = (own[at] == row_ids) & wanted[at]
            held[at[here]] = vectors[here]


class _Arriving(NamedTuple):
    """Vectors of which some are still in an older snapshot.

    Attributes:
      vectors: [n, p] those that it lacks are there.
      places: [n] int64, the older snapshot's row of each; -1 for those that it lacks.
    """

    vectors: np.ndarray
    places: np.ndarray


def _allocate(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Returns memory that starts at a page, as `search` reads it in place; much of it in a file."""
    size = math.prod(shape) * dtype.itemsize
    if size <= IN_MEMORY:
        pages = mmap.mmap(-1, max(size, 1))
    else:
        with tempfile.TemporaryFile() as file:
            _reserve(file, size)
            pages = mmap.mmap(file.fileno(), size)
    return np.frombuffer(pages, dtype, math.prod(shape)).reshape(shape)


def _release(vectors: np.ndarray, start: int, end: int) -> int:
    """Gives bytes of `_allocate`'s memory back to the system, which reads them as zeros from then on; returns
    where the next ones begin.
    """
    pages: Any = vectors
    while not isinstance(pages, mmap.mmap):
        pages = pages.obj if isinstance(pages, memoryview) else pages.base
    end -= end % mmap.PAGESIZE
    if end > start and hasattr(mmap, "MADV_REMOVE"):
        with contextlib.suppress(OSError):  # a file system that cannot: it keeps them till the end
            pages.madvise(mmap.MADV_REMOVE, start, end - start)
    return max(start, end)


def _reserve(file: IO[bytes], size: int) -> None:
    """Takes a file's space on disk: when the disk is full, this is an error, and later a crash."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    block = bytes(min(size, 2**24))  # macOS, Windows
    for start in range(0, size, len(block)):
        file.write(block[: size - start])
    file.flush()
