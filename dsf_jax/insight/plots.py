"""Every picture that the paper shows, made from arrays; each function returns a matplotlib figure."""

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dsf_jax.data.files import write_whole
from dsf_jax.images.points import CANVAS, pad_points, points_from_image
from dsf_jax.images.resize import SIZE, edge_preserving_resize, interpolating_resize
from dsf_jax.images.views import VIEW_ANGLES, VIEW_FLIPS
from dsf_jax.insight.similarity import Interval, SharedMaps

HIT, MISS = "#2a9d5c", "#d8d8d8"
BEFORE, AFTER = "#8d99ae", "#33658a"
DARK = 128  # of 256 brightnesses: below, a pixel reads as ink
LONGEST_NAME = 18  # letters of a class's name that fit over a picture


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


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Cuts a class's name to what fits."""
    return _literal(name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…")


def _literal(text: str) -> str:
    """Keeps matplotlib from taking what stands between two dollars for mathematics."""
    return text.replace("$", r"\$")


def _bare(axes: Axes, image: np.ndarray, frame: str, width: float = 1.0) -> None:
    """Shows an image without ticks, in a frame of the given colour."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=frame, linewidth=width)


def ranked_results(
    queries: Sequence[np.ndarray],
    results: Sequence[Sequence[np.ndarray]],
    hits: Sequence[Sequence[bool]] | None = None,
    *,
    captions: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draws Fig. 5: one row a query, the query left, its nearest pictures right of it, hits framed.

    Args:
      queries: q images [h, w] or [h, w, 3] uint8.
      results: of each query its pictures, nearest first.
      hits: of each query which of them are right; None frames nothing.
      captions: [q] texts left of the queries: class and score.
      title: above all.

    Returns:
      The figure.
    """
    columns = 1 + max(len(row) for row in results)
    figure = Figure(figsize=(1.1 * columns, 1.15 * len(queries) + 0.4), layout="constrained")
    grid = figure.subplots(len(queries), columns, squeeze=False)
    for i, (query, row, axes) in enumerate(zip(queries, results, grid, strict=True)):
        _bare(axes[0], query, "black", 1.5)
        if captions is not None:
            axes[0].set_ylabel(captions[i], fontsize=8, rotation=0, ha="right", va="center")
        for j, place in enumerate(axes[1:]):
            if j >= len(row):
                place.set_axis_off()
                continue
            hit = hits is not None and hits[i][j]
            _bare(place, row[j], HIT if hit else MISS, 4.0 if hit else 1.0)
    grid[0][0].set_title("drawn", fontsize=9)
    for j in range(1, columns):
        grid[0][j].set_title(str(j), fontsize=9)
    figure.suptitle(_literal(title), fontsize=10)
    return figure


def resized(sketch: np.ndarray, *, size: int = SIZE) -> dict[str, np.ndarray]:
    """Resizes a sketch in each way of Fig. 1.

    Args:
      sketch: square image [s, s] uint8, black on white.
      size: h = w of the results.

    Returns:
      {name: [size, size] uint8}.
    """
    levels = {"cubic": None, "cubic > .3": 0.3, "cubic > .5": 0.5, "cubic > .99": 0.99}
    made = {
        name: interpolating_resize(sketch, size=size, binarise_at=level)
        for name, level in levels.items()
    }
    for name, thinned in (("edge-preserving", False), ("thinned", True)):
        points = pad_points([points_from_image(sketch, thinned=thinned)])[0]
        made[name] = edge_preserving_resize(points, size=size)
    return {name: np.asarray(image) for name, image in made.items()}


def kept_strokes(sketch: np.ndarray, small: np.ndarray) -> float:
    """Measures what Fig. 1 is about: the share of a sketch's strokes that a resized one still shows.

    Args:
      sketch: square image [s, s] uint8, black on white.
      small: [size, size] uint8, made from it.

    Returns:
      The share of the points on the strokes' middle lines that fall on a dark pixel.
    """
    points = points_from_image(sketch, thinned=True).astype(np.int64)
    columns, rows = ((2 * points + 1) * len(small) // (2 * CANVAS)).T
    return float(np.mean(small[rows, columns] < DARK))


def resizing(sketches: Sequence[np.ndarray], *, size: int = SIZE) -> Figure:
    """Draws Fig. 1: sketches through the interpolating resizes and both forms of the
    edge-preserving one.

    Args:
      sketches: square images [s, s] uint8, black on white.
      size: h = w that they are resized to.

    Returns:
      The figure, one row a sketch.
    """
    rows = [{"original": sketch} | resized(sketch, size=size) for sketch in sketches]
    columns = list(rows[0])
    figure = Figure(figsize=(2.0 * len(columns), 2.1 * len(sketches) + 0.3), layout="constrained")
    grid = figure.subplots(len(sketches), len(columns), squeeze=False)
    for images, places in zip(rows, grid, strict=True):
        for axes, image in zip(places, images.values(), strict=True):
            _bare(axes, image, MISS)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, fontsize=10)
    return figure


def voted_views(
    views: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    top: int = 5,
    title: str = "",
) -> Figure:
    """Draws Fig. 2: the 18 views, what each is taken for, and how their votes add up.

    Args:
      views: [18, h, w] uint8.
      probabilities: [18, k] of the classes, view by view.
      class_names: [k].
      top: how many classes' votes are shown as bars, each made of 18 pieces.
      title: above all.

    Returns:
      The figure.
    """
    votes = probabilities / len(views)
    result = votes.sum(axis=0)
    best = np.argsort(-result, kind="stable")[:top]
    figure = Figure(figsize=(11.5, 4.1 + 0.32 * len(best)), layout="constrained")
    upper, lower = _stacked(figure, 3.4, 0.7 + 0.32 * len(best))
    grid = upper.subplots(2, 9)
    for i, view in enumerate(views):
        axes = grid[int(VIEW_FLIPS[i])][i // 2]
        winner = int(probabilities[i].argmax())
        agrees = winner == best[0]
        _bare(axes, view, HIT if agrees else MISS, 2.5 if agrees else 1.0)
        axes.set_title(f"{VIEW_ANGLES[i]:g}°" if not VIEW_FLIPS[i] else "", fontsize=8)
        label = f"{short(class_names[winner])}\n{probabilities[i, winner]:.2f}"
        axes.set_xlabel(label, fontsize=7, color=HIT if agrees else "black")
    for axes, name in zip(grid[:, 0], ("plain", "flipped"), strict=True):
        axes.set_ylabel(name, fontsize=9)
    _vote_bars(lower.subplots(), votes[:, best], [short(class_names[k], 30) for k in best])
    figure.suptitle(_literal(title), fontsize=10)
    return figure


def _stacked(figure: Figure, *heights: float) -> list[SubFigure]:
    """Cuts a figure into parts, one above the other."""
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
    return list(parts[:, 0])


def _vote_bars(axes: Axes, votes: np.ndarray, names: Sequence[str]) -> None:
    """Draws one bar a class, of one piece a view: [v, m] votes that add up to the result."""
    left = np.zeros(len(names))
    places = np.arange(len(names))
    for i, vote in enumerate(votes):
        shade = AFTER if i % 2 else "#7aa5c4"
        axes.barh(places, vote, left=left, color=shade, edgecolor="white", linewidth=0.4)
        left += vote
    for place, total in enumerate(left):
        axes.text(total + 0.005, place, f"{total:.3f}", va="center", fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.08 * left.max(), 1e-3))
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(
        f"probability: each piece is one view's vote, 1/{len(votes)} of what it gives the class "
        "(dark: flipped)",
        fontsize=8,
    )
    axes.spines[["top", "right"]].set_visible(False)


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


def shared_activations(
    sketch: np.ndarray,
    photo: np.ndarray,
    maps: Mapping[str, SharedMaps],
    gaps: Mapping[str, Mapping[str, Interval]],
    *,
    title: str = "",
) -> Figure:
    """Draws Fig. 6: what the layers answer to a sketch and a photo of one class, and how much more
    alike such pairs are than pairs of two classes.

    Args:
      sketch: [h, w] or [h, w, 3] uint8.
      photo: [h, w, 3] uint8.
      maps: {layer: the channels shown}; the same channels of both images lie side by side.
      gaps: {network: {layer: similarity of pairs of one class less that of pairs of two}}.
      title: above all.

    Returns:
      The figure.
    """
    heights = (1.6, *[1.3] * len(maps))
    figure = Figure(figsize=(11.5, sum(heights) + 3.0), layout="constrained")
    upper, lower = _stacked(figure, sum(heights), 2.6)
    halves = upper.subfigures(1, 2, squeeze=False)[0]
    for half, name, image in zip(halves, ("sketch", "photo"), (sketch, photo), strict=True):
        first, *places = half.subplots(len(heights), 1, height_ratios=heights)
        _bare(first, image, MISS)
        first.set_title(name, fontsize=9)
        for axes, (layer, shared) in zip(places, maps.items(), strict=True):
            tiles = shared.sketch if name == "sketch" else shared.photo
            axes.imshow(_mosaic(tiles, -(-len(tiles) // 2)), cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            axes.set_title(f"{layer}, {name}", fontsize=8, pad=3)
    _gap_bars(lower.subplots(), gaps)
    figure.suptitle(_literal(title), fontsize=10)
    return figure


def _gap_bars(axes: Axes, gaps: Mapping[str, Mapping[str, Interval]]) -> None:
    """Draws {network: {layer: interval}} as groups of bars with whiskers."""
    layers = list(next(iter(gaps.values())))
    width = 0.8 / len(gaps)
    colours = (AFTER,) if len(gaps) == 1 else (BEFORE, AFTER)
    for i, ((network, own), colour) in enumerate(zip(gaps.items(), colours, strict=True)):
        places = np.arange(len(layers)) + (i - (len(gaps) - 1) / 2) * width
        means = np.array([own[layer].mean for layer in layers])
        low, high = (
            np.array([getattr(own[layer], end) for layer in layers]) for end in ("low", "high")
        )
        whiskers = np.maximum([means - low, high - means], 0)
        axes.bar(places, means, width, yerr=whiskers, capsize=3, color=colour, label=network)
    axes.set_xticks(np.arange(len(layers)), layers, fontsize=9)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("similarity: pairs of one class\nless pairs of two", fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def first_filters(filters: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draws Fig. 7: the filters of the first layer, one panel a network.

    Args:
      filters: {panel: [k, h, w, 3] uint8}, of `filter_images`.
      title: above all.

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
    figure.suptitle(_literal(title), fontsize=10)
    return figure


def inversions(
    originals: Sequence[tuple[str, np.ndarray]],
    found: Mapping[str, Sequence[Inverted]],
    *,
    title: str = "",
) -> Figure:
    """Draws Fig. 8: one row an image, one column a layer that it is reconstructed from, and below
    each reconstruction its error.

    Args:
      originals: captions and images, each [h, w] or [h, w, 3] uint8.
      found: {layer: the reconstructions of all images, in order}.
      title: above all.

    Returns:
      The figure.
    """
    columns = 1 + len(found)
    figure = Figure(figsize=(1.35 * columns, 1.62 * len(originals) + 0.5), layout="constrained")
    grid = figure.subplots(len(originals), columns, squeeze=False)
    for i, ((caption, original), row) in enumerate(zip(originals, grid, strict=True)):
        _bare(row[0], original, "black", 1.5)
        row[0].set_xlabel(short(caption, 22), fontsize=7)
        for axes, (layer, own) in zip(row[1:], found.items(), strict=True):
            _bare(axes, own[i].image, MISS)
            axes.set_xlabel(f"{own[i].error:.3f} ({100 * own[i].normalised:.0f} %)", fontsize=7)
            if i == 0:
                axes.set_title(layer, fontsize=9)
    grid[0][0].set_title("original", fontsize=9)
    figure.suptitle(_literal(title), fontsize=9)
    return figure


def contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[str], *, columns: int = 10, title: str = ""
) -> Figure:
    """Draws many images at a glance.

    Args:
      images: each [h, w] or [h, w, 3] uint8.
      captions: one short text an image.
      columns: of the sheet.
      title: above all.

    Returns:
      The figure.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.3 * columns, 1.45 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, image, caption in zip(grid, images, captions, strict=False):
        _bare(axes, image, MISS)
        axes.set_title(_literal(caption), fontsize=6, pad=2)
    for axes in grid[len(images) :]:
        axes.set_axis_off()
    figure.suptitle(_literal(title), fontsize=10)
    return figure


def training_curves(metrics: Sequence[dict[str, float]]) -> Figure:
    """Draws loss and accuracy against the epoch, of training and, where there is any, held-out data.

    Args:
      metrics: lines of metrics.jsonl, as `read_metrics` gives them.

    Returns:
      The figure.
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, style in (
            (name, "training", {"color": "#33658a"}),
            (f"held_out_{name}", "held out", {"color": "#c1440e", "marker": "o"}),
        ):
            lines = [line for line in metrics if key in line]
            if lines:
                epochs = [line["epoch"] for line in lines]
                axes.plot(epochs, [line[key] for line in lines], label=label, **style)
        axes.set(xlabel="epoch", title=name, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def retrieval_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[int, float, float, float]]]], *, score: str
) -> Figure:
    """Draws Fig. 4: how retrieval suffers as negatives join, one panel a class, one line a network.

    Args:
      curves: {network: {class: [(negatives, value, low, high)], ascending}}.
      score: what the values are, for the axis.

    Returns:
      The figure.
    """
    classes = list(dict.fromkeys(name for own in curves.values() for name in own))
    figure = Figure(figsize=(4.2 * len(classes), 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(classes), squeeze=False)[0], classes, strict=True):
        for network, own in curves.items():
            if name not in own:
                continue
            negatives, values, low, high = zip(*own[name], strict=True)
            (line,) = axes.plot(negatives, values, marker="o", label=network)
            axes.fill_between(negatives, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(title=name, xlabel="negatives", ylabel=score, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left", fontsize=8)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """Returns a figure as PNG, with no time or version in it: equal figures are equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG."""
    write_whole(path, png_bytes(figure))
