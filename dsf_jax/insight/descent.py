"""The search behind inversion: gradient descent with momentum on images, after Mahendran and Vedaldi,
"Understanding deep image representations by inverting them", CVPR 2015.

The image x that minimises

    |Phi(x) - Phi0|^2 / |Phi0|^2 + (lamTV / 2 sum(dx^2 + dy^2) + lamA / 2 sum(x^6)) / sigma^2

is sought from Gaussian noise. x holds pixel values less the network's mean colour, in the network's own
order of channels, whatever the backbone: what its input is divided by besides belongs to Phi, so that
one sigma, one set of weights and one learning rate serve all.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.models.model import Model

# Factors of the learning rate, and steps; the authors' schedule is 1 (100 steps), .1 (200) and .01 (100).
PHASES = ((1.0, 50), (0.3, 150), (0.1, 150), (0.01, 50))
# Values are cut at so many times the typical one: no picture's are as large (of a photo, 255 is 3.7
# times), but a first step from a layer as steep as fc8 can throw one so far that the step of x^6
# would throw it back farther still: beyond 7.7 times, at the authors' learning rate and momentum.
FARTHEST = 6.0
# Steps compiled into one scan, between two updates of the progress bar. XLA's CPU backend puts
# convolutions into the form it runs fast only outside of loops, so that a step in a loop takes twice
# the time: there a scan is written out step by step (of 1 step it would be a loop all the same), and
# short, as compiling it is what takes long.
LONGEST_BLOCK, LONGEST_BLOCK_ON_CPU = 25, 2


@dataclasses.dataclass(frozen=True)
class InversionConfig:
    """How images are sought; the defaults are the authors', but for lamTV and the phases.

    Attributes:
      restarts: number of times that each image is sought, from other noise; the best is kept.
      seed: seed of the noise.
      learning_rate: learning rate of the first phase.
      phases: (factor of the learning rate, steps), one after the other.
      momentum: factor in [0, 1); what was gathered is dropped where the learning rate changes.
      tv_weight: lamTV; None takes the backbone's for the layer.
      alpha_weight: lamA.
    """

    restarts: int = 1
    seed: int = 0
    learning_rate: float = 0.004
    phases: tuple[tuple[float, int], ...] = PHASES
    momentum: float = 0.9
    tv_weight: float | None = None
    alpha_weight: float = 8e-10


def phases_of(steps: int) -> tuple[tuple[float, int], ...]:
    """Returns the default phases, their steps made fewer or more in proportion.

    Args:
      steps: number of steps of all phases together.
    """
    factors, counts = zip(*PHASES, strict=True)
    ends = [round(steps * end / sum(counts)) for end in itertools.accumulate(counts)]
    lengths = [end - begin for begin, end in itertools.pairwise([0, *ends])]
    return tuple(zip(factors, lengths, strict=True))


class Objective(NamedTuple):
    """The numbers of the objective and of the descent, traced so that none is compiled again.

    Attributes:
      tv: lamTV.
      alpha: lamA, [] or [n].
      sigma: typical norm, [] or [n].
      momentum: factor in [0, 1).
    """

    tv: float
    alpha: float | jax.Array
    sigma: float | jax.Array
    momentum: float


class DescentState(NamedTuple):
    """The estimate and the velocity of each image, [n, h, w, 3]."""

    estimates: jax.Array
    velocities: jax.Array


def on_cpu() -> bool:
    """Returns whether computations run on a CPU."""
    return jax.default_backend() == "cpu"


class Schedule(NamedTuple):
    """The steps of a descent.

    Attributes:
      rates: [steps] float32, learning rate of each step.
      resets: [steps] bool, whether a step drops the momentum first.
      block: number of steps that are compiled into one loop, a divisor of the number of steps.
    """

    rates: np.ndarray
    resets: np.ndarray
    block: int

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields rates and resets block by block."""
        for first in range(0, len(self.rates), self.block):
            steps = slice(first, first + self.block)
            yield self.rates[steps], self.resets[steps]


