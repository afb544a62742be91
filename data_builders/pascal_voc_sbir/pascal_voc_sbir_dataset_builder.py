"""The TFDS builder `pascal_voc_sbir`: VOC2007's photos with their objects, and query sketches.

python -m launch.build_data --dataset=pascal_voc_sbir --source=FOLDER --data_dir=prepared
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.archives import ARCHIVES
from data_builders.builder import DomainAbsent, FileExample, Plan, RecordsBuilder
from data_builders.faults import BadFile, Skip
from data_builders.folders import examples_by_class
from data_builders.pascal_voc_sbir.annotations import (
    CLASSES,
    VocObject,
    main_object,
    read_objects,
)
from data_builders.record_images import photo_bytes, sketch_record
from data_builders.records_format import Record
from data_builders.sources import SourceFile, below, source_files
from dsf_jax.data.pictures import SUFFIXES
from dsf_jax.images.points import Polarity

QUERIES = "queries"
_VOC_ARCHIVES = ("voctrainval_", "voctest_")
_PHOTO_SUFFIXES = (".jpg", ".jpeg")


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      polarity: whether the strokes of the queries are darker or lighter than the paper.
      thinned: thin the strokes of the queries to centre lines.
    """

    polarity: Polarity = "black_on_white"
    thinned: bool = True


@dataclasses.dataclass(frozen=True)
class Photo(FileExample):
    """One photo to build.

    Attributes:
      key: VOC's number of it, "000005".
      class_name: class of its main object.
      file: the JPEG.
      objects: all its objects.
    """

    objects: tuple[VocObject, ...]


