"""The TFDS builder `caltech101`: photos of 101 classes of things.

python -m launch.build_data --dataset=caltech101 --data_dir=prepared
"""

import dataclasses
from pathlib import Path

import tensorflow_datasets as tfds

from data_builders.builder import FileExample, Plan, RecordsBuilder
from data_builders.caltech101.archive import PICTURES, pictures_of
from data_builders.folders import photo_record
from data_builders.sources import class_folders, source_files
from data_builders.splits import train_and_test
from dsf_jax.data.downloads import Download
from dsf_jax.data.pictures import SUFFIXES

SPLIT_SEED = 2004  # the year of the data set; any other number would do
CLUTTER = "BACKGROUND_Google"
OFFICIAL = Download("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1")


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      test_share: fraction of every class that is kept for testing.
      split_seed: seed of that cut.
    """

    test_share: float = 0.1
    split_seed: int = SPLIT_SEED


class Builder(RecordsBuilder):
    """Builds the photos; there is one configuration."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS reads it from the class)
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="photo", description="The photos.")]  # noqa: RUF012
    OPTIONS = Options
    SUFFIXES = (*SUFFIXES, PICTURES.lower())
    DOWNLOADS = {"photo": OFFICIAL}  # noqa: RUF012
    HOMEPAGE, LICENSE = "https://doi.org/10.22002/D1.20086", "CC BY 4.0"

    def plan(self, source: Path) -> Plan:
        """Takes the folder right above a photo as its class, and leaves the clutter out."""
        folders = class_folders(source_files(pictures_of(source)), self.skip)
        folders.pop(CLUTTER, None)
        classes = {
            name: [FileExample(f"{name}/{file.path.name}", name, file) for file in files]
            for name, files in folders.items()
        }
        splits = train_and_test(
            self.usable(classes), test_share=self.options.test_share, seed=self.options.split_seed
        )
        return Plan(sorted(classes), splits, photo_record)
