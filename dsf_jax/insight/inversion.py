"""Images reconstructed from the activations of any layer (section 5 and Fig. 8 of the paper), by
the method of Mahendran and Vedaldi, "Understanding deep image representations by inverting them",
CVPR 2015; the search itself is `dsf_jax.insight.descent`.
"""

import math
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsf_jax.insight.activations import activations, check_layers
from dsf_jax.insight.descent import (
    DescentState,
    InversionConfig,
    Objective,
    Schedule,
    descend,
    energy,
    relative_errors,
    schedule,
)
from dsf_jax.models.model import Model

# The authors' typical norm of a mean-subtracted photo of 227 x 227 x 3 values.
SIGMA_227 = 27098.1157


class Reconstruction(NamedTuple):
    """What was found for b images, the best restart of each.

    Attributes:
      images: [b, h, w, 3] uint8 RGB, `raw` rounded and cut to 0..255.
      raw: [b, h, w, 3] float32 RGB in pixel units, not cut.
      errors: [b] float32, |Phi(x) - Phi0|^2 / |Phi0|^2 at the end.
      trajectories: [b, steps + 1] float32, the same from the noise to the end.
      restarts: [b] number of the restart that is shown.
      restart_errors: [b, restarts] float32, errors of all restarts at the end.
      energies: [b] float32, |Phi0|^2.
    """

    images: np.ndarray
    raw: np.ndarray
    errors: np.ndarray
    trajectories: np.ndarray
    restarts: np.ndarray
    restart_errors: np.ndarray
    energies: np.ndarray


def sigma(height: int, width: int) -> float:
    """Returns the typical norm of a mean-subtracted photo of this size.

    The authors give one of 227 x 227. The norm is sqrt(values) times the values' root mean square,
    which does not depend on the size, so it grows with the square root of the number of pixels.
    """
    return SIGMA_227 * math.sqrt(height * width) / 227


def typical_norm(model: Model, images: np.ndarray) -> float:
    """Measures the typical norm of images of one kind, for `invert`.

    Args:
      model: network whose mean colour is subtracted.
      images: [b, h, w] or [b, h, w, 3] uint8.

    Returns:
      The mean norm of the mean-subtracted images.
    """
    pixels = model.backbone.pixels
    colour = pixels.in_order(pixels.mean_colour())
    rgb = _check_images(images).astype(np.float32)
    return float(np.mean([np.linalg.norm(image - colour[None, None]) for image in rgb]))


def invert(
    model: Model,
    images: np.ndarray,
    *,
    layer: str,
    norms: float | np.ndarray | None = None,
    config: InversionConfig | None = None,
    label: str = "inversion",
) -> Reconstruction:
    """Reconstructs images from one layer's activations, all at once, with a progress bar.

    An image's noise depends on the seed, the restart and its own pixels only, and its objective on
    itself only: the result does not depend (except for rounding) on what else is in the batch.

    Args:
      model: network with its parameters.
      images: [b, h, w] grey or [b, h, w, 3] RGB, uint8, of a size the parameters are for.
      layer: any name among the network's activations.
      norms: [] or [b], the typical norm of images of each one's kind (`typical_norm`); None takes
        that of photos. Drawings on white lie further from the mean colour, and the weights of photos
        would make them grey.
      config: how they are sought; None takes the defaults.
      label: label of the progress bar.

    Returns:
      The reconstructions.

    Raises:
      ValueError: an unknown layer; no images, or not uint8 of rank 3 or 4; no restarts or steps; a
        layer that is all zero for an image; an image for which every restart diverged.
    """
    config = config or InversionConfig()
    rgb = _check_images(images)
    check_layers(model, (layer,), size=rgb.shape[1])
    steps = schedule(config)
    model = jax.tree.map(jnp.asarray, model)  # once, not at every block
    targets = _target(model, np.repeat(rgb, config.restarts, axis=0), layer)
    energies = _checked_energies(targets, config.restarts, layer)
    photo = sigma(*rgb.shape[1:3])
    scales = np.broadcast_to(photo if norms is None else norms, len(rgb)).astype(np.float32)
    noise = jnp.asarray(first_noise(rgb, config, scales))
    objective = _objective(model, layer, config, np.repeat(scales, config.restarts), photo)
    found, trajectories = _descended(model, noise, targets, steps, objective, layer, label)
    return _best(np.asarray(_pixels(model, found)), trajectories, energies, config.restarts, layer)


