"""Brings a gallery's table up to date with files: reads, embeds and commits, a part at a time.

Several processes may do so at once; each skips what another has committed meanwhile, and begins at
another place, so that they share the work. A process that dies loses what it has not committed.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dsf_jax.gallery.crawl import Content, File, Unreadable, read_ahead
from dsf_jax.gallery.projection import (
    NEAREST,
    QUERIES,
    Projection,
    learn_projection,
    recall,
)
from dsf_jax.gallery.store import FILE_COLUMNS, Table

COMMIT_EVERY = 512  # pictures: 10 seconds of a CPU's work, and 16 MiB of full vectors
LEARN_FROM = 4096  # pictures: 128 MiB of full vectors, and seconds for their components

COPIED = ("thumbnail", "width", "height")

Photos = Callable[[np.ndarray], np.ndarray]
Tell = Callable[[str], None]


class Changes(NamedTuple):
    """What bringing a gallery up to date has changed.

    Attributes:
      added: files that were new.
      changed: files that hold another picture now.
      deleted: files that are gone, or hold no picture any more.
      unchanged: files that are as they were.
      failed: one line a file or folder that could not be read.
      reused: how many of those added or changed hold a picture that was in the gallery already, as
        of a file that was moved: nothing was computed for them.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    failed: tuple[str, ...]
    reused: int


class _Ready(NamedTuple):
    """A picture that can be stored."""

    content: Content
    vector: np.ndarray


