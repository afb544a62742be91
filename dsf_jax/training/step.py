"""One training step: random views on the device, loss, Caffe's SGD.

Everything random follows from (seed, step, number of the example in the batch), never from how a
batch lies on the devices.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from dsf_jax.images import views
from dsf_jax.models.alexnet import AlexNet, Params, preprocess
from dsf_jax.training.optimiser import Optimisation, TrainLayers, sgd, trained_part
from dsf_jax.training.parallel import across_devices

Metrics = dict[str, tuple[jax.Array, jax.Array]]
DROPOUT = 1  # tells the keys of dropout from those of views, which are the examples' own


class TrainState(flax.struct.PyTreeNode):
    """What a training run carries from step to step.

    Attributes:
      step: [] int32, number of the next step.
      params: {layer: {"kernel", "bias"}} float32.
      opt_state: of the optimiser, for the trained layers alone.
    """

    step: jax.Array
    params: Params
    opt_state: optax.OptState


def init_state(
    params: Params, optimiser: optax.GradientTransformation, train_layers: TrainLayers
) -> TrainState:
    """Makes the state before the first step.

    Args:
      params: the start values.
      optimiser: from `sgd`.
      train_layers: the layers that are trained; the others stay as they are, bit for bit.

    Returns:
      The state at step 0.
    """
    return TrainState(jnp.int32(0), params, optimiser.init(trained_part(params, train_layers)))


def example_keys(seed: int, step: jax.Array, example: jax.Array) -> jax.Array:
    """Derives one PRNG key an example.

    Args:
      seed: of the run.
      step: [] int32.
      example: [b] int32, numbers within the whole batch.

    Returns:
      [b] keys.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(functools.partial(jax.random.fold_in, key))(example)


def random_views(
    batch: Mapping[str, Mapping[str, Any]], seed: int, step: jax.Array, size: int
) -> list[jax.Array]:
    """Makes the random view of each drawing, then of each photo, that a step shows the network.

    Args:
      batch: see `dsf_jax.data.batches`.
      seed: of the run.
      step: [] int32.
      size: h = w of the views.

    Returns:
      One [b, size, size] or [b, size, size, 3] uint8 a group, in the order of their names.
    """
    return [
        views.random_view(example_keys(seed, step, group["example"]), group, size=size)
        for _, group in sorted(batch.items())
    ]


def _network_inputs(images: list[jax.Array], model: AlexNet) -> jax.Array:
    return jnp.concatenate([preprocess(x, variant=model.variant) for x in images])


def random_inputs(
    batch: Mapping[str, Mapping[str, Any]], seed: int, step: jax.Array, model: AlexNet, size: int
) -> jax.Array:
    """Makes the network's inputs from `random_views`: [b, size, size, 3] float32, as the model's
    variant wants them.
    """
    return _network_inputs(random_views(batch, seed, step, size), model)


def _joined(batch: Mapping[str, Mapping[str, Any]], name: str) -> jax.Array:
    return jnp.concatenate([group[name] for _, group in sorted(batch.items())])