def _descended(
    model: Model,
    noise: jax.Array,
    targets: jax.Array,
    steps: Schedule,
    objective: Objective,
    layer: str,
    label: str,
) -> tuple[jax.Array, np.ndarray]:
    """Takes all steps, with a progress bar: the estimates [n, h, w, 3], and the errors [n, steps + 1]."""
    state = DescentState(noise, jnp.zeros_like(noise))
    errors = []
    with tqdm(total=len(steps.rates), unit="step", desc=f"{label} {layer}") as bar:
        for rates, resets in steps.blocks():
            state, before = descend(model, state, targets, rates, resets, objective, layer)
            errors.append(np.asarray(before))
            bar.update(len(rates))
            bar.set_postfix(error=f"{np.mean(errors[-1][-1]):.4f}", refresh=False)
    errors.append(np.asarray(relative_errors(model, state.estimates, targets, layer))[None])
    return state.estimates, np.concatenate(errors).T


def _checked_energies(targets: jax.Array, restarts: int, layer: str) -> np.ndarray:
    """Returns |Phi0|^2 of all targets; ValueError for images that a layer does not answer to."""
    energies = np.asarray(energy(targets))
    if zero := sorted({int(i) // restarts for i in np.flatnonzero(energies == 0)}):
        raise ValueError(
            f"images {zero} give only zeros in layer={layer!r}: nothing to reconstruct them from; "
            "choose a layer nearer the input, or omit them"
        )
    return energies


def _objective(
    model: Model, layer: str, config: InversionConfig, scales: np.ndarray, photo: float
) -> Objective:
    """Weighs the objective for images of these typical norms, [n]; `photo` is that of photos."""
    tv = model.backbone.tv_weight(layer) if config.tv_weight is None else config.tv_weight
    # Against sigma^2, x^6 weighs the fourth power of the scale: as much for any kind as for photos.
    alpha = config.alpha_weight * (photo / scales) ** 4
    return Objective(tv, jnp.asarray(alpha), jnp.asarray(scales), config.momentum)


def mean_distance(model: Model, images: np.ndarray, *, layer: str) -> float:
    """Measures how far apart the activations of images lie: the unit of the errors, as in the authors'
    table.

    Args:
      model: network with its parameters.
      images: [b, h, w] or [b, h, w, 3] uint8; the authors take 100 photos.
      layer: a name among the network's activations.

    Returns:
      The mean of |Phi_i - Phi_j| over all ordered pairs, an image with itself among them, which makes
      it 1 % smaller with 100 images.

    Raises:
      ValueError: as `invert`.
    """
    rgb = _check_images(images)
    check_layers(model, (layer,), size=rgb.shape[1])
    vectors = np.concatenate([np.asarray(_target(model, image[None], layer)) for image in rgb])
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
      raw: [b, h, w, 3] pixels of a `Reconstruction`.

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
            "uint8 with b > 0; convert them"
        )
    return images if colour else np.repeat(images[..., None], 3, axis=-1)


def first_noise(rgb: np.ndarray, config: InversionConfig, scales: np.ndarray) -> np.ndarray:
    """Draws the noise that `invert` starts from, one key per image and restart: it comes from the image's
    own pixels and not its place in the batch.

    Args:
      rgb: [b, h, w, 3] uint8.
      config: configuration with the seed and the number of restarts.
      scales: [b] norms of the noise.

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


def _target(model: Model, rgb: np.ndarray, layer: str) -> jax.Array:
    """[n, h, w, 3] uint8 -> Phi0 [n, d]."""
    return activations(model, rgb, (layer,))[layer].reshape(len(rgb), -1)


def _pixels(model: Model, estimates: jax.Array) -> jax.Array:
    """[n, h, w, 3] mean-subtracted pixels in the network's order -> RGB pixels."""
    pixels = model.backbone.pixels
    return pixels.in_order(estimates + jnp.asarray(pixels.mean_colour()).reshape(1, 1, 1, 3))


def _best(
    raw: np.ndarray, trajectories: np.ndarray, energies: np.ndarray, restarts: int, layer: str
) -> Reconstruction:
    """Keeps the restart of each image with the least error at the end; diverged ones lose."""
    final = trajectories[:, -1].reshape(-1, restarts)
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
        trajectories=trajectories[rows],
        restarts=chosen,
        restart_errors=final,
        energies=energies[rows],
    )
