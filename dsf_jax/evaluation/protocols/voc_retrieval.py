"""Sketches of a class against VOC2007's photos: all positives and ever more negatives (Fig. 4 of the
paper).

A photo is relevant to a query if it shows at least one object of its class. The score is the
bounded mAP at K = 150 in both readings, which `ranking.VARIANTS` defines.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from dsf_jax.evaluation.ranking import (
    VARIANTS,
    Cutoffs,
    RankingScores,
    distance_blocks,
    rank_by_distance,
    ranking_scores,
)
from dsf_jax.evaluation.results import (
    Measure,
    ResultRecord,
    bootstrap,
    bootstrap_interval,
    own_configuration,
)

PROTOCOL = "voc_retrieval"
DifficultAs = Literal["positive", "negative", "left_out"]
READINGS = ("bounded mAP", "bounded mAP (retrieved)")


class Shown(NamedTuple):
    """Which classes each photo shows; one may be in both."""

    easy: np.ndarray  # [n, k] bool: at least one object that is not marked difficult
    difficult: np.ndarray  # [n, k] bool: at least one object that is


def shown_classes(records: Iterable[Mapping[str, Any]], classes: int) -> Shown:
    """Reads which classes the photos show off their records.

    Args:
      records: n records of pascal_voc_sbir/photo; `object_labels` and `object_difficult` suffice.
      classes: k.

    Returns:
      The classes of each photo.

    Raises:
      ValueError: when there are no records, or a label is none of the classes.
    """
    rows = []
    for i, record in enumerate(records):
        labels = np.asarray(record["object_labels"])
        if len(wrong := labels[(labels < 0) | (labels >= classes)]):
            raise ValueError(
                f"photo {i} shows the class {wrong[0]}, expected 0 to {classes - 1}; "
                "take the classes of the data set"
            )
        row = np.zeros((2, classes), bool)
        row[np.asarray(record["object_difficult"], int), labels] = True
        rows.append(row)
    if not rows:
        raise ValueError("there are no photos; choose a split that has some")
    easy, difficult = np.stack(rows, axis=1)
    return Shown(easy, difficult)


def voc_retrieval(
    queries: np.ndarray,
    query_classes: np.ndarray,
    gallery: np.ndarray,
    shown: Shown,
    *,
    class_names: Sequence[str],
    configuration: Mapping[str, Any],
    difficult_as: DifficultAs = "positive",
    negatives: Sequence[int | None] = (0, 1000, 5000, None),
    k: int = 150,
    seed: int = 0,
) -> ResultRecord:
    """Ranks the positives of each query's class among more and more negatives.

    Args:
      queries: [q, d] float32, L2-normalised features of sketches.
      query_classes: [q] int.
      gallery: [n, d] float32, L2-normalised features of photos; may be a mapped file.
      shown: which classes the photos show.
      class_names: of all classes.
      configuration: what the result depends on, for the record: layer, checkpoint, data, ...
      difficult_as: what a photo is to a class of which it shows difficult objects alone: a
        "positive", as in the paper's words, a "negative", or "left_out" of that class's gallery, as
        in VOC's classification task.
      negatives: how many negatives join the positives, ascending; None is all of them, and comes
        last. They are drawn once a class, so that the fewer are among the more.
      k: K.
      seed: of the draw.

    Returns:
      Numbers "bounded mAP@K" and "bounded mAP@K (retrieved)", over all queries and, with "/CLASS"
      behind, over those of a class, with the most negatives, and bootstrap intervals over the
      queries; details "curve" {number: {class: [{"negatives", "gallery", "value", "low", "high"}]}}
      for all sizes. Queries of a class that no photo shows are left out and counted.

    Raises:
      ValueError: when no query has a positive, a class has fewer negatives than asked for, shapes
        do not fit, or an option is not known.
    """
    _check(queries, query_classes, gallery, shown, class_names, difficult_as, negatives)
    positive, left_out = _reading(shown, difficult_as)
    counted = positive[:, query_classes].any(axis=0)
    if not counted.any():
        raise ValueError(
            f"none of {len(queries)} queries has a positive among {len(gallery)} photos; "
            "choose queries and photos that share classes"
        )
    queries, query_classes = np.asarray(queries)[counted], query_classes[counted]
    places = {
        label: _places(positive[:, label], left_out[:, label], [seed, label])
        for label in np.unique(query_classes).tolist()
    }
    sizes = [_sizes(count, places, class_names) for count in negatives]
    scores = _scores(queries, query_classes, gallery, positive, places, sizes, k)
    names = [reading.replace("mAP", f"mAP@{k}") for reading in READINGS]
    whole = own_configuration(
        configuration,
        K=k,
        seed=seed,
        difficult_as=difficult_as,
        negatives=["all" if count is None else count for count in negatives],
        definitions={reading: VARIANTS[reading] for reading in READINGS},
    )
    curve = _curve(names, scores, query_classes, positive, sizes, class_names)
    by_class = {
        f"{name}/{class_name}": Measure(*(sizes_of[-1][x] for x in Measure._fields))
        for name, classes in curve.items()
        for class_name, sizes_of in classes.items()
    }
    return ResultRecord(
        PROTOCOL,
        {name: bootstrap(scores[-1].values[name]) for name in names} | by_class,
        whole,
        {
            "queries": len(queries),
            "queries_without_relevant": int((~counted).sum()),
            "gallery": len(gallery),
            "classes": len(places),
        },
        bootstrap_interval("queries"),
        {"curve": curve},
    )


def _reading(shown: Shown, difficult_as: DifficultAs) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positives and the photos left out of each class, [n, k] bool each."""
    nobody = np.zeros_like(shown.easy)
    if difficult_as == "positive":
        return shown.easy | shown.difficult, nobody
    return shown.easy, shown.difficult & ~shown.easy if difficult_as == "left_out" else nobody