def summed_metrics(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> Metrics:
    """Sums softmax cross-entropy and hits over examples.

    Args:
      logits: [b, k] float32.
      labels: [b] int32.
      weights: [b] float32, 0 for padding.

    Returns:
      {"loss", "accuracy"}: pairs (sum, count).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    hits = jnp.argmax(logits, axis=-1) == labels
    count = weights.sum()
    return {"loss": ((losses * weights).sum(), count), "accuracy": ((hits * weights).sum(), count)}


def summed_gradients(
    state: TrainState,
    batch: Mapping[str, Mapping[str, Any]],
    *,
    model: AlexNet,
    train_layers: TrainLayers,
    seed: int,
    size: int,
) -> tuple[Params, Metrics]:
    """Differentiates the loss, summed over a batch's examples, by the layers that learn.

    Args:
      state: before the step.
      batch: drawings and photos; or {"pool5": ...} with pool5 features made before, as
        `dsf_jax.training.feature_cache` does.
      model: the network.
      train_layers: the layers that learn.
      seed: of the run.
      size: h = w of the network's input.

    Returns:
      The gradients and {"loss", "accuracy"} as (sum, count).
    """
    keys = example_keys(seed, state.step, _joined(batch, "example"))
    dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, DROPOUT))(keys)
    if "pool5" in batch:
        forward: Callable[..., Any] = functools.partial(model.apply, start="pool5")
        inputs = batch["pool5"]["pool5"]
    else:
        forward = model.apply
        inputs = random_inputs(batch, seed, state.step, model, size)

    def loss(trained: Params) -> tuple[jax.Array, Metrics]:
        logits, _ = forward({"params": state.params | trained}, inputs, dropout_keys)
        metrics = summed_metrics(logits, _joined(batch, "label"), _joined(batch, "weight"))
        return metrics["loss"][0], metrics

    return jax.grad(loss, has_aux=True)(trained_part(state.params, train_layers))


def _accumulated(
    gradients_of: Callable[[Any], tuple[Params, Metrics]], batch: Any, parts: int
) -> tuple[Params, Metrics]:
    """Sums gradients and metrics over `parts` equal parts of a batch, one after the other."""
    if parts == 1:
        return gradients_of(batch)
    cut = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(gradients_of, jax.tree.map(lambda x: x[0], cut)),
    )

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradients_of(part)), None

    return jax.lax.scan(add, zeros, cut)[0]


def train_step(
    state: TrainState,
    batch: Mapping[str, Mapping[str, Any]],
    *,
    model: AlexNet,
    optimiser: optax.GradientTransformation,
    train_layers: TrainLayers,
    seed: int,
    size: int,
    accumulate: int = 1,
) -> tuple[TrainState, Metrics]:
    """Takes one step on one device's part of a batch; runs inside `data_parallel`.

    Args:
      state: before the step.
      batch: see `summed_gradients`.
      model: the network.
      optimiser: from `sgd`.
      train_layers: the layers that learn.
      seed: of the run.
      size: h = w of the network's input.
      accumulate: parts that the device's part passes the network in, one after the other; each
        group's b is a multiple of it.

    Returns:
      The state after the step and {"loss", "accuracy"} as (sum, count) over the whole batch.
    """
    gradients_of = functools.partial(
        summed_gradients, state, model=model, train_layers=train_layers, seed=seed, size=size
    )
    gradients, metrics = across_devices(_accumulated(gradients_of, batch, accumulate))
    gradients = jax.tree.map(lambda g: g / metrics["loss"][1], gradients)
    trained = trained_part(state.params, train_layers)
    updates, opt_state = optimiser.update(gradients, state.opt_state, trained)
    params = state.params | optax.apply_updates(trained, updates)
    return TrainState(state.step + 1, params, opt_state), metrics


def make_step(
    model: AlexNet,
    settings: Optimisation,
    train_layers: TrainLayers,
    *,
    seed: int,
    size: int,
    accumulate: int = 1,
) -> tuple[optax.GradientTransformation, Callable[..., tuple[TrainState, Metrics]]]:
    """Binds `train_step` to a run's constants; returns the optimiser too, for `init_state`."""
    optimiser = sgd(settings)
    step = functools.partial(
        train_step,
        model=model,
        optimiser=optimiser,
        train_layers=train_layers,
        seed=seed,
        size=size,
        accumulate=accumulate,
    )
    return optimiser, step


def held_out_step(
    params: Params, batch: Mapping[str, Mapping[str, Any]], *, model: AlexNet, size: int
) -> Metrics:
    """Scores one device's part of a batch by its plain views, single angle; runs inside
    `data_parallel`.

    Args:
      params: of the network.
      batch: drawings and photos.
      model: the network.
      size: h = w of the network's input.

    Returns:
      {"loss", "accuracy"} as (sum, count) over the whole batch.
    """
    images = [views.plain_view(group, size=size) for _, group in sorted(batch.items())]
    logits, _ = model.apply({"params": params}, _network_inputs(images, model))
    return across_devices(summed_metrics(logits, _joined(batch, "label"), _joined(batch, "weight")))
