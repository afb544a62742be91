"""Caffe's SGD: schedules, rates by layer, and which layers learn at all."""

from typing import Literal, NamedTuple, get_args

import jax
import optax

from dsf_jax.models.alexnet import LAYERS, Params

TrainLayers = Literal["all", "fc", "last"]
Schedule = Literal["constant", "step", "cosine"]

TRAINED = {
    "all": LAYERS,
    "fc": ("fc6", "fc7", "fc8"),
    "last": ("fc8",),
}


class Optimisation(NamedTuple):
    """The optimiser's settings, in steps; see `sgd` and `learning_rate_at`."""

    learning_rate: float
    momentum: float
    weight_decay: float
    fresh_multiplier: float  # of layers that start from random values
    bias_multiplier: float  # of biases, in fresh layers too
    fresh_layers: tuple[str, ...]
    schedule: Schedule
    decay_every: int
    decay_factor: float
    warmup: int
    steps: int  # of the whole run


def learning_rate_at(settings: Optimisation) -> optax.Schedule:
    """Makes the learning rate a function of the step.

    Args:
      settings: "constant"; "step", Caffe's: times `decay_factor` after every `decay_every` steps; or
        "cosine", down to 0 at the run's end. Over the first `warmup` steps the rate rises linearly,
        the last of them being the first at the full rate.

    Returns:
      A function of the number of the step, from 0.

    Raises:
      ValueError: for an unknown schedule.
    """
    if settings.schedule not in get_args(Schedule):
        raise ValueError(
            f"schedule={settings.schedule!r} is unknown; choose one of {', '.join(get_args(Schedule))}"
        )
    rate = settings.learning_rate
    if settings.schedule == "step":
        after = optax.exponential_decay(
            rate, settings.decay_every, settings.decay_factor, staircase=True
        )
    elif settings.schedule == "cosine":
        after = optax.cosine_decay_schedule(rate, settings.steps)
    else:
        after = optax.constant_schedule(rate)
    if settings.warmup < 2:
        return after
    rise = optax.linear_schedule(rate / settings.warmup, rate, settings.warmup - 1)
    # The other schedules count from the run's start, warm-up or not.
    return lambda step: jax.numpy.where(step < settings.warmup, rise(step), after(step))


def sgd(settings: Optimisation) -> optax.GradientTransformation:
    """Builds SGD with Caffe's update: v <- m v + lr * multiplier * (g + decay * w), w <- w - v.

    Biases are not decayed. The rate enters before the momentum: after a step of the schedule the old
    velocity runs out at the old rate, as in Caffe.

    Args:
      settings: of the run.

    Returns:
      The optimiser.
    """

    def multiplier(layer: str, name: str) -> float:
        fresh = settings.fresh_multiplier if layer in settings.fresh_layers else 1.0
        return fresh * (settings.bias_multiplier if name == "bias" else 1.0)

    def multiply(
        updates: Params, state: optax.EmptyState, params: Params | None = None
    ) -> tuple[Params, optax.EmptyState]:
        del params
        scaled = {
            layer: {name: multiplier(layer, name) * update for name, update in values.items()}
            for layer, values in updates.items()
        }
        return scaled, state

    def kernels(params: Params) -> dict[str, dict[str, bool]]:
        return {
            layer: {name: name == "kernel" for name in values} for layer, values in params.items()
        }

    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay, mask=kernels),
        optax.GradientTransformation(lambda _: optax.EmptyState(), multiply),
        optax.scale_by_learning_rate(learning_rate_at(settings)),
        optax.trace(settings.momentum),
    )


def trained_part(params: Params, train_layers: TrainLayers) -> Params:
    """Returns the layers that `train_layers` names; ValueError for an unknown name."""
    if train_layers not in get_args(TrainLayers):
        raise ValueError(
            f"train_layers={train_layers!r} is unknown; choose one of {', '.join(get_args(TrainLayers))}"
        )
    return {name: params[name] for name in params if name in TRAINED[train_layers]}
