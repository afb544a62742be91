"""Every picture that the paper shows, made from arrays; each function returns a matplotlib figure."""

import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsf_jax.data.files import write_whole
from dsf_jax.images.points import pad_points, points_from_image
from dsf_jax.images.resize import SIZE, edge_preserving_resize, interpolating_resize

HIT, MISS = "#2a9d5c", "#d8d8d8"


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
    title: str = "",
) -> Figure:
    """Draws Fig. 5: one row a query, the query left, its nearest pictures right of it, hits framed.

    Args:
      queries: q images [h, w] or [h, w, 3] uint8.
      results: of each query its pictures, nearest first.
      hits: of each query which of them are right; None frames nothing.
      title: above all.

    Returns:
      The figure.
    """
    columns = 1 + max(len(row) for row in results)
    figure = Figure(figsize=(1.1 * columns, 1.15 * len(queries) + 0.4), layout="constrained")
    grid = figure.subplots(len(queries), columns, squeeze=False)
    for i, (query, row, axes) in enumerate(zip(queries, results, grid, strict=True)):
        _bare(axes[0], query, "black", 1.5)
        for j, place in enumerate(axes[1:]):
            if j >= len(row):
                place.set_axis_off()
                continue
            hit = hits is not None and hits[i][j]
            _bare(place, row[j], HIT if hit else MISS, 4.0 if hit else 1.0)
    grid[0][0].set_title("drawn", fontsize=9)
    for j in range(1, columns):
        grid[0][j].set_title(str(j), fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def resizing(sketches: Sequence[np.ndarray], *, size: int = SIZE) -> Figure:
    """Draws Fig. 1: sketches through the interpolating resizes and both forms of the
    edge-preserving one.

    Args:
      sketches: square images [s, s] uint8, black on white.
      size: h = w that they are resized to.

    Returns:
      The figure, one row a sketch.
    """
    columns = (
        "original",
        "cubic",
        "cubic > .3",
        "cubic > .5",
        "cubic > .99",
        "edge-preserving",
        "thinned",
    )
    figure = Figure(figsize=(2.0 * len(columns), 2.1 * len(sketches) + 0.3), layout="constrained")
    grid = figure.subplots(len(sketches), len(columns), squeeze=False)
    for sketch, row in zip(sketches, grid, strict=True):
        cubic = [
            interpolating_resize(sketch, size=size, binarise_at=level)
            for level in (None, 0.3, 0.5, 0.99)
        ]
        kept = [
            edge_preserving_resize(
                pad_points([points_from_image(sketch, thinned=thinned)])[0], size=size
            )
            for thinned in (False, True)
        ]
        for axes, image in zip(row, [sketch, *cubic, *kept], strict=True):
            _bare(axes, np.asarray(image), MISS)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, fontsize=10)
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
        axes.set_title(caption, fontsize=6, pad=2)
    for axes in grid[len(images) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=10)
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


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG, with no time or version in it: equal figures are equal files."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    write_whole(path, buffer.getvalue())
