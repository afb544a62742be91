"""The paper's figures of a network's inside, from arrays: shared activations, filters, reconstructions."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dsf_jax.evaluation.statistics import NO_INTERVAL, Measure
from dsf_jax.insight.plots import AFTER, BEFORE, MISS, literal, short, show_image, stacked
from dsf_jax.insight.similarity import SharedMaps


class Inverted(NamedTuple):
    """One image's reconstruction from one layer.

    Attributes:
      image: [h, w, 3] uint8.
      error: |Phi(x) - Phi0|^2 / |Phi0|^2.
      normalised: |Phi(x) - Phi0| over the mean distance of images.
    """

    image: np.ndarray
    error: float
    normalised: float


def shared_activations(
    sketch: np.ndarray,
    photo: np.ndarray,
    maps: Mapping[str, SharedMaps],
    gaps: Mapping[str, Mapping[str, Measure]],
    *,
    title: str = "",
) -> Figure:
    """Draws Fig. 6: what the layers answer to a sketch and a photo of one class, and how much more
    alike such pairs are than pairs of two classes.

    Args:
      sketch: [h, w] or [h, w, 3] uint8.
      photo: [h, w, 3] uint8.
      maps: {layer: the channels shown}; the same channels of both images lie side by side.
      gaps: {network: {layer: similarity of pairs of one class less that of pairs of two}}; empty where
        there is one class only, and then no bars are drawn.
      title: title above all panels.

    Returns:
      The figure.
    """
    heights = (1.6, *[1.3] * len(maps))
    parts = (sum(heights), 2.6) if gaps else (sum(heights),)
    figure = Figure(figsize=(11.5, sum(parts) + 0.4), layout="constrained")
    upper, *lower = stacked(figure, *parts)
    halves = upper.subfigures(1, 2, squeeze=False)[0]
    for half, name, image in zip(halves, ("sketch", "photo"), (sketch, photo), strict=True):
        first, *places = half.subplots(len(heights), 1, height_ratios=heights)
        show_image(first, image, MISS)
        first.set_title(name, fontsize=9)
        for axes, (layer, shared) in zip(places, maps.items(), strict=True):
            tiles = shared.sketch if name == "sketch" else shared.photo
            axes.imshow(_mosaic(tiles, -(-len(tiles) // 2)), cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            axes.set_title(f"{layer}, {name}", fontsize=8, pad=3)
    for part in lower:
        _gap_bars(part.subplots(), gaps)
    figure.suptitle(literal(title), fontsize=10)
    return figure


def _gap_bars(axes: Axes, gaps: Mapping[str, Mapping[str, Measure]]) -> None:
    """Draws {network: {layer: interval}} as clusters of bars with whiskers."""
    layers = _layers(gaps)
    width = 0.8 / len(gaps)
    colours = (AFTER,) if len(gaps) == 1 else (BEFORE, AFTER)
    for i, ((network, own), colour) in enumerate(zip(gaps.items(), colours, strict=True)):
        places = (
            np.array([layers.index(layer) for layer in own]) + (i - (len(gaps) - 1) / 2) * width
        )
        means, low, high = np.transpose([(of.value, of.low, of.high) for of in own.values()])
        whiskers = np.maximum([means - low, high - means], 0)
        whiskers[:, low == high] = np.nan
        axes.bar(places, means, width, yerr=whiskers, capsize=3, color=colour, label=network)
        for place, mean in zip(places[low == high], means[low == high], strict=True):
            axes.text(place, mean, NO_INTERVAL, fontsize=6, ha="center", va="bottom")
    axes.set_xticks(np.arange(len(layers)), layers, fontsize=9)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("similarity: pairs of one class\nless pairs of two", fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _layers(gaps: Mapping[str, Mapping[str, Measure]]) -> list[str]:
    """Lists the layers of all networks in order; one may lack another's embedding."""
    return list(dict.fromkeys(layer for own in gaps.values() for layer in own))


def filter_panels(filters: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draws Fig. 7: the filters of the first layer, one panel per network.

    Args:
      filters: {panel: [k, h, w, 3] uint8}, of `filter_images`.
      title: title above all panels.

    Returns:
      The figure.
    """
    count = max(map(len, filters.values()))
    # Full rows where there are any: 64 filters make 8 x 8, 96 make 8 x 12.
    columns = next(n for n in range(math.ceil(math.sqrt(count)), count + 1) if count % n == 0)
    width = 4.0 if len(filters) > 1 else 6.0
    height = width * math.ceil(count / columns) / columns
    layout = ConstrainedLayoutEngine(w_pad=0.12)
    figure = Figure(figsize=(width * len(filters), height + 0.6), layout=layout)
    panels = figure.subplots(1, len(filters), squeeze=False)[0]
    for axes, (name, tiles) in zip(panels, filters.items(), strict=True):
        axes.imshow(_mosaic(tiles, columns), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(name, fontsize=9)
    figure.suptitle(literal(title), fontsize=10)
    return figure


def inversions(
    originals: Sequence[tuple[str, np.ndarray]],
    found: Mapping[str, Sequence[Inverted]],
    *,
    title: str = "",
) -> Figure:
    """Draws Fig. 8: one row per image, one column per layer that it is reconstructed from, and below
    each reconstruction its error.

    Args:
      originals: captions and images, each [h, w] or [h, w, 3] uint8.
      found: {layer: the reconstructions of all images, in order}.
      title: title above all panels.

    Returns:
      The figure.
    """
    columns = 1 + len(found)
    figure = Figure(figsize=(1.35 * columns, 1.62 * len(originals) + 0.5), layout="constrained")
    grid = figure.subplots(len(originals), columns, squeeze=False)
    for i, ((caption, original), row) in enumerate(zip(originals, grid, strict=True)):
        show_image(row[0], original, "black", 1.5)
        row[0].set_xlabel(short(caption, 22), fontsize=7)
        for axes, (layer, own) in zip(row[1:], found.items(), strict=True):
            show_image(axes, own[i].image, MISS)
            axes.set_xlabel(f"{own[i].error:.3f} ({100 * own[i].normalised:.0f} %)", fontsize=7)
            if i == 0:
                axes.set_title(layer, fontsize=9)
    grid[0][0].set_title("original", fontsize=9)
    figure.suptitle(literal(title), fontsize=9)
    return figure


def _mosaic(tiles: np.ndarray, columns: int) -> np.ndarray:
    """[m, h, w] or [m, h, w, 3] uint8 -> one image, the tiles in rows with white gaps."""
    rows = -(-len(tiles) // columns)
    gap = max(1, round(tiles.shape[1] / 12))  # so wide in the picture whatever the tiles' size
    height, width = (n + gap for n in tiles.shape[1:3])
    canvas = np.full((rows * height - gap, columns * width - gap, *tiles.shape[3:]), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height, i % columns * width
        canvas[top : top + height - gap, left : left + width - gap] = tile
    return canvas
