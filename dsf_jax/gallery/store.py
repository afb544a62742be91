"""A gallery on disk or in an object store: the only module that knows LanceDB.

Table `pictures` has one row per file, and what all rows were made with as JSON in its schema. Its
primary key is the path: of two processes that insert one path at a time, LanceDB lets one commit and
the other find the row. Nothing here locks anything, so that a disk and an object store work alike. A
second table, `projection`, has the projection of a gallery of reduced vectors.
"""

import contextlib
import functools
import importlib.util
import pathlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from dsf_jax.data.files import expand_home
from dsf_jax.data.picture_folders import is_system_folder
from dsf_jax.gallery.projection import Projection
from dsf_jax.gallery.sql import sql_in
from dsf_jax.gallery.storage_errors import damaged, storage_errors
from dsf_jax.gallery.store_config import StoreConfig, made_again, unknown_format

if TYPE_CHECKING:
    import lancedb

try:
    import pyarrow as pa

    # Importing LanceDB takes longer than all else that a gallery needs: see `_connect`.
    if importlib.util.find_spec("lancedb") is None:
        raise ModuleNotFoundError("No module named 'lancedb'", name="lancedb")
except ImportError as error:
    raise ImportError(
        "LanceDB, which keeps galleries, is not installed; run `pip install lancedb pyarrow` or install "
        "this project's extra `gallery`"
    ) from error

PICTURES, PROJECTION = "pictures", "projection"
METADATA, MADE = "dsf_jax", "dsf_jax_made"  # of the schema
DTYPES = {"float32": pa.float32(), "float16": pa.float16()}
FILE_COLUMNS = ("path", "id", "label", "folder", "bytes", "mtime_ns")
LISTED_COLUMNS = ("path", "id", "label", "folder", "width", "height")
READ_ROWS = 1024  # at a time
SMALL_FRAGMENTS = 32  # from this number of commits on, they are merged into one file
# Versions that were made longer ago go when a gallery is tidied up, but for the latest.
RETENTION = timedelta(hours=1)
RETRIES = 10
PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
PROBES, EF = 20, 200  # partitions that a search looks into, and candidates within each
REFINE = 4  # times k nearest by the index's short codes are compared by the stored vectors


