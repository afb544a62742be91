"""Retrieval features: L2-normalised activations of layers 6 and 7 (section 3.4 of the paper), and of
others to compare with them.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsf_jax.data.batches import content, evaluation_groups
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import plain_view
from dsf_jax.models.alexnet import AlexNet, Params, preprocess

# Which activations make a feature. Caffe computes ReLU in place, so its blobs "fc6" and "fc7", which
# the paper's features are, hold values after ReLU. What follows the paper's three is there to be
# compared with them.
LAYERS = {
    "L6": ("relu6",),
    "L7": ("relu7",),
    "L6+L7": ("relu6", "relu7"),
    "pool5": ("pool5",),
    "L6 before ReLU": ("fc6",),
    "L7 before ReLU": ("fc7",),
    "L6+L7 before ReLU": ("fc6", "fc7"),
    "L6+L7 joined raw": ("relu6", "relu7"),  # normalised after they are joined, not before
}
PAPER_LAYERS = ("L6", "L7", "L6+L7")
_JOINED_RAW = ("L6+L7 joined raw",)


def check_layer(layer: str) -> None:
    """Raises ValueError unless `layer` names a feature."""
    if layer not in LAYERS:
        raise ValueError(f"layer={layer!r} is unknown; choose one of {', '.join(LAYERS)}")


def check_layers(layers: Sequence[str]) -> None:
    """Raises ValueError unless all of `layers` name features, and each is named once."""
    for layer in layers:
        check_layer(layer)
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layers={', '.join(layers)} must name one or more, each once; correct it")


def l2_normalise(x: jax.Array) -> jax.Array:
    """Scales vectors [..., d] to length 1; a zero vector stays zero."""
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(norm > 0, norm, 1.0)


def features_from(activations: Mapping[str, Any], layer: str) -> jax.Array:
    """Makes one kind of feature from a network's activations.

    Args:
      activations: of AlexNet.
      layer: of `LAYERS`. Of L6+L7 the parts are normalised before they are joined, so that both
        weigh the same, and the whole after it.

    Returns:
      [b, d] float32 of length 1; d is 4096, or 8192 for L6+L7, or that of the flattened map.
    """
    check_layer(layer)
    parts = [activations[name].astype(jnp.float32) for name in LAYERS[layer]]
    flat = [part.reshape(part.shape[0], -1) for part in parts]
    if layer not in _JOINED_RAW:
        flat = [l2_normalise(part) for part in flat]
    return l2_normalise(jnp.concatenate(flat, axis=-1))


def embed(
    model: AlexNet,
    params: Params,
    group: Mapping[str, Any],
    *,
    layers: tuple[str, ...] = ("L6+L7",),
    size: int = SIZE,
) -> dict[str, jax.Array]:
    """Computes features of one batch, each example in its plain view.

    Args:
      model: the network.
      params: its parameters.
      group: "points" [b, p, 2] uint16, "drawing" [b, size, size] uint8 or "photo" [b, h, w, 3]
        uint8.
      layers: of `LAYERS`.
      size: h = w of the network's input.

    Returns:
      {layer: [b, d] float32}.
    """
    return _embed_images(model, params, plain_view(group, size=size), layers)


@functools.partial(jax.jit, static_argnames=("model", "layers"))
def _embed_images(
    model: AlexNet, params: Params, images: jax.Array, layers: tuple[str, ...]
) -> dict[str, jax.Array]:
    """Apart from the views, so that the network is compiled once for all lengths of point lists."""
    _, activations = model.apply({"params": params}, preprocess(images, variant=model.variant))
    return {layer: features_from(activations, layer) for layer in layers}


def feature_sizes(
    model: AlexNet, params: Params, layers: tuple[str, ...], *, size: int = SIZE
) -> dict[str, int]:
    """Returns d of each layer, without computing anything."""
    image = jax.ShapeDtypeStruct((1, size, size), jnp.uint8)
    shapes = jax.eval_shape(lambda p, x: _embed_images(model, p, x, layers), params, image)
    return {layer: shapes[layer].shape[-1] for layer in layers}


class FeatureBlock(NamedTuple):
    """Features of some consecutive examples.

    Attributes:
      number: of the block, from 0.
      first: number of its first example.
      labels: [b] int32.
      features: {layer: [b, d] float32}.
    """

    number: int
    first: int
    labels: np.ndarray
    features: dict[str, np.ndarray]


def feature_blocks(
    model: AlexNet,
    params: Params,
    examples: Sequence[dict[str, Any]],
    *,
    layers: tuple[str, ...] = ("L6+L7",),
    batch_size: int = 64,
    size: int = SIZE,
    label: str = "features",
    numbers: Sequence[int] | None = None,
) -> Iterator[FeatureBlock]:
    """Computes features block by block, with a progress bar. A block does not depend on which
    others are computed.

    Args:
      model: the network.
      params: its parameters.
      examples: n drawings or photos.
      layers: of `LAYERS`.
      batch_size: examples of a block; the network sees the last one padded.
      size: h = w of the network's input.
      label: of the progress bar.
      numbers: of the blocks wanted, in order; all by default.

    Yields:
      The blocks, without padding.

    Raises:
      ValueError: for an unknown layer, or no examples.
    """
    check_layers(layers)
    if not len(examples):
        raise ValueError(
            "there are no examples to embed; choose a data set and split that has some"
        )
    if numbers is None:
        numbers = range(block_count(len(examples), batch_size))
    total = sum(min(batch_size, len(examples) - number * batch_size) for number in numbers)
    with tqdm(total=total, unit="image", desc=label) as bar:
        groups = evaluation_groups(examples, batch_size, numbers=numbers)
        for number, group in zip(numbers, groups, strict=True):
            real = int(group["weight"].sum())
            features = embed(model, params, content(group), layers=layers, size=size)
            yield FeatureBlock(
                number,
                number * batch_size,
                group["label"][:real],
                {layer: np.asarray(features[layer])[:real] for layer in layers},
            )
            bar.update(real)


def block_count(examples: int, batch_size: int) -> int:
    """Returns how many blocks so many examples make."""
    return -(-examples // batch_size)


def extract(
    model: AlexNet,
    params: Params,
    examples: Sequence[dict[str, Any]],
    *,
    layers: tuple[str, ...] = ("L6+L7",),
    batch_size: int = 64,
    size: int = SIZE,
    label: str = "features",
) -> dict[str, np.ndarray]:
    """Computes features of all examples in memory; `dsf_jax.retrieval.feature_files` writes them to
    files.

    Args:
      model: the network.
      params: its parameters.
      examples: n drawings or photos.
      layers: of `LAYERS`.
      batch_size: images at a time; the last batch is padded.
      size: h = w of the network's input.
      label: of the progress bar.

    Returns:
      {layer: [n, d] float32}.

    Raises:
      ValueError: for an unknown layer, or no examples.
    """
    blocks = list(
        feature_blocks(
            model, params, examples, layers=layers, batch_size=batch_size, size=size, label=label
        )
    )
    return {layer: np.concatenate([block.features[layer] for block in blocks]) for layer in layers}
