"""Files -> rows of a gallery's store: reads, embeds and commits them, batch by batch.

Several processes may do so at once; each skips what another has committed meanwhile, and begins at
another place, so that they share the work. A process that dies loses what it has not committed.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dsf_jax.gallery.crawl import (
    PictureContent,
    PictureFile,
    UnreadableFile,
    read_ahead,
    read_file,
)
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.projection import (
    NUM_QUERIES,
    TOP_K,
    Projection,
    learn_projection,
    recall,
)
from dsf_jax.gallery.store import FILE_COLUMNS, Store

# Pictures between two commits: what a sudden end may cost; some seconds of work, some MB of vectors.
COMMIT_EVERY = 512
LEARN_FROM = 4096  # pictures that a projection is learned from: their full vectors fit in memory

COPIED = ("thumbnail", "width", "height")

Report = Callable[[str], None]


class AbsentFolder(NamedTuple):
    """A folder that holds no picture any more, and the number of its files that the gallery keeps."""

    path: str
    files: int


class Changes(NamedTuple):
    """What bringing a gallery up to date has changed.

    Attributes:
      added: number of files that were new.
      changed: number of files that hold another picture now.
      deleted: number of files that are gone, or hold no picture any more.
      unchanged: number of files that are as they were.
      failed: one line per file or folder that could not be read.
      reused: number of those added or changed whose picture was in the gallery already, as of a file
        that was moved: nothing was computed for them.
      absent: folders below the one that was synced whose pictures are all gone, as when a disk is not
        mounted; their rows stay.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    failed: tuple[str, ...]
    reused: int
    absent: tuple[AbsentFolder, ...] = ()


class _EmbeddedPicture(NamedTuple):
    """A picture that can be stored: its content and its vector [p]."""

    content: PictureContent
    vector: np.ndarray