class Builder(RecordsBuilder):
    """Builds the photos or the queries: its configuration is "photo" or "sketch"."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="photo", description="The photos, and their objects."),
        tfds.core.BuilderConfig(name="sketch", description="The queries, and their points."),
    ]
    OPTIONS = Options
    SUFFIXES = (*SUFFIXES, ".txt", ".xml", *ARCHIVES)
    HOMEPAGE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/"

    def features(self) -> dict[str, Any]:
        """Describes the objects of a photo, o of them, in the annotation's order."""
        if self.domain != "photo":
            return {}
        return {
            "object_labels": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            "object_difficult": tfds.features.Tensor(shape=(None,), dtype=np.bool_),
            "object_boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        }

    def plan(self, source: Path) -> Plan:
        """Cuts the photos as VOC does; the queries are for testing. Labels number VOC's classes."""
        if self.domain == "photo":
            return Plan(CLASSES, self._photos(source), photo_record)
        make = functools.partial(
            query_record, thinned=self.options.thinned, polarity=self.options.polarity
        )
        return Plan(CLASSES, {"test": _queries(source, self.skip)}, make)

    def _photos(self, source: Path) -> dict[str, list[Photo]]:
        files = _voc_files(source)
        photos = self._by_id(below(files, "JPEGImages"), _PHOTO_SUFFIXES)
        annotations = self._by_id(below(files, "Annotations"), (".xml",))
        splits: dict[str, list[Photo]] = {}
        listed: set[str] = set()
        for split, members in _lists(files, source).items():
            splits[split] = []
            for name, where in _members(members):
                if name in listed:
                    self.skip(BadFile(where, "lists a photo again", "remove the line"))
                    continue
                listed.add(name)
                if photo := self._photo(name, where, photos, annotations):
                    splits[split].append(photo)
        for name in photos.keys() - listed:
            # Not a fault: the lists say what belongs to the data set.
            self.skipped.add(BadFile(photos[name].where, "in no list of ImageSets/Main"))
        return splits

    def _photo(
        self,
        name: str,
        where: str,
        photos: dict[str, SourceFile],
        annotations: dict[str, SourceFile],
    ) -> Photo | None:
        """Joins a photo with its objects, or skips it."""
        try:
            if name not in photos:
                raise BadFile(where, "lists a photo that is not in JPEGImages", _get_all(name))
            if name not in annotations:
                raise BadFile(photos[name].where, "has no file in Annotations", _get_all(name))
            objects = read_objects(annotations[name].read(), annotations[name].where)
        except BadFile as fault:
            self.skip(fault)
            return None
        return Photo(name, main_object(objects).class_name, photos[name], objects)

    def _by_id(
        self, files: Iterable[SourceFile], suffixes: tuple[str, ...]
    ) -> dict[str, SourceFile]:
        found: dict[str, SourceFile] = {}
        for file in files:
            if file.path.suffix.lower() not in suffixes:
                continue
            first = found.setdefault(file.path.stem, file)
            if first is not file:
                self.skip(
                    BadFile(file.where, "same id as another file", f"remove it, or {first.where}")
                )
        return found


def photo_record(example: Photo) -> Record:
    """Returns what a photo record holds of a photo and its objects."""
    objects = example.objects
    return {
        "image": photo_bytes(example.file.read(), example.where),
        "object_labels": np.array([CLASSES.index(one.class_name) for one in objects], np.int64),
        "object_difficult": np.array([one.difficult for one in objects], np.bool_),
        "object_boxes": np.array([one.box for one in objects], np.float32),
    }


def query_record(example: FileExample, *, thinned: bool, polarity: Polarity) -> Record:
    """Returns what a sketch record holds of a query."""
    return sketch_record(example.file.read(), example.where, thinned=thinned, polarity=polarity)


def _voc_files(source: Path) -> list[SourceFile]:
    """Lists VOC's files: of the archives in the folder, or of the folder, or of the one archive."""
    archives = []
    if source.is_dir():
        archives = [
            path
            for path in sorted(source.iterdir())
            if path.name.lower().startswith(_VOC_ARCHIVES) and path.name.lower().endswith(ARCHIVES)
        ]
    suffixes = (*SUFFIXES, ".txt", ".xml")
    files = [
        file for part in archives or [source] for file in source_files(part, suffixes=suffixes)
    ]
    files = below(files, "VOC2007") or files  # VOCdevkit may hold other years, too
    if not below(files, "JPEGImages"):
        raise DomainAbsent(
            f"{source} holds no photos in JPEGImages; give VOCtrainval_06-Nov-2007.tar, "
            "VOCtest_06-Nov-2007.tar, or a folder with these or with VOCdevkit"
        )
    return files


def _lists(files: Iterable[SourceFile], source: Path) -> dict[str, SourceFile]:
    """Finds {split: its list}; train and val say it all where there is trainval, too."""
    lists = {file.name: file for file in below(files, "ImageSets/Main")}
    names = ["train", "val", "test"]
    if not {"train.txt", "val.txt"} & lists.keys():
        names.insert(0, "trainval")
    found = {name: lists[f"{name}.txt"] for name in names if f"{name}.txt" in lists}
    if not found:
        raise FileNotFoundError(
            f"{source} holds none of train.txt, val.txt, trainval.txt and test.txt in "
            "ImageSets/Main; unpack all of VOC's archive"
        )
    return found


def _members(file: SourceFile) -> Iterator[tuple[str, str]]:
    """Yields (VOC's number of a photo, the line that lists it)."""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if line.strip():
            yield line.strip(), f"{file.where} line {number}"


def _get_all(name: str) -> str:
    return f"unpack all of VOC's archive ({name} is missing)"


def _queries(source: Path, skip: Skip) -> list[FileExample]:
    """Lists the sketches in queries/CLASS.

    Raises:
      DomainAbsent: when there is none.
      ValueError: when a folder is named after no class of VOC.
    """
    try:
        files = below(source_files(source), QUERIES)
    except FileNotFoundError as error:
        raise DomainAbsent(str(error)) from error
    if not files:
        raise DomainAbsent(f"{source} has no sketches in {QUERIES}/CLASS/")
    classes = examples_by_class(files, skip, class_map={})
    if unknown := sorted(set(classes) - set(CLASSES)):
        raise ValueError(
            f"{source}: {QUERIES}/{unknown[0]} is named after no class of VOC2007; they are "
            f"{', '.join(CLASSES)}"
        )
    return list(itertools.chain(*classes.values()))
