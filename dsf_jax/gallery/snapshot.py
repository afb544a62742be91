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
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsf_jax.gallery.crawl import one_form
from dsf_jax.gallery.store import LISTED_COLUMNS, Store, sql_in, sql_string
from dsf_jax.retrieval.euclidean import Neighbours
from dsf_jax.retrieval.sharded import Shard, own_rows, place, search_processes, search_shards

IN_MEMORY = 4 * 2**30  # bytes of vectors; more lie in a temporary file that is mapped
MAX_NAMED = 20  # labels that a message lists
MOVED_ROWS = 1024  # from one snapshot to the next, at a time


class Picture(NamedTuple):
    """A picture of the gallery.

    Attributes:
      id: SHA-256 of its file, hexadecimal.
      path: absolute path of its file, where it was read.
      label: name of the folder it lies in; None directly in the folder that was synced.
      folder: path of that folder relative to the one that was synced; "" for this one.
      width: width of the original.
      height: height of the original.
    """

    id: str
    path: str
    label: str | None
    folder: str
    width: int
    height: int


class Neighbour(NamedTuple):
    """A picture that a search found, and the Euclidean distance of its stored vector."""

    picture: Picture
    distance: float


class Filter(NamedTuple):
    """Which pictures a search is for.

    Attributes:
      labels: pictures with one of these labels; all where there are none.
      folder: pictures in this folder or below; all where it is None.
    """

    labels: tuple[str, ...] = ()
    folder: str | None = None


