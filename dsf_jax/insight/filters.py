"""What the first layer's filters look for: their colour and orientation in numbers, and as images
(section 4.4 (c) and Fig. 7 of the paper).
"""

from typing import NamedTuple

import numpy as np

from dsf_jax.insight.similarity import Interval, bootstrap_interval
from dsf_jax.models.alexnet import TORCHVISION_STD_RGB, Variant, check_variant

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
    colour_before: Interval
    colour_after: Interval
    colour_change: Interval
    orientation_before: Interval
    orientation_after: Interval
    orientation_change: Interval


def filter_images(kernel: np.ndarray, *, variant: Variant) -> np.ndarray:
    """Turns the first layer's filters into pictures, as in Fig. 7.

    Args:
      kernel: [h, w, 3, k], conv1's.
      variant: whose it is; torchvision's is taken back to pixel units.

    Returns:
      [k, h, w, 3] uint8 RGB: 128 is a weight of 0, and each filter's largest weight 1 or 255.
    """
    filters = pixel_filters(kernel, variant=variant)
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    return np.rint(128 + 127 * filters / np.where(largest > 0, largest, 1.0)).astype(np.uint8)


def pixel_filters(kernel: np.ndarray, *, variant: Variant) -> np.ndarray:
    """Returns conv1's filters [k, h, w, 3] float64 as they weigh RGB pixels.

    Args:
      kernel: [h, w, 3, k].
      variant: Caffe's reads BGR; torchvision's reads RGB divided by 255 and its deviations.

    Raises:
      ValueError: for another shape or an unknown variant.
    """
    check_variant(variant)
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise ValueError(f"kernel is {list(kernel.shape)}, expected conv1's [h, w, 3, k]")
    filters = np.moveaxis(np.asarray(kernel, np.float64), -1, 0)
    if variant == "caffe":
        return filters[..., ::-1]
    return filters / (255 * TORCHVISION_STD_RGB.astype(np.float64).reshape(1, 1, 1, 3))


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
            "same network"
        )
    old, new = filter_statistics(before), filter_statistics(after)
    colour = (old.colour, new.colour, new.colour - old.colour)
    orientation = (old.orientation, new.orientation, new.orientation - old.orientation)
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    return FilterChange(float(moved), *map(bootstrap_interval, (*colour, *orientation)))


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
