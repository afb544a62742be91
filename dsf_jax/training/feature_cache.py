"""With frozen convolutions, random views pass them once: pool5 is kept, and training sees the fully connected layers alone."""

import functools
import itertools

import grain
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsf_jax.data.batches import Batch, Group, evaluation_groups
from dsf_jax.data.mixtures import Mixture
from dsf_jax.models.alexnet import AlexNet, Params
from dsf_jax.training.step import random_inputs


@functools.partial(jax.jit, static_argnames=("model", "seed", "size"))
def _pool5(
    model: AlexNet, params: Params, group: Group, view: jax.Array, seed: int, size: int
) -> jax.Array:
    inputs = random_inputs({"group": group}, seed, view, model, size)
    return model.apply({"params": params}, inputs)[1]["pool5"]


def cached_batches(
    mixture: Mixture,
    model: AlexNet,
    params: Params,
    *,
    views: int,
    batch_size: int,
    seed: int,
    size: int,
) -> grain.MapDataset:
    """Makes `views` random views of each example, passes them through the convolutions, and lists
    shuffled batches of their pool5.

    Args:
      mixture: n examples.
      model: the network.
      params: its parameters; only the convolutions are used.
      views: of each example; n * views * 36 KiB stay in memory.
      batch_size: examples of a training batch.
      seed: of the views and of the order.
      size: h = w of the network's input.

    Returns:
      A random-access, endless data set of {"pool5": group} batches, a group with "pool5" [b, 6, 6,
      256] float32.
    """
    if jax.process_count() > 1:
        raise ValueError("cached views need one process; set cached_views=0 to train on several")
    total = len(mixture.drawings) + len(mixture.photos)
    shape = jax.eval_shape(
        lambda p: model.apply({"params": p}, jnp.zeros((1, size, size, 3)))[1]["pool5"], params
    ).shape
    features = np.empty((total * views, *shape[1:]), np.float32)
    labels = np.empty(total * views, np.int32)
    done = 0
    with tqdm(total=total * views, unit="image", desc="convolutions") as bar:
        for view, examples in itertools.product(range(views), (mixture.drawings, mixture.photos)):
            first = 0 if examples is mixture.drawings else len(mixture.drawings)
            for group in evaluation_groups(examples, 64):
                real = int(group["weight"].sum())
                group["example"] += first  # its number in the mixture: its views are its own
                pool5 = _pool5(model, params, group, np.int32(view), seed, size)
                features[done : done + real] = np.asarray(pool5)[:real]
                labels[done : done + real] = group["label"][:real]
                done += real
                bar.update(real)
    return _shuffled(features, labels, batch_size, seed)


def _shuffled(
    features: np.ndarray, labels: np.ndarray, batch_size: int, seed: int
) -> grain.MapDataset:
    rows = grain.MapDataset.range(len(labels)).seed(seed).shuffle().repeat().batch(batch_size)

    def read(step: int) -> Batch:
        taken = rows[step]
        return {
            "pool5": {
                "pool5": features[taken],
                "label": labels[taken],
                "weight": np.ones(batch_size, np.float32),
                "example": np.arange(batch_size, dtype=np.int32),
            }
        }

    return grain.MapDataset.range(2**31 - 1).map(read)
