"""Photos of prepared data sets -> a folder of picture files, as a gallery follows it."""

import io
import pathlib
import re
from collections.abc import Iterable

from PIL import Image
from tqdm import tqdm

from dsf_jax.data.files import write_atomic
from dsf_jax.data.records import Records


def write_pictures(parts: Iterable[Records], folder: pathlib.Path) -> None:
    """Writes photos as files, LABEL/NAME.png.

    Args:
      parts: records with `image`, `label` and `source_id`.
      folder: folder to write; it appears when all are there.
    """
    incomplete = folder.with_name(f".{folder.name}.part")
    for records in parts:
        for record in tqdm(records, desc=f"pictures of {records.split}", unit="picture"):
            label = re.sub(r"[/\\\0]", " ", records.class_names[record["label"]])
            buffer = io.BytesIO()
            Image.fromarray(record["image"]).save(buffer, "PNG")
            write_atomic(incomplete / label / f"{record['source_id']}.png", buffer.getvalue())
    incomplete.rename(folder)
