"""The TFDS builder `sketchy`: photos of 125 classes, and sketches that were drawn from them.

python -m launch.build_data --dataset=sketchy --source=256x256 --data_dir=prepared
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.builder import DomainAbsent, FileExample, Plan, RecordsBuilder
from data_builders.built_from import content_digest
from data_builders.faults import BadFile
from data_builders.folders import photo_record
from data_builders.record_images import sketch_record
from data_builders.records_format import Record
from data_builders.sources import SourceFile, below, class_folders, source_files
from data_builders.splits import train_and_test
from dsf_jax.data.pictures import SUFFIXES

SPLIT_SEED = 2016  # the year of the data set; any other number would do

_VARIANT = "tx_"
_INVALID, _LIST = "invalid-", ".txt"
_INFO = "info"  # lies next to 256x256


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      sketch_variant: folder of the rendering of sketches, in the official layout.
      photo_variant: folder of the rendering of photos, in the official layout.
      test_share: fraction of every class's photos that is kept for testing, with their sketches.
      split_seed: seed of that cut.
      thinned: thin the strokes to centre lines.
      keep_invalid: keep the sketches that the authors list as invalid, in info/invalid-*.txt.
    """

    sketch_variant: str = "tx_000000000000"
    photo_variant: str = "tx_000000000000"
    test_share: float = 0.1
    split_seed: int = SPLIT_SEED
    thinned: bool = True
    keep_invalid: bool = False


@dataclasses.dataclass(frozen=True)
class Example(FileExample):
    """A photo or a sketch.

    Attributes:
      photo_id: key of the photo that it is, or was drawn from: CLASS/NAME.
    """

    photo_id: str


@dataclasses.dataclass(frozen=True)
class Photo:
    """What the splits are cut by; the photo itself need not be there.

    Attributes:
      key: CLASS/NAME.
      where: a file that names it.
    """

    key: str
    where: str


