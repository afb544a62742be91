"""What the layers answer to a sketch and a photo, and what the first layer's filters look for
(section 4.4 (c), Figs. 6 and 7 of the paper).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsf_jax.models.alexnet import (
    TORCHVISION_STD_RGB,
    AlexNet,
    Params,
    Variant,
    check_variant,
    preprocess,
)

# Caffe computes ReLU in place, so its blobs conv1 to conv5, which Fig. 6 shows, hold values after it.
SHOWN_LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")
SPECTRUM = 128  # samples a side of a filter's Fourier spectrum, by padding with zeros
WINDOW = 15  # degrees to both sides of a filter's orientation that count as it


class Interval(NamedTuple):
    """A mean and its bootstrap interval."""

    mean: float
    low: float
    high: float


class PairSimilarity(NamedTuple):
    """Of n sketches the similarity with a photo of their own class and with one of another, [n] each."""

    same: np.ndarray
    different: np.ndarray


class SimilarityChange(NamedTuple):
    """One layer before and after fine-tuning, on the same pairs.

    Attributes:
      layer: its name.
      same_before, same_after: similarity of pairs of one class.
      gap_before, gap_after: by how much it exceeds that of pairs of two classes.
      gap_change: gap_after - gap_before, pair by pair.
    """

    layer: str
    same_before: Interval
    same_after: Interval
    gap_before: Interval
    gap_after: Interval
    gap_change: Interval


class SharedMaps(NamedTuple):
    """The channels that a sketch and a photo share most.

    Attributes:
      channels: [m] their numbers, strongest first.
      sketch, photo: [m, h, w] uint8, 0 for 0 and 255 for the map's own maximum.
    """

    channels: np.ndarray
    sketch: np.ndarray
    photo: np.ndarray


class FilterStatistics(NamedTuple):
    """Of k filters, [k] float64 each.

    Attributes:
      energy: sum of the squared weights, for input in pixel units.
      colour: share of the energy off the grey axis, 0 for a grey filter and 1 for one that does not
        answer to grey.
      orientation: share of the spectral energy, the mean left out, in the dominant 30 degrees; a
        filter without orientation has 1/6.
      angle: of the filter's stripes in degrees, 0 <= angle < 180: 0 lies, 90 stands, 45 rises to the
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
      colour_before, colour_after, colour_change: mean share of colour energy.
      orientation_before, orientation_after, orientation_change: mean share in the dominant
        orientation.
    """

    moved: float
    colour_before: Interval
    colour_after: Interval
    colour_change: Interval
    orientation_before: Interval
    orientation_after: Interval
    orientation_change: Interval


def bootstrap_interval(
    values: np.ndarray,
    groups: Sequence[object] | np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Finds a mean's percentile bootstrap interval.

    Args:
      values: [n].
      groups: [n] what each value belongs to, e.g. its class. Whole groups are drawn, as values of one
        group are not independent; None draws values.
      confidence: of the interval.
      resamples: times that the groups are drawn.
      seed: of the draws.

    Returns:
      The mean of all values and the interval.

    Raises:
      ValueError: no values, or not as many groups as values.
    """
    values = np.asarray(values, np.float64)
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    if values.ndim != 1 or not len(values) or labels.shape != values.shape:
        raise ValueError(
            f"values are {list(values.shape)} and groups {list(labels.shape)}, expected [n] both "
            "with n > 0"
        )
    _, group = np.unique(labels, return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    # How often each group is drawn: [resamples, groups].
    drawn = np.random.default_rng(seed).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=resamples
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def other_class(classes: Sequence[object] | np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Gives every pair the place of one of another class, each place once.

    With the pairs sorted by class, classes and the pairs in them shuffled, a turn by the size of the
    largest class leaves no pair in its own class, where no class holds more than half of the pairs.

    Args:
      classes: [n].
      seed: of the shuffle.

    Returns:
      [n] a permutation without fixed classes.

    Raises:
      ValueError: where a class holds more than half of the pairs.
    """
    _, group = np.unique(np.asarray(classes), return_inverse=True)
    rng = np.random.default_rng(seed)
    shuffled, rank = rng.permutation(len(group)), rng.permutation(len(group))
    order = shuffled[np.argsort(rank[group[shuffled]], kind="stable")]
    largest = int(np.bincount(group).max()) if len(group) else 0
    if not len(group) or 2 * largest > len(group):
        raise ValueError(
            f"a class holds {largest} of {len(group)} pairs, expected at most half: pairs of two "
            "classes are the baseline; add pairs of other classes"
        )
    partners = np.empty_like(order)
    partners[order] = np.roll(order, -largest)
    return partners


def pair_similarities(
    model: AlexNet,
    params: Params,
    sketches: np.ndarray,
    photos: np.ndarray,
    classes: Sequence[object] | np.ndarray,
    *,
    layers: tuple[str, ...] = SHOWN_LAYERS,
    centred: bool = False,
    batch_size: int = 16,
    seed: int = 0,
    label: str = "similarity",
) -> dict[str, PairSimilarity]:
    """Measures how alike a sketch and a photo look to each layer, pair by pair.

    The similarity is the cosine of the two whole activations, place by place and channel by channel.
    As values after ReLU are never negative, unrelated activations are alike too: pairs of two
    classes are the baseline. The same pairs are drawn for every network.

    Args:
      model: the network.
      params: its parameters.
      sketches: [n, h, w] or [n, h, w, 3] uint8.
      photos: [n, h, w, 3] uint8, of the sketches' classes.
      classes: [n] of the pairs.
      layers: names among the network's activations.
      centred: take the mean activation of all sketches off each sketch's, and that of all photos off
        each photo's: what is left tells one image from the others of its kind.
      batch_size: pairs at a time.
      seed: of the pairs of two classes.
      label: of the progress bar.

    Returns:
      {layer: similarities}.

    Raises:
      ValueError: an unknown layer; not as many sketches, photos and classes; a class with more than
        half of the pairs.
    """
    count = len(sketches)
    if not count == len(photos) == len(classes):
        raise ValueError(
            f"{count} sketches, {len(photos)} photos and {len(classes)} classes: expected as many of "
            "each"
        )
    others = other_class(classes, seed=seed)
    check_layers(model, params, photos, layers)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {layer: [] for layer in layers}
    with tqdm(total=count * (2 if centred else 1), unit="pair", desc=label) as bar:
        centres = None
        if centred:
            sums = []
            for images in (sketches, photos):
                sums.append(_centre(model, params, images, layers, batch_size))
                bar.update(count / 2)
            centres = (sums[0], sums[1])
        for first in range(0, count, batch_size):
            # The last batch is filled up with its own last pair: one shape, one compilation.
            rows = np.minimum(np.arange(first, first + batch_size), count - 1)
            cosines = _cosines(
                model, params, sketches[rows], photos[rows], photos[others[rows]], centres, layers
            )
            real = min(batch_size, count - first)
            for layer, (same, different) in cosines.items():
                found[layer].append((np.asarray(same)[:real], np.asarray(different)[:real]))
            bar.update(real)
    return {
        layer: PairSimilarity(*(np.concatenate(part) for part in zip(*blocks, strict=True)))
        for layer, blocks in found.items()
    }


def similarity_changes(
    before: Mapping[str, PairSimilarity],
    after: Mapping[str, PairSimilarity],
    classes: Sequence[object] | np.ndarray,
) -> list[SimilarityChange]:
    """Compares two networks on the same pairs, layer by layer.

    Args:
      before: of `pair_similarities`.
      after: the same layers, from the same pairs and seed.
      classes: [n] of the pairs; intervals draw whole classes.

    Returns:
      One record a layer.

    Raises:
      ValueError: for different layers.
    """
    if list(before) != list(after):
        raise ValueError(
            f"layers {', '.join(before)} before and {', '.join(after)} after: expected the same"
        )
    changes = []
    for layer, old in before.items():
        new = after[layer]
        gaps = old.same - old.different, new.same - new.different
        values = (old.same, new.same, *gaps, gaps[1] - gaps[0])
        changes.append(SimilarityChange(layer, *(bootstrap_interval(v, classes) for v in values)))
    return changes


def shared_maps(
    model: AlexNet,
    params: Params,
    sketch: np.ndarray,
    photo: np.ndarray,
    *,
    layers: tuple[str, ...] = SHOWN_LAYERS,
    count: int = 16,
) -> dict[str, SharedMaps]:
    """Picks the maps of Fig. 6: the channels that answer most to both a sketch and a photo.

    A channel's strength is the product of its mean positive answer to either, each image's answers
    in its own proportion, so that a channel which only one of them drives is not picked.

    Args:
      model: the network.
      params: its parameters.
      sketch: [h, w] or [h, w, 3] uint8.
      photo: [h, w, 3] uint8.
      layers: convolutional ones; negative values are shown as 0.
      count: m, at most a layer's channels.

    Returns:
      {layer: maps}.

    Raises:
      ValueError: an unknown layer, one without maps, or more maps than it has.
    """
    check_layers(model, params, photo[None], layers)
    drawn = np.broadcast_to(sketch if sketch.ndim == 3 else sketch[..., None], photo.shape)
    both = _activations(model, params, jnp.asarray(np.stack([drawn, photo])), layers)
    return {layer: _shared(np.asarray(both[layer]), layer, count) for layer in layers}


def _shared(answers: np.ndarray, layer: str, count: int) -> SharedMaps:
    """Picks the maps of one layer from its answers to sketch and photo, [2, h, w, c]."""
    if answers.ndim != 4 or not 0 < count <= answers.shape[-1]:
        raise ValueError(
            f"layer={layer!r} is {list(answers.shape[1:])}, expected [h, w, c] with at least "
            f"count={count} channels; choose a convolutional layer and fewer maps"
        )
    positive = np.maximum(answers, 0.0)
    strength = np.prod(positive.mean(axis=(1, 2)), axis=0)
    channels = np.argsort(-strength, kind="stable")[:count]
    return SharedMaps(channels, *(_as_bytes(maps[..., channels]) for maps in positive))


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
      The statistics; a filter of zeros has shares and angle 0.

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
      after: the same filters later.

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


def check_layers(
    model: AlexNet, params: Params, images: np.ndarray, layers: tuple[str, ...]
) -> None:
    """Raises ValueError unless the network has these layers for images of this size."""
    inputs = jax.ShapeDtypeStruct((1, *images.shape[1:3], 3), jnp.float32)
    _, activations = jax.eval_shape(lambda x: model.apply({"params": params}, x), inputs)
    if unknown := [layer for layer in layers if layer not in activations]:
        raise ValueError(f"layers {unknown} are unknown; choose of {', '.join(activations)}")


@functools.partial(jax.jit, static_argnames=("model", "layers"))
def _activations(
    model: AlexNet, params: Params, images: jax.Array, layers: tuple[str, ...]
) -> dict[str, jax.Array]:
    """[b, h, w] or [b, h, w, 3] uint8 -> {layer: activations}, float32."""
    if images.ndim == 3:
        images = jnp.repeat(images[..., None], 3, axis=-1)
    _, activations = model.apply({"params": params}, preprocess(images, variant=model.variant))
    return {layer: activations[layer].astype(jnp.float32) for layer in layers}


def _centre(
    model: AlexNet, params: Params, images: np.ndarray, layers: tuple[str, ...], batch_size: int
) -> dict[str, jax.Array]:
    """Returns {layer: mean activation over all images}."""
    sums: dict[str, np.ndarray] = {}
    for first in range(0, len(images), batch_size):
        rows = np.arange(first, first + batch_size)
        real = rows < len(images)
        batch = jnp.asarray(images[np.minimum(rows, len(images) - 1)])
        for layer, values in _activations(model, params, batch, layers).items():
            part = np.asarray(values)[real].sum(axis=0, dtype=np.float64)
            sums[layer] = sums[layer] + part if layer in sums else part
    return {layer: jnp.asarray(s / len(images), jnp.float32) for layer, s in sums.items()}


@functools.partial(jax.jit, static_argnames=("model", "layers"))
def _cosines(
    model: AlexNet,
    params: Params,
    sketches: jax.Array,
    photos: jax.Array,
    others: jax.Array,
    centres: tuple[dict[str, jax.Array], dict[str, jax.Array]] | None,
    layers: tuple[str, ...],
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """{layer: cosines with the pair's own photo and with the other, [b] each}."""
    groups = [_activations(model, params, images, layers) for images in (sketches, photos, others)]
    if centres is not None:
        shifts = (centres[0], centres[1], centres[1])
        groups = [
            {layer: values - shift[layer][None] for layer, values in group.items()}
            for group, shift in zip(groups, shifts, strict=True)
        ]
    drawn, same, different = (
        {layer: _unit(values) for layer, values in group.items()} for group in groups
    )
    return {
        layer: (
            jnp.sum(drawn[layer] * same[layer], axis=1),
            jnp.sum(drawn[layer] * different[layer], axis=1),
        )
        for layer in layers
    }


def _unit(values: jax.Array) -> jax.Array:
    """[b, ...] -> [b, d] of length 1; zeros stay zeros."""
    flat = values.reshape(len(values), -1)
    norm = jnp.linalg.norm(flat, axis=1, keepdims=True)
    return flat / jnp.where(norm > 0, norm, 1.0)


def _as_bytes(maps: np.ndarray) -> np.ndarray:
    """[h, w, m] of values >= 0 -> [m, h, w] uint8, each map's maximum 255."""
    maps = np.moveaxis(maps, -1, 0)
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.rint(255 * maps / np.where(largest > 0, largest, 1.0)).astype(np.uint8)


def _round_window(height: int, width: int) -> np.ndarray:
    """[1, h, w, 1]: a raised cosine that falls to 0 half a pixel outside the inscribed circle."""
    down, right = (np.arange(n) - (n - 1) / 2 for n in (height, width))
    radius = np.hypot(down[:, None], right[None, :]) / ((min(height, width) + 1) / 2)
    return (np.cos(np.pi / 2 * np.minimum(radius, 1)) ** 2)[None, :, :, None]


def _orientations(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[k, h, w, 3] -> share of the dominant orientation and its angle, [k] each."""
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
