"""The TFDS builder `tu_berlin`: 20,000 sketches of 250 classes, in three folds.

python -m launch.build_data --dataset=tu_berlin --source=sketches_svg.zip --data_dir=prepared
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tensorflow_datasets as tfds

from data_builders.builder import FileExample, Plan, RecordsBuilder
from data_builders.faults import BadFile
from data_builders.pen import no_strokes, stroke_feature, stroke_record
from data_builders.record_images import sketch_record
from data_builders.records_format import Record
from data_builders.sources import SourceFile, class_folders, source_files
from data_builders.splits import shuffled
from data_builders.svg import strokes_from_svg
from dsf_jax.data.downloads import Download, fetch
from dsf_jax.data.pictures import SUFFIXES

FOLDS = 3
FOLD_SEED = 2012  # the year of the data set; any other number would do

_ADDRESS = "http://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/"
PIXELS = Download(_ADDRESS + "sketches_png.zip")
STROKES = Download(_ADDRESS + "sketches_svg.zip", md5="aa7d8ae9c8bf5f5cb6d28cee9741737c")
_SVG = ".svg"

Form = Literal["any", "pixels", "strokes"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      form: which files of the source to take: pictures, SVGs, or whichever of them it holds.
      thinned: thin drawings that come as pixels to centre lines; strokes are centre lines.
      fold_seed: seed of the three folds.
    """

    form: Form = "any"
    thinned: bool = True
    fold_seed: int = FOLD_SEED


class Builder(RecordsBuilder):
    """Builds the sketches of any subset of the classes; there is one configuration."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="sketch", description="The sketches, and their points.")
    ]
    OPTIONS = Options
    SUFFIXES = (*SUFFIXES, _SVG)
    DOWNLOADS = {"sketch": PIXELS, "strokes": STROKES}  # noqa: RUF012
    HOMEPAGE, LICENSE = _ADDRESS, "CC BY 4.0"

    def features(self) -> dict[str, Any]:
        """Adds the strokes in drawing order, which only SVGs have."""
        return {"strokes": stroke_feature()}

    def find_source(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """Returns the path of the data; without one, `form` says which public file to download."""
        if self.source is None and self.options.form == "strokes":
            return fetch(STROKES, Path(dl_manager.download_dir))
        return super().find_source(dl_manager)

    def plan(self, source: Path) -> Plan:
        """Takes the folder right above a sketch as its class, and cuts the folds."""
        classes = {
            name: [FileExample(f"{name}/{file.path.stem}", name, file) for file in files]
            for name, files in class_folders(_files(source, self.options.form), self.skip).items()
        }
        classes = self.usable(classes)
        for name, examples in list(classes.items()):
            if len(examples) < FOLDS:
                for example in examples:
                    self.skip(_lonely(example))
                del classes[name]
        splits = folds(classes, seed=self.options.fold_seed)
        return Plan(
            sorted(classes), splits, functools.partial(record, thinned=self.options.thinned)
        )


def folds(
    classes: Mapping[str, Sequence[FileExample]], *, seed: int
) -> dict[str, list[FileExample]]:
    """Cuts every class into three parts whose sizes differ by one at most.

    What is left over from dividing by three goes to the folds in turn, from class to class: 250
    classes of 80 give folds of 6667, 6667 and 6666.

    Args:
      classes: {class name: its examples}; the order of both does not matter.
      seed: seed of `shuffled`, which decides only by the keys.

    Returns:
      {"fold0": its examples, "fold1": ..., "fold2": ...}, sorted by class.
    """
    cut: dict[str, list[FileExample]] = {f"fold{i}": [] for i in range(FOLDS)}
    first = 0
    for name in sorted(classes):
        for place, example in enumerate(shuffled(classes[name], seed)):
            cut[f"fold{(first + place) % FOLDS}"].append(example)
        first += len(classes[name])
    return cut


def record(example: FileExample, *, thinned: bool) -> Record:
    """Returns what a record holds of a file, a picture or an SVG."""
    data = example.file.read()
    if example.file.name.lower().endswith(_SVG):
        strokes, box = strokes_from_svg(data, example.where)
        return stroke_record(strokes, box, example.where)
    return {**sketch_record(data, example.where, thinned=thinned), "strokes": no_strokes()}


def _files(source: Path, form: Form) -> list[SourceFile]:
    """Lists the files of one form, pictures or SVGs."""
    suffixes = {
        "any": (*SUFFIXES, _SVG),
        "pixels": SUFFIXES,
        "strokes": (_SVG,),
    }
    files = source_files(source, suffixes=suffixes[form])
    drawn = sum(file.name.lower().endswith(_SVG) for file in files)
    if 0 < drawn < len(files):
        raise ValueError(
            f"{source} holds {drawn} SVGs and {len(files) - drawn} pictures; choose --form=strokes or "
            "--form=pixels"
        )
    return files


def _lonely(example: FileExample) -> BadFile:
    return BadFile(
        example.where,
        f"its class has fewer than {FOLDS} sketches, one for each fold",
        "add some, or remove the class",
    )
