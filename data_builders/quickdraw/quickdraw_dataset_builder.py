"""The TFDS builder `quickdraw`: the pen strokes of 345 classes, without any picture on the way.

python -m launch.build_data --dataset=quickdraw --source=FOLDER_OF_NDJSON --data_dir=prepared
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.builder import Plan, RecordsBuilder
from data_builders.faults import BadFile
from data_builders.pen import stroke_feature
from data_builders.quickdraw.drawings import Drawing, drawings_in, record
from data_builders.sources import SourceFile, source_files
from data_builders.splits import train_and_test

_SUFFIX = ".ndjson"
SPLIT_SEED = 2017  # the year of the data set; any other number would do


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      drawings_per_file: number to take from the start of each file, which holds one class; 0
        takes all.
      recognized_only: leave out drawings that the game did not recognise.
      test_share: fraction of every class that is kept for testing.
      split_seed: seed of that cut.
    """

    drawings_per_file: int = 1000
    recognized_only: bool = False
    test_share: float = 0.1
    split_seed: int = SPLIT_SEED


class Builder(RecordsBuilder):
    """Builds the drawings; there is one configuration."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="sketch", description="The drawings' points and strokes.")
    ]
    OPTIONS = Options
    SUFFIXES = (_SUFFIX,)
    HOMEPAGE = "https://github.com/googlecreativelab/quickdraw-dataset"
    LICENSE = "CC BY 4.0"

    def features(self) -> dict[str, Any]:
        """Adds the strokes in drawing order."""
        return {"strokes": stroke_feature()}

    def plan(self, source: Path) -> Plan:
        """Takes the first drawings of each file; a drawing says itself what class it is of."""
        limit = self.options.drawings_per_file
        if limit < 0:
            raise ValueError(f"drawings_per_file={limit} must not be negative; 0 takes all")
        classes: dict[str, list[Drawing]] = {}
        for file in _files(source):
            for drawing in itertools.islice(self._wanted(file), limit or None):
                classes.setdefault(drawing.class_name, []).append(drawing)
        classes = dict(sorted(self.usable(classes).items()))
        splits = train_and_test(
            classes, test_share=self.options.test_share, seed=self.options.split_seed
        )
        return Plan(list(classes), splits, record)

    def _wanted(self, file: SourceFile) -> Iterator[Drawing]:
        """Yields the drawings of a file that the options do not exclude."""
        for found in drawings_in(file):
            if isinstance(found, BadFile):
                self.skip(found)
            elif found.recognized or not self.options.recognized_only:
                yield found


def _files(source: Path) -> list[SourceFile]:
    """Lists the .ndjson files of a source, or the one that it is."""
    if source.is_file() and source.name.lower().endswith(_SUFFIX):
        return [SourceFile(source.name, source.name, source.parent, source.name)]
    return source_files(source, suffixes=(_SUFFIX,))
