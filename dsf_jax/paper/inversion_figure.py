"""The paper's figure of inversion: images that give a layer the same activations, with their errors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dsf_jax.insight.activations import check_layers
from dsf_jax.insight.descent import InversionConfig
from dsf_jax.insight.inversion import (
    invert,
    mean_distance,
    normalised_errors,
    stretched,
    typical_norm,
)
from dsf_jax.insight.network_plots import Inverted, inversions
from dsf_jax.models.model import Model
from dsf_jax.paper.figure_inputs import FigureInputs, PaperFigure

COMPARED = 100  # images whose mean distance is the unit of errors, as many as the authors took
INVERSION_TEXT = (
    "Images that give a layer the same activations (Fig. 8 of the paper), found by gradient descent "
    "from noise; each shown over its own range of brightness. Error: squared distance of the "
    "activations over their own squared length; normalised error: distance over the mean distance "
    "of images of the same kind, each with itself among them."
)


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
    inputs: FigureInputs, *, count: int, layers: Sequence[str] | None, config: InversionConfig
) -> PaperFigure:
    """Makes Fig. 8, of `count` sketches and as many photos.

    Args:
      inputs: checkpoint and data.
      count: number of sketches.
      layers: names among the network's activations; None takes the backbone's.
      config: how images are sought.

    Returns:
      The figure.

    Raises:
      ValueError: an unknown layer; fewer than two sketches or photos.
    """
    model, subjects = inputs.network.model, _subjects(inputs, count)
    layers = layers or model.backbone.inverted
    check_layers(model, layers, size=model.size)
    others = _compared(inputs)
    typical = {kind: typical_norm(model, x) for kind, x in others.items()}
    found = {
        layer: _reconstructed(
            model, subjects, others, typical, layer, config, f"inversion {i}/{len(layers)}"
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
    model: Model,
    subjects: Sequence[_Subject],
    others: Mapping[str, np.ndarray],
    typical: Mapping[str, float],
    layer: str,
    config: InversionConfig,
    label: str,
) -> list[Inverted]:
    """Reconstructs all subjects from one layer, with errors in the unit of each one's kind."""
    images = np.stack([subject.image for subject in subjects])
    norms = np.array([typical[subject.kind] for subject in subjects])
    made = invert(model, images, layer=layer, norms=norms, config=config, label=label)
    units = {kind: mean_distance(model, x, layer=layer) for kind, x in others.items()}
    normalised = normalised_errors(made, np.array([units[s.kind] for s in subjects]))
    values = zip(stretched(made.raw), made.errors.tolist(), normalised.tolist(), strict=True)
    return [Inverted(*value) for value in values]


def _inversion_figure(
    subjects: Sequence[_Subject],
    found: Mapping[str, Sequence[Inverted]],
    steps: int,
) -> Figure:
    return inversions(
        [(subject.name, subject.image) for subject in subjects],
        found,
        title=f"after {steps} steps; error: |Φ(x) − Φ₀|² / |Φ₀|²\n(and |Φ(x) − Φ₀| in percent of the "
        "mean distance of images)",
    )


def _inversion_row(
    layer: str, found: Sequence[Inverted], subjects: Sequence[_Subject]
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
