"""A gallery of one's own pictures: kept up with folders of files, and searched.

    >>> import tempfile, pathlib, numpy as np
    >>> from PIL import Image
    >>> from dsf_jax.gallery.embedder import Embedder
    >>> from dsf_jax.gallery.gallery import Gallery
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name, colour in (("sky.png", "blue"), ("grass.png", "green"), ("blood.png", "red")):
    ...     Image.new("RGB", (400, 300), colour).save(folder / name)

An `Embedder` turns photos into features; `network_embedder` makes one of a trained network. Here the
mean colour has to do.

    >>> def mean_colour(photos):
    ...     means = photos.mean(axis=(1, 2), dtype=np.float32)
    ...     return means / (np.linalg.norm(means, axis=1, keepdims=True) + 1e-9)
    >>> embedder = Embedder("mean colour", "RGB", mean_colour)
    >>> gallery = Gallery.create(str(folder / "gallery"), embedder)
    >>> changes = gallery.sync(folder)
    >>> changes.added, changes.unchanged, len(gallery)
    (3, 0, 3)
    >>> gallery.sync(folder).unchanged
    3
    >>> query = np.array([[0.1, 0.2, 0.9]], np.float32)
    >>> for neighbour in gallery.search(query, 2)[0]:
    ...     print(pathlib.Path(neighbour.picture.path).name, round(neighbour.distance, 2))
    sky.png 0.24
    grass.png 1.21
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from jax.experimental import multihost_utils

from dsf_jax.gallery.contents import Contents, read_contents
from dsf_jax.gallery.crawl import CrawlResult
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.listing import Filter, Picture
from dsf_jax.gallery.projection import NUM_QUERIES, TOP_K, Projection, overlap
from dsf_jax.gallery.shared_lock import SharedLock
from dsf_jax.gallery.snapshot import Neighbour, Snapshot
from dsf_jax.gallery.store import Store, create_store, open_store
from dsf_jax.gallery.store_config import StoreConfig, made_again
from dsf_jax.gallery.sync import remove_folder, sync_files, sync_folder
from dsf_jax.gallery.synchroniser import Changes, Report
from dsf_jax.images.views import PHOTO_SIZE

T = TypeVar("T")

# Number of pictures from which on an index answers, approximately; below, every vector is compared.
INDEXED_FROM = 1_000_000


class Gallery:
    """Pictures with their vectors, in a folder or an object store; any number of threads may read."""

    def __init__(self, store: Store, embedder: Embedder | None, *, sharded: bool = False) -> None:
        """Reads the gallery: see `open` and `create`."""
        self._embedder, self._sharded = embedder, sharded
        self._projection: Projection | None = None
        self._refreshing, self._lock = threading.Lock(), SharedLock()
        self.uri, self.config = store.uri, store.config
        if embedder is not None:
            self._check(embedder)
        self._snapshot = self._take_snapshot(store, None)

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str],
        embedder: Embedder | None = None,
        *,
        sharded: bool = False,
    ) -> "Gallery":
        """Opens an existing gallery.

        Args:
          uri: a folder, or what LanceDB takes, as s3://bucket/path.
          embedder: embedder of the network that its features are of; needed to add pictures.
          sharded: whether the processes joined by `jax.distributed` each hold a shard of the vectors. They
            then call `open`, `refresh`, `nearest` and `search` together, with equal arguments.

        Raises:
          FileNotFoundError: when there is no gallery.
          ValueError: when its features are of another network or layer.
        """
        return cls(open_store(os.fspath(uri)), embedder, sharded=sharded)

    @classmethod
    def create(
        cls,
        uri: str | os.PathLike[str],
        embedder: Embedder,
        *,
        dimensions: int = 0,
        dtype: str = "float32",
    ) -> "Gallery":
        """Makes an empty gallery; another empty one, left by a run that came to nothing, is replaced.

        Args:
          uri: a folder, or what LanceDB takes, as s3://bucket/path.
          embedder: embedder of the network.
          dimensions: number of principal components, learned from the first pictures, that the features
            are reduced to; 0 keeps all.
          dtype: type of the stored vectors, "float32" or "float16".

        Raises:
          FileExistsError: when there is one.
          ValueError: when the features do not have more than this number of dimensions, or the folder
            holds something else.
        """
        # A whole batch: its size is compiled for the pictures anyway, another one for this alone.
        blank = np.full((embedder.batch_size, PHOTO_SIZE, PHOTO_SIZE, 3), 255, np.uint8)
        features = embedder.features(blank).shape[1]
        if not 0 <= dimensions < features:
            raise ValueError(
                f"dimensions={dimensions} must be less than the {features} of {embedder.layer}; choose "
                f"1 to {features - 1}, or 0 to keep all"
            )
        network = (embedder.digest, embedder.layer, embedder.backbone)
        config = StoreConfig(*network, features, dimensions or features, dtype, embedder.name)
        return cls(create_store(os.fspath(uri), config), embedder)

    @classmethod
    def open_or_create(
        cls,
        uri: str | os.PathLike[str],
        embedder: Embedder,
        *,
        dimensions: int = 0,
        dtype: str = "float32",
    ) -> "Gallery":
        """Opens a gallery; makes it where there is none, or an empty one: see `open` and `create`."""
        try:
            if len(open_store(os.fspath(uri))):
                return cls.open(uri, embedder)
        except FileNotFoundError:
            pass
        try:
            return cls.create(uri, embedder, dimensions=dimensions, dtype=dtype)
        except FileExistsError:  # another process was faster, or it is empty as this one would be
            return cls.open(uri, embedder)

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self._snapshot)

    def sync(
        self,
        folder: str | os.PathLike[str] | CrawlResult,
        *,
        report: Report = lambda line: None,
        prune: bool = False,
    ) -> Changes:
        """Brings the gallery up to date with a folder and its sub-folders.

        New and changed pictures are embedded, those of moved files keep their vectors, and those of
        deleted files go; pictures from other folders stay, and so do those of a sub-folder that holds
        no picture any more, for its disk may be off. A file that cannot be read is counted and named.
        Run again after it was stopped, or next to others, it does what is left.

        Args:
          folder: folder of pictures, or what `crawl` found in it.
          report: function that receives lines of what was measured when vectors are reduced or an index
            is built.
          prune: whether pictures of sub-folders that hold none any more go, too.

        Returns:
          What has changed.

        Raises:
          FileNotFoundError: when the folder does not exist or holds no picture; nothing is deleted then.
          ValueError: when the gallery was opened without an embedder, or there are too few pictures to
            learn how to reduce them.
          OSError: when the store is full or fails; what was stored until then stays.
        """
        store, embedder = self._latest(), self._needed_embedder()
        changes = sync_folder(store, embedder, folder, report, prune=prune)
        self.refresh()
        self._index(report)
        return changes

    def add(self, paths: Iterable[str | os.PathLike[str]]) -> Changes:
        """Adds picture files as `sync` does, without labels; returns what has changed.

        Args:
          paths: paths of the files.

        Raises:
          ValueError: when the gallery was opened without an embedder.
          OSError: when the store is full or fails.
        """
        changes = sync_files(self._latest(), self._needed_embedder(), paths)
        self.refresh()
        self._index(lambda line: None)
        return changes

    def delete(self, ids: Sequence[str]) -> None:
        """Removes pictures, by all their paths; the files stay, and a sync of their folder adds them again.

        Raises:
          ValueError: when an id is unknown; nothing is removed then.
        """
        self._snapshot.listing.rows(ids)
        self._latest().delete("id", ids)
        self.refresh()

    def remove(self, folder: str | os.PathLike[str]) -> int:
        """Removes the pictures of a folder and its sub-folders, or one file, whether it exists or not;
        returns the number of files whose rows were removed.
        """
        removed = remove_folder(self._latest(), folder)
        self.refresh()
        return removed

    def contents(self) -> Contents:
        """Reads which folders its pictures are of, and which files are copies."""
        return read_contents(self._snapshot.store)

    def refresh(self) -> None:
        """Reads what other processes have stored meanwhile.

        Raises:
          ValueError: when it has been made again, of other features.
          OSError: when the store fails.
        """
        with self._refreshing:
            newer = self._take_snapshot(self._latest(), self._snapshot)
            # Searches wait while memory is moved, not while the store is read.
            with self._lock.writing():
                newer.take_over(self._snapshot)
                self._snapshot = newer

    def project(self, features: np.ndarray) -> np.ndarray:
        """Reduces features as the stored ones are.

        Args:
          features: [q, d] float32, L2-normalised.

        Returns:
          [q, p] float32; the features themselves where all are kept.
        """
        if features.ndim != 2 or features.shape[1] != self.config.features:
            raise ValueError(
                f"features have shape {features.shape}, expected [q, {self.config.features}]: compute "
                f"them by {self.config.layer}"
            )
        if not self.config.is_reduced:
            return features
        if self._projection is None:
            self._projection = self._snapshot.store.projection()
        if self._projection is None:
            raise ValueError(f"{self.uri} holds no picture yet; add some first")
        return self._projection(features)

    def nearest(
        self, vectors: np.ndarray, k: int, *, labels: Sequence[str] = (), folder: str | None = None
    ) -> list[list[Neighbour]]:
        """Finds the pictures whose vectors are nearest; one of several files is found once, by the first that
        passes.

        Args:
          vectors: [q, p] float32, of `project`, `vectors` or sums of such.
          k: number of pictures.
          labels: labels of the pictures that are searched; all where there are none.
          folder: folder whose pictures, and those below it, are searched, relative to the one that was
            synced; all where it is None.

        Returns:
          At most k neighbours per query, nearest first.

        Raises:
          ValueError: when no picture has such a label or folder, or k is less than 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        vectors, filter = np.asarray(vectors, np.float32), Filter(tuple(labels), folder)
        return self._read(lambda snapshot: snapshot.neighbours(vectors, k, filter))

    def search(
        self, features: np.ndarray, k: int, *, labels: Sequence[str] = (), folder: str | None = None
    ) -> list[list[Neighbour]]:
        """Finds the pictures whose features are nearest: `nearest` of `project`."""
        return self.nearest(self.project(features), k, labels=labels, folder=folder)

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Returns the stored vectors [n, p] float32 of pictures; ValueError for an unknown id."""
        return self._read(lambda snapshot: snapshot.vectors(snapshot.listing.rows(ids)))

    def sample(self, count: int, *, seed: int) -> np.ndarray:
        """Returns the stored vectors [at most count, p] float32 of random pictures, each once."""
        return self._read(lambda snapshot: snapshot.sample(count, seed))

    def get(self, id: str) -> Picture:
        """Returns a picture; ValueError for an unknown id."""
        return self._snapshot.listing.get(id)

    def paths(self, id: str) -> list[str]:
        """Returns the paths of a picture's files, sorted; ValueError for an unknown id."""
        return self._snapshot.listing.paths(id)

    def thumbnail(self, id: str) -> bytes:
        """Returns a picture as a JPEG no side of which is longer than 256; ValueError for an unknown id."""
        return self.thumbnails([id])[0]

    def thumbnails(self, ids: Sequence[str]) -> list[bytes]:
        """Returns pictures as `thumbnail` does; ValueError for an unknown id."""
        return self._read(lambda snapshot: snapshot.thumbnails(ids))

    @property
    def made(self) -> str:
        """Returns what tells it from a gallery that is made in its place later."""
        return self._snapshot.store.made

    def labels(self) -> dict[str, int]:
        """Counts the pictures of each label, by name; copies in folders of other names count for each."""
        return self._snapshot.listing.labels()

    def _check(self, embedder: Embedder) -> None:
        """Raises ValueError unless its features are of the embedder's network and layer."""
        config = self.config
        if config.layer != embedder.layer or not embedder.is_of(config.digest):
            made_with, given = config.network or "unknown", embedder.name or "given"
            if config.network == embedder.name:  # trained further since, or never named
                made_with, given = (
                    f"{name} of the digest {digest[:12]}"
                    for name, digest in ((made_with, config.digest), (given, embedder.digest))
                )
            raise ValueError(
                f"{self.uri} holds {config.layer} features of the network {made_with}, not {embedder.layer} of "
                f"{given}; name the checkpoint and layer that it was made with, or another gallery"
            )

    def _read(self, read: Callable[[Snapshot], T]) -> T:
        """Reads what a snapshot leaves in the store, whose older versions go in time."""
        try:
            with self._lock.reading():
                return read(self._snapshot)
        except OSError:  # another process has compacted the store, an hour ago or longer
            if self._sharded:  # all processes refresh together, or none
                raise
        self.refresh()
        with self._lock.reading():
            return read(self._snapshot)

    def _latest(self) -> Store:
        """Opens the store's latest version; ValueError when it has been made again of other features."""
        store = self._snapshot.store.latest()
        if not store.config.holds_the_same(self.config):
            raise made_again(self.uri, store.config)
        return store

    def _needed_embedder(self) -> Embedder:
        if self._embedder is None:
            raise ValueError(
                f"{self.uri} was opened without an embedder; open it with one to add pictures"
            )
        return self._embedder

    def _take_snapshot(self, store: Store, previous: Snapshot | None) -> Snapshot:
        """Reads the pictures of a store's version; that of the first process, where there are several."""
        if self._sharded:
            version = multihost_utils.broadcast_one_to_all(np.int64(store.version))
            store = store.at(int(version))
        if previous is not None and previous.store.made != store.made:
            previous = self._projection = None  # of another gallery, whatever they have in common
        if previous is not None and previous.store.version == store.version:
            return previous
        # Processes together compare all.
        by_index = len(store) >= INDEXED_FROM and not self._sharded and store.has_index()
        return Snapshot(store, hold_vectors=not by_index, sharded=self._sharded, previous=previous)

    def _index(self, report: Report) -> None:
        """Builds an index where there are enough pictures for it, and reports its recall."""
        store = self._latest()
        if len(store) < INDEXED_FROM or store.has_index():
            return
        store.build_index()
        queries = self.sample(NUM_QUERIES, seed=0)
        exact, approximate = (
            [store.nearest(query, TOP_K + 1, exact=exact)[0] for query in queries]
            for exact in (True, False)
        )
        # The first is the query itself.
        recall = overlap(np.array(exact)[:, 1:], np.array(approximate)[:, 1:])
        report(
            f"recall@{TOP_K} of the index against exact search: {recall:.2f} ({len(queries)} pictures "
            f"as queries, {len(store)} to find)"
        )
        self.refresh()
