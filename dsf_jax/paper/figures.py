"""The paper's figures of the method at work, from a checkpoint and prepared data: resizing, views,
retrieval, each with its numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data.batches import collate, content
from dsf_jax.data.class_maps import ClassMap, names_in_mixture
from dsf_jax.data.records import Records
from dsf_jax.evaluation.ranking import METRICS, ranking_scores
from dsf_jax.evaluation.statistics import bootstrap
from dsf_jax.images.points import CANVAS
from dsf_jax.images.views import VIEW_ANGLES, VIEW_FLIPS, sketch_views
from dsf_jax.insight import plots, strokes
from dsf_jax.models.model import Model
from dsf_jax.paper.figure_inputs import FigureInputs, PaperFigure, check_classes, choose
from dsf_jax.recognition.voting import single_angle
from dsf_jax.retrieval.distances import distance_blocks, rank_by_distance
from dsf_jax.retrieval.features import extract

BATCH_SIZE = 64
RESIZING_TEXT = (
    "Drawings shrunk to the network's input (Fig. 1 of the paper). Interpolation fades thin "
    "strokes; binarised, they break or swell. Moving their points keeps them all. Strokes kept: "
    "the fraction of the strokes' middle lines that falls on a dark pixel. Drawings of fewer than "
    f"{CANVAS} x {CANVAS} pixels are drawn again from their points, with a pen of one pixel."
)
VIEWS_TEXT = (
    "The 18 views of a sketch (Fig. 2 of the paper), 9 angles plain and flipped: what each is taken "
    "for, framed where that is what all together take it for. The bars add up the votes: a class's "
    "probability is the mean over the views."
)
VIEWS_ALONE_TEXT = "The 18 views of a sketch (Fig. 2 of the paper), 9 angles plain and flipped."
RETRIEVAL_TEXT = (
    "Sketches and the photos nearest to them, best first (Fig. 5 of the paper); those of the "
    f"sketch's class are framed. AP: {METRICS['mAP'].definition}. mAP: its mean over all queries, with a "
    "95 % bootstrap interval."
)


def resizing(
    sketches: Sequence[Records],
    *,
    count: int,
    class_map: ClassMap | None = None,
    classes: Sequence[str] = (),
    seed: int = 0,
) -> PaperFigure:
    """Makes Fig. 1; it needs no network.

    A record's own pixels are shrunk where there are more than on the canvas of its points. Smaller
    drawings are drawn again from their points, with a pen of one pixel: to shrink them from their own
    would show nothing.

    Args:
      sketches: data sets of drawings.
      count: number of drawings, each of another class.
      class_map: synonyms, see `mix`.
      classes: classes to show, in order; none for any.
      seed: seed of the choice.

    Returns:
      The figure.
    """
    chosen = _chosen_records(sketches, count, class_map, classes, seed)
    drawings = [_large_drawing(record) for _, record in chosen]
    return PaperFigure(
        "Resizing",
        RESIZING_TEXT,
        plots.resizing(drawings),
        {"classes": [name for name, _ in chosen], "pixels": [len(d) for d in drawings]},
        _resizing_rows(drawings),
    )


def _chosen_records(
    sketches: Sequence[Records],
    count: int,
    class_map: ClassMap | None,
    classes: Sequence[str],
    seed: int,
) -> list[tuple[str, dict[str, Any]]]:
    """Chooses records without a network; returns (class, record) of each."""
    places = [(r, i) for r in sketches for i in range(len(r))]
    names = [
        own[record["label"]]
        for r in sketches
        for own in [names_in_mixture(r, class_map or {})]
        for record in Records(r.folder, r.split, fields=("label",))
    ]
    check_classes(classes, sorted(set(names)), {})
    rows = choose(names, classes, count, seed)
    return [(names[row], places[row][0][places[row][1]]) for row in rows]


def _resizing_rows(drawings: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Measures each method of resizing, on the mean of the drawings."""
    made = [strokes.resized(drawing) for drawing in drawings]
    kept = [
        {name: strokes.kept_strokes(drawing, small) for name, small in own.items()}
        for drawing, own in zip(drawings, made, strict=True)
    ]
    return [
        {
            "resizing": name,
            "strokes kept": float(np.mean([own[name] for own in kept])),
            "dark pixels": float(np.mean([own[name] < strokes.DARK for own in made])),
        }
        for name in made[0]
    ]


