"""What the first layer's filters look for: their colour and orientation in numbers, and as images
(section 4.4 (c) and Fig. 7 of the paper).
"""

from typing import NamedTuple

import numpy as np

from dsf_jax.evaluation.statistics import Measure, bootstrap
from dsf_jax.models.backbone import PixelFormat
from dsf_jax.models.model import Model

DRAWS = 10_000

SPECTRUM = 128  # samples per side of a filter's Fourier spectrum, by padding with zeros
WINDOW = 15  # degrees to both sides of a filter's orientation that count as it


class FilterStatistics(NamedTuple):
    """Statistics of k filters, [k] float64 each.

    Attributes:
      energy: sum of the squared weights, for input in pixel units.
      colour: fraction of the energy off the grey axis, 0 for a grey filter and 1 for one that does not
        answer to grey.
      orientation: fraction of the spectral energy, the mean left out, in the dominant 30 degrees; a
        filter without orientation has 1/6.
      angle: angle of the filter's stripes in degrees, 0 <= angle < 180: 0 lies, 90 stands, 45 rises to the
        right.
    """

    energy: np.ndarray
    colour: np.ndarray
    orientation: np.ndarray
    angle: np.ndarray


class FilterChange(NamedTuple):
    """The filters before and after fine-tuning; intervals are over filters.

    Attributes:
      moved: |after - before| / |before| of all weights together.
      colour_before, colour_after, colour_change: mean fraction of colour energy.
      orientation_before, orientation_after, orientation_change: mean fraction in the
        dominant orientation.
    """

    moved: float
    colour_before: Measure
    colour_after: Measure
    colour_change: Measure
    orientation_before: Measure
    orientation_after: Measure
    orientation_change: Measure


def first_kernel(model: Model) -> np.ndarray:
    """Returns the kernel of a network's first layer, [h, w, 3, k]."""
    return np.asarray(model.params[model.backbone.layers[0]]["kernel"])


def first_filters(model: Model) -> np.ndarray:
    """Returns the filters of a network's first layer as they weigh RGB pixels, [k, h, w, 3] float64."""
    return pixel_filters(first_kernel(model), model.backbone.pixels)


