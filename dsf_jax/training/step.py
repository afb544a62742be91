"""One training step: random views on the device, loss, optimiser.

Everything random follows from (seed, step, number of the example in the batch), never from how a
batch lies on the devices.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from dsf_jax.images.hand import STEADY, Hand
from dsf_jax.models.backbone import INPUT, Params, Trainable
from dsf_jax.models.model import Model
from dsf_jax.training.losses import LOSSES, Loss
from dsf_jax.training.parallel import across_devices, of_all_devices

Metrics = dict[str, tuple[jax.Array, jax.Array]]
# A training batch of activations that were kept: {KEPT: {KEPT: [b, ...], "label", ...}}.
KEPT = "kept"
# Separates the keys of dropout from those of views, which are the examples' own, and of their hand.
DROPOUT = 2


class TrainState(flax.struct.PyTreeNode):
    """What a training run carries from step to step.

    Attributes:
      step: [] int32, number of the next step.
      model: network with its parameters.
      opt_state: state of the optimiser, for the trained layers only.
    """

    step: jax.Array
    model: Model
    opt_state: optax.OptState


class StepConfig(NamedTuple):
    """What a step depends on, besides state and batch.

    Attributes:
      optimiser: what turns gradients into updates; see `make_optimiser`.
      loss: one of `dsf_jax.training.losses`.
      trainable: the layers that learn; the others stay as they are, bit for bit.
      dropout_rate: probability in [0, 1) of dropping a value.
      seed: seed of the run.
      hand: what differs from view to view beside angle and flip.
      accumulate: parts that a device's part of a batch passes the network in, at least, one after the
        other.
    """

    optimiser: optax.GradientTransformation
    loss: Loss
    trainable: Trainable
    dropout_rate: float
    seed: int
    hand: Hand = STEADY
    accumulate: int = 1


def trained_part(params: Params, trainable: Trainable) -> Params:
    """Returns the parameters of the layers that learn."""
    return {name: params[name] for name in params if name in trainable.layers}


def init_state(model: Model, config: StepConfig) -> TrainState:
    """Makes the state before the first step.

    Args:
      model: network with its start values.
      config: configuration of the steps.

    Returns:
      The state at step 0.
    """
    trained = trained_part(model.params, config.trainable)
    return TrainState(jnp.int32(0), model, config.optimiser.init(trained))


def example_keys(seed: int, step: jax.Array, example: jax.Array) -> jax.Array:
    """Derives one PRNG key per example.

    Args:
      seed: seed of the run.
      step: [] int32.
      example: [b] int32, numbers within the whole batch.

    Returns:
      [b] keys.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(functools.partial(jax.random.fold_in, key))(example)


def random_views(
    model: Model,
    batch: Mapping[str, Mapping[str, Any]],
    seed: int,
    step: jax.Array,
    hand: Hand = STEADY,
) -> list[jax.Array]:
    """Makes the random view of each drawing, then of each photo, that a step shows the network.

    Args:
      model: network that is shown them.
      batch: training batch, see `dsf_jax.data.batches`.
      seed: seed of the run.
      step: [] int32.
      hand: what differs from view to view beside angle and flip.

    Returns:
      One [b, size, size] or [b, size, size, 3] uint8 per kind, in the order of their names.
    """
    return [
        model.random_view(example_keys(seed, step, one["example"]), one, hand)
        for _, one in sorted(batch.items())
    ]


def _joined(batch: Mapping[str, Mapping[str, Any]], name: str) -> jax.Array:
    return jnp.concatenate([one[name] for _, one in sorted(batch.items())])


def summed_metrics(
    loss: Loss, logits: jax.Array, features: jax.Array, labels: jax.Array, weights: jax.Array
) -> Metrics:
    """Sums loss and hits over one device's examples; runs inside `data_parallel` where the loss compares
    pairs.

    Args:
      loss: one of `dsf_jax.training.losses`.
      logits: [b, k] float32.
      features: [b, d] float32.
      labels: [b] int32.
      weights: [b] float32.

    Returns:
      {"loss", "accuracy"}: pairs (sum, count).
    """
    hits = jnp.argmax(logits, axis=-1) == labels
    compared = (logits, features, labels, weights)
    # Every device sums the loss over all pairs: sum and count are both as many times too large.
    return {
        "loss": loss.function(*(of_all_devices(compared) if loss.pairs else compared)),
        "accuracy": ((hits * weights).sum(), weights.sum()),
    }


class _Shown(NamedTuple):
    """What the network is shown of a batch, or of a part of it.

    Attributes:
      inputs: [b, ...] preprocessed views, or activations that were kept.
      dropout_keys: [b] keys.
      labels: [b] int32.
      weights: [b] float32.
    """

    inputs: jax.Array
    dropout_keys: jax.Array
    labels: jax.Array
    weights: jax.Array