class Builder(RecordsBuilder):
    """Builds one domain: its configuration is "sketch" or "photo"."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="sketch", description="The sketches, and their points."),
        tfds.core.BuilderConfig(name="photo", description="The photos."),
    ]
    OPTIONS = Options
    SUFFIXES = (*SUFFIXES, _LIST)
    HOMEPAGE = "https://sketchy.eye.gatech.edu"

    def features(self) -> dict[str, Any]:
        """Adds to a sketch the `source_id` of the photo that it was drawn from."""
        return {"photo_id": tfds.features.Text()} if self.domain == "sketch" else {}

    def plan(self, source: Path) -> Plan:
        """Cuts the photos of every class; a sketch goes where its photo goes."""
        files = source_files(source)
        variants = {"sketch": self.options.sketch_variant, "photo": self.options.photo_variant}
        domains = {
            domain: self._examples(
                _of_variant(below(files, domain, siblings=variants), variant), domain
            )
            for domain, variant in variants.items()
        }
        every = [*domains["photo"], *domains["sketch"]]
        if not every:
            raise FileNotFoundError(
                f"{source} holds no picture in photo/ or sketch/; name the folder that holds these"
            )
        if not domains[self.domain]:
            raise DomainAbsent(f"{source} has no pictures in {self.domain}/CLASS/")
        cut = train_and_test(
            _photos(domains), test_share=self.options.test_share, seed=self.options.split_seed
        )
        split_of = {photo.key: split for split, photos in cut.items() for photo in photos}
        splits: dict[str, list[Example]] = {split: [] for split in cut}
        # The cut comes first: it is the same with and without these.
        for example in self._valid(domains[self.domain], source):
            splits[split_of[example.photo_id]].append(example)
        make = functools.partial(drawn_record, thinned=self.options.thinned)
        names = sorted({example.class_name for example in every})
        return Plan(names, splits, make if self.domain == "sketch" else photo_record)

    def source_digest(self, source: Path) -> str:
        """Digests the pictures and the lists of invalid sketches."""
        info = _info_folder(source)
        return content_digest([source, info] if info else [source], self.SUFFIXES)

    def _valid(self, examples: Sequence[Example], source: Path) -> list[Example]:
        """Omits and counts the sketches that the authors list as invalid."""
        invalid = _invalid(source) if self.domain == "sketch" else {}
        if self.options.keep_invalid or not invalid:
            return list(examples)
        valid = []
        for example in examples:
            listed = invalid.get(example.key) or invalid.get(example.key.rpartition("/")[2])
            if listed is None:
                valid.append(example)
            else:
                # Not a fault: the lists say what belongs to the data set.
                self.skipped.add(BadFile(example.where, f"listed in {listed}"))
        return valid

    def _examples(self, files: Sequence[SourceFile], domain: str) -> list[Example]:
        """Makes the files of a domain into examples; omits sketches that name no photo."""
        examples = []
        for class_name, members in class_folders(files, self.skip).items():
            for file in members:
                name = file.path.stem
                photo, dash, number = name.rpartition("-")
                if domain == "photo":
                    photo = name
                elif not (photo and dash and number.isdecimal()):
                    if domain == self.domain:
                        self.skip(
                            BadFile(
                                file.where,
                                "a sketch must be called PHOTO-NUMBER",
                                "rename or remove it",
                            )
                        )
                    continue
                key, photo_id = f"{class_name}/{name}", f"{class_name}/{photo}"
                examples.append(Example(key, class_name, file, photo_id))
        return examples


def drawn_record(example: Example, *, thinned: bool) -> Record:
    """Returns what a record holds of a sketch."""
    fields = sketch_record(example.file.read(), example.where, thinned=thinned)
    return {**fields, "photo_id": example.photo_id}


def _photos(domains: Mapping[str, Sequence[Example]]) -> dict[str, list[Photo]]:
    """Lists the photos of each class, those included that are only drawn.

    Photos that were drawn and photos that were not are listed apart, so that a fraction of both is cut
    off: every class then has sketches for testing, also where few of its photos have any.
    """
    drawn = {example.photo_id for example in domains["sketch"]}
    groups: dict[str, dict[str, Photo]] = {}
    for example in (*domains["photo"], *domains["sketch"]):
        key = example.photo_id
        photos = groups.setdefault(f"{example.class_name}/{key in drawn}", {})
        photos.setdefault(key, Photo(key, example.where))
    return {name: list(photos.values()) for name, photos in groups.items()}


def _info_folder(source: Path) -> Path | None:
    """Finds the folder of lists next to a source that has none in it."""
    info = source.absolute().parent / _INFO
    inside = any(_is_list(file) for file in source_files(source, suffixes=Builder.SUFFIXES))
    return info if not inside and any(info.glob(f"{_INVALID}*{_LIST}")) else None


def _is_list(file: SourceFile) -> bool:
    name = file.path.name.lower()
    return name.startswith(_INVALID) and name.endswith(_LIST)


def _invalid(source: Path) -> dict[str, str]:
    """Reads {PHOTO-NUMBER or CLASS/PHOTO-NUMBER: the list that names it first}."""
    folder = _info_folder(source) or source
    lists = filter(_is_list, source_files(folder, suffixes=Builder.SUFFIXES))
    invalid: dict[str, str] = {}
    for file in lists:
        for line in file.read_text().splitlines():
            if name := line.strip().replace("\\", "/").removesuffix(".png").removesuffix(".svg"):
                invalid.setdefault(name, file.path.name)
    return invalid


def _of_variant(files: Sequence[SourceFile], variant: str) -> list[SourceFile]:
    """Takes one rendering of the official layout, tx_*/CLASS/*; a layout without them as it is.

    Raises:
      ValueError: when there are renderings, but not this one.
    """
    renderings = {file.path.parts[0] for file in files if file.path.parts[0].startswith(_VARIANT)}
    if renderings and variant not in renderings:
        raise ValueError(
            f"{files[0].where}: there is no rendering {variant!r} next to it, only "
            f"{', '.join(sorted(renderings))}; choose one with --sketch_variant or --photo_variant"
        )
    return [file for file in files if not renderings or file.path.parts[0] == variant]
