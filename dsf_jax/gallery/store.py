"""A gallery on disk or in an object store: the only module that knows LanceDB.

Table `pictures` has a row a file, and what all rows were made with as JSON in its schema. Its primary
key is the path: of two processes that insert one path at a time, LanceDB lets one commit and the other
find the row. Nothing here locks anything, so that a disk and an object store work alike. A second
table, `projection`, has the projection of a gallery of reduced vectors.
"""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.gallery.projection import Projection

try:
    import lancedb
    import pyarrow as pa
    from lancedb.index import HnswSq
except ImportError as error:
    raise ImportError(
        "LanceDB, which keeps galleries, is not installed; run `pip install lancedb pyarrow` or install "
        "this project's extra `gallery`"
    ) from error

FORMAT = 1
PICTURES, PROJECTION = "pictures", "projection"
DTYPES = {"float32": pa.float32(), "float16": pa.float16()}
FILE_COLUMNS = ("path", "id", "label", "folder", "bytes", "mtime_ns")
LISTED_COLUMNS = ("path", "id", "label", "folder", "width", "height")
READ_ROWS = 1024  # at a time
SMALL_FRAGMENTS = 32  # so many commits are merged into one file
KEPT = timedelta(hours=1)  # for how long a version can be read that is not the latest any more
RETRIES = 10
PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
PROBES, EF = 20, 200  # partitions that a search looks into, and how far within each
REFINE = 4  # times k nearest by the index's short codes are measured by the stored vectors


class Settings(NamedTuple):
    """What a gallery's vectors are.

    Attributes:
      fingerprint: of the network's parameters.
      layer: of `dsf_jax.retrieval.features.LAYERS`.
      variant: of the network.
      features: d, what the network gives.
      dimensions: what is stored of them; `features` where they are not reduced.
      dtype: of what is stored.
      whitened: whether the reduced ones are.
    """

    fingerprint: str
    layer: str
    variant: str
    features: int
    dimensions: int
    dtype: str
    whitened: bool