def summed_gradients(
    state: TrainState, batch: Mapping[str, Mapping[str, Any]], config: StepConfig
) -> tuple[Params, Metrics]:
    """Differentiates the loss, summed over a batch's examples, by the layers that learn.

    Args:
      state: state before the step.
      batch: drawings and photos; or activations that were kept, as `dsf_jax.training.feature_cache`
        does.
      config: configuration of the steps.

    Returns:
      The gradients and {"loss", "accuracy"} as (sum, count).
    """
    model = state.model
    keys = example_keys(config.seed, state.step, _joined(batch, "example"))
    dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, DROPOUT))(keys)
    if KEPT in batch:
        inputs, start = batch[KEPT][KEPT], config.trainable.start
    else:
        images = random_views(model, batch, config.seed, state.step, config.hand)
        inputs, start = model.backbone.inputs(images), INPUT

    def loss(trained: Params, shown: _Shown) -> tuple[jax.Array, Metrics]:
        learning = model.replace(params=model.params | trained)
        logits, activations = learning.apply(
            shown.inputs, shown.dropout_keys, dropout_rate=config.dropout_rate, start=start
        )
        features = model.features(activations, model.backbone.default_feature)
        metrics = summed_metrics(config.loss, logits, features, shown.labels, shown.weights)
        return metrics["loss"][0], metrics

    gradients_of = functools.partial(
        jax.grad(loss, has_aux=True), trained_part(model.params, config.trainable)
    )
    shown = _Shown(inputs, dropout_keys, _joined(batch, "label"), _joined(batch, "weight"))
    return _accumulated(gradients_of, shown, _parts(model, config, start, len(inputs)))


def _parts(model: Model, config: StepConfig, start: str, examples: int) -> int:
    """Returns how many parts a device's examples pass the network in."""
    parts, most = config.accumulate, model.backbone.trained_at_once
    whole = start != INPUT or config.loss.pairs or jax.default_backend() != "cpu"
    if most is not None and not whole:
        parts = max(parts, -(-examples // most))
    return min(parts, examples)


def _accumulated(
    gradients_of: Callable[[_Shown], tuple[Params, Metrics]], shown: _Shown, parts: int
) -> tuple[Params, Metrics]:
    """Sums gradients and metrics over equal parts of a batch, one after the other; what is missing of
    the last one is padded with weight 0.
    """
    if parts == 1:
        return gradients_of(shown)
    missing = -len(shown.labels) % parts
    shown = jax.tree.map(lambda x: jnp.concatenate([x, x[:missing]]), shown)
    weights = shown.weights.at[len(shown.weights) - missing :].set(0.0)
    cut = jax.tree.map(
        lambda x: x.reshape(parts, -1, *x.shape[1:]), shown._replace(weights=weights)
    )
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(gradients_of, jax.tree.map(lambda x: x[0], cut)),
    )

    def add(total: Any, part: _Shown) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradients_of(part)), None

    return jax.lax.scan(add, zeros, cut)[0]


def train_step(
    state: TrainState, batch: Mapping[str, Mapping[str, Any]], *, config: StepConfig
) -> tuple[TrainState, Metrics]:
    """Takes one step on one device's part of a batch; runs inside `data_parallel`.

    Args:
      state: state before the step.
      batch: see `summed_gradients`.
      config: configuration of the steps.

    Returns:
      The state after the step and {"loss", "accuracy"} as (sum, count) over the whole batch.
    """
    gradients, metrics = across_devices(summed_gradients(state, batch, config))
    gradients = jax.tree.map(lambda g: g / metrics["loss"][1], gradients)
    trained = trained_part(state.model.params, config.trainable)
    updates, opt_state = config.optimiser.update(gradients, state.opt_state, trained)
    params = state.model.params | optax.apply_updates(trained, updates)
    return TrainState(state.step + 1, state.model.replace(params=params), opt_state), metrics


def held_out_step(model: Model, batch: Mapping[str, Mapping[str, Any]]) -> Metrics:
    """Scores one device's part of a batch by its plain views, single angle; runs inside
    `data_parallel`.

    Args:
      model: network with its parameters.
      batch: drawings and photos.

    Returns:
      {"loss", "accuracy"} as (sum, count) over the whole batch; the loss is that of a classifier, for
      batches in the data's order have no pairs to compare.
    """
    images = [model.plain_view(one) for _, one in sorted(batch.items())]
    logits, activations = model(*images)
    features = model.features(activations, model.backbone.default_feature)
    labels, weights = _joined(batch, "label"), _joined(batch, "weight")
    return across_devices(summed_metrics(LOSSES["softmax"], logits, features, labels, weights))