def pixel_filters(kernel: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    """Returns filters as they weigh RGB pixels.

    Args:
      kernel: [h, w, 3, k], of a first layer.
      pixels: form of the network's input: its channels' order, and what pixels are divided by.

    Returns:
      [k, h, w, 3] float64.

    Raises:
      ValueError: the kernel has another shape.
    """
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise ValueError(
            f"kernel is {list(kernel.shape)}, expected [h, w, 3, k]; name a backbone whose first layer "
            "is a convolution"
        )
    filters = np.moveaxis(np.asarray(kernel, np.float64), -1, 0)
    deviation = np.asarray(pixels.deviation, np.float32).astype(np.float64)
    return pixels.in_order(filters / (pixels.scale * deviation.reshape(1, 1, 1, 3)))


def filter_images(filters: np.ndarray) -> np.ndarray:
    """Turns filters into images, as in Fig. 7.

    Args:
      filters: [k, h, w, 3] of `pixel_filters`.

    Returns:
      [k, h, w, 3] uint8 RGB: 128 is a weight of 0, and each filter's largest weight 1 or 255.
    """
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    return np.rint(128 + 127 * filters / np.where(largest > 0, largest, 1.0)).astype(np.uint8)


def filters_mean(values: np.ndarray) -> Measure:
    """Returns the mean over filters, [k], with its bootstrap interval."""
    return bootstrap(values, np.arange(len(values)), draws=DRAWS)


def filter_statistics(filters: np.ndarray) -> FilterStatistics:
    """Measures colour and orientation of filters.

    Orientation is that of the Fourier spectrum, summed over channels: the window of 30 degrees, out
    of 180 a degree apart, that holds most energy, and the energy's mean direction within it. A
    stripe lies across its wave, hence the quarter turn between them.

    Args:
      filters: [k, h, w, 3] of `pixel_filters`.

    Returns:
      The statistics; a filter of zeros has fractions and angle 0.

    Raises:
      ValueError: for another shape.
    """
    if filters.ndim != 4 or filters.shape[-1] != 3:
        raise ValueError(f"filters are {list(filters.shape)}, expected [k, h, w, 3]")
    energy = np.sum(filters**2, axis=(1, 2, 3))
    # The projection on the unit vector (1, 1, 1) / sqrt(3) is the grey part.
    grey = np.sum(filters.sum(axis=-1) ** 2, axis=(1, 2)) / 3
    colour = np.where(energy > 0, 1 - grey / np.where(energy > 0, energy, 1.0), 0.0)
    orientation, angle = _orientations(filters)
    return FilterStatistics(energy, np.clip(colour, 0.0, 1.0), orientation, angle)


def filter_change(before: np.ndarray, after: np.ndarray) -> FilterChange:
    """Compares filters before and after fine-tuning, each with itself.

    Args:
      before: [k, h, w, 3] of `pixel_filters`.
      after: [k, h, w, 3], the same filters later.

    Returns:
      The comparison.

    Raises:
      ValueError: for different shapes.
    """
    if before.shape != after.shape:
        raise ValueError(
            f"filters are {list(before.shape)} before and {list(after.shape)} after: expected the "
            "same; compare a network with itself"
        )
    old, new = filter_statistics(before), filter_statistics(after)
    colour = (old.colour, new.colour, new.colour - old.colour)
    orientation = (old.orientation, new.orientation, new.orientation - old.orientation)
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    return FilterChange(float(moved), *map(filters_mean, (*colour, *orientation)))


def _round_window(height: int, width: int) -> np.ndarray:
    """[1, h, w, 1]: a raised cosine that falls to 0 half a pixel outside the inscribed circle."""
    down, right = (np.arange(n) - (n - 1) / 2 for n in (height, width))
    radius = np.hypot(down[:, None], right[None, :]) / ((min(height, width) + 1) / 2)
    return (np.cos(np.pi / 2 * np.minimum(radius, 1)) ** 2)[None, :, :, None]


def _orientations(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[k, h, w, 3] -> fraction of the dominant orientation and its angle, [k] each."""
    # Through a round window, as a square's sides have directions of their own; and with a mean of 0
    # in it, as constant filters have none.
    window = _round_window(*filters.shape[1:3])
    means = np.sum(filters * window, axis=(1, 2), keepdims=True) / window.sum()
    waves = (filters - means) * window
    spectrum = np.abs(np.fft.fft2(waves, s=(SPECTRUM, SPECTRUM), axes=(1, 2))) ** 2
    frequency = np.fft.fftfreq(SPECTRUM)
    down, right = frequency[:, None], frequency[None, :]
    # The disc of frequencies that every direction has, without the mean.
    radius = np.hypot(down, right)
    inside = (radius > 0) & (radius <= 0.5)
    power = spectrum.sum(axis=-1)[:, inside]
    # Rows count down, angles up; the stripe is a quarter turn from the wave.
    degrees = np.degrees(np.arctan2(-down, right))[inside] + 90
    away = (degrees - np.arange(180)[:, None] + 90) % 180 - 90
    held = power @ (np.abs(away) <= WINDOW).T
    best = held.argmax(axis=1)
    # The mean direction, over a range wide enough not to cut the energy off on one side.
    near = power * (np.abs(away) < 45)[best]
    # Rounding leaves a flat filter 1e-16 of its energy, which has no direction.
    oriented = power.sum(axis=1) > 1e-12 * SPECTRUM**2 * np.sum(filters**2, axis=(1, 2, 3))
    total, weight = (np.where(oriented, x.sum(axis=1), 1.0) for x in (power, near))
    share = held[np.arange(len(held)), best] / total
    angle = (best + np.sum(near * away[best], axis=1) / weight) % 180
    return np.where(oriented, share, 0.0), np.where(oriented, angle, 0.0)
