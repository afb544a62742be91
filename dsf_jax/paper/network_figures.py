"""The paper's figures of a network's inside: activations, filters, inversion, each with its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dsf_jax.evaluation.evaluate import Network
from dsf_jax.insight import network_plots
from dsf_jax.insight.filters import (
    FilterChange,
    filter_change,
    filter_images,
    filter_statistics,
    pixel_filters,
)
from dsf_jax.insight.inversion import (
    InversionConfig,
    invert,
    mean_distance,
    normalised_errors,
    stretched,
    typical_norm,
)
from dsf_jax.insight.similarity import (
    SHOWN_LAYERS,
    Interval,
    PairSimilarity,
    bootstrap_interval,
    check_layers,
    pair_similarities,
    shared_maps,
)
from dsf_jax.paper.figure_inputs import FigureInputs, PaperFigure

MEASURED_LAYERS = (*SHOWN_LAYERS, "relu6", "relu7")  # maps end at relu5; L6 and L7 follow
INVERTED_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
MAPS = 16  # channels of a layer that are shown
BATCH_SIZE = 16  # pairs at a time
COMPARED = 100  # images whose mean distance is the unit of errors, as many as the authors took
ACTIVATIONS_TEXT = (
    "What the convolutions answer to a sketch and a photo of one class (Fig. 6 of the paper): the "
    f"{MAPS} channels of each layer that answer most to both, the same ones on both sides. The bars: "
    "cosine similarity of activations, their mean over each kind of image taken off, of pairs of one "
    "class less that of pairs of two classes; 95 % bootstrap intervals over classes."
)
FILTERS_TEXT = (
    "The filters of conv1 (Fig. 7 of the paper), grey where a weight is 0. Colour: fraction of a "
    "filter's energy off the grey axis. Orientation: fraction of its spectral energy within 30 degrees "
    "of the dominant direction, a sixth for a filter without any. Moved: length of the change of all "
    "weights over their length."
)
INVERSION_TEXT = (
    "Images that give a layer the same activations (Fig. 8 of the paper), found by gradient descent "
    "from noise; each shown over its own range of brightness. Error: squared distance of the "
    "activations over their own squared length; normalised error: distance over the mean distance "
    "of images of the same kind, each with itself among them."
)


def activations(inputs: FigureInputs, *, pairs: int) -> PaperFigure:
    """Makes Fig. 6, and measures what it claims.

    Args:
      inputs: checkpoint, perhaps one before fine-tuning, and data.
      pairs: largest number of pairs that are measured.

    Returns:
      The figure.

    Raises:
      ValueError: the data's pairs of a sketch and a photo are of fewer than two classes.
    """
    mixture = inputs.mixture
    found = _balanced(inputs.pairs(pairs), mixture.drawings.labels)
    drawn, photographed = zip(*found, strict=True)
    sketches = inputs.plain(mixture.drawings, drawn)
    photos = inputs.plain(mixture.photos, photographed)
    labels = mixture.drawings.labels[list(drawn)]
    similarities = _similarities(inputs, sketches, photos, labels)
    gaps = {
        _named(when, network): {
            layer: bootstrap_interval(of.same - of.different, labels)
            for layer, of in similarities[when].items()
        }
        for when, network in _by_time(inputs).items()
    }
    name, classes = mixture.class_names[int(labels[0])], len(np.unique(labels))
    network = inputs.network
    figure = network_plots.shared_activations(
        sketches[0],
        photos[0],
        shared_maps(
            network.card.network(),
            network.params,
            sketches[0],
            photos[0],
            layers=SHOWN_LAYERS,
            count=MAPS,
        ),
        gaps,
        title=f"{name}: the channels that sketch and photo share most; below, {len(found)} pairs of "
        f"{classes} classes",
    )
    fresh = list(inputs.before.card.fresh_layers) if inputs.before else []
    facts = {
        "class shown": name,
        "pairs": len(found),
        "classes": classes,
        "random layers before": fresh,
    }
    rows = [_similarity_row(layer, similarities, labels) for layer in MEASURED_LAYERS]
    return PaperFigure("Activations", ACTIVATIONS_TEXT, figure, facts, rows)


def _similarities(
    inputs: FigureInputs, sketches: np.ndarray, photos: np.ndarray, labels: np.ndarray
) -> dict[str, dict[str, PairSimilarity]]:
    """Measures {"before" or "after": {layer: similarities}} on the same pairs."""
    return {
        when: pair_similarities(
            network.card.network(),
            network.params,
            sketches,
            photos,
            labels,
            layers=MEASURED_LAYERS,
            batch_size=min(BATCH_SIZE, len(labels)),
            seed=inputs.seed,
            label=f"similarity {when}",
        )
        for when, network in _by_time(inputs).items()
    }


def _balanced(pairs: Sequence[tuple[int, int]], labels: np.ndarray) -> list[tuple[int, int]]:
    """Omits the last pairs of a class that holds more than half of them: each needs a partner of
    another class.
    """
    classes, own = np.unique([labels[drawn] for drawn, _ in pairs], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "all pairs of a sketch and a photo are of one class, and those of two classes are what they "
            "are compared with; choose data sets that share more classes"
        )
    most = len(pairs) - np.bincount(own)  # what the others hold
    rank = [int(np.sum(own[:i] == k)) for i, k in enumerate(own)]
    return [pair for pair, k, before in zip(pairs, own, rank, strict=True) if before < most[k]]


def _by_time(inputs: FigureInputs) -> dict[str, Network]:
    before = {"before": inputs.before} if inputs.before else {}
    return before | {"after": inputs.network}


def _named(when: str, network: Network) -> str:
    """Names a network for the figure, with its random layers, which show little."""
    fresh = [layer for layer in network.card.fresh_layers if layer in ("fc6", "fc7")]
    return f"{when} fine-tuning" + (f" ({' and '.join(fresh)} random)" if fresh else "")


def _similarity_row(
    layer: str, similarities: Mapping[str, Mapping[str, PairSimilarity]], labels: np.ndarray
) -> dict[str, Any]:
    """One layer's similarities, their gap, and by how much fine-tuning changed it."""
    row: dict[str, Any] = {"layer": layer}
    for when, own in similarities.items():
        of = own[layer]
        row[f"one class, {when}"] = _mean(of.same, labels)
        row[f"two classes, {when}"] = _mean(of.different, labels)
        row[f"gap {when}"] = _mean(of.same - of.different, labels)
    if "before" in similarities:
        old, new = (similarities[when][layer] for when in ("before", "after"))
        row["change of the gap"] = _mean(
            new.same - new.different - old.same + old.different, labels
        )
    return row


