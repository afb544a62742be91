"""Reads the photos of a prepared data set, one by one and in any process."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from PIL import Image

from dsf_jax.data.records import DataSet, Records, dataset_folders, split_sizes


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
        """The record, named as `Records` names it in its messages."""
        return f"{self.folder}: record {self.index} of split {self.split!r}"


def photo_folder(data_dir: Path, name: str) -> Path:
    """Finds the highest version of a prepared data set of photos.

    Args:
      data_dir: folder of prepared records.
      name: the data set, "sketchy/photo" or the like.

    Raises:
      FileNotFoundError: when it is not there; lists what is.
      ValueError: when it holds no photos, or is not whole.
    """
    folders = dataset_folders(data_dir)
    if name not in folders:
        raise FileNotFoundError(
            f"photo_set={name!r} is no data set in {data_dir} (there: "
            f"{', '.join(sorted(folders)) or 'nothing'}); name one of photos, or build it first"
        )
    folder = folders[name]
    domain = _records(folder, next(iter(split_sizes(folder))), "domain")[0]["domain"]
    if domain != "photo":
        raise ValueError(
            f"{folder} holds records of the domain {domain!r}, no photos; name a data set of photos"
        )
    return folder


def class_names(folder: Path) -> list[str]:
    """Returns the class names of a data set, in label order."""
    return list(_records(folder, next(iter(split_sizes(folder))), "label").class_names)


def photos_digest(folder: Path) -> str:
    """Digests the records of a data set; see `DataSet.digest`."""
    return DataSet(folder, next(iter(split_sizes(folder)))).digest


def photos(folder: Path) -> dict[str, list[Photo]]:
    """Lists the photos of every split; decodes none.

    Args:
      folder: version folder of the data set.

    Raises:
      ValueError: when a record cannot be read.
    """
    return {
        split: [
            Photo(record["source_id"], record["class_name"], folder, split, index)
            for index, record in enumerate(_records(folder, split, "source_id", "class_name"))
        ]
        for split in split_sizes(folder)
    }


def read_photo(photo: Photo, *, longest_side: int = 0) -> np.ndarray:
    """Reads a photo.

    Args:
      photo: which one.
      longest_side: larger photos are shrunk to this number of pixels; 0 leaves all as they are.

    Returns:
      [h, w, 3] uint8.

    Raises:
      ValueError: when its record cannot be read.
    """
    pixels = _records(photo.folder, photo.split, "image")[photo.index]["image"]
    excess = max(pixels.shape) / longest_side if longest_side else 0.0
    if excess <= 1.0:
        return pixels
    size = [max(1, round(side / excess)) for side in pixels.shape[1::-1]]
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


@functools.lru_cache
def _records(folder: Path, split: str, *fields: str) -> Records:
    """Opens some fields of a split, once per process."""
    return Records(folder, split, fields=fields)