class Table:
    """The pictures of a gallery, as they were when it was opened or last brought up to date."""

    def __init__(self, database: lancedb.DBConnection, uri: str) -> None:
        """Opens an existing gallery: see `open_table`."""
        self._database, self.uri = database, uri
        self._pictures = database.open_table(PICTURES)
        self.settings = _settings(self._pictures.schema, uri)

    def latest(self) -> "Table":
        """Opens the latest version; this one stays as it is."""
        with storage(self.uri):
            return Table(self._database, self.uri)

    def at(self, version: int) -> "Table":
        """Opens one version."""
        with storage(self.uri):
            table = Table(self._database, self.uri)
            table._pictures.checkout(version)
            return table

    @property
    def version(self) -> int:
        """Counts the commits of all processes."""
        return self._pictures.version

    def catch_up(self) -> bool:
        """Brings it up to date; tells whether others have committed since."""
        with storage(self.uri):
            before = self._pictures.version
            self._pictures.checkout_latest()
            return self._pictures.version != before

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self._pictures.count_rows()

    def columns(self, names: Sequence[str], *, where: str | None = None) -> pa.Table:
        """Reads columns of all rows, or of those where a condition holds, with `_rowid`."""
        with storage(self.uri):
            query = self._pictures.search().select(list(names)).with_row_id(True)
            return (query.where(where) if where else query).to_arrow()

    def all_vectors(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields row ids [m] and vectors [m, p] of all rows, block by block."""
        with storage(self.uri):
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
        with storage(self.uri):
            query = self._pictures.take_row_ids(row_ids.tolist())
            return query.select(list(names)).with_row_id().to_arrow()

    def rows_of(self, column: str, values: Sequence[str]) -> pa.Table:
        """Reads whole rows by the values of one column."""
        return self.columns(self._pictures.schema.names, where=among(column, values))

    def put(self, rows: Mapping[str, Sequence[Any]], vectors: np.ndarray) -> None:
        """Commits rows: new paths are added, known ones replaced; all of them or none.

        Args:
          rows: the columns but `vector`.
          vectors: [n, p] float32 or the stored type.
        """
        schema = self._pictures.schema
        kind = schema.field("vector").type
        flat = pa.array(vectors.astype(self.settings.dtype, copy=False).reshape(-1))
        columns = dict(rows, vector=pa.FixedSizeListArray.from_arrays(flat, type=kind))
        data = pa.Table.from_pydict(columns, schema=schema)
        merge = self._pictures.merge_insert("path").when_matched_update_all()
        self._commit(lambda: merge.when_not_matched_insert_all().execute(data))

    def delete(self, column: str, values: Sequence[str]) -> None:
        """Commits that rows are gone."""
        for start in range(0, len(values), READ_ROWS):
            condition = among(column, values[start : start + READ_ROWS])
            self._commit(lambda condition=condition: self._pictures.delete(condition))

    def _commit(self, action: Any) -> None:
        with storage(self.uri):
            for attempt in range(RETRIES):
                try:
                    self._pictures.checkout_latest()
                    action()
                    return
                except RuntimeError as error:
                    if "conflict" not in str(error).lower() or attempt == RETRIES - 1:
                        raise

    def tidy(self, rewritten: int) -> None:
        """Merges small files and removes what no version of the last hour needs, if it is worth it.

        Args:
          rewritten: how many rows were replaced or deleted: their space is freed by this alone.
        """
        with storage(self.uri):
            stats: Any = self._pictures.stats()  # a dict, whatever its annotation says
            rows, small = stats["num_rows"], stats["fragment_stats"]["num_small_fragments"]
            if small > SMALL_FRAGMENTS or rewritten > rows / 10 or stats["num_indices"]:
                with contextlib.suppress(RuntimeError):  # another one is at it
                    self._pictures.optimize(cleanup_older_than=KEPT)
                self._pictures.checkout_latest()

    def has_index(self) -> bool:
        """Tells whether there is an index for approximate search."""
        return bool(self._pictures.list_indices())

    def build_index(self) -> None:
        """Builds the index for approximate search."""
        with storage(self.uri):
            self._pictures.create_index("vector", config=HnswSq(distance_type="l2"))
            self._pictures.checkout_latest()

    def nearest(
        self, vector: np.ndarray, k: int, *, where: str | None = None, exact: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Searches in the store itself, by the index or row by row.

        Args:
          vector: [p] float32.
          k: how many rows.
          where: a condition that they must meet.
          exact: whether to pass the index over.

        Returns:
          Row ids and squared distances of the nearest rows [at most k], nearest first.
        """
        with storage(self.uri):
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
        """Reads the projection; None where none has been learned yet."""
        try:
            found = self._database.open_table(PROJECTION).to_arrow()
        except ValueError:
            return None
        return Projection.from_bytes(found["content"][0].as_py())

    def put_projection(self, projection: Projection) -> Projection:
        """Keeps a projection, unless another process has kept one before; returns what is kept."""
        content = pa.table({"content": pa.array([projection.to_bytes()], pa.large_binary())})
        with storage(self.uri):
            try:
                self._database.create_table(PROJECTION, content)
            except ValueError as error:
                if "already exists" not in str(error):
                    raise
            kept = self.projection()
        assert kept is not None
        return kept


def open_table(uri: str) -> Table:
    """Opens an existing gallery.

    Raises:
      FileNotFoundError: when there is none.
      ValueError: when what is there is none of ours.
    """
    absent = FileNotFoundError(f"{uri} holds no gallery; make one with python -m launch.index")
    if is_local(uri) and not local_path(uri).is_dir():  # to connect would make it
        raise absent
    database = _connect(uri)
    with storage(uri):
        try:
            return Table(database, uri)
        except ValueError as error:
            if "not found" in str(error):
                raise absent from error
            raise


def create_table(uri: str, settings: Settings) -> Table:
    """Makes an empty gallery.

    Raises:
      FileExistsError: when there is one.
    """
    if settings.dtype not in DTYPES:
        raise ValueError(f"dtype={settings.dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    if is_local(uri):
        local_path(uri).mkdir(parents=True, exist_ok=True)
    database = _connect(uri)
    with storage(uri):
        try:
            database.create_table(PICTURES, schema=_schema(settings))
        except ValueError as error:
            if "already exists" not in str(error):
                raise
            raise FileExistsError(f"{uri} holds a gallery; open it, or choose another") from error
        return Table(database, uri)


def is_local(uri: str) -> bool:
    """Tells whether a URI is a path of this machine."""
    return "://" not in uri


def local_path(uri: str) -> pathlib.Path:
    """Returns the folder that a local URI names."""
    return pathlib.Path(uri).expanduser().absolute()


def among(column: str, values: Sequence[str]) -> str:
    """Words the condition that a column has one of some values."""
    return f"{column} IN ({', '.join(map(quoted, values))})"


def quoted(value: str) -> str:
    """Writes a text as SQL does."""
    return "'" + value.replace("'", "''") + "'"


@contextlib.contextmanager
def storage(uri: str) -> Iterator[None]:
    """Words what the store reports as one line that names the gallery."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        if "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), uri) from error
        if isinstance(error, RuntimeError) or "lance error" in str(error):
            reason = str(error).partition("\n")[0]
            raise OSError(
                f"{uri} failed to be read or written ({reason}); run the command again"
            ) from error
        raise


def _connect(uri: str) -> lancedb.DBConnection:
    with storage(uri):
        return lancedb.connect(str(local_path(uri)) if is_local(uri) else uri)


def _schema(settings: Settings) -> pa.Schema:
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
            pa.field("vector", pa.list_(DTYPES[settings.dtype], settings.dimensions)),
        ],
        metadata={"dsf_jax": json.dumps({"format": FORMAT} | settings._asdict())},
    )


def _settings(schema: pa.Schema, uri: str) -> Settings:
    try:
        found = json.loads((schema.metadata or {})[b"dsf_jax"])
        if found.pop("format") != FORMAT:
            raise KeyError
        return Settings(**found)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{uri} holds no gallery of this program or format; choose another, or build it anew with "
            "python -m launch.index"
        ) from error


def _matrix(vectors: pa.FixedSizeListArray) -> np.ndarray:
    """Returns [n, p] without a copy."""
    return vectors.flatten().to_numpy().reshape(len(vectors), -1)
