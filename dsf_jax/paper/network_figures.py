"""The paper's pictures of a network's inside: activations, filters, inversion, each with its numbers;
no flags here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.evaluation.evaluate import Network
from dsf_jax.insight import network_plots
from dsf_jax.insight.filters import (
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
from dsf_jax.paper.figures import Picture, Source

MEASURED_LAYERS = (*SHOWN_LAYERS, "relu6", "relu7")  # maps end at relu5; L6 and L7 follow
INVERTED_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
MAPS = 16  # channels of a layer that are shown
BATCH = 16  # pairs at a time
COMPARED = 100  # images whose mean distance is the unit of errors, as many as the authors took


def activations(source: Source, *, pairs: int) -> Picture:
    """Makes Fig. 6, and measures what it claims."""
    network, mixture = source.network, source.mixture
    found = _balanced(source.pairs(pairs), mixture.drawings.labels)
    drawn, photographed = zip(*found, strict=True)
    sketches = source.plain(mixture.drawings, drawn)
    photos = source.plain(mixture.photos, photographed)
    labels = mixture.drawings.labels[list(drawn)]
    similarities = {
        when: pair_similarities(
            own.card.network(),
            own.params,
            sketches,
            photos,
            labels,
            layers=MEASURED_LAYERS,
            batch_size=min(BATCH, len(found)),
            seed=source.seed,
            label=f"similarity {when}",
        )
        for when, own in _by_time(source).items()
    }
    gaps = {
        when: {
            layer: bootstrap_interval(of.same - of.different, labels) for layer, of in own.items()
        }
        for when, own in similarities.items()
    }
    model = network.card.network()
    maps = shared_maps(
        model, network.params, sketches[0], photos[0], layers=SHOWN_LAYERS, count=MAPS
    )
    name = mixture.class_names[int(labels[0])]
    return Picture(
        "Activations",
        "What the convolutions answer to a sketch and a photo of one class (Fig. 6 of the paper): the "
        f"{MAPS} channels of each layer that answer most to both, the same ones on both sides. The bars: "
        "cosine similarity of activations, their mean over each kind of image taken off, of pairs of one "
        "class less that of pairs of two classes; 95 % bootstrap intervals over classes.",
        network_plots.shared_activations(
            sketches[0],
            photos[0],
            maps,
            {_named(when, own): gaps[when] for when, own in _by_time(source).items()},
            title=f"{name}: the channels that sketch and photo share most; below, {len(found)} pairs of "
            f"{len(np.unique(labels))} classes",
        ),
        {
            "class shown": name,
            "pairs": len(found),
            "classes": len(np.unique(labels)),
            "random layers before": list(source.before.card.fresh_layers) if source.before else [],
        },
        [_similarity_row(layer, similarities, labels) for layer in MEASURED_LAYERS],
    )


def _balanced(pairs: Sequence[tuple[int, int]], labels: np.ndarray) -> list[tuple[int, int]]:
    """Leaves out the last pairs of a class that holds more than half of them: each needs a partner of
    another class.
    """
    classes, group = np.unique([labels[drawn] for drawn, _ in pairs], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "all pairs of a sketch and a photo are of one class, and those of two classes are what they "
            "are compared with; choose data sets that share more classes"
        )
    most = len(pairs) - np.bincount(group)  # what the others hold
    rank = [int(np.sum(group[:i] == k)) for i, k in enumerate(group)]
    return [pair for pair, k, before in zip(pairs, group, rank, strict=True) if before < most[k]]


def _by_time(source: Source) -> dict[str, Network]:
    before = {"before": source.before} if source.before else {}
    return before | {"after": source.network}


def _named(when: str, network: Network) -> str:
    """Words a network for the picture; what is random in it says little."""
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


def filters(source: Source) -> Picture:
    """Makes Fig. 7; where there is a checkpoint before, with what fine-tuning changed."""
    variant = source.network.card.network().variant
    kernels = {
        when: np.asarray(own.params["conv1"]["kernel"]) for when, own in _by_time(source).items()
    }
    weights = {when: pixel_filters(kernel, variant=variant) for when, kernel in kernels.items()}
    shown = {
        f"{when} fine-tuning": filter_images(kernel, variant=variant)
        for when, kernel in kernels.items()
    }
    now = filter_statistics(weights["after"])
    shares = {"colour": now.colour, "orientation": now.orientation}
    facts: dict[str, Any] = {"filters": len(weights["after"])}
    rows: list[dict[str, Any]] = [
        {"share of energy": name, "after": _plain(bootstrap_interval(values))}
        for name, values in shares.items()
    ]
    title = ", ".join(
        f"{name} {values.mean():.3f} of the energy" for name, values in shares.items()
    )
    if "before" in weights:
        change = filter_change(weights["before"], weights["after"])
        facts["moved"] = change.moved
        rows = [
            {"share of energy": name}
            | {
                when: _plain(getattr(change, f"{name}_{when}"))
                for when in ("before", "after", "change")
            }
            for name in shares
        ]
        if change.moved:
            difference = kernels["after"] - kernels["before"]
            panel = "what changed, each on its own scale"
            shown[panel] = filter_images(difference, variant=variant)
            title = f"weights moved by {100 * change.moved:.2f} %" + "".join(
                f"; {name} {row['before']['mean']:.3f} to {row['after']['mean']:.3f} of the energy"
                for name, row in zip(shares, rows, strict=True)
            )
        else:
            shown = {"the same before and after fine-tuning": shown["after fine-tuning"]}
    return Picture(
        "First filters",
        "The filters of conv1 (Fig. 7 of the paper), grey where a weight is 0. Colour: share of a "
        "filter's energy off the grey axis. Orientation: share of its spectral energy within 30 degrees "
        "of the dominant direction, a sixth for a filter without any. Moved: length of the change of all "
        "weights over their length.",
        network_plots.first_filters(shown, title=title),
        facts,
        rows,
    )


class _Subject(NamedTuple):
    """An image that is reconstructed."""

    name: str
    kind: str
    image: np.ndarray  # [h, w, 3] uint8


def _subjects(source: Source, count: int) -> list[_Subject]:
    """Chooses pairs of a sketch and a photo of one class; the sketches come first."""
    mixture = source.mixture
    drawn, photographed = zip(*source.pairs(len(source.classes) or count), strict=True)
    return [
        _Subject(f"{kind} of {mixture.class_names[int(examples.labels[row])]}", kind, image)
        for kind, examples, rows in (
            ("sketch", mixture.drawings, drawn),
            ("photo", mixture.photos, photographed),
        )
        for row, image in zip(rows, _coloured(source.plain(examples, rows)), strict=True)
    ]


def inversion(
    source: Source, *, count: int, layers: Sequence[str], config: InversionConfig
) -> Picture:
    """Makes Fig. 8, of `count` sketches and as many photos."""
    model, params, mixture = source.network.card.network(), source.network.params, source.mixture
    subjects = _subjects(source, count)
    images = np.stack([subject.image for subject in subjects])
    check_layers(model, params, images, tuple(layers))
    rng = np.random.default_rng(source.seed)
    for kind, examples in (("sketches", mixture.drawings), ("photos", mixture.photos)):
        if len(examples) < 2:
            raise ValueError(
                f"errors are told in distances between images, and there is one among the {kind}; "
                "choose a split with more"
            )
    others = {
        kind: _coloured(source.plain(examples, rng.permutation(len(examples))[:COMPARED].tolist()))
        for kind, examples in (("sketch", mixture.drawings), ("photo", mixture.photos))
    }
    typical = {kind: typical_norm(x, variant=model.variant) for kind, x in others.items()}
    norms = np.array([typical[subject.kind] for subject in subjects])
    found: dict[str, list[network_plots.Inverted]] = {}
    for i, layer in enumerate(layers, start=1):
        label = f"inversion {i}/{len(layers)}"
        made = invert(model, params, images, layer=layer, norms=norms, config=config, label=label)
        units = {kind: mean_distance(model, params, x, layer=layer) for kind, x in others.items()}
        normalised = normalised_errors(made, np.array([units[s.kind] for s in subjects]))
        values = zip(stretched(made.raw), made.errors.tolist(), normalised.tolist(), strict=True)
        found[layer] = [network_plots.Inverted(*value) for value in values]
    steps = sum(number for _, number in config.phases)
    return Picture(
        "Inversion",
        "Images that give a layer the same activations (Fig. 8 of the paper), found by gradient descent "
        "from noise; each shown over its own range of brightness. Error: squared distance of the "
        "activations over their own squared length; normalised error: distance over the mean distance "
        "of images of the same kind, each with itself among them.",
        network_plots.inversions(
            [(subject.name, subject.image) for subject in subjects],
            found,
            title=f"after {steps} steps; error: |Φ(x) − Φ₀|² / |Φ₀|²\n(and |Φ(x) − Φ₀| in percent of the "
            "mean distance of images)",
        ),
        {
            "steps": steps,
            "restarts": config.restarts,
            "seed": config.seed,
            "images that the unit comes from": {kind: len(x) for kind, x in others.items()},
            "typical norm": typical,
        },
        [_inversion_row(layer, own, subjects) for layer, own in found.items()],
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
