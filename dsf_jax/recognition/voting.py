"""What a sketch shows: by its upright view, or by a vote of its 18 views (section 3.3 of the paper)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dsf_jax.models.model import Model

# Views and network are compiled apart: point lists come in several padded lengths, and only the
# small first part is compiled for each.


def single_angle(model: Model, batch: Mapping[str, Any]) -> jax.Array:
    """Classifies each example by one view: the upright sketch, the middle patch of a photo.

    Args:
      model: network with its parameters.
      batch: "points" [b, p, 3] uint16, "drawing" [b, size, size] uint8 or "photo" [b, h, w, 3]
        uint8.

    Returns:
      [b, k] float32 probabilities.
    """
    return _probabilities(model, model.plain_view(batch))


def vote(model: Model, batch: Mapping[str, Any]) -> jax.Array:
    """Classifies each example by the mean probability over its 18 views: P(c|x) = 1/18 sum_j p(c|x,
    view_j).

    Args:
      model: network with its parameters.
      batch: "points" [b, p, 3] uint16, "drawing" [b, size, size] uint8 or "photo" [b, h, w, 3]
        uint8.

    Returns:
      [b, k] float32 probabilities; the class is their argmax.

    Examples:
      >>> import numpy as np
      >>> from dsf_jax.images.points import pad_points, points_from_strokes
      >>> from dsf_jax.models.model import ModelConfig, init_model
      >>> model = init_model(ModelConfig("sketch_a_net", ("cat", "dog"), size=81, fresh_layers=()), seed=0)
      >>> line = points_from_strokes([np.array([[0, 0], [30, 40]])], box=(0, 0, 40, 40))
      >>> drawings = {"points": pad_points([line])}
      >>> model.all_views(drawings).shape
      (1, 18, 81, 81)
      >>> probabilities = vote(model, drawings)  # of an untrained network
      >>> probabilities.shape, round(float(probabilities.sum()), 4)
      ((1, 2), 1.0)
    """
    return _voted(model, model.all_views(batch))


@jax.jit
def _probabilities(model: Model, images: jax.Array) -> jax.Array:
    logits, _ = model(images)
    return jax.nn.softmax(logits)


@jax.jit
def _voted(model: Model, views: jax.Array) -> jax.Array:
    """Votes on [b, v, h, w] or [b, v, h, w, c]: [b, k]. One example after the other, so that memory
    stays at v inputs whatever b is.
    """
    return jax.lax.map(lambda images: jnp.mean(_probabilities(model, images), axis=0), views)
