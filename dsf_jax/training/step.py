"""One training step: random views on the device, loss, Caffe's SGD.

Everything random follows from (seed, step, number of the example in the batch), never from how a
batch lies on the devices.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import flax
import jax
import jax.numpy as jnp
import optax

from dsf_jax.images import views
from dsf_jax.models.alexnet import LAYERS, AlexNet, Params, preprocess
from dsf_jax.training.parallel import across_devices

Metrics = dict[str, tuple[jax.Array, jax.Array]]
TrainLayers = Literal["all", "fc", "last"]

TRAINED = {
    "all": LAYERS,
    "fc": ("fc6", "fc7", "fc8"),
    "last": ("fc8",),
}


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


class Optimisation(NamedTuple):
    """The optimiser's settings, see `sgd`."""

    learning_rate: float
    momentum: float
    weight_decay: float
    fresh_multiplier: float
    fresh_layers: tuple[str, ...]


def sgd(settings: Optimisation) -> optax.GradientTransformation:
    """Builds SGD with Caffe's update: v <- m v + lr * multiplier * (g + decay * w), w <- w - v.

    Biases are not decayed, and learn at their kernel's rate.

    Args:
      settings: `fresh_layers` start from random values and learn at `fresh_multiplier` times the
        rate.

    Returns:
      The optimiser.
    """

    def multiply(
        updates: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        del params
        rate = {
            name: settings.fresh_multiplier if name in settings.fresh_layers else 1.0
            for name in updates
        }
        return {
            name: jax.tree.map(lambda g, r=rate[name]: r * g, u) for name, u in updates.items()
        }, state

    def kernels(params: Params) -> dict[str, dict[str, bool]]:
        return {
            layer: {name: name == "kernel" for name in values} for layer, values in params.items()
        }

    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay, mask=kernels),
        optax.GradientTransformation(lambda _: optax.EmptyState(), multiply),
        optax.scale(-settings.learning_rate),
        optax.trace(settings.momentum),
    )


def trained_part(params: Params, train_layers: TrainLayers) -> Params:
    """Returns the layers that `train_layers` names; ValueError for an unknown name."""
    if train_layers not in get_args(TrainLayers):
        raise ValueError(
            f"train_layers={train_layers!r} is unknown; choose one of {', '.join(get_args(TrainLayers))}"
        )
    return {name: params[name] for name in params if name in TRAINED[train_layers]}


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


def random_inputs(
    batch: Mapping[str, Mapping[str, Any]], seed: int, step: jax.Array, model: AlexNet, size: int
) -> jax.Array:
    """Makes the network's inputs: a random view of each drawing, then of each photo.

    Args:
      batch: see `dsf_jax.data.groups`.
      seed: of the run.
      step: [] int32.
      model: whose variant decides the preprocessing.
      size: h = w of the network's input.

    Returns:
      [b, size, size, 3] float32.
    """
    inputs = [
        preprocess(
            views.random_view(example_keys(seed, step, group["example"]), group, size=size),
            variant=model.variant,
        )
        for _, group in sorted(batch.items())
    ]
    return jnp.concatenate(inputs)


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


def train_step(
    state: TrainState,
    batch: Mapping[str, Mapping[str, Any]],
    *,
    model: AlexNet,
    optimiser: optax.GradientTransformation,
    train_layers: TrainLayers,
    seed: int,
    size: int,
) -> tuple[TrainState, Metrics]:
    """Takes one step on one device's part of a batch; runs inside `data_parallel`.

    Args:
      state: before the step.
      batch: drawings and photos; or {"pool5": ...} with pool5 features made before, as
        `dsf_jax.training.frozen` does.
      model: the network.
      optimiser: from `sgd`.
      train_layers: the layers that learn.
      seed: of the run.
      size: h = w of the network's input.

    Returns:
      The state after the step and {"loss", "accuracy"} as (sum, count) over the whole batch.
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

    trained = trained_part(state.params, train_layers)
    gradients, metrics = jax.grad(loss, has_aux=True)(trained)
    gradients, metrics = across_devices((gradients, metrics))
    gradients = jax.tree.map(lambda g: g / metrics["loss"][1], gradients)
    updates, opt_state = optimiser.update(gradients, state.opt_state, trained)
    params = state.params | optax.apply_updates(trained, updates)
    return TrainState(state.step + 1, params, opt_state), metrics


def make_step(
    model: AlexNet, settings: Optimisation, train_layers: TrainLayers, *, seed: int, size: int
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
    )
    return optimiser, step
