"""The paper's figures of a network's inside: activations and filters, each with its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.statistics import Measure, bootstrap
from dsf_jax.insight import network_plots
from dsf_jax.insight.filters import (
    FilterChange,
    filter_change,
    filter_images,
    filter_statistics,
    filters_mean,
    first_kernel,
    pixel_filters,
)
from dsf_jax.insight.similarity import (
    PairSimilarity,
    pair_similarities,
    shared_maps,
)
from dsf_jax.paper.figure_inputs import FigureInputs, PaperFigure

DRAWS = 10_000
MAPS = 16  # channels of a layer that are shown, at most
BATCH_SIZE = 16  # pairs at a time
ACTIVATIONS_TEXT = (
    "What the convolutions answer to a sketch and a photo of one class (Fig. 6 of the paper): the "
    "{maps} channels of each layer that answer most to both, the same ones on both sides. The bars: "
    "cosine similarity of activations, their mean over each kind of image taken off, of pairs of one "
    "class less that of pairs of two classes; 95 % bootstrap intervals over classes."
)
FILTERS_TEXT = (
    "The filters of the first layer (Fig. 7 of the paper), grey where a weight is 0. Colour: fraction of a "
    "filter's energy off the grey axis. Orientation: fraction of its spectral energy within 30 degrees "
    "of the dominant direction, a sixth for a filter without any. Moved: length of the change of all "
    "weights over their length."
)


def activations(inputs: FigureInputs, *, pairs: int) -> PaperFigure:
    """Makes Fig. 6, and measures what it claims.

    Args:
      inputs: checkpoint, perhaps one before fine-tuning, and data.
      pairs: largest number of pairs that are measured.

    Returns:
      The figure.

    Raises:
      ValueError: no class has both a sketch and a photo.
    """
    mixture = inputs.mixture
    found = _balanced(inputs.pairs(pairs), mixture.drawings.labels)
    drawn, photographed = zip(*found, strict=True)
    sketches = inputs.plain(mixture.drawings, drawn)
    photos = inputs.plain(mixture.photos, photographed)
    labels = mixture.drawings.labels[list(drawn)]
    classes = len(np.unique(labels))
    similarities = _similarities(inputs, sketches, photos, labels) if classes > 1 else {}
    gaps = {
        _named(when, network): _gaps(similarities[when], labels)
        for when, network in _by_time(inputs).items()
        if when in similarities
    }
    name = mixture.class_names[int(labels[0])]
    model = inputs.network.model
    shapes = model.activation_shapes()
    count = min(MAPS, *(shapes[layer][-1] for layer in model.backbone.maps))
    figure = network_plots.shared_activations(
        sketches[0],
        photos[0],
        shared_maps(model, sketches[0], photos[0], layers=model.backbone.maps, count=count),
        gaps,
        title=f"{name}: the channels that sketch and photo share most; {_compared(len(found), classes)}",
    )
    fresh = list(inputs.before.model.config.fresh_layers) if inputs.before else []
    facts = {
        "class shown": name,
        "pairs": len(found),
        "classes": classes,
        "random layers before": fresh,
    }
    # Of both networks: one may lack the other's embedding.
    measured = dict.fromkeys(layer for own in similarities.values() for layer in own)
    rows = [_similarity_row(layer, similarities, labels) for layer in measured]
    return PaperFigure("Activations", ACTIVATIONS_TEXT.format(maps=count), figure, facts, rows)


def _similarities(
    inputs: FigureInputs, sketches: np.ndarray, photos: np.ndarray, labels: np.ndarray
) -> dict[str, dict[str, PairSimilarity]]:
    """Measures {"before" or "after": {layer: similarities}} on the same pairs."""
    return {
        when: pair_similarities(
            network.model,
            sketches,
            photos,
            labels,
            layers=network.model.backbone.measured,
            batch_size=min(BATCH_SIZE, len(labels)),
            seed=inputs.seed,
            label=f"similarity {when}",
        )
        for when, network in _by_time(inputs).items()
    }


def _balanced(pairs: Sequence[tuple[int, int]], labels: np.ndarray) -> list[tuple[int, int]]:
    """Omits the last pairs of a class that holds more than half of them: each needs a partner of
    another class. Pairs of one class only are all kept, and not compared.
    """
    classes, own = np.unique([labels[drawn] for drawn, _ in pairs], return_inverse=True)
    if len(classes) < 2:
        return list(pairs)
    most = len(pairs) - np.bincount(own)  # what the others hold
    rank = [int(np.sum(own[:i] == k)) for i, k in enumerate(own)]
    return [pair for pair, k, before in zip(pairs, own, rank, strict=True) if before < most[k]]


def _compared(pairs: int, classes: int) -> str:
    """Says what the bars of Fig. 6 are of, or why there are none."""
    if classes > 1:
        return f"below, {pairs} pairs of {classes} classes"
    return "all pairs are of one class, and none of two is there to compare them with"


def _by_time(inputs: FigureInputs) -> dict[str, NamedModel]:
    before = {"before": inputs.before} if inputs.before else {}
    return before | {"after": inputs.network}


def _named(when: str, network: NamedModel) -> str:
    """Names a network for the figure, with its random layers, which show little."""
    model = network.model
    fresh = [
        layer
        for layer in model.config.fresh_layers
        if layer != model.backbone.classifier and np.ndim(model.params[layer]["kernel"]) == 2
    ]
    return f"{when} fine-tuning" + (f" ({' and '.join(fresh)} random)" if fresh else "")


def _gaps(similarities: Mapping[str, PairSimilarity], labels: np.ndarray) -> dict[str, Measure]:
    """By how much pairs of one class are more alike than others, {layer: mean over classes}."""
    return {
        layer: _class_mean(of.same - of.different, labels) for layer, of in similarities.items()
    }


def _similarity_row(
    layer: str, similarities: Mapping[str, Mapping[str, PairSimilarity]], labels: np.ndarray
) -> dict[str, Any]:
    """One layer's similarities, their gap, and by how much fine-tuning changed it; of networks that have
    the layer.
    """
    row: dict[str, Any] = {"layer": layer}
    known = {when: own[layer] for when, own in similarities.items() if layer in own}
    for when, of in known.items():
        row[f"one class, {when}"] = _mean(of.same, labels)
        row[f"two classes, {when}"] = _mean(of.different, labels)
        row[f"gap {when}"] = _mean(of.same - of.different, labels)
    if len(known) == 2:
        old, new = known["before"], known["after"]
        row["change of the gap"] = _mean(
            new.same - new.different - old.same + old.different, labels
        )
    return row


def _mean(values: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return _plain(_class_mean(values, labels))


def _class_mean(values: np.ndarray, labels: np.ndarray) -> Measure:
    """Returns the mean over pairs, [n], with its bootstrap interval over classes."""
    return bootstrap(values, labels, draws=DRAWS)


def _plain(measure: Measure) -> dict[str, float]:
    """Returns a mean and its interval for JSON."""
    return {"mean": measure.value, "low": measure.low, "high": measure.high}


def filters(inputs: FigureInputs) -> PaperFigure:
    """Makes Fig. 7; where there is a checkpoint before, with what fine-tuning changed."""
    pixels = inputs.network.model.backbone.pixels
    kernels = {when: first_kernel(network.model) for when, network in _by_time(inputs).items()}
    weights = {when: pixel_filters(kernel, pixels) for when, kernel in kernels.items()}
    facts: dict[str, Any] = {"filters": len(weights["after"])}
    shown = {f"{when} fine-tuning": filter_images(own) for when, own in weights.items()}
    if "before" not in weights:
        rows, title = _filter_rows(weights["after"])
    else:
        change = filter_change(weights["before"], weights["after"])
        facts["moved"] = change.moved
        rows = _change_rows(change)
        if change.moved:
            difference = kernels["after"] - kernels["before"]
            panel = "what changed, each on its own scale"
            shown[panel] = filter_images(pixel_filters(difference, pixels))
            title = f"weights moved by {100 * change.moved:.2f} %" + "".join(
                f"; {row['share of energy']} {row['before']['mean']:.3f} to "
                f"{row['after']['mean']:.3f} of the energy"
                for row in rows
            )
        else:
            shown = {"the same before and after fine-tuning": shown["after fine-tuning"]}
            title = _filter_rows(weights["after"])[1]
    figure = network_plots.filter_panels(shown, title=title)
    return PaperFigure("First filters", FILTERS_TEXT, figure, facts, rows)


def _filter_rows(filters: np.ndarray) -> tuple[list[dict[str, Any]], str]:
    """Measures colour and orientation of one network's filters: rows, and a title."""
    now = filter_statistics(filters)
    fractions = {"colour": now.colour, "orientation": now.orientation}
    rows = [
        {"share of energy": name, "after": _plain(filters_mean(values))}
        for name, values in fractions.items()
    ]
    title = ", ".join(
        f"{name} {values.mean():.3f} of the energy" for name, values in fractions.items()
    )
    return rows, title


def _change_rows(change: FilterChange) -> list[dict[str, Any]]:
    """Lists colour and orientation before and after fine-tuning, and their change."""
    return [
        {"share of energy": name}
        | {
            when: _plain(getattr(change, f"{name}_{when}"))
            for when in ("before", "after", "change")
        }
        for name in ("colour", "orientation")
    ]
