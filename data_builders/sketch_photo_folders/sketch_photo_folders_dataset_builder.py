"""The TFDS builder `sketch_photo_folders`: whoever has folders of sketches and photos needs no code.

python -m launch.build_data --dataset=sketch_photo_folders --source=FOLDER --data_dir=prepared
"""

import dataclasses
import functools
import json
import unicodedata
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.builder import FileExample, Plan, RecordsBuilder
from data_builders.folders import classes_of_domains, photo_record, present
from data_builders.record_images import sketch_record
from data_builders.records_format import Record
from data_builders.splits import train_and_test
from dsf_jax.data.files import read_text
from dsf_jax.images.points import Polarity


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
      test_share: fraction of every class that is kept for testing, of sketches and of photos.
      split_seed: seed of that cut.
      class_map: JSON file that names the classes of folders: {"class": ["folder", "other folder"]}.
      polarity: whether strokes are darker or lighter than the paper.
      thinned: thin the strokes to centre lines.
    """

    test_share: float = 0.2
    split_seed: int = 0
    class_map: str = ""
    polarity: Polarity = "black_on_white"
    thinned: bool = True


class Builder(RecordsBuilder):
    """Builds one domain of a folder: its configuration is "sketch" or "photo"."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "First version.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="sketch", description="The drawings, and their points."),
        tfds.core.BuilderConfig(name="photo", description="The photos."),
    ]
    OPTIONS = Options
    FILE_OPTIONS = ("class_map",)

    def plan(self, source: Path) -> Plan:
        """Cuts each class of the domain; labels number the classes of both domains together."""
        folder_classes = read_class_map(self.options.class_map)
        domains = classes_of_domains(source, self.skip, class_map=folder_classes)
        splits = train_and_test(
            self.usable(present(domains, self.domain, source)),
            test_share=self.options.test_share,
            seed=self.options.split_seed,
        )
        make = photo_record
        if self.domain == "sketch":
            make = functools.partial(
                drawn_record, thinned=self.options.thinned, polarity=self.options.polarity
            )
        return Plan(sorted({*domains["sketch"], *domains["photo"]}), splits, make)


def drawn_record(example: FileExample, *, thinned: bool, polarity: Polarity) -> Record:
    """Returns what a sketch record holds of a file."""
    return sketch_record(example.file.read(), example.where, thinned=thinned, polarity=polarity)


def read_class_map(path: str) -> dict[str, str]:
    """Reads {folder name: class name}, both in NFC, from a JSON file that says it the other way round.

    Args:
      path: file of {"class": "folder"} or {"class": ["folder", ...]}; "" stands for no map.

    Raises:
      ValueError: when it is not JSON of that form, or gives a folder to two classes.
      OSError: when it cannot be read.
    """
    if not path:
        return {}
    text = read_text(path)
    try:
        pairs = _folders_and_classes(json.loads(text))
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is not a class map ({error}); write JSON of the form "
            '{"class": ["folder", "other folder"]}'
        ) from error
    folder_classes: dict[str, str] = {}
    for folder, name in pairs:
        if folder_classes.setdefault(folder, name) != name:
            raise ValueError(
                f"{path} gives the folder {folder!r} to the classes {folder_classes[folder]!r} and "
                f"{name!r}; leave one"
            )
    return folder_classes


def _folders_and_classes(classes: Any) -> list[tuple[str, str]]:
    """{class: folder or folders} -> (folder, class) of every folder."""
    pairs = [
        (folder, name)
        for name, folders in classes.items()
        for folder in ([folders] if isinstance(folders, str) else folders)
    ]
    if not all(isinstance(folder, str) for folder, _ in pairs):
        raise TypeError("a folder's name is not text")
    # Not before: JSON may escape what an accent is made of.
    return [
        (unicodedata.normalize("NFC", folder), unicodedata.normalize("NFC", name))
        for folder, name in pairs
    ]
