"""The TFDS builder `domainnet`: pictures of 345 classes in six domains.

python -m launch.build_data --dataset=domainnet --source=FOLDER_OF_ZIPS --data_dir=prepared
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import tensorflow_datasets as tfds

from data_builders.builder import DomainAbsent, FileExample, Plan, RecordsBuilder
from data_builders.built_from import content_digest
from data_builders.domainnet.layout import DOMAINS, Lists, domain_files, read_lists
from data_builders.faults import BadFile
from data_builders.folders import photo_record
from data_builders.record_images import sketch_record
from data_builders.records_format import Domain, Record
from data_builders.sources import class_folders
from data_builders.splits import train_and_test
from dsf_jax.images.points import Polarity

SPLIT_SEED = 2019  # the year of the data set; any other number would do
# What each of the set's domains is to a network.
RECORDS: Mapping[str, Domain] = {
    "clipart": "photo",
    "infograph": "photo",
    "painting": "photo",
    "quickdraw": "sketch",
    "real": "photo",
    "sketch": "sketch",
}
_WHAT = {
    "clipart": "Clip art, in colour: pictures to be found.",
    "infograph": "Information graphics with the thing in them: pictures to be found.",
    "painting": "Paintings: pictures to be found.",
    "quickdraw": "Drawings of the game Quick, Draw!, and their points.",
    "real": "Photos: pictures to be found.",
    "sketch": "Sketches by many hands, also shaded ones, and their points.",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      cut: splits as the set's lists have them, or own: by test_share and split_seed, without the lists.
      test_share: fraction of every class that is kept for testing, with cut=own.
      split_seed: seed of that cut.
      polarity: whether strokes are darker or lighter than the paper.
      thinned: thin the strokes to centre lines.
    """

    cut: Literal["official", "own"] = "official"
    test_share: float = 0.3
    split_seed: int = SPLIT_SEED
    polarity: Polarity = "black_on_white"
    thinned: bool = True


class Builder(RecordsBuilder):
    """Builds one domain of the set, which its configuration names."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS reads it from the class)
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name, description=_WHAT[name]) for name in DOMAINS
    ]
    OPTIONS = Options
    HOMEPAGE = "https://ai.bu.edu/M3SDA/"
    LICENSE = "Fair use only, says its page: the pictures are their makers'"

    @property
    def domain(self) -> Domain:
        """The domain of the records: "sketch" for two of the set's six, else "photo"."""
        return RECORDS[self.builder_config.name]

    def plan(self, source: Path) -> Plan:
        """Lists the pictures of a domain; labels number the classes that it has."""
        name = self.builder_config.name
        files, _ = domain_files(source, name)
        if not files:
            raise DomainAbsent(f"{source} has no {name}.zip and no pictures in {name}/CLASS/")
        classes = {
            folder: [FileExample(f"{folder}/{file.path.name}", folder, file) for file in members]
            for folder, members in class_folders(files, self.skip).items()
        }
        if self.options.cut == "official":
            splits = self._listed(classes, read_lists(source, name))
        else:
            splits = train_and_test(
                self.usable(classes),
                test_share=self.options.test_share,
                seed=self.options.split_seed,
            )
        return Plan(sorted(classes), splits, self._make())

    def source_digest(self, source: Path) -> str:
        """Digests the pictures of this domain and its lists alone: others may be added to a folder."""
        files, places = domain_files(source, self.builder_config.name)
        if not files:
            return ""
        return content_digest(places, (*self.SUFFIXES, ".txt"))

    def _digest(self, source: Path) -> str:
        return self.source_digest(source)  # not shared with the other domains' builders

    def _make(self) -> functools.partial[Record]:
        if self.domain == "photo":
            return functools.partial(photo_record)
        return functools.partial(
            drawn_record, thinned=self.options.thinned, polarity=self.options.polarity
        )

    def _listed(
        self, classes: Mapping[str, Sequence[FileExample]], lists: Lists
    ) -> dict[str, list[FileExample]]:
        """Cuts as the lists do; counts what is on neither, and what is on one and not there."""
        splits: dict[str, list[FileExample]] = {split: [] for split in lists}
        split_of = {key: split for split, keys in lists.items() for key in keys}
        there = set()
        for example in (one for members in classes.values() for one in members):
            there.add(example.key)
            if split := split_of.get(example.key):
                splits[split].append(example)
            else:  # not a fault: the lists say what belongs to the data set
                self.skipped.add(BadFile(example.where, "in neither of the set's lists"))
        for key in sorted(split_of.keys() - there):
            self.skipped.add(BadFile(key, "in the set's lists, but not there"))
        return splits


def drawn_record(example: FileExample, *, thinned: bool, polarity: Polarity) -> Record:
    """Returns what a record holds of a drawing."""
    return sketch_record(example.file.read(), example.where, thinned=thinned, polarity=polarity)
