"""What training minimises, by name: a new loss is one function and one row."""

from collections.abc import Callable

import jax
import optax

# (logits [b, k], features [b, d], labels [b] int32, weights [b]) -> sum over examples, and count.
Loss = Callable[
    [jax.Array, jax.Array, jax.Array, jax.Array],
    tuple[jax.Array, jax.Array],
]


def softmax(
    logits: jax.Array, features: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sums the softmax cross-entropy on the class label, whatever the domain (section 3.2 of the paper).

    Args:
      logits: [b, k] float32.
      features: [b, d] float32, the backbone's default feature; not used.
      labels: [b] int32.
      weights: [b] float32, 0 for padding.

    Returns:
      Weighted sum and count, both [].
    """
    del features
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return (losses * weights).sum(), weights.sum()


LOSSES: dict[str, Loss] = {"softmax": softmax}


def loss_named(name: str) -> Loss:
    """Returns a loss; ValueError for an unknown name."""
    if name not in LOSSES:
        raise ValueError(f"loss={name!r} is unknown; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]
