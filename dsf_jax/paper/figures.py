"""The paper's pictures of a method at work, from a checkpoint and prepared data: resizing, views,
retrieval, each with its numbers; no flags here.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dsf_jax.data.batches import collate, content
from dsf_jax.data.mixtures import ClassMap, Examples, Mixture, names_in_mixture
from dsf_jax.data.records import Records
from dsf_jax.evaluation.evaluate import Network, all_classes, shown_to
from dsf_jax.evaluation.ranking import (
    VARIANTS,
    Cutoffs,
    distance_blocks,
    rank_by_distance,
    ranking_scores,
)
from dsf_jax.evaluation.results import bootstrap
from dsf_jax.images.points import CANVAS
from dsf_jax.images.views import VIEW_ANGLES, VIEW_FLIPS, all_views, plain_view
from dsf_jax.insight import plots, strokes
from dsf_jax.insight.report import Section
from dsf_jax.recognition.voting import single_angle
from dsf_jax.retrieval.features import extract

BATCH = 64  # images at a time
LISTED = 30  # classes that an error names


class Picture(NamedTuple):
    """What one figure of the paper shows for a checkpoint.

    Attributes:
      title: a few words.
      text: what it shows, a paragraph.
      figure: the picture.
      facts: {name: value}, JSON; what was measured in all.
      rows: JSON; what was measured one by one, {column: value} each.
    """

    title: str
    text: str
    figure: Figure
    facts: dict[str, Any]
    rows: list[dict[str, Any]]

    def section(self) -> Section:
        """Returns it as a part of a report."""
        picture = plots.png_bytes(self.figure)
        return Section(self.title, self.text, picture, self.facts, self.rows)


@dataclasses.dataclass(frozen=True)
class Source:
    """What pictures are made from.

    Attributes:
      network: the checkpoint.
      sketches: data sets of drawings.
      photos: data sets of photos.
      before: the checkpoint that fine-tuning started from, if it is to be compared with.
      class_map: synonyms, see `mix`.
      classes: those to show, in order; none for any.
      seed: of what is chosen.
    """

    network: Network
    sketches: Sequence[Records]
    photos: Sequence[Records]
    before: Network | None = None
    class_map: ClassMap | None = None
    classes: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError where the two networks cannot be compared."""
        if self.before is None:
            return
        after, before = (
            f"{n.card.variant} at {n.card.size} x {n.card.size}"
            for n in (self.network, self.before)
        )
        if before != after:
            raise ValueError(
                f"{self.before.name} is {before}, {self.network.name} is {after}; name the checkpoint "
                "that the training started from"
            )

    @functools.cached_property
    def mixture(self) -> Mixture:
        """All drawings and photos, as the network is shown them."""
        sets = [*self.sketches, *self.photos]
        return shown_to(self.network.card, sets, all_classes(sets, self.class_map), self.class_map)

    def plain(self, examples: Examples, rows: Sequence[int]) -> np.ndarray:
        """Returns the plain view of some examples, [n, size, size] or [n, size, size, 3] uint8."""
        group = content(collate([examples[int(i)] for i in rows]))
        return np.asarray(plain_view(group, size=self.network.card.size))

    def chosen(self, examples: Examples, kind: str, count: int) -> list[int]:
        """Chooses examples at random: one of each class asked for, or else of `count` classes."""
        labels, names = examples.labels, self.mixture.class_names
        check_classes(self.classes, names, {kind: [names[k] for k in np.unique(labels)]})
        return choose([names[k] for k in labels.tolist()], self.classes, count, self.seed)

    def pairs(self, count: int) -> list[tuple[int, int]]:
        """Pairs drawings and photos of one class at random, each at most once; a pair of each class
        asked for comes first.
        """
        mixture, rng = self.mixture, np.random.default_rng(self.seed)
        names = mixture.class_names
        kinds = {"sketch": mixture.drawings.labels, "photo": mixture.photos.labels}
        shown = {kind: [names[k] for k in np.unique(own)] for kind, own in kinds.items()}
        check_classes(self.classes, names, shown)
        by_class = {
            names[k]: list(
                zip(
                    *(rng.permutation(np.flatnonzero(own == k)).tolist() for own in kinds.values()),
                    strict=False,
                )
            )
            for k in np.intersect1d(kinds["sketch"], kinds["photo"]).tolist()
        }
        if not by_class:
            sets = ", ".join(r.name for r in [*self.sketches, *self.photos])
            raise ValueError(
                f"no class has both a sketch and a photo in {sets}; choose data sets that share "
                "classes, or map their names to each other"
            )
        asked = [by_class[name][0] for name in dict.fromkeys(self.classes)]
        others = [pair for own in by_class.values() for pair in own if pair not in asked]
        drawn = [others[i] for i in rng.permutation(len(others))]
        return [*asked, *drawn][: max(count, len(asked))]


