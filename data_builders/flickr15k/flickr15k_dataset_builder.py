"""The TFDS builder `flickr15k`: query sketches and photos of 33 classes, only for testing.

python -m launch.build_data --dataset=flickr15k --source=FOLDER_OR_ZIP --data_dir=prepared
"""

import dataclasses
import functools
import itertools
from pathlib import Path

import tensorflow_datasets as tfds

from data_builders.builder import FileExample, Plan, RecordsBuilder
from data_builders.flickr15k.distributed import LISTS, examples_of, ground_truth
from data_builders.folders import classes_of_domains, photo_record, present
from data_builders.record_images import sketch_record
from data_builders.records_format import Record
from data_builders.sources import source_files
from dsf_jax.data.pictures import SUFFIXES


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      thinned: thin the strokes to centre lines.
    """

    thinned: bool = True


class Builder(RecordsBuilder):
    """Builds one domain of the benchmark: its configuration is "sketch" or "photo"."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="sketch", description="The queries, and their points."),
        tfds.core.BuilderConfig(name="photo", description="The photos that are searched."),
    ]
    OPTIONS = Options
    SUFFIXES = (*SUFFIXES, *LISTS)
    LICENSE = "Creative Commons licences of the photographers; research only"

    def plan(self, source: Path) -> Plan:
        """Puts everything into the split "test"; labels number the classes of both domains."""
        domains = self._domains(source)
        examples = list(itertools.chain(*present(domains, self.domain, source).values()))
        make = photo_record
        if self.domain == "sketch":
            make = functools.partial(_query_record, thinned=self.options.thinned)
        return Plan(sorted({*domains["sketch"], *domains["photo"]}), {"test": examples}, make)

    def _domains(self, source: Path) -> dict[str, dict[str, list[FileExample]]]:
        """Lists the examples of either layout: the archive's own, or class folders."""
        files = source_files(source, suffixes=self.SUFFIXES)
        listed = ground_truth(files, source)
        if listed is None:
            return classes_of_domains(source, self.skip)
        return examples_of(files, listed, self.skip, self.skipped.add)


def _query_record(example: FileExample, *, thinned: bool) -> Record:
    return sketch_record(example.file.read(), example.where, thinned=thinned)
