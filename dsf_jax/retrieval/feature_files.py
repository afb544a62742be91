"""Features on disk, written block by block, resumable: what `block_files` stores of a network.

A folder holds one LAYER.npy [n, d] float32 per feature, besides what `block_files` lists.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dsf_jax.data.mixtures import mix
from dsf_jax.data.records import Records
from dsf_jax.images.views import QueryViews
from dsf_jax.models.model import Model
from dsf_jax.retrieval.block_files import open_blocks, write_blocks
from dsf_jax.retrieval.features import feature_blocks, feature_sizes


class FeatureFiles(NamedTuple):
    """A complete folder.

    Attributes:
      configuration: everything that the features depend on.
      features: {layer: [n, d] float32}, mapped: rows are read when they are asked for.
      labels: [n] int32, mapped.
      source_ids: [n] where each example came from.
    """

    configuration: dict[str, Any]
    features: dict[str, np.ndarray]
    labels: np.ndarray
    source_ids: list[str]


def extract_to_files(
    folder: str | os.PathLike[str],
    model: Model,
    examples: Sequence[dict[str, Any]],
    source_ids: Sequence[str],
    *,
    configuration: Mapping[str, Any],
    layers: tuple[str, ...] | None = None,
    batch_size: int = 64,
    label: str = "features",
    views: QueryViews = "one",
) -> None:
    """Computes features of all examples into a folder; does nothing where they are all there.

    Several processes may call it together, see `block_files.write_blocks`.

    Args:
      folder: new, or one that an extraction of the same configuration left.
      model: network with its parameters.
      examples: n drawings or photos.
      source_ids: [n] where each came from.
      configuration: everything else that the features depend on, JSON values: data set, split, ...
      layers: names of features of the model's backbone; None takes those that it compares.
      batch_size: examples per block.
      label: title of the progress bar.
      views: views of queries, see `features.embed`.

    Raises:
      FileExistsError: when the folder holds something else.
      ValueError: when it holds features of another configuration, or damaged ones, or for an unknown
        choice of views.
      ConnectionError: when another process is gone.
      OSError: when another extraction writes to it, or the disk has too little space.
    """
    layers = layers or model.backbone.compared_features
    model.backbone.check_features(layers)
    if len(source_ids) != len(examples):
        raise ValueError(
            f"{len(source_ids)} source ids do not fit {len(examples)} examples; give each one"
        )
    blocks = functools.partial(feature_blocks, model, examples, layers=layers, views=views)
    write_blocks(
        folder,
        functools.partial(blocks, batch_size=batch_size, label=label),
        feature_sizes(model, layers),
        source_ids,
        configuration={**configuration, **model_identity(model, views)},
        batch_size=batch_size,
    )


def extract_records(
    folder: str | os.PathLike[str],
    model: Model,
    records: Records,
    *,
    layers: tuple[str, ...] | None = None,
    batch_size: int = 64,
) -> None:
    """Computes features of a prepared data set into a folder; see `extract_to_files`.

    Args:
      folder: new, or one that an extraction of the same configuration left.
      model: network with its parameters.
      records: data set of one domain, read with its source ids.
      layers: names of features of the model's backbone; None takes those that it compares.
      batch_size: examples per block.

    Raises:
      ValueError: as `extract_to_files`.
    """
    config = model.config
    mixture = mix([records], records.class_names, resizing=config.resizing, size=config.size)
    extract_to_files(
        folder,
        model,
        mixture.drawings if len(mixture.drawings) else mixture.photos,
        [record["source_id"] for record in records],
        configuration={
            "data_set": records.name,
            "version": records.folder.name,
            "digest": records.digest,
            "split": records.split,
            "domain": records.domain,
            "class_names": records.class_names,
            "resizing": config.resizing,
        },
        layers=layers,
        batch_size=batch_size,
        label=f"{records.name} [{records.split}]",
    )


def model_identity(model: Model, views: QueryViews = "one") -> dict[str, Any]:
    """Describes everything of a model and machine that its outputs depend on, as JSON values, and the
    views that it is shown.
    """
    # One view is not named: what was computed before there was a choice keeps its configuration.
    chosen = {} if views == "one" else {"views": views}
    return {
        "backbone": model.config.backbone,
        "parameters": model.digest(),
        "size": model.size,
        "pen": model.config.pen,
        "backend": jax.default_backend(),
    } | chosen


def open_features(folder: str | os.PathLike[str]) -> FeatureFiles:
    """Opens a complete folder of features; rows are read from disk when they are asked for.

    Args:
      folder: folder of `extract_to_files`.

    Returns:
      Its content.

    Raises:
      FileNotFoundError: when it is not there or not complete.
      ValueError: when one of its files is missing or damaged.
    """
    return FeatureFiles(*open_blocks(folder))