class Store:
    """The pictures of a gallery in one version: the latest when it was opened or last moved on."""

    def __init__(self, database: "lancedb.DBConnection", uri: str) -> None:
        """Opens an existing gallery: see `open_store`."""
        self._database, self.uri = database, uri
        self._pictures = database.open_table(PICTURES)
        self.config = _config(self._pictures.schema, uri)
        self.made = _made(self._pictures.schema)  # tells it from one that is made in its place

    def latest(self) -> "Store":
        """Opens the latest version; this one stays as it is."""
        with storage_errors(self.uri):
            return Store(self._database, self.uri)

    def at(self, version: int) -> "Store":
        """Opens one version."""
        with storage_errors(self.uri):
            store = Store(self._database, self.uri)
            store._pictures.checkout(version)
            return store

    @property
    def version(self) -> int:
        """Returns the number of the version: how many commits all processes have made."""
        return self._pictures.version

    def checkout_latest(self) -> bool:
        """Moves it to the latest version; returns whether others have committed since.

        Raises:
          ValueError: when another process has made the gallery again.
        """
        with storage_errors(self.uri):
            before = self._pictures.version
            self._move_on()
            return self._pictures.version != before

    def _move_on(self) -> None:
        self._pictures.checkout_latest()
        now = _config(self._pictures.schema, self.uri)
        # What was computed, and perhaps projected, for the old one must not get into the new one.
        if not now.holds_the_same(self.config) or _made(self._pictures.schema) != self.made:
            raise made_again(self.uri, now)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self._pictures.count_rows()

    def columns(self, names: Sequence[str], *, where: str | None = None) -> pa.Table:
        """Reads columns of all rows, or of those where a condition holds, with `_rowid`."""
        with storage_errors(self.uri):
            query = self._pictures.search().select(list(names)).with_row_id(True)
            return (query.where(where) if where else query).to_arrow()

    def all_vectors(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields row ids [m] and vectors [m, p] of all rows, block by block."""
        with storage_errors(self.uri):
            query = self._pictures.search().select(["vector"]).with_row_id(True)
            for batch in query.to_batches(READ_ROWS):
                yield batch["_rowid"].to_numpy(), _matrix(batch["vector"])

    def vectors(self, row_ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields places in `row_ids` [m] and vectors [m, p] of these rows, block by block."""
        for start in range(0, len(row_ids), READ_ROWS):
            part = row_ids[start : start + READ_ROWS]
            found = self.take(part, ["vector"])
            order = np.argsort(part)
            places = order[np.searchsorted(part, found["_rowid"].to_numpy(), sorter=order)]
            yield start + places, _matrix(found["vector"].combine_chunks())

    def take(self, row_ids: np.ndarray, names: Sequence[str]) -> pa.Table:
        """Reads columns of some rows, in any order, with `_rowid`."""
        with storage_errors(self.uri):
            query = self._pictures.take_row_ids(row_ids.tolist())
            return query.select(list(names)).with_row_id().to_arrow()

    def one_of_each(self, ids: Sequence[str]) -> pa.Table:
        """Reads all columns of one row of each of some pictures, however many files hold it."""
        found = self.columns(["id"], where=sql_in("id", ids))
        rows = dict(zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True))
        return self.take(np.array(list(rows.values()), np.int64), self._pictures.schema.names)

    def put(self, rows: Mapping[str, Sequence[Any]], vectors: np.ndarray) -> int:
        """Commits rows atomically: new paths are added, known ones replaced.

        Args:
          rows: all columns except `vector`, by name.
          vectors: [n, p] float32 or the stored type.

        Returns:
          The number of rows added; another process may have added the others a moment before.
        """
        schema = self._pictures.schema
        kind = schema.field("vector").type
        flat = pa.array(vectors.astype(self.config.dtype, copy=False).reshape(-1))
        columns = dict(rows, vector=pa.FixedSizeListArray.from_arrays(flat, type=kind))
        data = pa.Table.from_pydict(columns, schema=schema)
        merge = self._pictures.merge_insert("path").when_matched_update_all()
        merge = merge.when_not_matched_insert_all()
        return self._commit(lambda: merge.execute(data)).num_inserted_rows

    def delete(self, column: str, values: Sequence[str]) -> None:
        """Commits the deletion of the rows with one of some values in a column."""
        for start in range(0, len(values), READ_ROWS):
            condition = sql_in(column, values[start : start + READ_ROWS])
            self._commit(functools.partial(self._pictures.delete, condition))

    def _commit(self, action: Callable[[], Any]) -> Any:
        with storage_errors(self.uri):
            attempt = 1
            while True:
                try:
                    self._move_on()
                    return action()
                except RuntimeError as error:
                    if "conflict" not in str(error).lower() or attempt == RETRIES:
                        raise
                    attempt += 1

    def compact(self, num_rewritten: int) -> None:
        """Merges small files and removes what neither the latest version nor one of the last hour needs,
        if it is worth it.

        Args:
          num_rewritten: number of rows that were replaced or deleted: only this frees their space.
        """
        with storage_errors(self.uri):
            stats: Any = self._pictures.stats()  # a dict, whatever its annotation says
            rows, small = stats["num_rows"], stats["fragment_stats"]["num_small_fragments"]
            if small > SMALL_FRAGMENTS or num_rewritten > rows / 10 or stats["num_indices"]:
                with contextlib.suppress(RuntimeError):  # another process is at it
                    self._pictures.optimize(cleanup_older_than=RETENTION)
                self._pictures.checkout_latest()

    def has_index(self) -> bool:
        """Returns whether there is an index for approximate search."""
        return bool(self._pictures.list_indices())

    def build_index(self) -> None:
        """Builds the index for approximate search."""
        from lancedb.index import HnswSq

        with storage_errors(self.uri):
            self._pictures.create_index("vector", config=HnswSq(distance_type="l2"))
            self._pictures.checkout_latest()

    def nearest(
        self, vector: np.ndarray, k: int, *, where: str | None = None, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Searches in the store itself, by the index or row by row.

        Args:
          vector: [p] float32.
          k: number of rows.
          where: SQL condition that they must meet.
          exact: whether to bypass the index.

        Returns:
          Row ids and squared distances of the nearest rows [at most k], nearest first.
        """
        with storage_errors(self.uri):
            search: Any = self._pictures.search(vector, vector_column_name="vector")
            query = search.limit(k).select(["_distance"]).with_row_id(True).distance_type("l2")
            query = query.where(where, prefilter=True) if where else query
            if exact:
                query = query.bypass_vector_index()
            else:
                query = query.nprobes(PROBES).ef(max(EF, 2 * REFINE * k)).refine_factor(REFINE)
            found = query.to_arrow()
        return found["_rowid"].to_numpy(), found["_distance"].to_numpy()

    def projection(self) -> Projection | None:
        """Reads the projection; None where none has been learned yet.

        Raises:
          OSError: when it is damaged, or there are rows, which are stored after it.
        """
        try:
            with storage_errors(self.uri):
                found = self._database.open_table(PROJECTION).to_arrow()
        except ValueError as error:
            if len(self):
                missing = f"its projection, {PROJECTION}.lance, is missing"
                raise damaged(self.uri, missing) from error
            return None
        try:
            return Projection.from_bytes(found["content"][0].as_py())
        except Exception as error:  # what NumPy and zipfile raise for damage is of many types
            unread = f"its projection, {PROJECTION}.lance, cannot be read"
            raise damaged(self.uri, unread) from error

    def keep_projection(self, projection: Projection) -> Projection:
        """Stores a projection unless another process was first; returns the stored one."""
        content = pa.table({"content": pa.array([projection.to_bytes()], pa.large_binary())})
        with storage_errors(self.uri):
            self._move_on()
            try:
                self._database.create_table(PROJECTION, content)
            except ValueError as error:
                if "already exists" not in str(error):
                    raise
            kept = self.projection()
        assert kept is not None
        return kept


def open_store(uri: str) -> Store:
    """Opens the store of an existing gallery.

    Args:
      uri: a folder, or what LanceDB takes, as s3://bucket/path.

    Raises:
      FileNotFoundError: when there is none.
      ValueError: when it is no gallery of this program or of a format that it reads.
    """
    absent = FileNotFoundError(f"{uri} holds no gallery; make one with python -m launch.index")
    if is_local(uri):
        path = local_path(uri)
        if path.exists() and not path.is_dir():
            raise ValueError(f"{uri} is a file, and a gallery is a folder; name a gallery's folder")
        if not path.is_dir():  # to connect would make it
            raise absent
    database = _connect(uri)
    with storage_errors(uri):
        try:
            return Store(database, uri)
        except ValueError as error:
            if "not found" in str(error):
                raise absent from error
            raise


def create_store(uri: str, config: StoreConfig) -> Store:
    """Makes the store of an empty gallery, also in place of an empty one of another configuration.

    Args:
      uri: a folder, or what LanceDB takes, as s3://bucket/path.
      config: what its vectors will be.

    Raises:
      FileExistsError: when there is one.
      ValueError: when the type of the vectors is unknown, or the folder holds something else.
    """
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype={config.dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    if is_local(uri):
        _check_place(local_path(uri), uri)
        local_path(uri).mkdir(parents=True, exist_ok=True)
    database = _connect(uri)
    with storage_errors(uri):
        try:
            database.create_table(PICTURES, schema=_schema(config))
        except ValueError as error:
            if "already exists" not in str(error):
                raise
            if not _is_empty_of_others(Store(database, uri), config):
                raise FileExistsError(
                    f"{uri} holds a gallery; open it, or choose another"
                ) from error
            with contextlib.suppress(ValueError):  # there is none
                database.drop_table(PROJECTION)
            database.create_table(PICTURES, schema=_schema(config), mode="overwrite")
        return Store(database, uri)


def _is_empty_of_others(store: Store, config: StoreConfig) -> bool:
    """Returns whether a run that came to nothing left a store of another configuration."""
    return not len(store) and not store.config.holds_the_same(config)


def _check_place(folder: pathlib.Path, uri: str) -> None:
    """Raises ValueError for a folder of something else: a gallery's files among it would be a nuisance."""
    if not folder.is_dir() or (folder / f"{PICTURES}.lance").is_dir():
        return
    others = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and not is_system_folder(path.name)
    )
    if others:
        raise ValueError(
            f"{uri} is no gallery and holds {len(others)} other files or folders, as {others[0]!r}; name a "
            "new folder for the gallery, and the folder of pictures as photos"
        )