class Synchroniser:
    """Writes files into a store; used for one update, by one thread.

    Attributes:
      known: id and file of every path in the store.
    """

    def __init__(self, store: Store, embedder: Embedder, report: Report) -> None:
        """Reads what the store knows of files.

        Args:
          store: store, moved to its latest version as this writes.
          embedder: embedder of the network that the store's features are of.
          report: function that receives lines for the person who waits.
        """
        self._store, self._embedder, self._report = store, embedder, report
        self._projection: Projection | None = None
        self._added = self._changed = self._unchanged = self._reused = self._rewritten = 0
        self._own: set[str] = set()
        self._failed: list[str] = []
        self._gone: set[str] = set()
        self._read_known()

    def write(self, files: Sequence[PictureFile]) -> None:
        """Adds or updates files, except for those that are as they were.

        Raises:
          ValueError: when there are too few pictures to learn the projection from, or another process
            has made the gallery again, of other features.
          OSError: when the store is full or fails; what was committed stays.
        """
        if not files:
            return
        if self._store.config.is_reduced:
            self._projection = self._store.projection() or self._learn(files)
        start = random.randrange(len(files))
        with tqdm(total=len(files), unit="picture", desc="gallery") as bar:
            embedded: list[_EmbeddedPicture] = []
            for batch in self._batches([*files[start:], *files[:start]], bar):
                embedded += self._embed(batch, self._projection)
                if len(embedded) >= COMMIT_EVERY:
                    self._commit(embedded)
                    embedded = []
            self._commit(embedded)

    def delete(self, paths: Iterable[str]) -> None:
        """Deletes rows of files, and of those that `write` found to hold no picture any more."""
        self._gone.update(paths)
        self._store.delete("path", sorted(self._gone))

    def changes(self, unreadable: Iterable[str] = ()) -> Changes:
        """Counts what was done; `unreadable` are further lines of what could not be read."""
        failed = tuple(sorted([*self._failed, *unreadable]))
        done = self._added, self._changed, len(self._gone), self._unchanged
        return Changes(*done, failed, self._reused)

    def compact(self) -> None:
        """Frees space in the store where that is worth its time."""
        self._store.compact(self._rewritten + len(self._gone))

    def _catch_up(self) -> None:
        """Moves the store to its latest version, and reads what others have committed."""
        if self._store.checkout_latest():
            self._read_known()

    def _read_known(self) -> None:
        columns = self._store.columns(FILE_COLUMNS).to_pydict()
        files = map(PictureFile, *(columns[name] for name in PictureFile._fields))
        self.known = {
            file.path: (key, file) for key, file in zip(columns["id"], files, strict=True)
        }
        self._ids = set(columns["id"])

    def _is_known(self, file: PictureFile) -> bool:
        return self.known.get(file.path, ("", None))[1] == file

    def _batches(self, files: Sequence[PictureFile], bar: tqdm) -> Iterator[list[PictureContent]]:
        """Reads files; yields batches of those that must be written."""
        batch: list[PictureContent] = []
        for outcome in read_ahead(
            self._unknown(files, bar), lambda key: key in self._ids, 2 * self._embedder.batch_size
        ):
            if isinstance(outcome, PictureContent):
                batch.append(outcome)
            else:
                self._note(outcome)
            if len(batch) == self._embedder.batch_size:
                yield batch
                batch = []
            bar.update()
        yield batch

    def _unknown(self, files: Sequence[PictureFile], bar: tqdm) -> Iterator[PictureFile]:
        """Skips files that are known, or have become so by another process meanwhile."""
        for file in files:
            if not self._is_known(file):
                yield file
                continue
            self._unchanged += file.path not in self._own
            bar.update()

    def _note(self, unreadable: UnreadableFile) -> None:
        self._failed.append(unreadable.reason)
        if unreadable.is_gone and unreadable.file.path in self.known:
            self._gone.add(unreadable.file.path)

    def _embed(
        self, batch: Sequence[PictureContent], projection: Projection | None
    ) -> list[_EmbeddedPicture]:
        """Computes the vectors of at most one batch; those of known pictures are read."""
        embedded, others = self._copies([content for content in batch if content.photo is None])
        new = [
            (content, content.photo) for content in [*batch, *others] if content.photo is not None
        ]
        if new:
            features = self._embedder.features(np.stack([photo for _, photo in new]))
            usable = self._finite([content.file for content, _ in new], features)
            features = projection(features[usable]) if projection else features[usable]
            for place, vector in zip(usable, features, strict=True):
                embedded.append(_EmbeddedPicture(new[place][0]._replace(photo=None), vector))
        return embedded

    def _finite(self, files: Sequence[PictureFile], features: np.ndarray) -> list[int]:
        """Returns the places of files whose features [n, d] are numbers, and notes the others, by which
        nothing can be compared.
        """
        finite = np.isfinite(features).all(axis=1)
        for file, is_finite in zip(files, finite, strict=True):
            if not is_finite:
                reason = (
                    f"{file.path}: its features are not finite; look at the picture, and at where the network "
                    "came from"
                )
                self._note(UnreadableFile(file, reason, is_gone=False))
        return np.flatnonzero(finite).tolist()

    def _copies(
        self, contents: Sequence[PictureContent]
    ) -> tuple[list[_EmbeddedPicture], list[PictureContent]]:
        """Reads what is stored of pictures that the store had; and those anew whose last row is gone by
        now, as where files have changed names with each other.
        """
        if not contents:
            return [], []
        self._catch_up()  # an older version may have been tidied away
        stored = self._store.one_of_each(sorted({content.id for content in contents}))
        by_id = {key: row for row, key in enumerate(stored["id"].to_pylist())}
        copies, others = [], []
        for content in contents:
            if content.id not in by_id:
                others += self._read_anew(content.file)
                continue
            row = {name: stored[name][by_id[content.id]] for name in (*COPIED, "vector")}
            vector = row.pop("vector").values.to_numpy()
            complete = content._replace(**{k: v.as_py() for k, v in row.items()})
            copies.append(_EmbeddedPicture(complete, vector))
        self._reused += sum(self._is_another(copy.content) for copy in copies)
        return copies, others

    def _read_anew(self, file: PictureFile) -> list[PictureContent]:
        outcome = read_file(file, lambda key: False)
        if isinstance(outcome, PictureContent):
            return [outcome]
        self._note(outcome)
        return []

    def _is_another(self, content: PictureContent) -> bool:
        """Returns whether a file's picture differs from the one that the store has by its path."""
        return self.known.get(content.file.path, ("", None))[0] != content.id

    def _learn(self, files: Sequence[PictureFile]) -> Projection:
        """Learns the projection from some of the files, evenly spread, and commits these."""
        config = self._store.config
        some = files[:: -(-len(files) // LEARN_FROM)]
        with tqdm(total=len(some), unit="picture", desc="learning the projection") as bar:
            embedded = [x for batch in self._batches(some, bar) for x in self._embed(batch, None)]
        random.Random(0).shuffle(embedded)
        failed, self._failed = sorted(self._failed), []  # they come again
        features = np.array([x.vector for x in embedded], np.float32)
        features = features.reshape(len(embedded), config.features)
        # If there are others, most pictures are not among those that it learns from.
        all_seen = len(some) == len(files)
        num_learned = len(features) if all_seen else len(features) * 3 // 4
        try:
            learned = learn_projection(features[:num_learned], config.dimensions)
        except ValueError as error:  # nothing else will name them
            raise ValueError(f"{error}{_unread(failed)}") from error
        projection = self._store.keep_projection(learned)
        reduced = projection(features)
        judged = slice(0 if all_seen else num_learned, None)
        self._report(_recall_line(features[judged], reduced[judged], config.dtype))
        for start in range(0, len(embedded), COMMIT_EVERY):
            span = slice(start, start + COMMIT_EVERY)
            pairs = zip(embedded[span], reduced[span], strict=True)
            self._commit([x._replace(vector=vector) for x, vector in pairs])
        return projection

    def _commit(self, embedded: Sequence[_EmbeddedPicture]) -> None:
        """Stores pictures, except for those that another process has stored meanwhile."""
        self._catch_up()
        there = [self._is_known(x.content.file) for x in embedded]
        self._unchanged += sum(there)
        embedded = [x for x, is_there in zip(embedded, there, strict=True) if not is_there]
        if not embedded:
            return
        contents = [x.content for x in embedded]
        rows = {
            name: [getattr(content.file, name) for content in contents]
            for name in PictureFile._fields
        }
        rows |= {name: [getattr(content, name) for content in contents] for name in ("id", *COPIED)}
        added = self._store.put(rows, np.stack([x.vector for x in embedded]))
        self._added += added
        new = sum(content.file.path not in self.known for content in contents)
        self._unchanged += max(0, new - added)  # another process was the first
        for content in contents:
            self._count(content)

    def _count(self, content: PictureContent) -> None:
        """Counts a picture that was stored, and takes note of it."""
        path = content.file.path
        previous_id, _ = self.known.get(path, (None, None))
        self._changed += previous_id not in (None, content.id)
        self._unchanged += previous_id == content.id
        self._rewritten += previous_id is not None
        self.known[path] = (content.id, content.file)
        self._ids.add(content.id)
        self._own.add(path)


def _unread(failed: Sequence[str]) -> str:
    """Formats how many files could not be read, as the end of a message, and why the first could not."""
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"; {len(failed)} files could not be read: {failed[0]}{more}" if failed else ""


def _recall_line(full: np.ndarray, reduced: np.ndarray, dtype: str) -> str:
    """Formats how many of the nearest pictures by all features are nearest by the reduced ones too;
    some of the pictures are the queries.

    Args:
      full: [n, d] float32.
      reduced: [n, p] float32.
      dtype: type that the reduced ones are stored in.
    """
    n, reduced = len(full), reduced.astype(dtype)
    queries = np.linspace(0, n - 1, min(NUM_QUERIES, max(1, n // 2))).astype(int)
    others = np.setdiff1d(np.arange(n), queries)
    found = recall(
        full[queries], full[others], reduced[queries].astype(np.float32), reduced[others]
    )
    return (
        f"recall@{TOP_K} of {reduced.shape[1]} dimensions, {dtype}, against all {full.shape[1]}: "
        f"{found:.2f} ({len(queries)} pictures as queries, {len(others)} to find)"
    )
