"""The files of one version of a gallery, and the pictures that they hold: by path, and each content once."""

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsf_jax.gallery.crawl import one_form
from dsf_jax.gallery.sql import sql_in, sql_string
from dsf_jax.gallery.store import LISTED_COLUMNS, Store

MAX_NAMED = 20  # labels that a message lists


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


class UnknownLabelError(ValueError):
    """A filter names a label that no picture has."""


class Filter(NamedTuple):
    """Which pictures a search is for.

    Attributes:
      labels: pictures with a file of one of these labels; all where there are none.
      folder: pictures with a file in this folder or below; all where it is None.
    """

    labels: tuple[str, ...] = ()
    folder: str | None = None

    def in_one_form(self) -> "Filter":
        """Returns it with names in NFC, and without the slash that shells write behind a folder's, as
        files are listed.
        """
        folder = one_form(self.folder or "").rstrip("/")
        return Filter(tuple(map(one_form, self.labels)), folder or None)

    def condition(self) -> str | None:
        """Formats it as a condition in SQL, on names in either of Unicode's usual forms; None for all."""
        conditions = []
        if self.labels:
            forms = [form for label in self.labels for form in _forms(label)]
            conditions.append(sql_in("label", forms))
        if self.folder:
            inside = (
                f"folder = {sql_string(form)} OR starts_with(folder, {sql_string(form + '/')})"
                for form in _forms(self.folder)
            )
            conditions.append(f"({' OR '.join(inside)})")
        return " AND ".join(conditions) or None


ALL = Filter()


class Listing:
    """All files in the order of their paths, and the n pictures in the order of their first paths.

    Attributes:
      position: row of each picture, by id.
      row_ids: [n] the store's id of the row of each picture's first file.
    """

    def __init__(self, store: Store) -> None:
        """Reads the list of a store's version."""
        self._uri = store.uri
        files = store.columns(LISTED_COLUMNS).sort_by("path").combine_chunks()
        self._files = _in_one_form(files, ("label", "folder"))
        self.position: dict[str, int] = {}
        self._pictures = np.empty(len(files), np.int64)  # row of the picture that each file holds
        for file, key in enumerate(files["id"].to_pylist()):
            self._pictures[file] = self.position.setdefault(key, len(self.position))
        self._first = np.unique(self._pictures, return_index=True)[1]  # file of each picture
        self._file_row_ids = files["_rowid"].to_numpy()
        self._by_row_id = np.argsort(self._file_row_ids)
        self.row_ids = self._file_row_ids[self._first]

    def __len__(self) -> int:
        """Returns the number of pictures."""
        return len(self.position)

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """Returns the rows [m] of ids; ValueError for one that is unknown."""
        try:
            return np.array([self.position[key] for key in keys], np.int64)
        except KeyError as error:
            raise ValueError(
                f"id={error.args[0]!r} is not in {self._uri}; it may have been deleted: search again"
            ) from error

    def rows_of_files(self, row_ids: np.ndarray) -> np.ndarray:
        """Returns the rows [m] of the pictures in files, which are given by the store's ids of rows [m]."""
        at = np.searchsorted(self._file_row_ids, row_ids, sorter=self._by_row_id)
        return self._pictures[self._by_row_id[at]]

    def picture(self, file: int) -> Picture:
        """Returns the picture that a file holds, by the path of this file."""
        return Picture(**{name: self._files[name][file].as_py() for name in Picture._fields})

    def get(self, key: str) -> Picture:
        """Returns a picture by its first file; ValueError for an unknown id."""
        return self.picture(int(self._first[self.rows([key])[0]]))

    def paths(self, key: str) -> list[str]:
        """Returns the paths of a picture's files, sorted; ValueError for an unknown id."""
        files = np.flatnonzero(self._pictures == self.rows([key])[0])
        paths: list[str] = self._files["path"].take(files).to_pylist()
        return paths

    def labels(self) -> dict[str, int]:
        """Counts the pictures of each label, by name; one with files of several labels counts for each."""
        encoded = self._files["label"].combine_chunks().dictionary_encode()
        labelled = np.flatnonzero(encoded.is_valid())
        codes = encoded.indices.drop_null().to_numpy()
        pairs = np.unique(np.stack([codes, self._pictures[labelled]]), axis=1)
        counts = np.bincount(pairs[0], minlength=len(encoded.dictionary)).tolist()
        return dict(sorted(zip(encoded.dictionary.to_pylist(), counts, strict=True)))

    def passing(self, filter: Filter) -> tuple[np.ndarray, np.ndarray]:
        """Chooses the pictures that have a file which passes a filter, whose names are in NFC.

        Returns:
          Rows of the pictures [m], ascending, and of each the first file that passes [m].

        Raises:
          ValueError: when no picture has such a label or folder.
        """
        if filter == ALL:
            return np.arange(len(self)), self._first
        files = np.flatnonzero(self._mask(filter))
        rows, first = np.unique(self._pictures[files], return_index=True)
        return rows, files[first]

    def _mask(self, filter: Filter) -> np.ndarray:
        """Returns which files pass a filter, [files] bool."""
        masks: list[Any] = []
        if filter.labels:
            self._check_labels(filter.labels)
            wanted = pa.array(filter.labels, pa.string())
            masks.append(pc.is_in(self._files["label"], value_set=wanted))
        if filter.folder:
            names = self._files["folder"]
            inside = pc.starts_with(names, f"{filter.folder}/")
            masks.append(pc.or_(pc.equal(names, filter.folder), inside))
            if not pc.any(masks[-1]).as_py():
                raise ValueError(
                    f"folder={filter.folder!r} holds no picture of {self._uri}; name one relative to "
                    "the folder that was indexed"
                )
        mask: np.ndarray = (masks[0] if len(masks) == 1 else pc.and_(*masks)).to_numpy()
        return mask

    def _check_labels(self, labels: Sequence[str]) -> None:
        known = self.labels()
        for label in labels:
            if label not in known:
                names = list(known)
                more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
                choice = f"choose one of {', '.join(names[:MAX_NAMED])}{more}"
                none = "no picture of it has a label, the name of its sub-folder: omit labels"
                raise UnknownLabelError(
                    f"label={label!r} is not in {self._uri}; {choice if names else none}"
                )


def _in_one_form(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Returns a table with names in NFC: earlier versions stored them as the file system has them."""
    for name in names:
        # pyarrow's own utf8_normalize decomposes, whatever form it is asked for.
        encoded = table[name].combine_chunks().dictionary_encode()
        distinct = pa.array([one_form(x) for x in encoded.dictionary.to_pylist()], pa.string())
        column = distinct.take(encoded.indices)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _forms(name: str) -> list[str]:
    """Returns a name as it is stored now, and as macOS writes it."""
    return sorted({unicodedata.normalize(form, name) for form in ("NFC", "NFD")})
