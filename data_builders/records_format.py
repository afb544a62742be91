"""The records that every builder writes and the library reads: one feature dictionary per domain.

All three domains hold `image` (encoded), `label`, `class_name`, `domain` and `source_id`. Sketches
and edge maps, which are black on white, also hold their canvas `points` (dsf_jax.images.points), so
that training never decodes or thins a drawing.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import tensorflow_datasets as tfds

from data_builders.faults import Outcome

Record = dict[str, Any]
Domain = Literal["sketch", "photo", "edge"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)


def record_features(
    domain: Domain, class_names: Sequence[str] | None = None
) -> tfds.features.FeaturesDict:
    """Describes one record of a domain.

    Args:
      domain: "sketch", "photo" or "edge".
      class_names: names of the k classes in label order; None where the builder learns them only
        while it builds and then sets `features["label"].names`.

    Returns:
      `image` uint8 [h, w, 3] for photos, else [h, w, 1]; for sketches and edge maps `points`
      uint16 [p, 3]; `label` int64 []; `class_name`, `domain` and `source_id` text.

    Raises:
      ValueError: for an unknown domain.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain={domain!r} is unknown; choose one of {', '.join(DOMAINS)}")
    features = {
        "image": tfds.features.Image(
            shape=(None, None, 3 if domain == "photo" else 1), encoding_format="png"
        ),
        "label": tfds.features.ClassLabel(names=class_names),
        "class_name": tfds.features.Text(),
        "domain": tfds.features.Text(),
        "source_id": tfds.features.Text(),
    }
    if domain != "photo":
        # Raster order repeats itself from row to row, so zlib shrinks a list to a fraction; and
        # bytes parse faster than a list of numbers.
        features["points"] = tfds.features.Tensor(shape=(None, 3), dtype=np.uint16, encoding="zlib")
    return tfds.features.FeaturesDict(features)


def keyed_record(outcome: Outcome[Any], domain: Domain) -> tuple[str, Record]:
    """Returns the key and the whole record of an example that came out well."""
    example = outcome.example
    return example.key, {
        **(outcome.record or {}),
        "label": example.class_name,
        "class_name": example.class_name,
        "domain": domain,
        "source_id": example.key,
    }
