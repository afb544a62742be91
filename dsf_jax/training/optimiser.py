"""What moves the parameters: Caffe's SGD or AdamW, schedules, rates by layer."""

import functools
from typing import Any, Literal, NamedTuple, get_args

import jax
import optax

from dsf_jax.models.backbone import Params

Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["constant", "step", "cosine"]
_SQUARES_KEPT = 0.999  # how much of their mean AdamW keeps at each step
_EPSILON = 1e-8


class OptimiserConfig(NamedTuple):
    """The optimiser's configuration, in steps; see `make_optimiser` and `learning_rate_at`.

    Attributes:
      optimiser: how gradients become updates.
      learning_rate: rate of the kernels of layers that start from ported weights.
      momentum: momentum of SGD; how much of the mean gradient AdamW keeps at each step.
      weight_decay: decay of kernels.
      fresh_multiplier: factor on the rate of layers that start from random values.
      bias_multiplier: factor on the rate of biases, in fresh layers too.
      fresh_layers: names of the layers that start from random values.
      schedule: how the rate falls.
      decay_every: steps between the drops of the step schedule.
      decay_factor: factor of each drop.
      warmup: steps over which the rate first rises.
      steps: steps of the whole run.
    """

    optimiser: Optimiser
    learning_rate: float
    momentum: float
    weight_decay: float
    fresh_multiplier: float
    bias_multiplier: float
    fresh_layers: tuple[str, ...]
    schedule: Schedule
    decay_every: int
    decay_factor: float
    warmup: int
    steps: int


def learning_rate_at(config: OptimiserConfig) -> optax.Schedule:
    """Makes the learning rate a function of the step.

    Args:
      config: its schedule is "constant"; "step", Caffe's: times `decay_factor` after every
        `decay_every` steps; or "cosine", down to 0 at the run's end. Over the first `warmup` steps
        the rate rises linearly, the last of them being the first at the full rate.

    Returns:
      A function of the number of the step, from 0.

    Raises:
      ValueError: for an unknown schedule.
    """
    if config.schedule not in get_args(Schedule):
        raise ValueError(
            f"schedule={config.schedule!r} is unknown; choose one of {', '.join(get_args(Schedule))}"
        )
    rate = config.learning_rate
    if config.schedule == "step":
        after = optax.exponential_decay(
            rate, config.decay_every, config.decay_factor, staircase=True
        )
    elif config.schedule == "cosine":
        after = optax.cosine_decay_schedule(rate, config.steps)
    else:
        after = optax.constant_schedule(rate)
    if config.warmup < 2:
        return after
    rise = optax.linear_schedule(rate / config.warmup, rate, config.warmup - 1)
    # The other schedules count from the run's start, warm-up or not.
    return lambda step: jax.numpy.where(step < config.warmup, rise(step), after(step))


@functools.lru_cache  # equal configurations are one optimiser, and steps with it are compiled once
def make_optimiser(config: OptimiserConfig) -> optax.GradientTransformation:
    """Builds what turns gradients into updates, at `learning_rate_at` times the layer's multiplier.

    "sgd" is Caffe's: v <- m v + rate * (g + decay * w), w <- w - v. The rate enters before the
    momentum: after a step of the schedule the old velocity runs out at the old rate, as in Caffe.
    "adamw" divides the mean gradient by the root of the mean square, both freed of their start at 0:
    w <- w - rate * (mean / (root + 1e-8) + decay * w). Biases are not decayed.

    Args:
      config: configuration of the optimiser.

    Returns:
      The optimiser.

    Raises:
      ValueError: for an unknown optimiser or schedule.
    """
    rate = optax.scale_by_learning_rate(learning_rate_at(config))
    decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
    by_layer = optax.stateless(lambda updates, params: _multiplied(config, updates))
    if config.optimiser == "sgd":
        return optax.chain(decay, by_layer, rate, optax.trace(config.momentum))
    if config.optimiser == "adamw":
        scaled = optax.scale_by_adam(config.momentum, _SQUARES_KEPT, _EPSILON)
        return optax.chain(scaled, decay, by_layer, rate)
    raise ValueError(
        f"optimiser={config.optimiser!r} is unknown; choose one of {', '.join(get_args(Optimiser))}"
    )


def _multiplied(config: OptimiserConfig, updates: Params) -> Params:
    """Updates times what their layer's rate is multiplied by."""

    def scale(path: Any, update: jax.Array) -> jax.Array:
        fresh = config.fresh_multiplier if path[0].key in config.fresh_layers else 1.0
        bias = config.bias_multiplier if path[-1].key == "bias" else 1.0
        return fresh * bias * update

    return jax.tree_util.tree_map_with_path(scale, updates)


def _kernels(params: Params) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
