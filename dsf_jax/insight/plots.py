"""Figures of pictures, rankings, votes and curves, from arrays; each function returns a matplotlib
figure.
"""

import io
import os
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from dsf_jax.data.files import write_atomic
from dsf_jax.evaluation.statistics import NO_INTERVAL
from dsf_jax.images.resize import SIZE
from dsf_jax.images.views import VIEW_ANGLES, VIEW_FLIPS
from dsf_jax.insight.lettering import choose_fonts, drawable
from dsf_jax.insight.strokes import resized

HIT, MISS = "#2a9d5c", "#d8d8d8"
BEFORE, AFTER = "#8d99ae", "#33658a"
NAME_ROWS, NAME_COLUMNS = 6, 16  # letters that fit in place of a picture
LONGEST_NAME = 18  # letters of a class's name that fit over a picture


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Cuts a class's name to what fits."""
    name = drawable(name)
    return literal(name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…")


def literal(text: str) -> str:
    """Keeps matplotlib from taking what stands between two dollars for mathematics, and to letters that
    there are.
    """
    return drawable(text).replace("$", r"\$")


def show_image(axes: Axes, image: np.ndarray, frame: str, width: float = 1.0) -> None:
    """Shows an image without ticks, in a frame of the given colour."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=frame, linewidth=width)


def show_name(axes: Axes, name: str, frame: str, width: float = 1.0) -> None:
    """Shows the name of a picture that is not there, as large as one and in a frame."""
    show_image(axes, np.full((1, 1), 255, np.uint8), frame, width)
    lines = textwrap.wrap(short(name, NAME_ROWS * NAME_COLUMNS), NAME_COLUMNS)
    axes.text(
        0.5, 0.5, "\n".join(lines), fontsize=6, ha="center", va="center", transform=axes.transAxes
    )


def from_zero(axes: Axes) -> None:
    """Lets the vertical axis begin at 0, with room for the marks of the highest values."""
    highest = axes.dataLim.ymax
    if np.isfinite(highest) and highest > 0:
        axes.set_ylim(0, 1.08 * highest)


def stacked(figure: Figure, *heights: float) -> list[SubFigure]:
    """Cuts a figure into parts, one above the other."""
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
    return list(parts[:, 0])


def png_bytes(figure: Figure) -> bytes:
    """Returns a figure as PNG, with no time or version in it: equal figures are equal bytes."""
    buffer = io.BytesIO()
    choose_fonts(figure)
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG."""
    write_atomic(path, png_bytes(figure))


def contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[str], *, columns: int = 10, title: str = ""
) -> Figure:
    """Draws many images at a glance.

    Args:
      images: each [h, w] or [h, w, 3] uint8.
      captions: one short text per image.
      columns: number of columns of the sheet.
      title: title above all panels.

    Returns:
      The figure.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.3 * columns, 1.45 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, image, caption in zip(grid, images, captions, strict=False):
        show_image(axes, image, MISS)
        axes.set_title(literal(caption), fontsize=6, pad=2)
    for axes in grid[len(images) :]:
        axes.set_axis_off()
    figure.suptitle(literal(title), fontsize=10)
    return figure


def ranked_results(
    queries: Sequence[np.ndarray],
    results: Sequence[Sequence[np.ndarray | str]],
    hits: Sequence[Sequence[bool]] | None = None,
    *,
    captions: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draws Fig. 5: one row per query, the query left, its nearest pictures right of it, hits framed.

    Args:
      queries: q images [h, w] or [h, w, 3] uint8.
      results: [q] pictures found for each query, nearest first; the name of one that is not there to be
        shown stands for it.
      hits: [q] which of each query's pictures are right; None frames nothing.
      captions: [q] texts left of the queries: class and score.
      title: title above all panels.

    Returns:
      The figure.
    """
    columns = 1 + max(len(row) for row in results)
    figure = Figure(figsize=(1.1 * columns, 1.15 * len(queries) + 0.4), layout="constrained")
    grid = figure.subplots(len(queries), columns, squeeze=False)
    for i, (query, row, axes) in enumerate(zip(queries, results, grid, strict=True)):
        show_image(axes[0], query, "black", 1.5)
        if captions is not None:
            axes[0].set_ylabel(captions[i], fontsize=8, rotation=0, ha="right", va="center")
        for j, place in enumerate(axes[1:]):
            if j >= len(row):
                place.set_axis_off()
                continue
            hit = hits is not None and hits[i][j]
            frame, width = (HIT, 4.0) if hit else (MISS, 1.0)
            result = row[j]
            if isinstance(result, str):
                show_name(place, result, frame, width)
            else:
                show_image(place, result, frame, width)
    grid[0][0].set_title("drawn", fontsize=9)
    for j in range(1, columns):
        grid[0][j].set_title(str(j), fontsize=9)
    figure.suptitle(literal(title), fontsize=10)
    return figure


