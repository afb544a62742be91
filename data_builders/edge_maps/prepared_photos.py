"""Reads the photos of a prepared data set, through TFDS: builders do not import the library's reader."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Photo:
    """One photo of a prepared data set; small and picklable, it holds no pixels.

    Attributes:
      key: its source id.
      class_name: its class.
      folder: the version folder of the data set.
      split: the split that it belongs to.
      index: its number there.
    """

    key: str
    class_name: str
    folder: Path
    split: str
    index: int

    @property
    def where(self) -> str:
        """The record, for messages."""
        return _where(self.folder, self.split, self.index)


def photo_folder(data_dir: Path, name: str) -> Path:
    """Finds the highest version of a prepared data set of photos.

    Args:
      data_dir: the folder of prepared records.
      name: the data set, "sketchy/photo" or the like.

    Raises:
      FileNotFoundError: when it is not there; says what is.
      ValueError: when it holds no photos, or is not whole.
    """
    versions = [path.parent for path in (data_dir / name).glob("*/dataset_info.json")]
    versions = [path for path in versions if tfds.core.Version.is_valid(path.name)]
    if not name or not versions:
        there = sorted(
            path.parents[1].relative_to(data_dir).as_posix()
            for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
            for path in data_dir.glob(pattern)
        )
        raise FileNotFoundError(
            f"photos={name!r} is no data set in {data_dir} (there: {', '.join(there) or 'nothing'}); "
            "name one of photos, or build it first"
        )
    folder = max(versions, key=lambda path: tfds.core.Version(path.name))
    shape = _builder(folder).info.features["image"].shape
    if shape[-1] != 3:
        raise ValueError(
            f"{folder} holds pictures of {shape[-1]} channel, no photos; name a data set of photos"
        )
    return folder


def class_names(folder: Path) -> list[str]:
    """Returns the class names of a data set, in label order."""
    return list(_builder(folder).info.features["label"].names)


def photos(folder: Path) -> dict[str, list[Photo]]:
    """Lists the photos of every split; decodes none.

    Args:
      folder: of the data set's version.

    Raises:
      ValueError: when a record cannot be read.
    """
    return {
        split: [_listed(folder, split, index) for index in range(len(_records(folder, split)))]
        for split in _builder(folder).info.splits
    }


def read_photo(photo: Photo, *, longest_side: int = 0) -> np.ndarray:
    """Reads a photo.

    Args:
      photo: which.
      longest_side: shrinks larger photos to it; 0 leaves all as they are.

    Returns:
      [h, w, 3] uint8.

    Raises:
      ValueError: when its record cannot be read.
    """
    pixels = _fields(photo.folder, photo.split, photo.index, ("image",))["image"]
    excess = max(pixels.shape) / longest_side if longest_side else 0.0
    if excess <= 1.0:
        return pixels
    size = [max(1, round(side / excess)) for side in pixels.shape[1::-1]]
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _listed(folder: Path, split: str, index: int) -> Photo:
    fields = _fields(folder, split, index, ("source_id", "class_name"))
    return Photo(fields["source_id"].decode(), fields["class_name"].decode(), folder, split, index)


def _fields(folder: Path, split: str, index: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Reads some fields of a record."""
    features = _builder(folder).info.features
    chosen = tfds.features.FeaturesDict({name: features[name] for name in names})
    try:
        return chosen.deserialize_example_np(_records(folder, split)[index])
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{_where(folder, split, index)} cannot be read ({reason}); build that data set again"
        ) from error


def _where(folder: Path, split: str, index: int) -> str:
    return f"{folder}: record {index} of split {split}"


@functools.lru_cache
def _builder(folder: Path) -> tfds.core.DatasetBuilder:
    """Opens a version folder for reading."""
    try:
        # Without this file TFDS would silently name the classes by number.
        (folder / "label.labels.txt").read_bytes()
        return tfds.builder_from_directory(folder)
    except Exception as error:  # whatever TFDS trips over, the files are at fault
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{folder}: the description cannot be read ({reason}); build that data set again"
        ) from error


@functools.lru_cache
def _records(folder: Path, split: str) -> Any:
    """Opens the raw records of a split, once a process."""
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return _builder(folder).as_data_source(split, deserialize_method=raw)
