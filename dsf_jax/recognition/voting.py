"""What a sketch shows: by its upright view alone, or by a vote of its 18 views (section 3.3 of the paper)."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import all_views, plain_view
from dsf_jax.models.alexnet import AlexNet, Params, preprocess

# Views and network are compiled apart: point lists come in several padded lengths, and only the
# small first part is compiled for each.


def single_angle(
    model: AlexNet, params: Params, group: Mapping[str, Any], *, size: int = SIZE
) -> jax.Array:
    """Classifies each example by one view: the upright sketch, the middle patch of a photo.

    Args:
      model: the network.
      params: its parameters.
      group: "points" [b, p, 2] uint16, "drawing" [b, size, size] uint8 or "photo" [b, h, w, 3]
        uint8.
      size: h = w of the network's input.

    Returns:
      [b, k] float32 probabilities.
    """
    return _probabilities(model, params, plain_view(group, size=size))


def vote(
    model: AlexNet, params: Params, group: Mapping[str, Any], *, size: int = SIZE
) -> jax.Array:
    """Classifies each example by the mean probability over its 18 views: P(c|x) = 1/18 sum_j p(c|x,
    view_j).

    Args:
      model: the network.
      params: its parameters.
      group: "points" [b, p, 2] uint16, "drawing" [b, size, size] uint8 or "photo" [b, h, w, 3]
        uint8.
      size: h = w of the network's input.

    Returns:
      [b, k] float32 probabilities; the class is their argmax.
    """
    return _voted(model, params, all_views(group, size=size))


@functools.partial(jax.jit, static_argnames=("model",))
def _probabilities(model: AlexNet, params: Params, images: jax.Array) -> jax.Array:
    logits, _ = model.apply({"params": params}, preprocess(images, variant=model.variant))
    return jax.nn.softmax(logits)


@functools.partial(jax.jit, static_argnames=("model",))
def _voted(model: AlexNet, params: Params, views: jax.Array) -> jax.Array:
    """[b, v, h, w] or [b, v, h, w, c] -> [b, k]; one example after the other, so that memory stays at v inputs whatever b is."""
    return jax.lax.map(
        lambda images: jnp.mean(_probabilities(model, params, images), axis=0), views
    )