class Snapshot:
    """The pictures of one version of a store, by path; one whose content has several paths is listed
    once, by the first.
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
        listed = store.columns(LISTED_COLUMNS).sort_by("path").combine_chunks()
        self.position: dict[str, int] = {}
        kept: list[int] = []
        for row, key in enumerate(listed["id"].to_pylist()):
            if self.position.setdefault(key, len(kept)) == len(kept):
                kept.append(row)
        self._columns = (
            listed.take(pa.array(kept, pa.int64())) if len(kept) < len(listed) else listed
        )
        self._columns = _in_one_form(self._columns, ("label", "folder"))
        self.row_ids = self._columns["_rowid"].to_numpy()
        self._by_row_id = np.argsort(self.row_ids)
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
        return len(self.position)

    def picture(self, row: int) -> Picture:
        """Returns the picture of a row."""
        return Picture(**{name: self._columns[name][row].as_py() for name in Picture._fields})

    def labels(self) -> dict[str, int]:
        """Counts the pictures of each label, by name."""
        counts = pc.value_counts(pc.drop_null(self._columns["label"])).to_pylist()
        return dict(sorted((count["values"], count["counts"]) for count in counts))

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """Returns the rows [n] of ids; ValueError for one that is unknown."""
        try:
            return np.array([self.position[key] for key in keys], np.int64)
        except KeyError as error:
            raise ValueError(
                f"id={error.args[0]!r} is not in {self.store.uri}; it may have been deleted: search again"
            ) from error

    def thumbnails(self, keys: Sequence[str]) -> list[bytes]:
        """Returns the thumbnails of ids, JPEGs; ValueError for an unknown one."""
        row_ids = self.row_ids[self.rows(keys)]
        found = self.store.take(row_ids, ["thumbnail"]).to_pydict()
        by_row = dict(zip(found["_rowid"], found["thumbnail"], strict=True))
        return [by_row[row_id] for row_id in row_ids.tolist()]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors [n, p] float32 of rows."""
        if self._vectors is not None and not self._sharded:
            return self._vectors[rows].astype(np.float32)
        found = np.empty((len(rows), self.store.config.dimensions), np.float32)
        distinct, places = np.unique(self.row_ids[rows], return_inverse=True)
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
          Squared distances [q, at most k] and rows.
        """
        filter = Filter(
            tuple(map(one_form, filter.labels)), filter.folder and one_form(filter.folder)
        )
        mask = self._mask(filter)
        if not self._holds_vectors:
            return self._search_store(vectors, k, filter)
        self._load()
        rows = np.arange(len(self)) if mask is None else np.flatnonzero(mask)
        first, last = np.searchsorted(rows, [self.own.start, self.own.stop])
        shards = self._shards if mask is None else (self._at(rows[first:last] - self.own.start),)
        within: Callable[..., Neighbours] = (
            partial(search_processes, first=int(first)) if self._sharded else search_shards
        )
        k = max(1, min(k, len(rows)))  # processes send k each, whatever they find
        found = within(vectors, shards, k)
        return Neighbours(found.squared_distances, rows[found.indices])

    def _at(self, rows: np.ndarray) -> Shard:
        """Returns vectors as they are stored; of consecutive rows, as of a folder, without a copy."""
        assert self._vectors is not None
        squares = np.concatenate([shard.squares for shard in self._shards])
        consecutive = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        wanted = slice(rows[0], rows[-1] + 1) if consecutive else rows
        return Shard(self._vectors[wanted], squares[wanted])

    def _mask(self, filter: Filter) -> np.ndarray | None:
        """Returns which rows [n] pass a filter, None for all."""
        masks: list[Any] = []
        if filter.labels:
            self._check_labels(filter.labels)
            wanted = pa.array(filter.labels, pa.string())
            masks.append(pc.is_in(self._columns["label"], value_set=wanted))
        if filter.folder:
            names = self._columns["folder"]
            inside = pc.starts_with(names, f"{filter.folder}/")
            masks.append(pc.or_(pc.equal(names, filter.folder), inside))
            if not pc.any(masks[-1]).as_py():
                raise ValueError(
                    f"folder={filter.folder!r} holds no picture of {self.store.uri}; name one relative to "
                    "the folder that was synced, without a slash at its end"
                )
        if not masks:
            return None
        mask = masks[0] if len(masks) == 1 else pc.and_(*masks)
        return mask.to_numpy()

    def _check_labels(self, labels: Sequence[str]) -> None:
        known = self.labels()
        for label in labels:
            if label not in known:
                names = list(known)
                more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
                raise ValueError(
                    f"label={label!r} is not in {self.store.uri}; choose one of "
                    f"{', '.join(names[:MAX_NAMED])}{more}"
                )

    def _search_store(self, vectors: np.ndarray, k: int, filter: Filter) -> Neighbours:
        """Lets the store search: by its index, or, under a filter, row by row."""
        where = " AND ".join(_conditions(filter)) or None
        parts = [self._search_one(vector, k, where) for vector in vectors]
        least = min((len(part.indices) for part in parts), default=0)
        distances = np.array([part.squared_distances[:least] for part in parts], np.float32)
        rows = np.array([part.indices[:least] for part in parts], np.int64)
        shape = (len(parts), least)
        return Neighbours(distances.reshape(shape), rows.reshape(shape))

    def _search_one(self, vector: np.ndarray, k: int, where: str | None) -> Neighbours:
        """Searches for one vector; paths of a picture beyond the one it is listed by do not count."""
        wanted = k
        while True:
            ids, distances = self.store.nearest(
                vector, wanted, where=where, exact=where is not None
            )
            at = np.searchsorted(self.row_ids, ids, sorter=self._by_row_id)
            rows = self._by_row_id[np.minimum(at, len(self) - 1)]
            listed = self.row_ids[rows] == ids
            if listed.sum() >= k or len(ids) < wanted:
                return Neighbours(distances[listed][:k], rows[listed][:k])
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
        places = np.array([previous.position.get(key, -1) for key in self.position], np.int64)
        vectors = self._allocated()  # no memory yet: the system gives it as rows are written
        self._read_rows(vectors, np.flatnonzero(places < 0))
        return _Arriving(vectors, places)

    def _read_rows(self, held: np.ndarray, missing: np.ndarray) -> None:
        """Reads some of this process's rows into their places, and writes to no others."""
        if len(missing) <= len(held) // 2:
            for places, vectors in self.store.vectors(self.row_ids[missing]):
                held[missing[places]] = vectors
            return
        own = self.row_ids[self.own.start : self.own.stop]
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


def _in_one_form(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Returns a table with names in NFC: earlier versions stored them as the file system has them."""
    for name in names:
        # pyarrow's own utf8_normalize decomposes, whatever form it is asked for.
        encoded = table[name].combine_chunks().dictionary_encode()
        distinct = pa.array([one_form(x) for x in encoded.dictionary.to_pylist()], pa.string())
        column = distinct.take(encoded.indices)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _conditions(filter: Filter) -> list[str]:
    """Formats a filter as conditions in SQL, on names in either of Unicode's usual forms."""
    conditions = []
    if filter.labels:
        conditions.append(sql_in("label", [x for label in filter.labels for x in _forms(label)]))
    if filter.folder:
        inside = (
            f"folder = {sql_string(form)} OR starts_with(folder, {sql_string(form + '/')})"
            for form in _forms(filter.folder)
        )
        conditions.append(f"({' OR '.join(inside)})")
    return conditions


def _forms(name: str) -> list[str]:
    """Returns a name as it is stored now, and as macOS writes it."""
    return sorted({unicodedata.normalize(form, name) for form in ("NFC", "NFD")})


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
