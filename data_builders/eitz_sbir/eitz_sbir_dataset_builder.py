"""The TFDS builder `eitz_sbir`: sketches, 40 images each, and how well people found them to match.

python -m launch.build_data --dataset=eitz_sbir --source=FOLDER_OR_ZIP --data_dir=prepared
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.builder import FileExample, Plan, RecordsBuilder
from data_builders.eitz_sbir.ratings import Orientation, Rating, read_ratings
from data_builders.faults import BadFile
from data_builders.record_images import photo_bytes, sketch_record
from data_builders.records_format import Record
from data_builders.sources import (
    SourceFile,
    below,
    natural_order,
    only_one,
    source_files,
)
from dsf_jax.data.pictures import SUFFIXES
from dsf_jax.images.points import Polarity

SKETCHES, IMAGES, RATINGS = "sketches", "images", "ratings.csv"


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      orientation: whether the good matches have the high or the low numbers in ratings.csv; the
        records' ratings are high for good matches in any case.
      polarity: whether the strokes are darker or lighter than the paper.
      thinned: thin the strokes to centre lines.
    """

    orientation: Orientation = "high_is_good"
    polarity: Polarity = "black_on_white"
    thinned: bool = True


@dataclasses.dataclass(frozen=True)
class RatedImage(FileExample):
    """One image to build.

    Attributes:
      key: "SKETCH/FILE".
      class_name: the sketch that it was rated against.
      file: the picture.
      rating: the higher, the better.
    """

    rating: float


class Builder(RecordsBuilder):
    """Builds the sketches or the rated images: its configuration is "sketch" or "photo"."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="sketch", description="The queries, and their points."),
        tfds.core.BuilderConfig(name="photo", description="The images, and their ratings."),
    ]
    OPTIONS = Options
    SUFFIXES = (*SUFFIXES, ".csv")
    HOMEPAGE = "http://cybertron.cg.tu-berlin.de/eitz/tvcg_benchmark/index.html"

    def features(self) -> dict[str, Any]:
        """Describes the rating of an image."""
        if self.domain != "photo":
            return {}
        # As bytes: TFDS keeps a plain float64 in 32 bits, which would tie close ratings.
        return {"rating": tfds.features.Tensor(shape=(), dtype=np.float64, encoding="bytes")}

    def plan(self, source: Path) -> Plan:
        """Joins sketches, images and ratings; each sketch is a class, and all is for testing."""
        files = source_files(source, suffixes=self.SUFFIXES)
        pictures = [file for file in files if not file.name.lower().endswith(".csv")]
        sketches = [
            FileExample(file.path.stem, file.path.stem, file)
            for file in below(pictures, SKETCHES, siblings=[IMAGES])
        ]
        images = below(pictures, IMAGES, siblings=[SKETCHES])
        if not sketches or not images:
            raise FileNotFoundError(
                f"{source} holds {len(sketches)} pictures in {SKETCHES}/ and {len(images)} in "
                f"{IMAGES}/SKETCH/; arrange them as data_builders/eitz_sbir/README.md says"
            )
        options = self.options
        ratings = read_ratings(only_one(files, RATINGS, source), options.orientation, self.skip)
        names = sorted({sketch.class_name for sketch in sketches}, key=natural_order)
        rated = self._rated(names, images, ratings)
        sketches = self._with_ratings(sketches, rated)
        if self.domain == "photo":
            return Plan(names, {"test": rated}, photo_record)
        make = functools.partial(query_record, thinned=options.thinned, polarity=options.polarity)
        return Plan(names, {"test": sketches}, make)

    def _rated(
        self,
        names: list[str],
        images: Sequence[SourceFile],
        ratings: Mapping[tuple[str, str], Rating],
    ) -> list[RatedImage]:
        """Joins images and ratings, and names whatever has no counterpart."""
        rated = []
        there = set()
        for file in images:
            sketch, name = file.path.parent.as_posix(), file.path.name
            there.add((sketch, name))
            rating = ratings.get((sketch, name))
            if sketch not in names:
                self.skip(BadFile(file.where, f"its folder is named after no file in {SKETCHES}"))
            elif rating is None:
                self.skip(BadFile(file.where, "has no rating", f"add it to {RATINGS} or remove it"))
            elif rating.value is not None:
                rated.append(RatedImage(f"{sketch}/{name}", sketch, file, rating.value))
        for (sketch, name), rating in ratings.items():
            if (sketch, name) not in there:
                self.skip(
                    BadFile(
                        rating.where,
                        "rates an image that does not exist",
                        f"add {IMAGES}/{sketch}/{name} or remove the line",
                    )
                )
        return rated

    def _with_ratings(
        self, sketches: Sequence[FileExample], rated: Sequence[RatedImage]
    ) -> list[FileExample]:
        """Passes over the sketches that nothing was rated against: they cannot have a score."""
        with_ratings = {image.class_name for image in rated}
        kept = []
        for sketch in sketches:
            if sketch.class_name in with_ratings:
                kept.append(sketch)
            else:
                self.skip(
                    BadFile(
                        sketch.where,
                        "no rated image for this sketch",
                        f"add rated images to {IMAGES}/{sketch.class_name} or remove it",
                    )
                )
        return kept


def photo_record(example: RatedImage) -> Record:
    """Returns what a photo record holds of an image and its rating."""
    return {
        "image": photo_bytes(example.file.read(), example.where),
        "rating": np.float64(example.rating),
    }


def query_record(example: FileExample, *, thinned: bool, polarity: Polarity) -> Record:
    """Returns what a sketch record holds of a sketch."""
    return sketch_record(example.file.read(), example.where, thinned=thinned, polarity=polarity)
