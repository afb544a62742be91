"""The TFDS builder `hust_si`: photos of the classes that TU-Berlin's sketches have.

python -m launch.build_data --dataset=hust_si --source=FOLDER_OR_ZIP --data_dir=prepared
"""

import dataclasses
from pathlib import Path

import tensorflow_datasets as tfds

from data_builders.builder import FileExample, Plan, RecordsBuilder
from data_builders.folders import photo_record
from data_builders.sources import class_folders, source_files
from data_builders.splits import train_and_test


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      test_share: fraction of every class that is kept for testing; the paper trains on all photos.
      split_seed: seed of that cut.
    """

    test_share: float = 0.0
    split_seed: int = 0


class Builder(RecordsBuilder):
    """Builds the photos; there is one configuration."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS reads it from the class)
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="photo", description="The photos.")]  # noqa: RUF012
    OPTIONS = Options
    LICENSE = "Research only; the photographers' rights"

    def plan(self, source: Path) -> Plan:
        """Takes the folder right above a photo as its class."""
        classes = {
            name: [FileExample(f"{name}/{file.path.name}", name, file) for file in files]
            for name, files in class_folders(source_files(source), self.skip).items()
        }
        splits = train_and_test(
            self.usable(classes), test_share=self.options.test_share, seed=self.options.split_seed
        )
        return Plan(sorted(classes), splits, photo_record)