class _Places(NamedTuple):
    """When each photo joins a class's gallery: with how many negatives or more."""

    joins: np.ndarray  # [n] int: 0 for a positive, i + 1 for the negative drawn as number i
    negatives: int  # those that there are; photos left out join above any number


def _places(positive: np.ndarray, left_out: np.ndarray, seed: Sequence[int]) -> _Places:
    """Draws the order in which a class's negatives join: its first ones are those of any gallery."""
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(~positive & ~left_out))
    joins = np.where(positive, 0, len(positive) + 1)
    joins[drawn] = np.arange(1, len(drawn) + 1)
    return _Places(joins, len(drawn))


def _sizes(
    count: int | None, places: Mapping[int, _Places], class_names: Sequence[str]
) -> dict[int, int]:
    """Returns how many negatives each class has in one gallery."""
    for label, place in places.items():
        if count is not None and count > place.negatives:
            raise ValueError(
                f"the class {class_names[label]} has {place.negatives} negatives, {count} are asked "
                "for; take more photos (all splits) or fewer negatives"
            )
    return {label: p.negatives if count is None else count for label, p in places.items()}


def _scores(
    queries: np.ndarray,
    query_classes: np.ndarray,
    gallery: np.ndarray,
    positive: np.ndarray,
    places: Mapping[int, _Places],
    sizes: Sequence[Mapping[int, int]],
    k: int,
) -> list[RankingScores]:
    """Scores all queries in the gallery of each size; distances are measured once for all sizes."""
    blocks: list[list[RankingScores]] = [[] for _ in sizes]
    for rows, distances in distance_blocks(queries, gallery):
        labels = query_classes[rows].tolist()
        joins = np.stack([places[label].joins for label in labels])  # [b, n]
        relevant = positive[:, labels].T
        for size, scores in zip(sizes, blocks, strict=True):
            inside = joins <= np.array([size[label] for label in labels])[:, None]
            # Photos outside come last and are not relevant: no score sees them.
            ranking = rank_by_distance(np.where(inside, distances, np.float32(np.inf)))
            scores.append(ranking_scores(ranking, relevant, cutoffs=Cutoffs(bounded=(k,))))
    return [functools.reduce(RankingScores.__add__, scores) for scores in blocks]


def _curve(
    names: Sequence[str],
    scores: Sequence[RankingScores],
    query_classes: np.ndarray,
    positive: np.ndarray,
    sizes: Sequence[Mapping[int, int]],
    class_names: Sequence[str],
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    return {
        name: {
            class_names[label]: [
                {
                    "negatives": size[label],
                    "gallery": int(positive[:, label].sum()) + size[label],
                    **bootstrap(score.values[name][query_classes == label])._asdict(),
                }
                for size, score in zip(sizes, scores, strict=True)
            ]
            for label in sizes[0]
        }
        for name in names
    }


def _check(
    queries: np.ndarray,
    query_classes: np.ndarray,
    gallery: np.ndarray,
    shown: Shown,
    class_names: Sequence[str],
    difficult_as: str,
    negatives: Sequence[int | None],
) -> None:
    n, classes = len(gallery), len(class_names)
    if query_classes.shape != (len(queries),):
        raise ValueError(
            f"{len(queries)} queries need as many classes, got {query_classes.shape}; give each one"
        )
    for name, matrix in shown._asdict().items():
        if matrix.shape != (n, classes) or matrix.dtype != bool:
            raise ValueError(
                f"shown.{name} is {matrix.dtype} {matrix.shape}, expected bool ({n}, {classes}): a "
                "row a photo, a column a class"
            )
    if len(wrong := query_classes[(query_classes < 0) | (query_classes >= classes)]):
        raise ValueError(f"a query has the class {wrong[0]}, expected 0 to {classes - 1}")
    if difficult_as not in get_args(DifficultAs):
        raise ValueError(
            f"difficult_as={difficult_as!r} is unknown; choose one of "
            f"{', '.join(get_args(DifficultAs))}"
        )
    counts = [math.inf if count is None else count for count in negatives]
    if not counts or counts != sorted(set(counts)) or counts[0] < 0:
        raise ValueError(
            f"negatives={tuple(negatives)}: expected at least one size, ascending from 0, None (all) last"
        )
