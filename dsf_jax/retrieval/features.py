"""Retrieval features: L2-normalised activations of a network (section 3.4 of the paper)."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.data.batches import Block, content, mapped
from dsf_jax.images.views import QueryViews, check_query_views
from dsf_jax.models.kernels import l2_normalise
from dsf_jax.models.model import Model

WORDS_SHARE = 0.5  # of words in a query that is shown as well


def embed(
    model: Model,
    batch: Mapping[str, Any],
    *,
    layer: str | None = None,
    views: QueryViews = "one",
) -> jax.Array:
    """Computes the features of one batch: of each example's plain view, or the mean of those of several
    views, of length 1 again.

    Args:
      model: network with its parameters.
      batch: "points" [b, p, 3] uint16, "drawing" [b, size, size] uint8 or "photo" [b, h, w, 3]
        uint8.
      layer: name of a feature of the model's backbone; None takes its default.
      views: views of queries, see `images.views.query_views`; a gallery's pictures have one.

    Returns:
      [b, d] float32 of length 1.

    Raises:
      ValueError: for an unknown feature or choice of views.
    """
    layer = layer or model.default_feature
    return embed_layers(model, batch, (layer,), views)[layer]


def embed_layers(
    model: Model, batch: Mapping[str, Any], layers: tuple[str, ...], views: QueryViews = "one"
) -> dict[str, jax.Array]:
    """Computes several features of one batch in one pass.

    Args:
      model: network with its parameters.
      batch: see `embed`.
      layers: names of features of the model's backbone.
      views: see `embed`.

    Returns:
      {layer: [b, d] float32}.

    Raises:
      ValueError: for an unknown feature or choice of views.
    """
    if views == "one":
        return _embed_images(model, model.plain_view(batch), layers)
    return _embed_views(model, model.query_views(batch, views), layers)


def blended(shown: np.ndarray, words: np.ndarray, share: float) -> np.ndarray:
    """Joins what is shown and what is said into one query: the weighted mean of their features.

    Args:
      shown: [q, d] float32, features of drawings or photos.
      words: [1, d] or [q, d] float32, features of words.
      share: weight of the words, in [0, 1].

    Returns:
      [q, d] float32; what is nearest to it is nearest to its direction.

    Raises:
      ValueError: for another share.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the words is {share}, expected 0 to 1; change it")
    return np.float32(1 - share) * shown + np.float32(share) * words


def mean_feature(features: jax.Array, axis: int) -> jax.Array:
    """Joins the features of views, each of length 1, along an axis: their mean, of length 1 again."""
    return l2_normalise(jnp.mean(features, axis=axis))


@functools.partial(jax.jit, static_argnames=("layers",))
def _embed_images(model: Model, images: jax.Array, layers: tuple[str, ...]) -> dict[str, jax.Array]:
    """Apart from the views, so that the network is compiled once for all lengths of point lists."""
    _, activations = model(images)
    return {layer: model.features(activations, layer) for layer in layers}


@functools.partial(jax.jit, static_argnames=("layers",))
def _embed_views(model: Model, views: jax.Array, layers: tuple[str, ...]) -> dict[str, jax.Array]:
    """Embeds [b, v, h, w] or [b, v, h, w, c]. The network runs on views or on examples at once, whichever
    are more, and on the others one after the other: memory does not grow with both.
    """
    by_example = len(views) < views.shape[1]
    parts = views if by_example else jnp.swapaxes(views, 0, 1)
    found = jax.lax.map(lambda images: _embed_images(model, images, layers), parts)
    return {layer: mean_feature(x, axis=int(by_example)) for layer, x in found.items()}


def feature_sizes(model: Model, layers: tuple[str, ...]) -> dict[str, int]:
    """Returns the length d of each feature, without computing anything."""
    image = jax.ShapeDtypeStruct((1, model.size, model.size), np.uint8)
    shapes = jax.eval_shape(lambda m, x: _embed_images(m, x, layers), model, image)
    return {layer: shapes[layer].shape[-1] for layer in layers}


def feature_blocks(
    model: Model,
    examples: Sequence[dict[str, Any]],
    *,
    layers: tuple[str, ...],
    batch_size: int = 64,
    label: str = "features",
    numbers: Sequence[int] | None = None,
    views: QueryViews = "one",
) -> Iterator[Block]:
    """Computes features block by block, with a progress bar.

    Args:
      model: network with its parameters.
      examples: n drawings or photos.
      layers: names of features of the model's backbone.
      batch_size: examples per block; the network sees the last one padded.
      label: title of the progress bar.
      numbers: numbers of the blocks wanted, in order; all by default.
      views: see `embed`.

    Yields:
      Blocks with outputs {layer: [b, d] float32}.

    Raises:
      ValueError: for an unknown feature or choice of views, or no examples.
    """
    model.backbone.check_features(layers)
    check_query_views(views)
    if not len(examples):
        raise ValueError(
            "there are no examples to embed; choose a data set and split that has some"
        )
    yield from mapped(
        examples,
        lambda batch: embed_layers(model, content(batch), layers, views),
        batch_size=batch_size,
        label=label,
        numbers=numbers,
    )


def extract(
    model: Model,
    examples: Sequence[dict[str, Any]],
    *,
    layers: tuple[str, ...] | None = None,
    batch_size: int = 64,
    label: str = "features",
) -> dict[str, np.ndarray]:
    """Computes features of all examples in memory; `dsf_jax.retrieval.feature_files` writes them to
    files.

    Args:
      model: network with its parameters.
      examples: n drawings or photos.
      layers: names of features of the model's backbone; None takes its default.
      batch_size: images at a time; the last batch is padded.
      label: title of the progress bar.

    Returns:
      {layer: [n, d] float32}.

    Raises:
      ValueError: for an unknown feature, or no examples.
    """
    layers = layers or (model.default_feature,)
    blocks = list(
        feature_blocks(model, examples, layers=layers, batch_size=batch_size, label=label)
    )
    return {layer: np.concatenate([block.outputs[layer] for block in blocks]) for layer in layers}