class Writer:
    """Writes files into a table; used for one update, by one thread.

    Attributes:
      known: id and file of every path that the table has.
    """

    def __init__(
        self, table: Table, photos: Photos, *, batch_size: int, commit_every: int, tell: Tell
    ) -> None:
        """Reads what the table knows of files.

        Args:
          table: brought up to date as this writes.
          photos: [b, 256, 256, 3] uint8 -> [b, d] float32.
          batch_size: b.
          commit_every: how many pictures.
          tell: gets lines for the person who waits.
        """
        self._table, self._photos, self._tell = table, photos, tell
        self._batch_size, self._commit_every = batch_size, commit_every
        self._projection: Projection | None = None
        self._added = self._changed = self._unchanged = self._reused = self._rewritten = 0
        self._own: set[str] = set()
        self._failed: list[str] = []
        self._gone: set[str] = set()
        self._read_known()

    def write(self, files: Sequence[File]) -> None:
        """Adds or updates files, those that are as they were aside.

        Raises:
          ValueError: when there are too few pictures to learn the projection from.
          OSError: when the store is full or fails; what was committed stays.
        """
        if not files:
            return
        settings = self._table.settings
        if settings.dimensions < settings.features:
            self._projection = self._table.projection() or self._learn(files)
        start = random.randrange(len(files))
        with tqdm(total=len(files), unit="picture", desc="gallery") as bar:
            ready: list[_Ready] = []
            for part in self._batches([*files[start:], *files[:start]], bar):
                ready += self._embed(part, self._projection)
                if len(ready) >= self._commit_every:
                    self._commit(ready)
                    ready = []
            self._commit(ready)

    def forget(self, paths: Iterable[str]) -> None:
        """Deletes rows of files, and of those that `write` found to hold no picture any more."""
        self._gone.update(paths)
        self._table.delete("path", sorted(self._gone))

    def changes(self, further: Iterable[str] = ()) -> Changes:
        """Counts what was done; `further` are lines of what could not be read."""
        failed = tuple(sorted([*self._failed, *further]))
        done = self._added, self._changed, len(self._gone), self._unchanged
        return Changes(*done, failed, self._reused)

    def tidy(self) -> None:
        """Frees space in the table where that is worth its time."""
        self._table.tidy(self._rewritten + len(self._gone))

    def _read_known(self) -> None:
        columns = self._table.columns(FILE_COLUMNS).to_pydict()
        files = map(File, *(columns[name] for name in File._fields))
        self.known = {
            file.path: (key, file) for key, file in zip(columns["id"], files, strict=True)
        }
        self._ids = set(columns["id"])

    def _is_known(self, file: File) -> bool:
        return self.known.get(file.path, ("", None))[1] == file

    def _batches(self, files: Sequence[File], bar: tqdm) -> Iterator[list[Content]]:
        """Reads files; yields those that must be written, of which at most a batch must be embedded."""
        part: list[Content] = []
        for outcome in read_ahead(
            self._wanted(files, bar), lambda key: key in self._ids, 2 * self._batch_size
        ):
            if isinstance(outcome, Content):
                part.append(outcome)
            else:
                self._note(outcome)
            if len(part) == self._batch_size:
                yield part
                part = []
            bar.update()
        yield part

    def _wanted(self, files: Sequence[File], bar: tqdm) -> Iterator[File]:
        """Passes over files that are known, or have become so by another process meanwhile."""
        for file in files:
            if not self._is_known(file):
                yield file
                continue
            self._unchanged += file.path not in self._own
            bar.update()

    def _note(self, unreadable: Unreadable) -> None:
        self._failed.append(unreadable.reason)
        if unreadable.gone and unreadable.file.path in self.known:
            self._gone.add(unreadable.file.path)

    def _embed(self, part: Sequence[Content], projection: Projection | None) -> list[_Ready]:
        """Computes the vectors of at most a batch; those of known pictures are read."""
        fresh = [(content, content.photo) for content in part if content.photo is not None]
        ready = self._copies([content for content in part if content.photo is None])
        if fresh:
            photos = np.stack([photo for _, photo in fresh])
            padding = np.zeros((self._batch_size - len(photos), *photos.shape[1:]), np.uint8)
            features = self._photos(np.concatenate([photos, padding]))[: len(photos)]
            features = projection(features) if projection else features
            for (content, _), vector in zip(fresh, features, strict=True):
                ready.append(_Ready(content._replace(photo=None), vector))
        return ready

    def _copies(self, contents: Sequence[Content]) -> list[_Ready]:
        """Reads what is stored of pictures that the table has already."""
        if not contents:
            return []
        stored = self._table.rows_of("id", sorted({content.id for content in contents}))
        by_id = {key: row for row, key in enumerate(stored["id"].to_pylist())}
        ready = []
        for content in contents:
            if content.id not in by_id:
                reason = (
                    f"{content.file.path}: its row was deleted meanwhile; run the command again"
                )
                self._failed.append(reason)
                continue
            row = {name: stored[name][by_id[content.id]] for name in (*COPIED, "vector")}
            vector = row.pop("vector").values.to_numpy()
            ready.append(_Ready(content._replace(**{k: v.as_py() for k, v in row.items()}), vector))
        self._reused += sum(self._is_another(one.content) for one in ready)
        return ready

    def _is_another(self, content: Content) -> bool:
        """Tells whether a file's picture is another than the table knows by its path."""
        return self.known.get(content.file.path, ("", None))[0] != content.id

    def _learn(self, files: Sequence[File]) -> Projection:
        """Learns the projection from some of the files, evenly spread, and commits these."""
        settings = self._table.settings
        some = files[:: -(-len(files) // LEARN_FROM)]
        with tqdm(total=len(some), unit="picture", desc="learning the projection") as bar:
            ready = [one for part in self._batches(some, bar) for one in self._embed(part, None)]
        random.Random(0).shuffle(ready)
        self._failed.clear()  # they come again
        features = np.array([one.vector for one in ready], np.float32)
        features = features.reshape(len(ready), settings.features)
        whole = len(some) == len(files)  # if not, most pictures are others than it learns from
        known = len(features) if whole else len(features) * 3 // 4
        learned = learn_projection(features[:known], settings.dimensions, whiten=settings.whitened)
        projection = self._table.put_projection(learned)
        reduced = projection(features)
        unseen = slice(0 if whole else known, None)
        self._tell(_loss(features[unseen], reduced[unseen], settings.dtype))
        for start in range(0, len(ready), self._commit_every):
            span = slice(start, start + self._commit_every)
            pairs = zip(ready[span], reduced[span], strict=True)
            self._commit([_Ready(one.content, vector) for one, vector in pairs])
        return projection

    def _commit(self, ready: Sequence[_Ready]) -> None:
        """Stores pictures, but for those that another process has stored meanwhile."""
        if self._table.catch_up():
            self._read_known()
        ready = [one for one in ready if not self._is_known(one.content.file)]
        if not ready:
            return
        contents = [one.content for one in ready]
        rows = {
            name: [getattr(content.file, name) for content in contents] for name in File._fields
        }
        rows |= {name: [getattr(content, name) for content in contents] for name in ("id", *COPIED)}
        self._table.put(rows, np.stack([one.vector for one in ready]))
        for content in contents:
            path, was = content.file.path, self.known.get(content.file.path, (None, None))[0]
            self._added += was is None
            self._changed += was not in (None, content.id)
            self._unchanged += was == content.id
            self._rewritten += was is not None
            self.known[path] = (content.id, content.file)
            self._ids.add(content.id)
            self._own.add(path)


def _loss(full: np.ndarray, reduced: np.ndarray, dtype: str) -> str:
    """Words how many of the nearest pictures by all features [n, d] are nearest by the reduced ones
    [n, p]; some of the pictures are the queries.
    """
    n, reduced = len(full), reduced.astype(dtype)
    asking = np.linspace(0, n - 1, min(QUERIES, max(1, n // 2))).astype(int)
    others = np.setdiff1d(np.arange(n), asking)
    share = recall(full[asking], full[others], reduced[asking].astype(np.float32), reduced[others])
    return (
        f"recall@{NEAREST} of {reduced.shape[1]} dimensions, {dtype}, against all {full.shape[1]}: "
        f"{share:.2f} ({len(asking)} pictures as queries, {len(others)} to find)"
    )
