"""A gallery of one's own pictures: kept up with folders of files, and searched.

    >>> import tempfile, pathlib, numpy as np
    >>> from PIL import Image
    >>> from dsf_jax.gallery.gallery import Embedder, Gallery
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name, colour in (("sky.png", "blue"), ("grass.png", "green"), ("blood.png", "red")):
    ...     Image.new("RGB", (400, 300), colour).save(folder / name)

What turns photos into features is an `Embedder`; `network_embedder` makes one of a trained network.
Here the mean colour has to do.

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
    >>> for match in gallery.search(query, 2)[0]:
    ...     print(pathlib.Path(match.picture.path).name, round(match.distance, 2))
    sky.png 0.24
    grass.png 1.21
"""

import os
import pathlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dsf_jax.gallery.crawl import File, describe, walk
from dsf_jax.gallery.projection import NEAREST, QUERIES, Projection, shared
from dsf_jax.gallery.snapshot import Filter, Listing, Picture
from dsf_jax.gallery.store import Settings, Table, create_table, open_table
from dsf_jax.gallery.sync import COMMIT_EVERY, Changes, Tell, Writer
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import PHOTO_SIZE
from dsf_jax.models.alexnet import AlexNet, Params
from dsf_jax.retrieval.features import check_layer, embed

T = TypeVar("T")

# From so many pictures on an index answers, approximately; below, every vector is compared.
INDEXED_FROM = 1_000_000


class Embedder(NamedTuple):
    """What turns photos into features, and whose it is.

    Attributes:
      fingerprint: of the network's parameters.
      layer: of `dsf_jax.retrieval.features.LAYERS`.
      photos: [b, 256, 256, 3] uint8 -> [b, d] float32, L2-normalised.
      batch_size: b that `photos` is called with, always.
      variant: of the network; for people to read.
    """

    fingerprint: str
    layer: str
    photos: Callable[[np.ndarray], np.ndarray]
    batch_size: int = 64
    variant: str = ""


def network_embedder(
    model: AlexNet,
    params: Params,
    *,
    fingerprint: str,
    layer: str = "L6+L7",
    size: int = SIZE,
    batch_size: int = 64,
) -> Embedder:
    """Makes an embedder of a network; it is compiled once.

    Args:
      model: the network.
      params: its parameters.
      fingerprint: of the parameters, by `dsf_jax.training.checkpoints.fingerprint`.
      layer: of `dsf_jax.retrieval.features.LAYERS`.
      size: h = w of the network's input.
      batch_size: pictures at a time.
    """
    check_layer(layer)
    params = jax.device_put(params)

    def photos(batch: np.ndarray) -> np.ndarray:
        features = embed(model, params, {"photo": batch}, layers=(layer,), size=size)
        return np.asarray(features[layer])

    return Embedder(fingerprint, layer, photos, batch_size, model.variant)


class Match(NamedTuple):
    """A picture that was found, and the Euclidean distance of its stored vector."""

    picture: Picture
    distance: float