def _mean(values: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return _plain(bootstrap_interval(values, labels))


def _plain(interval: Interval) -> dict[str, float]:
    """An interval for JSON."""
    return dict(interval._asdict())


def filters(inputs: FigureInputs) -> PaperFigure:
    """Makes Fig. 7; where there is a checkpoint before, with what fine-tuning changed."""
    variant = inputs.network.card.network().variant
    kernels = {
        when: np.asarray(network.params["conv1"]["kernel"])
        for when, network in _by_time(inputs).items()
    }
    weights = {when: pixel_filters(kernel, variant=variant) for when, kernel in kernels.items()}
    facts: dict[str, Any] = {"filters": len(weights["after"])}
    shown = {
        f"{when} fine-tuning": filter_images(kernel, variant=variant)
        for when, kernel in kernels.items()
    }
    if "before" not in weights:
        rows, title = _filter_rows(weights["after"])
    else:
        change = filter_change(weights["before"], weights["after"])
        facts["moved"] = change.moved
        rows = _change_rows(change)
        if change.moved:
            difference = kernels["after"] - kernels["before"]
            panel = "what changed, each on its own scale"
            shown[panel] = filter_images(difference, variant=variant)
            title = f"weights moved by {100 * change.moved:.2f} %" + "".join(
                f"; {row['share of energy']} {row['before']['mean']:.3f} to "
                f"{row['after']['mean']:.3f} of the energy"
                for row in rows
            )
        else:
            shown = {"the same before and after fine-tuning": shown["after fine-tuning"]}
            title = _filter_rows(weights["after"])[1]
    figure = network_plots.first_filters(shown, title=title)
    return PaperFigure("First filters", FILTERS_TEXT, figure, facts, rows)


def _filter_rows(filters: np.ndarray) -> tuple[list[dict[str, Any]], str]:
    """Measures colour and orientation of one network's filters: rows, and a title."""
    now = filter_statistics(filters)
    fractions = {"colour": now.colour, "orientation": now.orientation}
    rows = [
        {"share of energy": name, "after": _plain(bootstrap_interval(values))}
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


class _Subject(NamedTuple):
    """An image that is reconstructed.

    Attributes:
      name: caption.
      kind: "sketch" or "photo".
      image: [h, w, 3] uint8.
    """

    name: str
    kind: str
    image: np.ndarray


def _subjects(inputs: FigureInputs, count: int) -> list[_Subject]:
    """Chooses pairs of a sketch and a photo of one class; the sketches come first."""
    mixture = inputs.mixture
    drawn, photographed = zip(*inputs.pairs(len(inputs.classes) or count), strict=True)
    return [
        _Subject(f"{kind} of {mixture.class_names[int(examples.labels[row])]}", kind, image)
        for kind, examples, rows in (
            ("sketch", mixture.drawings, drawn),
            ("photo", mixture.photos, photographed),
        )
        for row, image in zip(rows, _coloured(inputs.plain(examples, rows)), strict=True)
    ]


def inversion(
    inputs: FigureInputs, *, count: int, layers: Sequence[str], config: InversionConfig
) -> PaperFigure:
    """Makes Fig. 8, of `count` sketches and as many photos.

    Args:
      inputs: checkpoint and data.
      count: number of sketches.
      layers: names among the network's activations.
      config: how images are sought.

    Returns:
      The figure.

    Raises:
      ValueError: an unknown layer; fewer than two sketches or photos.
    """
    network, subjects = inputs.network, _subjects(inputs, count)
    images = np.stack([subject.image for subject in subjects])
    check_layers(network.card.network(), network.params, images, tuple(layers))
    others = _compared(inputs)
    variant = network.card.network().variant
    typical = {kind: typical_norm(x, variant=variant) for kind, x in others.items()}
    found = {
        layer: _reconstructed(
            network, subjects, others, typical, layer, config, f"inversion {i}/{len(layers)}"
        )
        for i, layer in enumerate(layers, start=1)
    }
    steps = sum(number for _, number in config.phases)
    facts = {
        "steps": steps,
        "restarts": config.restarts,
        "seed": config.seed,
        "images that the unit comes from": {kind: len(x) for kind, x in others.items()},
        "typical norm": typical,
    }
    rows = [_inversion_row(layer, own, subjects) for layer, own in found.items()]
    figure = _inversion_figure(subjects, found, steps)
    return PaperFigure("Inversion", INVERSION_TEXT, figure, facts, rows)


def _compared(inputs: FigureInputs) -> dict[str, np.ndarray]:
    """Draws the images of each kind whose mean distance is the unit of errors, [n, h, w, 3] uint8."""
    kinds = {"sketch": inputs.mixture.drawings, "photo": inputs.mixture.photos}
    for kind, examples in kinds.items():
        if len(examples) < 2:
            plural = {"sketch": "sketches", "photo": "photos"}[kind]
            raise ValueError(
                f"errors are measured in distances between images, and there is one among the {plural}; "
                "choose a split with more"
            )
    rng = np.random.default_rng(inputs.seed)
    return {
        kind: _coloured(inputs.plain(examples, rng.permutation(len(examples))[:COMPARED].tolist()))
        for kind, examples in kinds.items()
    }


def _reconstructed(
    network: Network,
    subjects: Sequence[_Subject],
    others: Mapping[str, np.ndarray],
    typical: Mapping[str, float],
    layer: str,
    config: InversionConfig,
    label: str,
) -> list[network_plots.Inverted]:
    """Reconstructs all subjects from one layer, with errors in the unit of each one's kind."""
    model, params = network.card.network(), network.params
    images = np.stack([subject.image for subject in subjects])
    norms = np.array([typical[subject.kind] for subject in subjects])
    made = invert(model, params, images, layer=layer, norms=norms, config=config, label=label)
    units = {kind: mean_distance(model, params, x, layer=layer) for kind, x in others.items()}
    normalised = normalised_errors(made, np.array([units[s.kind] for s in subjects]))
    values = zip(stretched(made.raw), made.errors.tolist(), normalised.tolist(), strict=True)
    return [network_plots.Inverted(*value) for value in values]


def _inversion_figure(
    subjects: Sequence[_Subject],
    found: Mapping[str, Sequence[network_plots.Inverted]],
    steps: int,
) -> Figure:
    return network_plots.inversions(
        [(subject.name, subject.image) for subject in subjects],
        found,
        title=f"after {steps} steps; error: |Φ(x) − Φ₀|² / |Φ₀|²\n(and |Φ(x) − Φ₀| in percent of the "
        "mean distance of images)",
    )


def _inversion_row(
    layer: str, found: Sequence[network_plots.Inverted], subjects: Sequence[_Subject]
) -> dict[str, Any]:
    """One layer's errors: their means over sketches and over photos, and each."""
    row: dict[str, Any] = {"layer": layer}
    for kind in dict.fromkeys(subject.kind for subject in subjects):
        own = [one for one, s in zip(found, subjects, strict=True) if s.kind == kind]
        row[f"{kind}, error"] = [one.error for one in own]
        row[f"{kind}, normalised"] = [one.normalised for one in own]
        row[f"{kind}, mean normalised"] = float(np.mean([one.normalised for one in own]))
    return row


def _coloured(images: np.ndarray) -> np.ndarray:
    """[n, h, w] or [n, h, w, 3] -> [n, h, w, 3]."""
    return images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
