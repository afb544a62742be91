"""What a reader of a gallery holds: the list of its pictures in memory, and their vectors.

It never changes, so that any number of threads read it; a newer one takes its place.
"""

import math
import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsf_jax.gallery.store import LISTED_COLUMNS, Table, among, quoted
from dsf_jax.retrieval.euclidean import Array, Neighbours
from dsf_jax.retrieval.sharded import own_rows, place, search_processes, search_shards

IN_MEMORY = 4 * 2**30  # bytes of vectors; more lie in a temporary file that is mapped
NAMED = 20  # labels that a message lists at most


class Picture(NamedTuple):
    """A picture of the gallery.

    Attributes:
      id: SHA-256 of its file, hexadecimal.
      path: of its file, absolute, where it was read.
      label: name of the folder it lies in; None directly in the folder that was synced.
      folder: path of that folder relative to the one that was synced; "" for this one.
      width: of the original.
      height: of the original.
    """

    id: str
    path: str
    label: str | None
    folder: str
    width: int
    height: int


class Filter(NamedTuple):
    """Which pictures a search is for.

    Attributes:
      labels: one of these; any where there are none.
      folder: in this folder or below; any where it is None.
    """

    labels: tuple[str, ...] = ()
    folder: str | None = None


class Listing:
    """The pictures of one version of a table, by path; one whose content has several paths is listed
    once, by the first.
    """

    def __init__(
        self,
        table: Table,
        *,
        hold_vectors: bool,
        sharded: bool = False,
        before: "Listing | None" = None,
    ) -> None:
        """Reads the list.

        Args:
          table: stays at its version.
          hold_vectors: whether to compare them here, read when a search first needs them; otherwise the
            table searches, by its index.
          sharded: whether to hold this process's part of them only.
          before: an older listing, whose vectors need not be read again: where it has been searched, those
            of this one are read at once, so that no search waits.
        """
        self.table, self._holds, self._sharded = table, hold_vectors, sharded
        listed = table.columns(LISTED_COLUMNS).sort_by("path").combine_chunks()
        self.position: dict[str, int] = {}
        kept: list[int] = []
        for row, key in enumerate(listed["id"].to_pylist()):
            if self.position.setdefault(key, len(kept)) == len(kept):
                kept.append(row)
        self._columns = (
            listed.take(pa.array(kept, pa.int64())) if len(kept) < len(listed) else listed
        )
        self.row_ids = self._columns["_rowid"].to_numpy()
        self._by_row_id = np.argsort(self.row_ids)
        self.own = own_rows(len(self)) if sharded else range(len(self))
        self._vectors: np.ndarray | None = None
        self._shards: tuple[Array, ...] = ()
        self._loading = threading.Lock()
        if hold_vectors and before is not None and before._vectors is not None:
            self._load(before)

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
                f"id={error.args[0]!r} is not in {self.table.uri}; it may have been deleted: search again"
            ) from error

    def thumbnail(self, key: str) -> bytes:
        """Returns the small JPEG of an id; ValueError for an unknown one."""
        row_ids = self.row_ids[self.rows([key])]
        return self.table.take(row_ids, ["thumbnail"])["thumbnail"][0].as_py()

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors [n, p] float32 of rows."""
        if self._vectors is not None and not self._sharded:
            return self._vectors[rows].astype(np.float32)
        found = np.empty((len(rows), self.table.settings.dimensions), np.float32)
        distinct, places = np.unique(self.row_ids[rows], return_inverse=True)
        for at, vectors in self.table.vectors(distinct):
            wanted = np.flatnonzero(np.isin(places, at))
            order = np.argsort(at)
            found[wanted] = vectors[order[np.searchsorted(at, places[wanted], sorter=order)]]
        return found

    def search(self, vectors: np.ndarray, k: int, which: Filter) -> Neighbours:
        """Finds the k nearest pictures that a filter lets through.

        Args:
          vectors: [q, p] float32.
          k: how many.
          which: the filter.

        Returns:
          Squared distances [q, at most k] and rows.
        """
        mask = self._mask(which)
        if not self._holds:
            return self._search_table(vectors, k, which)
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

    def _at(self, rows: np.ndarray) -> np.ndarray:
        """Returns vectors as they are stored; of consecutive rows, as of a folder, without a copy."""
        assert self._vectors is not None
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return self._vectors[rows[0] : rows[-1] + 1]
        return self._vectors[rows]

    def _mask(self, which: Filter) -> np.ndarray | None:
        """Returns which rows [n] a filter lets through, None for all."""
        masks: list[Any] = []
        if which.labels:
            self._check_labels(which.labels)
            wanted = pa.array(which.labels, pa.string())
            masks.append(pc.is_in(self._columns["label"], value_set=wanted))
        if which.folder:
            names = self._columns["folder"]
            inside = pc.starts_with(names, f"{which.folder}/")
            masks.append(pc.or_(pc.equal(names, which.folder), inside))
            if not pc.any(masks[-1]).as_py():
                raise ValueError(
                    f"folder={which.folder!r} holds no picture of {self.table.uri}; name one relative to "
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
                more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
                raise ValueError(
                    f"label={label!r} is not in {self.table.uri}; choose one of "
                    f"{', '.join(names[:NAMED])}{more}"
                )

    def _search_table(self, vectors: np.ndarray, k: int, which: Filter) -> Neighbours:
        """Lets the table search: by its index, or, under a filter, row by row."""
        where = " AND ".join(_conditions(which)) or None
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
            ids, distances = self.table.nearest(
                vector, wanted, where=where, exact=where is not None
            )
            at = np.searchsorted(self.row_ids, ids, sorter=self._by_row_id)
            rows = self._by_row_id[np.minimum(at, len(self) - 1)]
            listed = self.row_ids[rows] == ids
            if listed.sum() >= k or len(ids) < wanted:
                return Neighbours(distances[listed][:k], rows[listed][:k])
            wanted *= 2

    def _load(self, before: "Listing | None" = None) -> None:
        """Reads the vectors, once."""
        with self._loading:
            if self._vectors is None:
                vectors = self._read_vectors(before)
                self._shards, self._vectors = place(vectors), vectors

    def _read_vectors(self, before: "Listing | None") -> np.ndarray:
        """Reads this process's vectors, or copies them from where they are held already."""
        settings = self.table.settings
        held = _allocate((len(self.own), settings.dimensions), np.dtype(settings.dtype))
        missing = np.arange(len(self.own))
        if before is not None and before._vectors is not None and not self._sharded:
            missing = self._copy(held, before)
        if len(missing) <= len(held) // 2:
            for places, vectors in self.table.vectors(self.row_ids[missing]):
                held[missing[places]] = vectors
            return held
        own = self.row_ids[self.own.start : self.own.stop]
        order = np.argsort(own)
        for row_ids, vectors in self.table.all_vectors():
            at = order[np.minimum(np.searchsorted(own, row_ids, sorter=order), len(own) - 1)]
            here = own[at] == row_ids
            held[at[here]] = vectors[here]
        return held

    def _copy(self, held: np.ndarray, before: "Listing") -> np.ndarray:
        """Copies what an older listing holds; returns the rows that it does not. A picture's vector
        depends on nothing but its id.
        """
        assert before._vectors is not None
        places = np.array([before.position.get(key, -1) for key in self.position], np.int64)
        there = np.flatnonzero(places >= 0)
        for start in range(0, len(there), 1024):
            part = there[start : start + 1024]
            held[part] = before._vectors[places[part]]
        return np.flatnonzero(places < 0)


def _conditions(which: Filter) -> list[str]:
    """Words a filter in SQL."""
    conditions = [among("label", which.labels)] if which.labels else []
    if which.folder:
        below = f"starts_with(folder, {quoted(which.folder + '/')})"
        conditions.append(f"(folder = {quoted(which.folder)} OR {below})")
    return conditions


def _allocate(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Returns memory that starts at a page, as `search` reads it in place; much of it in a file."""
    size = math.prod(shape) * dtype.itemsize
    if size <= IN_MEMORY:
        pages = mmap.mmap(-1, max(size, 1))
    else:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(
                file.fileno(), 0, size
            )  # a full disk is an error here, later a crash
            pages = mmap.mmap(file.fileno(), size)
    return np.frombuffer(pages, dtype, math.prod(shape)).reshape(shape)
