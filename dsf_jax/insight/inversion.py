"""Images reconstructed from the activations of any layer (section 5 and Fig. 8 of the paper), by
the method of Mahendran and Vedaldi, "Understanding deep image representations by inverting them",
CVPR 2015.

The image x that minimises

    |Phi(x) - Phi0|^2 / |Phi0|^2 + (lamTV / 2 sum(dx^2 + dy^2) + lamA / 2 sum(x^6)) / sigma^2

is sought by gradient descent with momentum from Gaussian noise. x holds pixel values less the
network's mean colour, in the network's own order of channels, for both variants: what torchvision's
network divides by besides (255 and its deviations) belongs to Phi, so that one sigma, one set of
weights and one learning rate serve both.
"""

import dataclasses
import functools
import itertools
import math
import zlib
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsf_jax.models.alexnet import (
    CAFFE_MEAN_BGR,
    TORCHVISION_MEAN_RGB,
    TORCHVISION_STD_RGB,
    AlexNet,
    Params,
    Variant,
    preprocess,
)

# The authors' typical norm of a mean-subtracted photo of 227 x 227 x 3 values: 68.9 a value.
SIGMA_227 = 27098.1157
# Edges are smoothed the more, the less of them a layer knows. The authors' weights are 1, 10 and 100,
# for CaffeNet; with .4 times these, and PHASES for their course of 1 (100 steps), .1 (200) and .01 (100),
# AlexNet's errors are as low as theirs (BUILD_NOTES.md, "Insight").
TV_WEIGHTS = dict.fromkeys(("conv1", "relu1", "norm1", "pool1", "conv2", "relu2"), 0.4) | (
    dict.fromkeys(("norm2", "pool2", "conv3", "relu3", "conv4", "relu4"), 4.0)
)
DEEP_TV_WEIGHT = 40.0  # of conv5 and all after it
PHASES = ((1.0, 50), (0.3, 150), (0.1, 150), (0.01, 50))  # factors of the learning rate, and steps
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
      restarts: times that each image is sought, from other noise; the best is kept.
      seed: of the noise.
      learning_rate: of the first phase.
      phases: (factor of the learning rate, steps), one after the other.
      momentum: in [0, 1); what was gathered is dropped where the learning rate changes.
      tv_weight: lamTV; None takes the layer's own (`tv_weight`).
      alpha_weight: lamA.
    """

    restarts: int = 1
    seed: int = 0
    learning_rate: float = 0.004
    phases: tuple[tuple[float, int], ...] = PHASES
    momentum: float = 0.9
    tv_weight: float | None = None
    alpha_weight: float = 8e-10


class Reconstruction(NamedTuple):
    """What was found for b images, of each the best restart.

    Attributes:
      images: [b, h, w, 3] uint8 RGB, `raw` rounded and cut to 0..255.
      raw: [b, h, w, 3] float32 RGB in pixel units, not cut.
      errors: [b] float32, |Phi(x) - Phi0|^2 / |Phi0|^2 at the end.
      courses: [b, steps + 1] float32, the same from the noise to the end.
      restarts: [b] which restart is shown.
      restart_errors: [b, restarts] float32, of all of them at the end.
      energies: [b] float32, |Phi0|^2.
    """

    images: np.ndarray
    raw: np.ndarray
    errors: np.ndarray
    courses: np.ndarray
    restarts: np.ndarray
    restart_errors: np.ndarray
    energies: np.ndarray


class _State(NamedTuple):
    """Of each image its estimate and its velocity, [n, h, w, 3]."""

    estimates: jax.Array
    velocities: jax.Array


class _Weights(NamedTuple):
    """The numbers of the objective and of the descent, traced so that none compiles anew."""

    tv: float
    alpha: float | jax.Array  # or [n]
    sigma: float | jax.Array  # or [n]
    momentum: float


def phases_of(steps: int) -> tuple[tuple[float, int], ...]:
    """Returns the default phases, their steps made fewer or more in proportion.

    Args:
      steps: number of steps of all phases together.
    """
    factors, counts = zip(*PHASES, strict=True)
    ends = [round(steps * end / sum(counts)) for end in itertools.accumulate(counts)]
    lengths = [end - begin for begin, end in itertools.pairwise([0, *ends])]
    return tuple(zip(factors, lengths, strict=True))


def sigma(height: int, width: int) -> float:
    """Returns the typical norm of a mean-subtracted photo of this size.

    The authors give one of 227 x 227. The norm is sqrt(values) times the values' root mean square,
    which does not depend on the size, so it grows with the square root of the number of pixels.
    """
    return SIGMA_227 * math.sqrt(height * width) / 227


def typical_norm(images: np.ndarray, *, variant: Variant) -> float:
    """Measures the typical norm of images of one kind, for `invert`.

    Args:
      images: [b, h, w] or [b, h, w, 3] uint8.
      variant: whose mean colour is subtracted.

    Returns:
      The mean norm of the mean-subtracted images.
    """
    mean, _ = _affine(variant)
    colour = mean[::-1] if variant == "caffe" else mean
    rgb = _check_images(images).astype(np.float32)
    return float(np.mean([np.linalg.norm(image - colour[None, None]) for image in rgb]))


def tv_weight(layer: str) -> float:
    """Returns the weight of the total variation for a layer.

    The authors' network pools before it normalises; norm1 and norm2 count here with the pools beside
    them.
    """
    return TV_WEIGHTS.get(layer, DEEP_TV_WEIGHT)


def invert(
    model: AlexNet,
    params: Params,
    images: np.ndarray,
    *,
    layer: str,
    norms: float | np.ndarray | None = None,
    config: InversionConfig | None = None,
    label: str = "inversion",
) -> Reconstruction:
    """Reconstructs images from one layer's activations, all at once, with a progress bar.

    An image's noise depends on the seed, the restart and its own pixels alone, and its objective on
    itself alone: the result does not depend (but for rounding) on what else is in the batch.

    Args:
      model: the network.
      params: its parameters.
      images: [b, h, w] grey or [b, h, w, 3] RGB, uint8, of a size the parameters are for.
      layer: any name among the network's activations, e.g. conv1, pool5 or fc8.
      norms: [] or [b], the typical norm of images of each one's kind (`typical_norm`); None takes
        that of photos. Drawings on white lie further from the mean colour, and the weights of photos
        would make them grey.
      config: how they are sought; None takes the defaults.
      label: of the progress bar.

    Returns:
      The reconstructions.

    Raises:
      ValueError: an unknown layer; no images, or not uint8 of rank 3 or 4; no restarts or steps; a
        layer that is all zero for an image; an image for which every restart diverged.
    """
    config = config or InversionConfig()
    rgb = _check_images(images)
    _check_layer(model, params, rgb.shape[1:], layer)
    rates, resets, block = _schedule(config)
    params = jax.tree.map(jnp.asarray, params)  # once, not at every block

    originals = np.repeat(rgb, config.restarts, axis=0)
    targets = _target(model, params, jnp.asarray(originals), layer)
    energies = np.asarray(_energy(targets))
    if zero := sorted({int(i) // config.restarts for i in np.flatnonzero(energies == 0)}):
        raise ValueError(
            f"images {zero} give only zeros in layer={layer!r}: nothing to reconstruct them from; "
            "choose a layer nearer the input, or leave them out"
        )
    height, width = rgb.shape[1:3]
    photo = sigma(height, width)
    scales = np.broadcast_to(photo if norms is None else norms, len(rgb)).astype(np.float32)
    tv = tv_weight(layer) if config.tv_weight is None else config.tv_weight
    noise = jnp.asarray(first_noise(rgb, config, scales))
    scales = np.repeat(scales, config.restarts)
    # Against sigma^2, x^6 weighs the fourth power of the scale: as much for any kind as for photos.
    alpha = config.alpha_weight * (photo / scales) ** 4
    weights = _Weights(tv, jnp.asarray(alpha), jnp.asarray(scales), config.momentum)
    state = _State(noise, jnp.zeros_like(noise))

    courses = []
    with tqdm(total=len(rates), unit="step", desc=f"{label} {layer}") as bar:
        for first in range(0, len(rates), block):
            steps = slice(first, first + block)
            state, errors = _descend(
                model, params, state, targets, rates[steps], resets[steps], weights, layer
            )
            courses.append(np.asarray(errors))
            bar.update(block)
            bar.set_postfix(error=f"{np.mean(courses[-1][-1]):.4f}", refresh=False)
    courses.append(np.asarray(_errors(model, params, state.estimates, targets, layer))[None])
    raw = np.asarray(_pixels(state.estimates, model.variant))
    return _best(raw, np.concatenate(courses).T, energies, config.restarts, layer)


def mean_distance(model: AlexNet, params: Params, images: np.ndarray, *, layer: str) -> float:
    """Measures how far apart the activations of images lie: the unit of the errors, as in the authors'
    table.

    Args:
      model: the network.
      params: its parameters.
      images: [b, h, w] or [b, h, w, 3] uint8; the authors take 100 photos.
      layer: a name among the network's activations.

    Returns:
      The mean of |Phi_i - Phi_j| over all ordered pairs, an image with itself among them, which makes
      it 1 % smaller with 100 images.

    Raises:
      ValueError: as `invert`.
    """
    rgb = _check_images(images)
    _check_layer(model, params, rgb.shape[1:], layer)
    vectors = np.concatenate(
        [np.asarray(_target(model, params, jnp.asarray(image[None]), layer)) for image in rgb]
    )
    return float(np.mean([np.linalg.norm(vectors - vector, axis=1) for vector in vectors]))


def normalised_errors(found: Reconstruction, distance: float | np.ndarray) -> np.ndarray:
    """Returns errors in the unit of the authors' table: |Phi(x) - Phi0| over `mean_distance`, [b];
    `distance` is one for all images or one for each, [b].
    """
    return np.sqrt(found.errors * found.energies) / distance


def stretched(raw: np.ndarray) -> np.ndarray:
    """Spreads each reconstruction's own range over 0..255, as the authors show theirs.

    The deeper the layer, the less contrast a reconstruction has: the smoothing takes what the layer
    does not hold on to.

    Args:
      raw: [b, h, w, 3] of a `Reconstruction`.

    Returns:
      [b, h, w, 3] uint8.
    """
    low, high = (f(raw, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return np.rint(255 * (raw - low) / np.where(high > low, high - low, 1.0)).astype(np.uint8)


def _check_images(images: np.ndarray) -> np.ndarray:
    """[b, h, w] or [b, h, w, 3] uint8 -> [b, h, w, 3]."""
    colour = images.ndim == 4 and images.shape[-1] == 3
    if not (colour or images.ndim == 3) or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"images are {list(images.shape)} {images.dtype}, expected [b, h, w] or [b, h, w, 3] "
            "uint8 with b > 0"
        )
    return images if colour else np.repeat(images[..., None], 3, axis=-1)


def _check_layer(model: AlexNet, params: Params, shape: tuple[int, ...], layer: str) -> None:
    inputs = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    _, activations = jax.eval_shape(lambda x: model.apply({"params": params}, x), inputs)
    if layer not in activations:
        raise ValueError(f"layer={layer!r} is unknown; choose one of {', '.join(activations)}")


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _schedule(config: InversionConfig) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns each step's learning rate and whether it drops the momentum first, both [steps]; and
    the steps of a block.
    """
    rates = np.concatenate(
        [np.full(steps, config.learning_rate * factor) for factor, steps in config.phases]
        or [np.zeros(0)]
    ).astype(np.float32)
    if not len(rates) or config.restarts < 1:
        raise ValueError(
            f"restarts={config.restarts} and phases of {len(rates)} steps in all: expected at least "
            "1 of each"
        )
    resets = np.diff(rates, prepend=np.float32(np.nan)) != 0
    # Blocks of one length, so that the loop is compiled once.
    longest = LONGEST_BLOCK_ON_CPU if _on_cpu() else LONGEST_BLOCK
    block = max(n for n in range(1, longest + 1) if len(rates) % n == 0)
    return rates, resets, block