def check_classes(
    asked: Sequence[str], known: Sequence[str], shown: Mapping[str, Sequence[str]]
) -> None:
    """Raises ValueError for a class asked for that is unknown, or that has no example of a kind."""
    for name in asked:
        if name not in known:
            more = ", ..." if len(known) > LISTED else ""
            raise ValueError(
                f"class {name!r} is unknown; choose of {', '.join(known[:LISTED])}{more}"
            )
        for kind, there in shown.items():
            if name not in there:
                raise ValueError(
                    f"class {name!r} has no {kind} in these data sets; choose another class, or "
                    "data sets and splits that have one"
                )


def choose(names: Sequence[str], classes: Sequence[str], count: int, seed: int) -> list[int]:
    """Chooses examples at random: one of each class in `classes`, or else of `count` classes.

    Args:
      names: [n] the examples' classes.
      classes: wanted, in order; none for any.
      count: of classes, where any will do; fewer where there are not as many.
      seed: of the choice.

    Returns:
      Places in `names`.
    """
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    first = {names[i]: i for i in reversed(order)}
    wanted = classes or list(dict.fromkeys(names[i] for i in order))[:count]
    return [first[name] for name in wanted]


def resizing(
    sketches: Sequence[Records],
    *,
    count: int,
    class_map: ClassMap | None = None,
    classes: Sequence[str] = (),
    seed: int = 0,
) -> Picture:
    """Makes Fig. 1; it needs no network.

    A record's own pixels are shrunk where there are more than on the canvas of its points. Smaller
    drawings are drawn anew from their points, with a pen of one pixel: to shrink them from their own
    would show nothing.
    """
    places = [(r, i) for r in sketches for i in range(len(r))]
    names = [
        own[record["label"]]
        for r in sketches
        for own in [names_in_mixture(r, class_map or {})]
        for record in Records(r.folder, r.split, fields=("label",))
    ]
    check_classes(classes, sorted(set(names)), {})
    rows = choose(names, classes, count, seed)
    drawings = [_large_drawing(places[row][0][places[row][1]]) for row in rows]
    made = [strokes.resized(drawing) for drawing in drawings]
    kept = [
        {name: strokes.kept_strokes(drawing, small) for name, small in own.items()}
        for drawing, own in zip(drawings, made, strict=True)
    ]
    return Picture(
        "Resizing",
        "Drawings shrunk to the network's input (Fig. 1 of the paper). Interpolation fades thin "
        "strokes; binarised, they break or swell. Moving their points keeps them all. Strokes kept: "
        "the share of the strokes' middle lines that falls on a dark pixel. Drawings of fewer than "
        f"{CANVAS} x {CANVAS} pixels are drawn anew from their points, with a pen of one pixel.",
        plots.resizing(drawings),
        {"classes": [names[row] for row in rows], "pixels": [len(d) for d in drawings]},
        [
            {
                "resizing": name,
                "strokes kept": float(np.mean([own[name] for own in kept])),
                "dark pixels": float(np.mean([own[name] < strokes.DARK for own in made])),
            }
            for name in made[0]
        ],
    )


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


