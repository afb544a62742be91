"""With frozen layers, random views pass them once: what they give is kept, and training sees the layers
that learn and no other.
"""

import functools
import itertools
from typing import Any

import grain
import jax
import numpy as np
from tqdm import tqdm

from dsf_jax.data.batch_orders import Order, by_class, shuffled
from dsf_jax.data.batches import Batch, TrainingBatch, mapped
from dsf_jax.data.mixtures import Mixture
from dsf_jax.images.hand import STEADY, Hand
from dsf_jax.models.model import Model
from dsf_jax.training.step import KEPT, random_views

BATCH_SIZE = 64  # images that pass the frozen layers at a time


@functools.partial(jax.jit, static_argnames=("activation", "seed", "hand"))
def _activations(
    model: Model, batch: dict[str, Any], view: jax.Array, activation: str, seed: int, hand: Hand
) -> jax.Array:
    images = random_views(model, {"all": batch}, seed, view, hand)
    return model(*images)[1][activation]


def cached_batches(
    mixture: Mixture,
    model: Model,
    *,
    activation: str,
    views: int,
    batch_size: int,
    seed: int,
    per_class: int = 0,
    hand: Hand = STEADY,
) -> grain.MapDataset:
    """Makes `views` random views of each example, passes them through the frozen layers, and lists
    shuffled batches of what these give.

    Args:
      mixture: n examples.
      model: network with its parameters.
      activation: name of the activation that is kept.
      views: number of views of each example; n * views activations stay in memory.
      batch_size: examples per training batch.
      seed: seed of the views and of the order.
      per_class: examples of a class from each domain that a batch holds; 0 for any number.
      hand: what differs from view to view beside angle and flip.

    Returns:
      A random-access, endless data set of training batches of one kind, `KEPT`, with the activation
      [b, ...] float32.

    Raises:
      ValueError: in a run of several processes; see `batch_orders.by_class`.
    """
    if jax.process_count() > 1:
        raise ValueError("cached views need one process; set cached_views=0 to train on several")
    features, labels = _kept(mixture, model, activation, views, seed, hand)
    if per_class:
        domains = np.tile(mixture.domains(), views)
        order = by_class(labels, domains, per_class=per_class, batch_size=batch_size, seed=seed)
    else:
        order = shuffled(len(labels), size=batch_size, seed=seed)
    return _batches(features, labels, order, batch_size)


def _kept(
    mixture: Mixture, model: Model, activation: str, views: int, seed: int, hand: Hand
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the activations [n * views, ...] float32 and labels [n * views] int32, view by view."""
    total = len(mixture.drawings) + len(mixture.photos)
    features = np.empty((total * views, *model.activation_shapes()[activation]), np.float32)
    labels = np.empty(total * views, np.int32)
    done = 0
    with tqdm(total=total * views, unit="image", desc="frozen layers") as bar:
        for view, examples in itertools.product(range(views), (mixture.drawings, mixture.photos)):
            first = 0 if examples is mixture.drawings else len(mixture.drawings)

            def kept(batch: Batch, view: int = view, first: int = first) -> jax.Array:
                # An example's number in the mixture: its views are its own.
                numbered = batch | {"example": batch["example"] + np.int32(first)}
                return _activations(model, numbered, np.int32(view), activation, seed, hand)

            for block in mapped(examples, kept, batch_size=BATCH_SIZE, label=bar):
                rows = slice(done, done + len(block.labels))
                features[rows], labels[rows] = block.outputs, block.labels
                done = rows.stop
    return features, labels


def _batches(
    features: np.ndarray, labels: np.ndarray, order: Order, batch_size: int
) -> grain.MapDataset:
    def read(step: int) -> TrainingBatch:
        taken = order(step)
        return {
            KEPT: {
                KEPT: features[taken],
                "label": labels[taken],
                "weight": np.ones(batch_size, np.float32),
                "example": np.arange(batch_size, dtype=np.int32),
            }
        }

    return grain.MapDataset.range(2**31 - 1).map(read)