def first_noise(rgb: np.ndarray, config: InversionConfig, scales: np.ndarray) -> np.ndarray:
    """Draws the noise that `invert` starts from, one key an image and restart: it comes from the image's
    own pixels and not its place in the batch.

    Args:
      rgb: [b, h, w, 3] uint8.
      config: with the seed and the number of restarts.
      scales: [b], the norms of the noise.

    Returns:
      [b * restarts, h, w, 3] float32.
    """
    draws = []
    for image, scale in zip(rgb, scales, strict=True):
        own = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(image.tobytes()))
        for restart in range(config.restarts):
            values = jax.random.normal(jax.random.fold_in(own, restart), image.shape)
            draws.append(np.asarray(values * (scale / jnp.linalg.norm(values))))
    return np.stack(draws)


def _affine(variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour in pixel units, [3], and what the network divides mean-subtracted pixels by, [3]."""
    if variant == "caffe":
        return CAFFE_MEAN_BGR, np.ones(3, np.float32)
    return 255 * TORCHVISION_MEAN_RGB, 255 * TORCHVISION_STD_RGB


def _features(model: AlexNet, params: Params, estimates: jax.Array, layer: str) -> jax.Array:
    """[n, h, w, 3] mean-subtracted pixels -> [n, d] activations of one layer.

    The layers after it are dead code, which XLA drops: their cost is not paid.
    """
    _, divisors = _affine(model.variant)
    inputs = estimates / jnp.asarray(divisors).reshape(1, 1, 1, 3)
    _, activations = model.apply({"params": params}, inputs)
    return activations[layer].astype(jnp.float32).reshape(len(estimates), -1)


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _target(model: AlexNet, params: Params, rgb: jax.Array, layer: str) -> jax.Array:
    """[n, h, w, 3] uint8 -> Phi0 [n, d]."""
    _, activations = model.apply({"params": params}, preprocess(rgb, variant=model.variant))
    return activations[layer].astype(jnp.float32).reshape(len(rgb), -1)


def _energy(vectors: jax.Array) -> jax.Array:
    """[n, d] -> [n] squared norms."""
    return jnp.sum(vectors**2, axis=1)


def _relative_error(features: jax.Array, targets: jax.Array) -> jax.Array:
    """[n, d] and [n, d] -> [n]."""
    return _energy(features - targets) / _energy(targets)


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _errors(
    model: AlexNet, params: Params, estimates: jax.Array, targets: jax.Array, layer: str
) -> jax.Array:
    return _relative_error(_features(model, params, estimates, layer), targets)


def regulariser(
    estimates: jax.Array, *, tv: float | jax.Array, alpha: float | jax.Array
) -> jax.Array:
    """Weighs how little estimates look like images: lamTV / 2 sum(dx^2 + dy^2) + lamA / 2 sum(x^6).

    Args:
      estimates: [n, h, w, 3], mean-subtracted pixels.
      tv: lamTV, of the squared forward differences, which are zero at the border.
      alpha: lamA, which keeps values in range.

    Returns:
      [n].
    """
    chex.assert_rank(estimates, 4)
    axes = (1, 2, 3)
    variation = jnp.sum(jnp.diff(estimates, axis=1) ** 2, axes) + jnp.sum(
        jnp.diff(estimates, axis=2) ** 2, axes
    )
    return tv / 2 * variation + alpha / 2 * jnp.sum(estimates**6, axes)


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _descend(
    model: AlexNet,
    params: Params,
    state: _State,
    targets: jax.Array,
    rates: jax.Array,
    resets: jax.Array,
    weights: _Weights,
    layer: str,
) -> tuple[_State, jax.Array]:
    """Takes the steps of one block: the new state, and the errors before each step [steps, n]."""

    def objective(estimates: jax.Array) -> tuple[jax.Array, jax.Array]:
        errors = _relative_error(_features(model, params, estimates, layer), targets)
        penalty = regulariser(estimates, tv=weights.tv, alpha=weights.alpha)
        # The gradient of the sum is each image's own: no image enters another's term.
        return jnp.sum(errors + penalty / weights.sigma**2), errors

    def step(state: _State, now: tuple[jax.Array, jax.Array]) -> tuple[_State, jax.Array]:
        rate, reset = now
        gradient, errors = jax.grad(objective, has_aux=True)(state.estimates)
        kept = jnp.where(reset, 0.0, weights.momentum) * state.velocities
        scale = jnp.reshape(weights.sigma, (-1, 1, 1, 1))
        velocities = kept - rate * scale**2 * gradient
        limit = FARTHEST * scale / math.sqrt(gradient[0].size)
        return _State(jnp.clip(state.estimates + velocities, -limit, limit), velocities), errors

    return jax.lax.scan(step, state, (rates, resets), unroll=_on_cpu())


def _pixels(estimates: jax.Array, variant: Variant) -> jax.Array:
    """[n, h, w, 3] mean-subtracted pixels in the network's order -> RGB pixels."""
    mean, _ = _affine(variant)
    pixels = estimates + jnp.asarray(mean).reshape(1, 1, 1, 3)
    return pixels[..., ::-1] if variant == "caffe" else pixels


def _best(
    raw: np.ndarray, courses: np.ndarray, energies: np.ndarray, restarts: int, layer: str
) -> Reconstruction:
    """Keeps of each image's restarts the one with the least error at the end; diverged ones lose."""
    final = courses[:, -1].reshape(-1, restarts)
    ranked = np.where(np.isfinite(final), final, np.inf)
    if lost := np.flatnonzero(np.isinf(ranked).all(axis=1)).tolist():
        raise ValueError(
            f"images {lost} diverged from layer={layer!r} in all {restarts} restarts; give a lower "
            "learning_rate"
        )
    chosen = ranked.argmin(axis=1)
    rows = np.arange(len(final)) * restarts + chosen
    return Reconstruction(
        images=np.clip(np.rint(raw[rows]), 0, 255).astype(np.uint8),
        raw=raw[rows],
        errors=final[np.arange(len(final)), chosen],
        courses=courses[rows],
        restarts=chosen,
        restart_errors=final,
        energies=energies[rows],
    )