def is_local(uri: str) -> bool:
    """Returns whether a URI is a path of this machine."""
    return "://" not in uri


def local_path(uri: str) -> pathlib.Path:
    """Returns the folder that a local URI names."""
    return expand_home(uri).absolute()


def _connect(uri: str) -> "lancedb.DBConnection":
    import lancedb

    with storage_errors(uri):
        return lancedb.connect(str(local_path(uri)) if is_local(uri) else uri)


def _schema(config: StoreConfig) -> pa.Schema:
    vector = pa.list_(DTYPES[config.dtype], config.dimensions)
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False, metadata=PRIMARY_KEY),
            pa.field("id", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("folder", pa.string()),
            pa.field("bytes", pa.int64()),
            pa.field("mtime_ns", pa.int64()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("thumbnail", pa.binary()),
            pa.field("vector", vector),
        ],
        metadata={METADATA: config.to_json(), MADE: uuid.uuid4().hex},
    )


def _config(schema: pa.Schema, uri: str) -> StoreConfig:
    try:
        text = (schema.metadata or {})[METADATA.encode()]
    except KeyError as error:
        raise unknown_format(uri) from error
    return StoreConfig.from_json(text, uri)


def _made(schema: pa.Schema) -> str:
    """Returns what only this gallery has; empty for one of earlier versions."""
    return (schema.metadata or {}).get(MADE.encode(), b"").decode()


def _matrix(vectors: pa.FixedSizeListArray) -> np.ndarray:
    """Returns [n, p] without a copy."""
    return vectors.flatten().to_numpy().reshape(len(vectors), -1)
