"""Three small prepared data sets that number and hold their classes differently."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

# Of each domain its class names in label order, and the class of each record. Sketches know "elk"
# but show none; "yak" is shown by photos alone; "Äffchen 🐒" by sketches and edges.
ZOO = {
    "sketch": (
        ("dog", "elk", "cat", "Äffchen 🐒"),
        ("cat", "dog", "dog", "Äffchen 🐒", "cat"),
    ),
    "photo": (("yak", "cat", "dog"), ("dog", "yak", "cat", "dog", "yak", "cat", "cat")),
    "edge": (("Äffchen 🐒", "cat", "yak"), ("yak", "Äffchen 🐒", "cat")),
}


class Zoo(tfds.core.GeneratorBasedBuilder):
    """Record i of a domain has i + 1 points (i, i), or is a photo 40 x (30 + i), i bright."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=domain) for domain in ZOO]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        domain = self.builder_config.name
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=ZOO[domain][0]),
            "class_name": tfds.features.Text(),
            "domain": tfds.features.Text(),
        }
        if domain != "photo":
            features["points"] = tfds.features.Tensor(shape=(None, 3), dtype=np.uint16)
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        domain = self.builder_config.name
        for i, name in enumerate(ZOO[domain][1]):
            buffer = io.BytesIO()
            Image.new("RGB", (30 + i, 40), (i, i, i)).save(buffer, "PNG")
            record = {"image": buffer.getvalue(), "label": name, "class_name": name}
            points = {} if domain == "photo" else {"points": np.full((i + 1, 3), i, np.uint16)}
            yield i, record | points | {"domain": domain}


def prepare_zoo(folder: Path) -> None:
    for domain in ZOO:
        Zoo(config=domain, data_dir=folder, file_format="array_record").download_and_prepare()