def schedule(config: InversionConfig) -> Schedule:
    """Returns the steps of a descent; ValueError when there are none."""
    rates = np.concatenate(
        [np.full(steps, config.learning_rate * factor) for factor, steps in config.phases]
        or [np.zeros(0)]
    ).astype(np.float32)
    if not len(rates) or config.restarts < 1:
        raise ValueError(
            f"restarts={config.restarts} and phases of {len(rates)} steps in all: expected at least "
            "1 of each; raise them"
        )
    resets = np.diff(rates, prepend=np.float32(np.nan)) != 0
    # Blocks of one length, so that the loop is compiled once.
    longest = LONGEST_BLOCK_ON_CPU if on_cpu() else LONGEST_BLOCK
    block = max(n for n in range(1, longest + 1) if len(rates) % n == 0)
    return Schedule(rates, resets, block)


def _features(model: Model, estimates: jax.Array, layer: str) -> jax.Array:
    """[n, h, w, 3] mean-subtracted pixels -> [n, d] activations of one layer.

    The layers after it are dead code, which XLA drops: their cost is not paid.
    """
    divisors = jnp.asarray(model.backbone.pixels.divisors()).reshape(1, 1, 1, 3)
    _, activations = model.apply(estimates / divisors)
    return activations[layer].astype(jnp.float32).reshape(len(estimates), -1)


def energy(vectors: jax.Array) -> jax.Array:
    """Returns the squared norms [n] of vectors [n, d]."""
    return jnp.sum(vectors**2, axis=1)


def _relative_error(features: jax.Array, targets: jax.Array) -> jax.Array:
    """[n, d] and [n, d] -> [n]."""
    return energy(features - targets) / energy(targets)


@functools.partial(jax.jit, static_argnames=("layer",))
def relative_errors(
    model: Model, estimates: jax.Array, targets: jax.Array, layer: str
) -> jax.Array:
    """Computes |Phi(x) - Phi0|^2 / |Phi0|^2, [n].

    Args:
      model: network with its parameters.
      estimates: [n, h, w, 3], mean-subtracted pixels.
      targets: [n, d] activations sought.
      layer: name of the activation.
    """
    return _relative_error(_features(model, estimates, layer), targets)


def regulariser(
    estimates: jax.Array, *, tv: float | jax.Array, alpha: float | jax.Array
) -> jax.Array:
    """Weighs how little estimates look like images: lamTV / 2 sum(dx^2 + dy^2) + lamA / 2 sum(x^6).

    Args:
      estimates: [n, h, w, 3], mean-subtracted pixels.
      tv: lamTV, weight of the squared forward differences, which are zero at the border.
      alpha: lamA, weight that keeps values in range.

    Returns:
      [n].
    """
    chex.assert_rank(estimates, 4)
    axes = (1, 2, 3)
    variation = jnp.sum(jnp.diff(estimates, axis=1) ** 2, axes) + jnp.sum(
        jnp.diff(estimates, axis=2) ** 2, axes
    )
    return tv / 2 * variation + alpha / 2 * jnp.sum(estimates**6, axes)


@functools.partial(jax.jit, static_argnames=("layer",))
def descend(
    model: Model,
    state: DescentState,
    targets: jax.Array,
    rates: jax.Array,
    resets: jax.Array,
    objective: Objective,
    layer: str,
) -> tuple[DescentState, jax.Array]:
    """Takes the steps of one block.

    Args:
      model: network with its parameters.
      state: estimates and velocities before.
      targets: [n, d] activations sought.
      rates: [steps] learning rates.
      resets: [steps] whether the momentum is dropped first.
      objective: numbers of the objective.
      layer: name of the activation.

    Returns:
      The state after, and the errors before each step [steps, n].
    """

    def loss(estimates: jax.Array) -> tuple[jax.Array, jax.Array]:
        errors = _relative_error(_features(model, estimates, layer), targets)
        penalty = regulariser(estimates, tv=objective.tv, alpha=objective.alpha)
        # The gradient of the sum is each image's own: no image enters another's term.
        return jnp.sum(errors + penalty / objective.sigma**2), errors

    def step(
        state: DescentState, now: tuple[jax.Array, jax.Array]
    ) -> tuple[DescentState, jax.Array]:
        rate, reset = now
        gradient, errors = jax.grad(loss, has_aux=True)(state.estimates)
        kept = jnp.where(reset, 0.0, objective.momentum) * state.velocities
        scale = jnp.reshape(objective.sigma, (-1, 1, 1, 1))
        velocities = kept - rate * scale**2 * gradient
        limit = FARTHEST * scale / math.sqrt(gradient[0].size)
        return DescentState(
            jnp.clip(state.estimates + velocities, -limit, limit), velocities
        ), errors

    return jax.lax.scan(step, state, (rates, resets), unroll=on_cpu())