def _large_drawing(record: Mapping[str, Any]) -> np.ndarray:
    """A record's drawing as a square image, [s, s] uint8 with s of at least the canvas."""
    image = record["image"].min(axis=-1)
    side = max(image.shape)
    if side < CANVAS:
        drawing = np.full((CANVAS, CANVAS), 255, np.uint8)
        drawing[record["points"][:, 1], record["points"][:, 0]] = 0
        return drawing
    square = np.full((side, side), 255, np.uint8)
    top, left = ((side - n) // 2 for n in image.shape)
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


class _Votes(NamedTuple):
    """One drawing's views [18, h, w] uint8, their probabilities [18, k] and the upright view's [k]."""

    views: np.ndarray
    probabilities: np.ndarray
    upright: np.ndarray


def _votes(model: Model, drawing: Mapping[str, Any]) -> _Votes:
    """Classifies all views of a drawing, one by one."""
    batch = content(collate([dict(drawing)]))
    shown = np.asarray(model.all_views(batch))[0]
    probabilities = single_angle(model, {"drawing": shown})
    upright = single_angle(model, batch)
    return _Votes(shown, np.asarray(probabilities, np.float64), np.asarray(upright)[0])


def views(inputs: FigureInputs) -> PaperFigure:
    """Makes Fig. 2, of one drawing."""
    names, drawings = inputs.network.model.class_names, inputs.mixture.drawings
    (row,) = inputs.chosen(drawings, "sketch", 1)[:1]
    truth = inputs.mixture.class_names[int(drawings.labels[row])]
    votes = _votes(inputs.network.model, drawings[row])
    result = votes.probabilities.mean(axis=0)
    voted, upright = (names[int(p.argmax())] for p in (result, votes.upright))
    unknown = "" if truth in names else ", a class that the network does not know"
    title = (
        f"sketch of: {truth}{unknown}; upright alone: {upright} ({votes.upright.max():.2f}); "
        f"voted: {voted} ({result.max():.2f})"
    )
    facts = {
        "sketch of": truth,
        "class known to the network": not unknown,
        "voted": voted,
        "probability by vote": float(result.max()),
        "upright alone": upright,
        "probability upright": float(votes.upright.max()),
        "views that agree": int(np.sum(votes.probabilities.argmax(axis=1) == result.argmax())),
    }
    figure = plots.voted_views(votes.views, votes.probabilities, names, title=title)
    return PaperFigure("Views and votes", VIEWS_TEXT, figure, facts, _view_rows(votes, names))


def views_alone(
    sketches: Sequence[Records],
    *,
    class_map: ClassMap | None = None,
    classes: Sequence[str] = (),
    seed: int = 0,
) -> PaperFigure:
    """Makes Fig. 2 without a network, and so without votes; see `resizing` for the arguments."""
    ((name, record),) = _chosen_records(sketches, 1, class_map, classes[:1], seed)
    shown = np.asarray(sketch_views(record["points"]))
    figure = plots.views_alone(shown, title=f"sketch of: {name}")
    return PaperFigure("Views", VIEWS_ALONE_TEXT, figure, {"sketch of": name}, [])


def _view_rows(votes: _Votes, names: Sequence[str]) -> list[dict[str, Any]]:
    """Lists what each view is taken for, and its vote for the result."""
    result = votes.probabilities.mean(axis=0).argmax()
    return [
        {
            "angle": float(VIEW_ANGLES[i]),
            "flipped": bool(VIEW_FLIPS[i]),
            "taken for": names[int(own.argmax())],
            "probability": float(own.max()),
            "vote for the result": float(own[result] / len(votes.views)),
        }
        for i, own in enumerate(votes.probabilities)
    ]


def retrieval(
    inputs: FigureInputs, *, count: int, top: int, layer: str | None = None
) -> PaperFigure:
    """Makes Fig. 5: queries drawn at random, and the score over all queries.

    Args:
      inputs: checkpoint and data.
      count: number of queries shown.
      top: number of results per query.
      layer: feature that is compared; None takes the backbone's default.

    Returns:
      The figure.

    Raises:
      ValueError: no sketch has a photo of its class; a class to show is unknown or has no sketch.
    """
    mixture, layer = inputs.mixture, layer or inputs.network.model.default_feature
    counted = np.isin(mixture.drawings.labels, mixture.photos.labels)
    if not counted.any():
        raise ValueError(
            f"none of {len(counted)} sketches has a photo of its class among {len(mixture.photos)}; "
            "choose data sets and splits that share classes"
        )
    rows = _shown_queries(inputs, counted, count)
    nearest, precision = _ranked(inputs, layer, top)
    hits = mixture.photos.labels[nearest] == mixture.drawings.labels[:, None]
    overall = bootstrap(precision[counted])
    shown = {row: float(precision[row]) if counted[row] else None for row in rows}
    names = {row: mixture.class_names[int(mixture.drawings.labels[row])] for row in rows}
    facts = {
        "layer": layer,
        "mAP": {"mean": overall.value, "low": overall.low, "high": overall.high},
        "queries": int(counted.sum()),
        "queries without a photo": int((~counted).sum()),
        "photos": len(mixture.photos),
    }
    table = [
        {"query": names[row], "AP": ap, f"hits in {nearest.shape[1]}": int(hits[row].sum())}
        for row, ap in shown.items()
    ]
    figure = plots.ranked_results(
        list(inputs.plain(mixture.drawings, rows)),
        [[mixture.photos[int(j)]["photo"] for j in nearest[row]] for row in rows],
        hits[rows].tolist(),
        captions=[_caption(names[row], ap) for row, ap in shown.items()],
        title=f"{counted.sum()} sketches against {len(mixture.photos)} photos by {layer}: mAP "
        f"{overall.text()}",
    )
    return PaperFigure("Retrieval", RETRIEVAL_TEXT, figure, facts, table)


def _shown_queries(inputs: FigureInputs, counted: np.ndarray, count: int) -> list[int]:
    """Chooses the queries that are shown: by default from those that can be answered, but one may ask
    for a class without photos.
    """
    mixture = inputs.mixture
    names = [mixture.class_names[k] for k in mixture.drawings.labels.tolist()]
    check_classes(inputs.classes, mixture.class_names, {"sketch": names})
    eligible = np.arange(len(names)) if inputs.classes else np.flatnonzero(counted)
    picked = choose([names[i] for i in eligible], inputs.classes, count, inputs.seed)
    return eligible[picked].tolist()


def _caption(name: str, precision: float | None) -> str:
    return f"{plots.short(name)}\n" + ("no photo" if precision is None else f"AP {precision:.2f}")


def _ranked(inputs: FigureInputs, layer: str, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks all photos for each drawing: the places of the nearest, [q, top], and the average
    precision of the whole ranking, [q].
    """
    mixture = inputs.mixture
    queries, gallery = (
        extract(
            inputs.network.model,
            examples,
            layers=(layer,),
            batch_size=min(BATCH_SIZE, len(examples)),
            label=label,
        )[layer]
        for examples, label in ((mixture.drawings, "sketches"), (mixture.photos, "photos"))
    )
    nearest, precision = [], []
    for part, distances in distance_blocks(queries, gallery):
        ranking = rank_by_distance(distances)
        relevant = mixture.drawings.labels[part, None] == mixture.photos.labels[None, :]
        nearest.append(np.asarray(ranking)[:, :top])
        precision.append(ranking_scores(ranking, relevant).values["mAP"])
    return np.concatenate(nearest), np.concatenate(precision)
