"""Prepared data sets on disk -> random access to their records; the only importer of TFDS.

A data set lies in `data_dir/NAME/VERSION`, NAME being "openmoji/sketch" or the like, written by one
of the data_builders. Reading needs neither the builder's code nor TensorFlow.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class DataSet:
    """One split of a prepared data set: which data there is. Its files are opened once, however often
    and by whichever fields it is read.
    """

    def __init__(self, folder: Path, split: str, *, files: "_Files | None" = None) -> None:
        """Opens a split; `open_dataset` finds the folder.

        Args:
          folder: the version folder, which holds dataset_info.json.
          split: "train", "fold0+fold1", "test[:10%]" or the like, in TFDS's notation.
          files: the split's files, when they are open already.

        Raises:
          ValueError: for an unknown or empty split, or a folder that cannot be read as a data set;
            names the known splits.
        """
        self.folder, self.split = Path(folder), split
        self._files = files or _Files(self.folder, split)

    @property
    def name(self) -> str:
        """The data set's name, "openmoji/sketch" or the like."""
        return self._files.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The k class names, in label order and in NFC, as class lists and class maps are read."""
        return self._files.class_names

    @property
    def domain(self) -> str:
        """The domain of the records, "sketch", "photo" or "edge", as in the first one."""
        return self._files.domain

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

    def has(self, field: str) -> bool:
        """Returns whether the records have a field."""
        return field in self._files.features

    def parts(self) -> list[tuple[str, int, int]]:
        """Returns where its records lie: file, number of the first there, and of the first behind the last."""
        return self._files.parts

    def read(self, *fields: str) -> "Records":
        """Returns a reader of some fields; of all by default."""
        return Records(self.folder, self.split, fields=fields or None, files=self._files)

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._files.source)


class Records(DataSet, Sequence[dict[str, Any]]):
    """The records of a data set, by index; each a dict of the chosen fields.

    Images are uint8 [h, w, c], `points` uint16 [p, 3] and read-only, `label` int, texts str. A
    Records object pickles as its folder and arguments: a worker process opens the files again.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        fields: Sequence[str] | None = None,
        files: "_Files | None" = None,
    ) -> None:
        """Opens a split; `open_records` finds the folder.

        Args:
          folder: see `DataSet`.
          split: see `DataSet`.
          fields: which fields to decode; all by default. Without "image" no image is ever decoded.
          files: see `DataSet`.

        Raises:
          ValueError: as `DataSet`, and for an unknown field; names the known ones.
        """
        super().__init__(folder, split, files=files)
        self.fields = fields and tuple(fields)
        import tensorflow_datasets as tfds

        features = self._files.features
        if unknown := set(self.fields or ()) - set(features):
            raise ValueError(
                f"{self.folder} has no field {', '.join(map(repr, sorted(unknown)))}; "
                f"its fields are {', '.join(sorted(features))}; name a data set that has it"
            )
        chosen = {name: features[name] for name in self.fields or features}
        self._features = tfds.features.FeaturesDict(chosen)
        self._texts = [n for n, kind in chosen.items() if isinstance(kind, tfds.features.Text)]

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
        what = f"record {position} of split {self.split!r}"
        try:
            raw = self._files.source[position]
            record: dict[str, Any] = self._features.deserialize_example_np(raw)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise _unreadable(self.folder, what, str(error)) from error
        except AttributeError as error:  # of TFDS, to which OpenCV gives None
            raise _unreadable(self.folder, what, "its image is damaged") from error
        texts = {name: record[name].decode() for name in self._texts}
        if "class_name" in texts:
            texts["class_name"] = unicodedata.normalize("NFC", texts["class_name"])
        return record | texts

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the folder and the arguments, not the open files."""
        return _reopen, (self.folder, self.split, self.fields)


class _Files:
    """The open files of one split."""

    def __init__(self, folder: Path, split: str) -> None:
        builder = _open_builder(folder)
        splits = builder.info.splits
        try:
            splits[split]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{folder} has no split {split!r}; its splits are {', '.join(splits)}"
            ) from error
        if not splits[split].num_examples:
            raise ValueError(
                f"{folder} has no record in split {split!r}; choose a larger part of "
                f"{', '.join(splits)}"
            )
        self.folder, self.split = folder, split
        taken = splits[split].file_instructions
        self.parts = [(own.filename, own.skip, own.skip + own.take) for own in taken]
        self.name = "/".join(filter(None, (builder.info.name, builder.info.config_name)))
        self.features = builder.info.features
        self._check_points()
        names = self.features["label"].names
        self.class_names = tuple(unicodedata.normalize("NFC", name) for name in names)
        # TFDS's data source does not know partial decoding: it reads raw bytes here, and only the
        # chosen features parse them.
        import tensorflow_datasets as tfds

        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self.source = builder.as_data_source(split, deserialize_method=raw)

    def _check_points(self) -> None:
        """Raises ValueError for points of earlier versions, which knew no darkness."""
        if "points" in self.features and self.features["points"].shape != (None, 3):
            data_dir = self.folder.parents[self.name.count("/") + 1]
            raise ValueError(
                f"{self.folder} was built by an earlier version: its points are "
                f"{list(self.features['points'].shape)}, not [None, 3]; build it again with "
                f"`{_build_command(self.name, data_dir)}`"
            )

    @functools.cached_property
    def domain(self) -> str:
        first = Records(self.folder, self.split, fields=("domain",), files=self)[0]
        return str(first["domain"])


def open_dataset(data_dir: str | Path, name: str, split: str) -> DataSet:
    """Opens a split of a prepared data set, in its highest version.

    Args:
      data_dir: the folder that `launch.build_data` wrote to.
      name: the data set, "openmoji/sketch" or the like.
      split: "train", "test", "fold0+fold1", ...

    Raises:
      FileNotFoundError: when `data_dir` or the data set in it is missing; says what is there and
        how to build it.
      ValueError: for an unknown or empty split, or files that are incomplete.
    """
    folders = dataset_folders(data_dir)
    if name not in folders:
        there = ", ".join(sorted(folders)) if Path(data_dir).is_dir() else "no such folder"
        raise FileNotFoundError(
            f"no data set {name!r} in {data_dir} (there: {there or 'nothing'}); {'name one of these, or ' if folders else ''}"
            f"build it with `{_build_command(name, data_dir)}`"
        )
    return DataSet(folders[name], split)


def _build_command(name: str, data_dir: str | Path) -> str:
    return f"python -m launch.build_data --dataset={name.partition('/')[0]} --data_dir={data_dir}"


def open_records(
    data_dir: str | Path, name: str, split: str, *, fields: Sequence[str] = ()
) -> Records:
    """Opens a split of a prepared data set and returns its records; see `open_dataset`.

    Args:
      data_dir: see `open_dataset`.
      name: see `open_dataset`.
      split: see `open_dataset`.
      fields: which fields to decode; all by default.
    """
    return open_dataset(data_dir, name, split).read(*fields)


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


def _open_builder(folder: Path) -> "tfds.core.DatasetBuilder":
    """Opens a version folder for reading.

    Raises:
      ValueError: when one of its description files is missing or broken.
    """
    import tensorflow_datasets as tfds  # it takes longer to import than all that galleries need

    try:
        # Without this file TFDS would silently name the classes by number.
        (folder / "label.labels.txt").read_bytes()
        return tfds.builder_from_directory(folder)
    except Exception as error:  # whatever TFDS trips over, the files are at fault
        raise _unreadable(folder, "the description", str(error)) from error


def _unreadable(folder: Path, what: str, reason: str) -> ValueError:
    """Makes the one-line error for files that are incomplete."""
    reason = reason.partition("\n")[0]
    return ValueError(
        f"{folder}: {what} cannot be read ({reason}); "
        "remove the folder and build the data set again"
    )


def _reopen(folder: Path, split: str, fields: tuple[str, ...] | None) -> Records:
    """Opens a pickled Records object again."""
    return Records(folder, split, fields=fields)
