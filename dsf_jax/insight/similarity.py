"""How alike a layer sees a sketch and a photo, and the maps that both drive (section 4.4 (c) and Fig. 6
of the paper).
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from dsf_jax.insight.activations import activations, check_layers
from dsf_jax.models.model import Model


class PairSimilarity(NamedTuple):
    """Similarities of n sketches with a photo of their own class and with one of another, [n] each."""

    same: np.ndarray
    different: np.ndarray


class SharedMaps(NamedTuple):
    """The channels that a sketch and a photo share most.

    Attributes:
      channels: [m] numbers of the channels, strongest first.
      sketch, photo: [m, h, w] uint8, 0 for 0 and 255 for the map's own maximum.
    """

    channels: np.ndarray
    sketch: np.ndarray
    photo: np.ndarray


def other_class(classes: Sequence[object] | np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Gives every pair the place of one of another class, each place once.

    With the pairs sorted by class, classes and the pairs in them shuffled, a turn by the size of the
    largest class leaves no pair in its own class, where no class holds more than half of the pairs.

    Args:
      classes: [n] classes of the pairs.
      seed: seed of the shuffle.

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
    model: Model,
    sketches: np.ndarray,
    photos: np.ndarray,
    classes: Sequence[object] | np.ndarray,
    *,
    layers: tuple[str, ...],
    batch_size: int = 16,
    seed: int = 0,
    label: str = "similarity",
) -> dict[str, PairSimilarity]:
    """Measures how alike a sketch and a photo look to each layer, pair by pair.

    The similarity is the cosine of the two whole activations, place by place and channel by channel,
    after the mean activation of all sketches was taken off each sketch's and that of all photos off
    each photo's: what is left distinguishes one image from the others of its kind. Pairs of two
    classes are the baseline. The same pairs are drawn for every network.

    Args:
      model: network with its parameters.
      sketches: [n, h, w] or [n, h, w, 3] uint8.
      photos: [n, h, w, 3] uint8, of the sketches' classes.
      classes: [n] classes of the pairs.
      layers: names among the network's activations.
      batch_size: number of pairs at a time.
      seed: seed of the pairs of two classes.
      label: label of the progress bar.

    Returns:
      {layer: similarities}.

    Raises:
      ValueError: an unknown layer; not as many sketches, photos and classes; a class with more than
        half of the pairs.
    """
    _check_counts(len(sketches), len(photos), len(classes))
    others = other_class(classes, seed=seed)
    check_layers(model, layers, size=photos.shape[1])
    with tqdm(total=2 * len(sketches), unit="pair", desc=label) as bar:
        blocks = list(_similarity_blocks(model, sketches, photos, others, layers, batch_size, bar))
    return {
        layer: PairSimilarity(*map(np.concatenate, zip(*(b[layer] for b in blocks), strict=True)))
        for layer in layers
    }


def _similarity_blocks(
    model: Model,
    sketches: np.ndarray,
    photos: np.ndarray,
    others: np.ndarray,
    layers: tuple[str, ...],
    batch_size: int,
    bar: tqdm,
) -> Iterator[dict[str, PairSimilarity]]:
    """Yields {layer: similarities} of each batch of pairs, after one pass for the mean activations."""
    centres = []
    for images in (sketches, photos):
        centres.append(_centre(model, images, layers, batch_size))
        bar.update(len(images) / 2)
    for rows, real in _padded_rows(len(sketches), batch_size):
        batch = (sketches[rows], photos[rows], photos[others[rows]])
        cosines = _cosines(model, *batch, (centres[0], centres[1]), layers)
        yield {
            layer: PairSimilarity(*(np.asarray(values)[:real] for values in cosines[layer]))
            for layer in layers
        }
        bar.update(real)


def _check_counts(sketches: int, photos: int, classes: int) -> None:
    """Raises ValueError unless each sketch has its photo and its class."""
    if not sketches == photos == classes:
        raise ValueError(
            f"{sketches} sketches, {photos} photos and {classes} classes: expected as many of each; "
            "give each sketch one photo and one class"
        )


def shared_maps(
    model: Model, sketch: np.ndarray, photo: np.ndarray, *, layers: tuple[str, ...], count: int
) -> dict[str, SharedMaps]:
    """Picks the maps of Fig. 6: the channels that answer most to both a sketch and a photo.

    A channel's strength is the product of its mean positive answer to either, each image's answers
    in its own proportion, so that a channel which only one of them drives is not picked.

    Args:
      model: network with its parameters.
      sketch: [h, w] or [h, w, 3] uint8.
      photo: [h, w, 3] uint8.
      layers: convolutional layers; negative values are shown as 0.
      count: m, at most a layer's channels.

    Returns:
      {layer: maps}.

    Raises:
      ValueError: an unknown layer, one without maps, or more maps than it has.
    """
    check_layers(model, layers, size=photo.shape[0])
    drawn = np.broadcast_to(sketch if sketch.ndim == 3 else sketch[..., None], photo.shape)
    both = activations(model, jnp.asarray(np.stack([drawn, photo])), layers)
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


def _padded_rows(count: int, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the rows of each batch and how many of them are real: the last batch is filled up with its
    own last row, so that there is one shape and one compilation.
    """
    for first in range(0, count, batch_size):
        rows = np.minimum(np.arange(first, first + batch_size), count - 1)
        yield rows, min(batch_size, count - first)


def _centre(
    model: Model, images: np.ndarray, layers: tuple[str, ...], batch_size: int
) -> dict[str, jax.Array]:
    """Returns {layer: mean activation over all images}."""
    sums: dict[str, np.ndarray] = {}
    for rows, real in _padded_rows(len(images), batch_size):
        batch = activations(model, jnp.asarray(images[rows]), layers)
        for layer, values in batch.items():
            part = np.asarray(values)[:real].sum(axis=0, dtype=np.float64)
            sums[layer] = sums[layer] + part if layer in sums else part
    return {layer: jnp.asarray(s / len(images), jnp.float32) for layer, s in sums.items()}


@functools.partial(jax.jit, static_argnames=("layers",))
def _cosines(
    model: Model,
    sketches: jax.Array,
    photos: jax.Array,
    others: jax.Array,
    centres: tuple[dict[str, jax.Array], dict[str, jax.Array]],
    layers: tuple[str, ...],
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """{layer: cosines with the pair's own photo and with the other, [b] each}."""
    drawn, same, different = (
        {
            layer: _unit(values - centre[layer][None])
            for layer, values in activations(model, images, layers).items()
        }
        for images, centre in ((sketches, centres[0]), (photos, centres[1]), (others, centres[1]))
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