def resizing(sketches: Sequence[np.ndarray], *, size: int = SIZE) -> Figure:
    """Draws Fig. 1: sketches through the interpolating resizes and both forms of the
    edge-preserving one.

    Args:
      sketches: square images [s, s] uint8, black on white.
      size: h = w that they are resized to.

    Returns:
      The figure, one row per sketch.
    """
    rows = [{"original": sketch} | resized(sketch, size=size) for sketch in sketches]
    columns = list(rows[0])
    figure = Figure(figsize=(2.0 * len(columns), 2.1 * len(sketches) + 0.3), layout="constrained")
    grid = figure.subplots(len(sketches), len(columns), squeeze=False)
    for images, places in zip(rows, grid, strict=True):
        for axes, image in zip(places, images.values(), strict=True):
            show_image(axes, image, MISS)
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
      top: number of classes whose votes are shown as bars, each made of 18 pieces.
      title: title above all panels.

    Returns:
      The figure.
    """
    votes = probabilities / len(views)
    result = votes.sum(axis=0)
    best = np.argsort(-result, kind="stable")[:top]
    figure = Figure(figsize=(11.5, 4.1 + 0.32 * len(best)), layout="constrained")
    upper, lower = stacked(figure, 3.4, 0.7 + 0.32 * len(best))
    grid = _view_grid(upper)
    for i, view in enumerate(views):
        axes = grid[int(VIEW_FLIPS[i])][i // 2]
        winner = int(probabilities[i].argmax())
        agrees = winner == best[0]
        show_image(axes, view, HIT if agrees else MISS, 2.5 if agrees else 1.0)
        label = f"{short(class_names[winner])}\n{probabilities[i, winner]:.2f}"
        axes.set_xlabel(label, fontsize=7, color=HIT if agrees else "black")
    _vote_bars(lower.subplots(), votes[:, best], [short(class_names[k], 30) for k in best])
    figure.suptitle(literal(title), fontsize=10)
    return figure


def views_alone(views: np.ndarray, *, title: str = "") -> Figure:
    """Draws the 18 views [18, h, w] uint8 without a network's votes."""
    figure = Figure(figsize=(11.5, 3.0), layout="constrained")
    grid = _view_grid(figure)
    for i, view in enumerate(views):
        show_image(grid[int(VIEW_FLIPS[i])][i // 2], view, MISS)
    figure.suptitle(literal(title), fontsize=10)
    return figure


def _view_grid(figure: Figure | SubFigure) -> np.ndarray:
    """Makes two rows of nine axes, plain and flipped, titled by their angles."""
    grid: np.ndarray = figure.subplots(2, 9)
    for axes, angle in zip(grid[0], VIEW_ANGLES[::2], strict=True):
        axes.set_title(f"{angle:g}°", fontsize=8)
    for axes, name in zip(grid[:, 0], ("plain", "flipped"), strict=True):
        axes.set_ylabel(name, fontsize=9)
    return grid


def _vote_bars(axes: Axes, votes: np.ndarray, names: Sequence[str]) -> None:
    """Draws one bar per class, of one piece per view: [v, m] votes that add up to the result."""
    left = np.zeros(len(names))
    places = np.arange(len(names))
    for i, vote in enumerate(votes):
        shade = AFTER if i % 2 else "#7aa5c4"
        axes.barh(places, vote, left=left, color=shade, edgecolor="white", linewidth=0.4)
        left += vote
    for place, total in enumerate(left):
        axes.annotate(
            f"{total:.3f}",
            (total, place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.12 * left.max(), 1e-3))  # the longest bar's number has room
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel(
        f"probability: each piece is one view's vote, 1/{len(votes)} of what it gives the class "
        "(dark: flipped)",
        fontsize=8,
    )
    axes.spines[["top", "right"]].set_visible(False)


def training_curves(metrics: Sequence[dict[str, float]]) -> Figure:
    """Draws loss and accuracy against the epoch, of training and, where there is any, held-out data.

    Args:
      metrics: lines of metrics.jsonl, as `read_metrics` returns them.

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
        axes.set(xlabel="epoch", title=name)
        from_zero(axes)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def retrieval_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[int, float, float, float]]]],
    *,
    score: str,
    along: str = "negatives",
) -> Figure:
    """Draws Fig. 4: how retrieval suffers as negatives join, one panel per class, one line per network; or
    other scores between 0 and 1 along something else.

    Args:
      curves: {network: {class: [(negatives, value, low, high)], ascending}}.
      score: name of the values, for the axis.
      along: name of what the values are drawn along, for the other axis.

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
            label = literal(network) + ("" if low != high else f" ({NO_INTERVAL})")
            (line,) = axes.plot(negatives, values, marker="o", label=label)
            axes.fill_between(negatives, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(title=literal(name), xlabel=along, ylabel=score, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=8)
    return figure
