"""What turns a gallery's photos into features."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from dsf_jax.images.resize import SIZE
from dsf_jax.models.alexnet import AlexNet, Params
from dsf_jax.retrieval.features import check_layer, embed


class Embedder(NamedTuple):
    """What turns photos into features, and the network that it is of.

    Attributes:
      digest: digest of the network's parameters.
      layer: feature of the network that it computes.
      embed_photos: [b, 256, 256, 3] uint8 -> [b, d] float32, L2-normalised.
      batch_size: b that `embed_photos` is called with, always.
      backbone: name of the network's architecture; for people to read.
    """

    digest: str
    layer: str
    embed_photos: Callable[[np.ndarray], np.ndarray]
    batch_size: int = 64
    backbone: str = ""


def network_embedder(
    model: AlexNet,
    params: Params,
    *,
    digest: str,
    layer: str = "L6+L7",
    size: int = SIZE,
    batch_size: int = 64,
) -> Embedder:
    """Makes an embedder of a network; it is compiled once.

    Args:
      model: the network.
      params: its parameters.
      digest: digest of the parameters, by `dsf_jax.training.checkpoints.fingerprint`.
      layer: feature of the network.
      size: h = w of the network's input.
      batch_size: pictures per batch.
    """
    check_layer(layer)
    params = jax.device_put(params)

    def embed_photos(photos: np.ndarray) -> np.ndarray:
        features = embed(model, params, {"photo": photos}, layers=(layer,), size=size)
        return np.asarray(features[layer])

    return Embedder(digest, layer, embed_photos, batch_size, model.variant)
