"""Prepared data sets on disk -> random access to their records; the only importer of TFDS.

A data set lies in `data_dir/NAME/VERSION`, NAME being "openmoji/sketch" or the like, written by one
of the data_builders. Reading needs neither the builder's code nor TensorFlow.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex, overload

import tensorflow_datasets as tfds


class Records(Sequence[dict[str, Any]]):
    """The records of one split, by index; each a dict of the chosen fields.

    Images are uint8 [h, w, c], `points` uint16 [p, 2] and read-only, `label` int, texts str. A
    Records object pickles as its folder and arguments: a worker process opens the files anew.
    """

    def __init__(self, folder: Path, split: str, *, fields: Sequence[str] | None = None) -> None:
        """Opens a split; `open_records` finds the folder.

        Args:
          folder: the version folder, which holds dataset_info.json.
          split: "train", "fold0+fold1", "test[:10%]" or the like, in TFDS's notation.
          fields: which fields to decode; all by default. Without "image" no image is ever decoded.

        Raises:
          ValueError: for an unknown split or field, or a folder that cannot be read as a data set;
            names the known ones.
        """
        self.folder, self.split, self.fields = Path(folder), split, fields and tuple(fields)
        builder = _open_builder(self.folder)
        self.name = "/".join(filter(None, (builder.info.name, builder.info.config_name)))
        features, splits = builder.info.features, builder.info.splits
        try:
            splits[split]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{self.folder} has no split {split!r}; its splits are {', '.join(splits)}"
            ) from error
        if not splits[split].num_examples:
            raise ValueError(
                f"{self.folder} has no record in split {split!r}; choose a larger part of "
                f"{', '.join(splits)}"
            )
        if unknown := set(self.fields or ()) - set(features):
            raise ValueError(
                f"{self.folder} has no field {', '.join(map(repr, sorted(unknown)))}; "
                f"its fields are {', '.join(sorted(features))}"
            )
        # TFDS's data source does not know partial decoding: it reads raw bytes here, and only the
        # chosen features parse them.
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self._source = builder.as_data_source(split, deserialize_method=raw)
        chosen = {name: features[name] for name in self.fields or features}
        self._features = tfds.features.FeaturesDict(chosen)
        self._texts = [n for n, kind in chosen.items() if isinstance(kind, tfds.features.Text)]
        self._class_names = tuple(features["label"].names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The k class names, in label order."""
        return self._class_names

    @property
    def domain(self) -> str:
        """The domain of the records, "sketch", "photo" or "edge", as the first one tells."""
        return Records(self.folder, self.split, fields=("domain",))[0]["domain"]

    @property
    def digest(self) -> str:
        """12 hexadecimal digits of the data set's records and classes, of all splits: sets of other
        content have others, whatever their description says.
        """
        paths = sorted(
            p
            for p in self.folder.iterdir()
            if p.match("*.array_record*") or p.match("*.labels.txt")
        )
        stats = ((path, path.stat()) for path in paths)
        files = (_file_digest(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)
        return hashlib.sha256(b"".join(files)).hexdigest()[:12]

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._source)

    @overload
    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Reads a record, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        # A range counts from the end, and raises IndexError, as sequences do.
        position = range(len(self))[index]
        try:
            record = self._features.deserialize_example_np(self._source[position])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise _unreadable(
                self.folder, f"record {position} of split {self.split!r}", error
            ) from error
        return record | {name: record[name].decode() for name in self._texts}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the folder and the arguments, not the open files."""
        return _reopen, (self.folder, self.split, self.fields)


def open_records(
    data_dir: str | Path, name: str, split: str, *, fields: Sequence[str] | None = None
) -> Records:
    """Opens a split of a prepared data set, in its highest version.

    Args:
      data_dir: the folder that `launch.build_data` wrote to.
      name: the data set, "openmoji/sketch" or the like.
      split: "train", "test", "fold0+fold1", ...
      fields: which fields to decode; all by default.

    Raises:
      FileNotFoundError: when `data_dir` or the data set in it is missing; tells what is there and
        how to build it.
      ValueError: for an unknown split or field, or files that are not whole.
    """
    folders = dataset_folders(data_dir)
    if name not in folders:
        there = ", ".join(sorted(folders)) if Path(data_dir).is_dir() else "no such folder"
        raise FileNotFoundError(
            f"no data set {name!r} in {data_dir} (there: {there or 'nothing'}); build it with `python "
            f"-m launch.build_data --dataset={name.partition('/')[0]} --data_dir={data_dir}`"
        )
    return Records(folders[name], split, fields=fields)


def list_datasets(data_dir: str | Path) -> dict[str, dict[str, int]]:
    """Lists what is prepared in a folder.

    Returns:
      {data set name: {split: number of records}}, sorted by name.
    """
    return {name: split_sizes(folder) for name, folder in sorted(dataset_folders(data_dir).items())}


def split_sizes(folder: Path) -> dict[str, int]:
    """Returns the number of records of every split of a version folder."""
    splits = _open_builder(folder).info.splits
    return {split: info.num_examples for split, info in splits.items()}


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, changed: int) -> bytes:
    """Digests a file's name and content, once as long as size and time of change stay."""
    del size, changed
    with path.open("rb") as file:
        return path.name.encode() + hashlib.file_digest(file, "sha256").digest()


_VERSION = re.compile(r"\d+\.\d+\.\d+")


def dataset_folders(data_dir: str | Path) -> dict[str, Path]:
    """Finds the highest version of every data set; what is half built has no version's name yet.

    Args:
      data_dir: folder that `launch.build_data` wrote to.

    Returns:
      {data set name: version folder}; opens none of them.
    """
    data_dir = Path(data_dir)
    folders: dict[str, Path] = {}
    for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
        for info in data_dir.glob(pattern):
            folder = info.parent
            if not _VERSION.fullmatch(folder.name):
                continue
            name = folder.parent.relative_to(data_dir).as_posix()
            if name not in folders or _version(folder) > _version(folders[name]):
                folders[name] = folder
    return folders


def _version(folder: Path) -> tuple[int, ...]:
    """Returns the version that a folder is named after."""
    return tuple(map(int, folder.name.split(".")))


def _open_builder(folder: Path) -> tfds.core.DatasetBuilder:
    """Opens a version folder for reading.

    Raises:
      ValueError: when one of its description files is missing or broken.
    """
    try:
        # Without this file TFDS would silently name the classes by number.
        (folder / "label.labels.txt").read_bytes()
        return tfds.builder_from_directory(folder)
    except Exception as error:  # whatever TFDS trips over, the files are at fault
        raise _unreadable(folder, "the description", error) from error


def _unreadable(folder: Path, what: str, error: Exception) -> ValueError:
    """Makes the one-line error for files that are not whole."""
    reason = str(error).partition("\n")[0]
    return ValueError(
        f"{folder}: {what} cannot be read ({reason}); "
        "remove the folder and build the data set again"
    )


def _reopen(folder: Path, split: str, fields: tuple[str, ...] | None) -> Records:
    """Makes a pickled Records object anew."""
    return Records(folder, split, fields=fields)
