"""What turns a gallery's photos into features."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from dsf_jax.models.model import Model
from dsf_jax.retrieval.features import embed


class Embedder(NamedTuple):
    """What turns photos into features, and the network that it is of.

    Attributes:
      digest: digest of the network's parameters.
      layer: feature of the network that it computes.
      embed_photos: [b, 256, 256, 3] uint8 -> [b, d] float32, L2-normalised; see `features`.
      batch_size: the largest b that `embed_photos` is called with.
      backbone: name of the network's architecture; for people to read.
      digest_matches: returns whether a digest, of an earlier version perhaps, is the network's; None
        where only `digest` is.
      name: run that the network was read from; for people to read.
    """

    digest: str
    layer: str
    embed_photos: Callable[[np.ndarray], np.ndarray]
    batch_size: int = 64
    backbone: str = ""
    digest_matches: Callable[[str], bool] | None = None
    name: str = ""

    def features(self, photos: np.ndarray) -> np.ndarray:
        """Computes what stands for photos: [b, 256, 256, 3] uint8 -> [b, d] float32, of 1 to `batch_size`
        photos.

        They are filled up to a power of 8, at most `batch_size`: few sizes are compiled, and one photo
        that comes into a watched folder costs about what one photo costs.
        """
        size = 1
        while size < len(photos):
            size *= 8
        padding = np.zeros((min(size, self.batch_size) - len(photos), *photos.shape[1:]), np.uint8)
        return self.embed_photos(np.concatenate([photos, padding]))[: len(photos)]

    def is_of(self, digest: str) -> bool:
        """Returns whether it is of the network with this digest."""
        if digest == self.digest:
            return True
        return self.digest_matches is not None and self.digest_matches(digest)


def network_embedder(
    model: Model, *, layer: str | None = None, batch_size: int = 64, name: str = ""
) -> Embedder:
    """Makes an embedder of a network.

    Args:
      model: network with its parameters.
      layer: name of a feature of the model's backbone; None takes its default. An unknown one is an error
        when it is computed: a gallery of another network, which has that feature, is said to be that.
      batch_size: pictures per batch, at most.
      name: run that the model was read from; for people to read.
    """
    layer = layer or model.default_feature
    digest = model.digest()
    model = jax.device_put(model)

    def embed_photos(photos: np.ndarray) -> np.ndarray:
        return np.asarray(embed(model, {"photo": photos}, layer=layer))

    backbone, matches = model.config.backbone, model.digest_matches
    return Embedder(digest, layer, embed_photos, batch_size, backbone, matches, name)
