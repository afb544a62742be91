"""What a layer answers to pictures."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dsf_jax.models.model import Model


def check_layers(model: Model, layers: Sequence[str], *, size: int) -> None:
    """Raises ValueError unless the network has these layers for pictures of h = w = size."""
    known = model.activation_shapes(size)
    for layer in layers:
        if layer not in known:
            raise ValueError(f"layer={layer!r} is unknown; choose one of {', '.join(known)}")


@functools.partial(jax.jit, static_argnames=("layers",))
def activations(model: Model, images: jax.Array, layers: tuple[str, ...]) -> dict[str, jax.Array]:
    """Computes the activations of some layers.

    Args:
      model: network with its parameters.
      images: [b, h, w] or [b, h, w, 3] uint8.
      layers: names among the network's activations.

    Returns:
      {layer: [b, ...] float32}.
    """
    _, answers = model(images)
    return {layer: answers[layer].astype(jnp.float32) for layer in layers}
