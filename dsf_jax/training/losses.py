"""What training minimises, by name: a new loss is one function and one row."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dsf_jax.models.embedding import SCALE

# By which the cosine of the right class must exceed the others', as its authors chose it.
MARGIN = 0.35

# (logits [b, k], features [b, d], labels [b] int32, weights [b]) -> sum over examples, and count.
LossFunction = Callable[
    [jax.Array, jax.Array, jax.Array, jax.Array],
    tuple[jax.Array, jax.Array],
]


class Loss(NamedTuple):
    """What training minimises.

    Attributes:
      function: sums it over examples, and counts them.
      embedding: whether it shapes an embedding; without, logits are a linear layer's.
      pairs: whether examples are compared with each other: it is computed over the batch of all
        devices, and batches hold several examples of a class from each domain.
      classifies: whether the classifier learns by it.
    """

    function: LossFunction
    embedding: bool = True
    pairs: bool = False
    classifies: bool = True


def softmax(
    logits: jax.Array, features: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sums the softmax cross-entropy on the class label, whatever the domain (section 3.2 of the paper).

    Args:
      logits: [b, k] float32; of a network with an embedding they are scaled cosines, and this is the
        cosine softmax.
      features: [b, d] float32, the backbone's default feature; not used.
      labels: [b] int32.
      weights: [b] float32, 0 for padding.

    Returns:
      Weighted sum and count, both [].
    """
    del features
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return (losses * weights).sum(), weights.sum()


def cosface(
    logits: jax.Array, features: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sums the large margin cosine loss (CosFace, Wang et al. 2018): the softmax cross-entropy with the
    cosine of the right class lessened by `MARGIN`. Without it an embedding is let alone once its class
    is the nearest; with it classes are drawn together, which is what neighbours are found by.

    Args:
      logits: [b, k] float32, `SCALE` times cosines.
      features: [b, d]; not used.
      labels: [b] int32.
      weights: [b] float32, 0 for padding.

    Returns:
      Weighted sum and count, both [].
    """
    right = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return softmax(logits - SCALE * MARGIN * right, features, labels, weights)


def contrastive(
    logits: jax.Array, features: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sums the supervised contrastive loss (Khosla et al. 2020, L_out): each example shall be nearer to
    those of its class, sketches, photos and edge maps alike, than to all others.

    Args:
      logits: [b, k]; not used.
      features: [b, d] float32 of length 1; similarities are `SCALE` times their cosines.
      labels: [b] int32.
      weights: [b] float32, 0 for padding.

    Returns:
      Sum over the examples that have another one of their class in the batch, and their count, both [];
      a batch without any has the mean 0, of a count of 1.
    """
    del logits
    present = weights > 0
    others = present[None, :] & ~jnp.eye(len(labels), dtype=bool)
    same = others & present[:, None] & (labels[:, None] == labels[None, :])
    positives = same.sum(axis=1)
    anchors = positives > 0
    similarity = SCALE * jnp.matmul(features, features.T)
    # What is no anchor counts for nothing; compared with nothing, its gradient would not be finite.
    against = jax.nn.logsumexp(similarity, axis=1, where=others | ~anchors[:, None])
    mean = jnp.where(same, similarity, 0.0).sum(axis=1) / jnp.maximum(positives, 1)
    count = jnp.maximum(anchors.sum(), 1).astype(jnp.float32)
    return jnp.where(anchors, against - mean, 0.0).sum(), count


def softmax_and_contrastive(
    logits: jax.Array, features: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Adds the means of `softmax` and `contrastive`; arguments as theirs.

    Returns:
      Their sum times the count of `softmax`, and that count, both [].
    """
    total, count = softmax(logits, features, labels, weights)
    compared, anchors = contrastive(logits, features, labels, weights)
    return total + count * compared / anchors, count


LOSSES: dict[str, Loss] = {
    "softmax": Loss(softmax, embedding=False),
    "cosine": Loss(softmax),
    "cosface": Loss(cosface),
    "contrastive": Loss(contrastive, pairs=True, classifies=False),
    "cosine+contrastive": Loss(softmax_and_contrastive, pairs=True),
}


def loss_named(name: str) -> Loss:
    """Returns a loss; ValueError for an unknown name."""
    if name not in LOSSES:
        raise ValueError(f"loss={name!r} is unknown; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]
