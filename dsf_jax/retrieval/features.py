"""Retrieval features: L2-normalised activations of layers 6 and 7 (section 3.4 of the paper)."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsf_jax.data.groups import content, evaluation_groups
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import plain_view
from dsf_jax.models.alexnet import AlexNet, Params, preprocess

# Caffe computes ReLU in place, so its blobs "fc6" and "fc7", which the paper's features are, hold
# values after ReLU.
LAYERS = {"L6": ("relu6",), "L7": ("relu7",), "L6+L7": ("relu6", "relu7")}


def check_layer(layer: str) -> None:
    """Raises ValueError unless `layer` names a feature."""
    if layer not in LAYERS:
        raise ValueError(f"layer={layer!r} is unknown; choose one of {', '.join(LAYERS)}")


def l2_normalise(x: jax.Array) -> jax.Array:
    """Scales vectors [..., d] to length 1; a zero vector stays zero."""
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(norm > 0, norm, 1.0)


def features_from(activations: Mapping[str, Any], layer: str) -> jax.Array:
    """Makes one kind of feature from a network's activations.

    Args:
      activations: of AlexNet.
      layer: L6, L7 or L6+L7. Parts are normalised before they are joined, so that both weigh the
        same, and the whole after it.

    Returns:
      [b, d] float32 of length 1; d is 4096, or 8192 for L6+L7.
    """
    check_layer(layer)
    parts = [l2_normalise(activations[name].astype(jnp.float32)) for name in LAYERS[layer]]
    return l2_normalise(jnp.concatenate(parts, axis=-1))


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
      group: "points" [b, p, 2] uint16 or "photo" [b, h, w, 3] uint8.
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
    """Computes features of all examples, batch by batch, with a progress bar.

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
    for layer in layers:
        check_layer(layer)
    if not len(examples):
        raise ValueError(
            "there are no examples to embed; choose a data set and split that has some"
        )
    blocks: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    with tqdm(total=len(examples), unit="image", desc=label) as bar:
        for group in evaluation_groups(examples, batch_size):
            real = int(group["weight"].sum())
            for layer, vectors in embed(
                model, params, content(group), layers=layers, size=size
            ).items():
                blocks[layer].append(np.asarray(vectors)[:real])
            bar.update(real)
    return {layer: np.concatenate(vectors) for layer, vectors in blocks.items()}