def views(source: Source) -> Picture:
    """Makes Fig. 2, of one drawing."""
    card, drawings = source.network.card, source.mixture.drawings
    (row,) = source.chosen(drawings, "sketch", 1)[:1]
    truth = source.mixture.class_names[int(drawings.labels[row])]
    group = content(collate([drawings[row]]))
    shown = np.asarray(all_views(group, size=card.size))[0]
    model, params = card.network(), source.network.params
    probabilities = np.asarray(
        single_angle(model, params, {"drawing": shown}, size=card.size), np.float64
    )
    single = np.asarray(single_angle(model, params, group, size=card.size))[0]
    result = probabilities.mean(axis=0)
    voted, alone = (card.class_names[int(p.argmax())] for p in (result, single))
    unknown = "" if truth in card.class_names else ", a class that the network does not know"
    return Picture(
        "Views and votes",
        "The 18 views of a sketch (Fig. 2 of the paper), 9 angles plain and flipped: what each is taken "
        "for, framed where that is what all together take it for. The bars add up the votes: a class's "
        "probability is the mean over the views.",
        plots.voted_views(
            shown,
            probabilities,
            card.class_names,
            title=f"sketch of: {truth}{unknown}; upright alone: {alone} ({single.max():.2f}); "
            f"voted: {voted} ({result.max():.2f})",
        ),
        {
            "sketch of": truth,
            "class known to the network": not unknown,
            "voted": voted,
            "probability by vote": float(result.max()),
            "upright alone": alone,
            "probability upright": float(single.max()),
            "views that agree": int(np.sum(probabilities.argmax(axis=1) == result.argmax())),
        },
        [
            {
                "angle": float(VIEW_ANGLES[i]),
                "flipped": bool(VIEW_FLIPS[i]),
                "taken for": card.class_names[int(own.argmax())],
                "probability": float(own.max()),
                "vote for the result": float(own[result.argmax()] / len(shown)),
            }
            for i, own in enumerate(probabilities)
        ],
    )


def retrieval(source: Source, *, count: int, top: int, layer: str) -> Picture:
    """Makes Fig. 5: queries drawn at random, and the score over all queries."""
    mixture = source.mixture
    asked, there = mixture.drawings.labels, mixture.photos.labels
    counted = np.isin(asked, there)
    if not counted.any():
        raise ValueError(
            f"none of {len(asked)} sketches has a photo of its class among {len(there)}; choose data "
            "sets and splits that share classes"
        )
    names = [mixture.class_names[k] for k in asked.tolist()]
    check_classes(source.classes, mixture.class_names, {"sketch": names})
    # By default from those that can be answered; one may ask for a class without photos.
    eligible = np.arange(len(names)) if source.classes else np.flatnonzero(counted)
    picked = choose([names[i] for i in eligible], source.classes, count, source.seed)
    rows = eligible[picked].tolist()
    nearest, precision = _ranked(source, layer, top)
    hits = there[nearest] == asked[:, None]
    overall = bootstrap(precision[counted])
    shown = {row: float(precision[row]) if counted[row] else None for row in rows}
    return Picture(
        "Retrieval",
        "Sketches and the photos nearest to them, best first (Fig. 5 of the paper); those of the "
        f"sketch's class are framed. AP: {VARIANTS['mAP']}. mAP: its mean over all queries, with a "
        "95 % bootstrap interval.",
        plots.ranked_results(
            list(source.plain(mixture.drawings, rows)),
            [[mixture.photos[int(j)]["photo"] for j in nearest[row]] for row in rows],
            hits[rows].tolist(),
            captions=[
                f"{plots.short(names[row])}\n" + ("no photo" if ap is None else f"AP {ap:.2f}")
                for row, ap in shown.items()
            ],
            title=f"{counted.sum()} sketches against {len(there)} photos by {layer}: mAP "
            f"{overall.value:.3f} [{overall.low:.3f}, {overall.high:.3f}]",
        ),
        {
            "layer": layer,
            "mAP": {"mean": overall.value, "low": overall.low, "high": overall.high},
            "queries": int(counted.sum()),
            "queries without a photo": int((~counted).sum()),
            "photos": len(there),
        },
        [
            {"query": names[row], "AP": ap, f"hits in {nearest.shape[1]}": int(hits[row].sum())}
            for row, ap in shown.items()
        ],
    )


def _ranked(source: Source, layer: str, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks all photos for each drawing: the places of the nearest, [q, top], and the average
    precision of the whole ranking, [q].
    """
    card, params, mixture = source.network.card, source.network.params, source.mixture
    queries, gallery = (
        extract(
            card.network(),
            params,
            examples,
            layers=(layer,),
            batch_size=min(BATCH, len(examples)),
            size=card.size,
            label=label,
        )[layer]
        for examples, label in ((mixture.drawings, "sketches"), (mixture.photos, "photos"))
    )
    nearest, precision = [], []
    for part, distances in distance_blocks(queries, gallery):
        ranking = rank_by_distance(distances)
        relevant = mixture.drawings.labels[part, None] == mixture.photos.labels[None, :]
        nearest.append(np.asarray(ranking)[:, :top])
        precision.append(ranking_scores(ranking, relevant, cutoffs=Cutoffs()).values["mAP"])
    return np.concatenate(nearest), np.concatenate(precision)