class Gallery:
    """Pictures with their vectors, in a folder or an object store; any number of threads may read."""

    def __init__(
        self,
        table: Table,
        embedder: Embedder | None,
        *,
        sharded: bool = False,
        indexed_from: int = INDEXED_FROM,
    ) -> None:
        """Reads the gallery: see `open` and `create`."""
        self._embedder, self._sharded, self._indexed_from = embedder, sharded, indexed_from
        self._projection: Projection | None = None
        self._refreshing = threading.Lock()
        self.uri, self.settings = table.uri, table.settings
        if embedder is not None:
            self.check(embedder.fingerprint, embedder.layer)
        self._listing = self._list(table, None)

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str],
        embedder: Embedder | None = None,
        *,
        sharded: bool = False,
        indexed_from: int = INDEXED_FROM,
    ) -> "Gallery":
        """Opens an existing gallery.

        Args:
          uri: its folder, or what LanceDB takes, as s3://bucket/path.
          embedder: of the network that its features are of; needed to add pictures.
          sharded: whether the processes joined by `jax.distributed` each hold a part of the vectors. They
            then call `open`, `refresh`, `nearest` and `search` together, with equal arguments.
          indexed_from: number of pictures from which on an index answers.

        Raises:
          FileNotFoundError: when there is no gallery.
          ValueError: when its features are of another network or layer.
        """
        table = open_table(os.fspath(uri))
        return cls(table, embedder, sharded=sharded, indexed_from=indexed_from)

    @classmethod
    def create(
        cls,
        uri: str | os.PathLike[str],
        embedder: Embedder,
        *,
        dimensions: int = 0,
        dtype: str = "float32",
        whiten: bool = False,
        indexed_from: int = INDEXED_FROM,
    ) -> "Gallery":
        """Makes an empty gallery.

        Args:
          uri: a folder, or what LanceDB takes, as s3://bucket/path.
          embedder: of the network.
          dimensions: to which the features are reduced by principal components, learned from the first
            pictures; 0 keeps all.
          dtype: of the stored vectors, "float32" or "float16".
          whiten: whether reduced features get the same variance in all dimensions.
          indexed_from: number of pictures from which on an index answers.

        Raises:
          FileExistsError: when there is one.
          ValueError: when the features have no more than so many dimensions, or there is nothing to whiten.
        """
        blank = np.full((embedder.batch_size, PHOTO_SIZE, PHOTO_SIZE, 3), 255, np.uint8)
        features = embedder.photos(blank).shape[1]
        if not 0 <= dimensions < features:
            raise ValueError(
                f"dimensions={dimensions} must be less than the {features} of {embedder.layer}; choose "
                f"1 to {features - 1}, or 0 to keep all"
            )
        if whiten and not dimensions:
            raise ValueError("whiten needs dimensions; choose how many are to be kept")
        made_of = (embedder.fingerprint, embedder.layer, embedder.variant)
        settings = Settings(*made_of, features, dimensions or features, dtype, whiten)
        return cls(create_table(os.fspath(uri), settings), embedder, indexed_from=indexed_from)

    def check(self, fingerprint: str, layer: str) -> None:
        """Raises ValueError unless its features are of this network, by its fingerprint, and layer."""
        there = self.settings
        if (there.fingerprint, there.layer) != (fingerprint, layer):
            raise ValueError(
                f"{self.uri} holds {there.layer} features of the network {there.fingerprint}, not "
                f"{layer} of {fingerprint}; name the checkpoint and layer that it was made with, or "
                "another gallery"
            )

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self._listing)

    def sync(
        self,
        folder: str | os.PathLike[str],
        *,
        commit_every: int = COMMIT_EVERY,
        tell: Tell = lambda line: None,
    ) -> Changes:
        """Brings the gallery up to date with a folder and its sub-folders.

        New and changed pictures are embedded, those of moved files keep their vectors, and those of
        deleted files go; pictures from other folders stay. A file that cannot be read is counted and
        named. Run again after it was stopped, or side by side with others, it does what is left.

        Args:
          folder: of pictures.
          commit_every: how many pictures are stored at a time: what a sudden end may cost.
          tell: gets lines of what was measured when vectors are reduced or an index is built.

        Returns:
          What has changed.

        Raises:
          FileNotFoundError: when the folder is not there or holds no picture; nothing is deleted then.
          ValueError: when the gallery was opened without an embedder, or there are too few pictures to
            learn how to reduce them.
          OSError: when the store is full or fails; what was stored until then stays.
        """
        root = pathlib.Path(folder).expanduser().resolve()
        writer = self._writer(commit_every, tell)
        before = list(writer.known)
        found = walk(root)
        missing = set(before).difference(file.path for file in found.files)
        writer.write(found.files)
        # Looked for again: that took hours, perhaps, and others may have added what is back meanwhile.
        lost = [path for path in missing if _is_lost(pathlib.Path(path), root, found.closed)]
        writer.forget(lost)
        writer.tidy()
        self.refresh()
        self._index(tell)
        closed = [
            f"{path} cannot be read; change its permissions, or look after its disk"
            for path in found.closed
        ]
        return writer.changes(closed)

    def add(self, paths: Iterable[str | os.PathLike[str]]) -> Changes:
        """Adds picture files, each as if the folder that it lies in had been synced: it has no label.

        Args:
          paths: of the files.

        Returns:
          What has changed.

        Raises:
          ValueError: when the gallery was opened without an embedder.
          OSError: when the store is full or fails.
        """
        writer = self._writer(COMMIT_EVERY, lambda line: None)
        absolute = [pathlib.Path(path).expanduser().resolve() for path in paths]
        described = {path: _described(path, path.parent) for path in absolute}
        absent = [
            f"{path} is not a file that can be read" for path in absolute if not described[path]
        ]
        writer.write([file for file in described.values() if file])
        self.refresh()
        self._index(lambda line: None)
        return writer.changes(absent)

    def delete(self, ids: Sequence[str]) -> None:
        """Removes pictures, by all their paths; the files stay, and a sync of their folder adds them again.

        Raises:
          ValueError: when an id is unknown; nothing is removed then.
        """
        self._listing.rows(ids)
        self._latest().delete("id", ids)
        self.refresh()

    def refresh(self) -> None:
        """Takes notice of what other processes have stored meanwhile.

        Raises:
          ValueError: when it has been made anew of other features.
          OSError: when the store fails.
        """
        with self._refreshing:
            self._listing = self._list(self._latest(), self._listing)

    def project(self, features: np.ndarray) -> np.ndarray:
        """Reduces features as the stored ones are.

        Args:
          features: [q, d] float32, L2-normalised.

        Returns:
          [q, p] float32; the features themselves where all are kept.
        """
        if features.ndim != 2 or features.shape[1] != self.settings.features:
            raise ValueError(
                f"features have shape {features.shape}, expected [q, {self.settings.features}]: compute "
                f"them by {self.settings.layer}"
            )
        if self.settings.dimensions == self.settings.features:
            return features
        if self._projection is None:
            self._projection = self._listing.table.projection()
        if self._projection is None:
            raise ValueError(f"{self.uri} holds no picture yet; add some first")
        return self._projection(features)

    def nearest(
        self, vectors: np.ndarray, k: int, *, labels: Sequence[str] = (), folder: str | None = None
    ) -> list[list[Match]]:
        """Finds the pictures whose vectors are nearest.

        Args:
          vectors: [q, p] float32, of `project`, `vectors` or sums of such.
          k: how many pictures.
          labels: only pictures with one of these, if there are any.
          folder: only pictures in this folder or below it, relative to the one that was synced.

        Returns:
          For each query at most k matches, nearest first.

        Raises:
          ValueError: when no picture has such a label or folder, or k is less than 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        vectors, which = np.asarray(vectors, np.float32), Filter(tuple(labels), folder)
        return self._read(lambda listing: _matches(listing, vectors, k, which))

    def search(
        self, features: np.ndarray, k: int, *, labels: Sequence[str] = (), folder: str | None = None
    ) -> list[list[Match]]:
        """Finds the pictures whose features are nearest: `nearest` of `project`."""
        return self.nearest(self.project(features), k, labels=labels, folder=folder)

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Returns the stored vectors [n, p] float32 of pictures; ValueError for an unknown id."""
        return self._read(lambda listing: listing.vectors(listing.rows(ids)))

    def sample(self, count: int, *, seed: int) -> np.ndarray:
        """Returns the stored vectors [at most count, p] float32 of random pictures, each once."""
        listing = self._listing
        count = min(count, len(listing))
        rows = np.random.default_rng(seed).choice(len(listing), count, replace=False)
        return listing.vectors(rows)

    def get(self, id: str) -> Picture:
        """Returns a picture; ValueError for an unknown id."""
        listing = self._listing
        return listing.picture(int(listing.rows([id])[0]))

    def thumbnail(self, id: str) -> bytes:
        """Returns a picture as a JPEG no side of which is longer than 256; ValueError for an unknown id."""
        return self._read(lambda listing: listing.thumbnail(id))

    def labels(self) -> dict[str, int]:
        """Counts the pictures of each label, by name."""
        return self._listing.labels()

    def _read(self, read: Callable[[Listing], T]) -> T:
        """Reads what a listing leaves in the table, whose older versions go in time."""
        try:
            return read(self._listing)
        except OSError:  # another process has tidied up, an hour ago or longer
            if self._sharded:  # all processes refresh together, or none
                raise
            self.refresh()
            return read(self._listing)

    def _latest(self) -> Table:
        """Opens the table's latest version; ValueError when it has been made anew of other features."""
        table = self._listing.table.latest()
        if table.settings != self.settings:
            raise ValueError(
                f"{self.uri} has been made anew since it was opened, of {table.settings.layer} features of "
                f"the network {table.settings.fingerprint}; open it again with that network"
            )
        return table

    def _writer(self, commit_every: int, tell: Tell) -> Writer:
        if self._embedder is None:
            raise ValueError(
                f"{self.uri} was opened without an embedder; open it with one to add pictures"
            )
        return Writer(
            self._latest(),
            self._embedder.photos,
            batch_size=self._embedder.batch_size,
            commit_every=commit_every,
            tell=tell,
        )

    def _list(self, table: Table, before: Listing | None) -> Listing:
        """Reads the pictures of a table's version; that of the first process, where there are several."""
        if self._sharded:
            version = multihost_utils.broadcast_one_to_all(np.int64(table.version))
            table = table.at(int(version))
        if before is not None and before.table.version == table.version:
            return before
        large = len(table) >= self._indexed_from
        by_index = large and not self._sharded and table.has_index()  # together they compare all
        return Listing(table, hold_vectors=not by_index, sharded=self._sharded, before=before)

    def _index(self, tell: Tell) -> None:
        """Builds an index where there are enough pictures for it, and says how well it finds."""
        table = self._latest()
        if len(table) < self._indexed_from or table.has_index():
            return
        table.build_index()
        queries = self.sample(QUERIES, seed=0)
        exact, found = (
            [table.nearest(query, NEAREST + 1, exact=exact)[0] for query in queries]
            for exact in (True, False)
        )
        share = shared(
            np.array(exact)[:, 1:], np.array(found)[:, 1:]
        )  # the first is the query itself
        tell(
            f"recall@{NEAREST} of the index against exact search: {share:.2f} ({len(queries)} pictures "
            f"as queries, {len(table)} to find)"
        )
        self.refresh()


def _is_lost(path: pathlib.Path, root: pathlib.Path, closed: Sequence[str]) -> bool:
    """Tells whether a known file of a folder is not there any more, as far as can be seen."""
    if not path.is_relative_to(root) or any(path.is_relative_to(folder) for folder in closed):
        return False
    try:
        return describe(path, root) is None
    except OSError:  # it is there, or a disk fails: what was stored of it stays
        return False


def _described(path: pathlib.Path, root: pathlib.Path) -> File | None:
    """Describes a file; None where there is none, or one that cannot be looked at."""
    try:
        return describe(path, root)
    except OSError:
        return None


def _matches(listing: Listing, vectors: np.ndarray, k: int, which: Filter) -> list[list[Match]]:
    """Finds the k nearest pictures of each of the vectors [q, p] float32."""
    if not len(listing):
        return [[] for _ in vectors]
    found = listing.search(vectors, k, which)
    return [
        [Match(listing.picture(row), float(square**0.5)) for square, row in pairs]
        for pairs in map(zip, found.squared_distances, found.indices)
    ]
