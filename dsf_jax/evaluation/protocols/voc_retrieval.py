"""Sketches of a class against VOC2007's photos: all positives and ever more negatives (Fig. 4 of the
paper).

A photo is relevant to a query if it shows at least one object of its class. The score is the
bounded mAP at K = 150 in both readings, which `ranking.METRICS` defines.

A photo in which a class is shown by difficult objects only is a "positive" of that class, as in the
paper's words, a "negative", or "left_out" of that class's gallery, as in VOC's classification task.

The numbers are "bounded mAP@K" and "bounded mAP@K (retrieved)" over all queries and, named NUMBER/CLASS,
over those of a class, each with the most negatives; the details hold "curve" {number: {class:
[{"negatives", "gallery", "value", "low", "high"}]}} for all sizes.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from dsf_jax.evaluation.ranking import RankingScores, at_cutoff, definitions, ranking_scores
from dsf_jax.evaluation.results import ResultRecord, own_configuration
from dsf_jax.evaluation.statistics import Measure, bootstrap, describe_bootstrap
from dsf_jax.retrieval.distances import distance_blocks, rank_by_distance

PROTOCOL = "voc_retrieval"
DifficultAs = Literal["positive", "negative", "left_out"]
READINGS = ("bounded mAP", "bounded mAP (retrieved)")


class Shown(NamedTuple):
    """Which classes each photo shows; one may be in both."""

    easy: np.ndarray  # [n, k] bool: at least one object that is not marked difficult
    difficult: np.ndarray  # [n, k] bool: at least one object that is


def shown_classes(records: Iterable[Mapping[str, Any]], classes: int) -> Shown:
    """Reads from records which classes each photo shows.

    Args:
      records: n records of pascal_voc_sbir/photo; `object_labels` and `object_difficult` suffice.
      classes: k, the number of classes.

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
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: Shown,
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
      query_labels: [q] int.
      gallery: [n, d] float32, L2-normalised features of photos; may be a mapped file.
      gallery_labels: classes that the photos show.
      class_names: names of all classes.
      configuration: everything else that the result depends on, for the record: layer, data, ...
      difficult_as: role of a photo in which a class is shown by difficult objects only.
      negatives: numbers of negatives that join the positives, ascending; None is all of them, and
        comes last. They are drawn once per class, so that the fewer are among the more.
      k: the K of the bounded mAP.
      seed: seed of the draw.

    Returns:
      The numbers, with bootstrap intervals over the queries. Queries of a class that no photo shows
      are omitted and counted.

    Raises:
      ValueError: when no query has a positive, a class has fewer negatives than asked for, shapes
        do not fit, or an option is unknown.
    """
    _check(queries, query_labels, gallery, gallery_labels, class_names)
    _check_options(difficult_as, negatives)
    task = _draw(query_labels, gallery_labels, difficult_as, negatives, seed, class_names)
    curve, overall = _evaluated(queries, gallery, task, k, class_names)
    own = {
        "K": k,
        "seed": seed,
        "difficult_as": difficult_as,
        "negatives": ["all" if count is None else count for count in negatives],
        "definitions": definitions(READINGS),
    }
    whole = own_configuration(configuration, **own)
    numbers, interval = overall | _largest(curve), describe_bootstrap("queries")
    return ResultRecord(PROTOCOL, numbers, whole, _counts(task), interval, {"curve": curve})


class _Task(NamedTuple):
    """What is ranked against what.

    Attributes:
      counted: [all queries] bool: some photo shows the query's class.
      labels: [q] int, classes of the counted queries.
      positive: [n, k] bool, the photos that are relevant to each class.
      places: {class: the order in which photos join its gallery}.
      sizes: [{class: number of negatives}], one per size of the gallery.
    """

    counted: np.ndarray
    labels: np.ndarray
    positive: np.ndarray
    places: dict[int, "_Places"]
    sizes: list[dict[int, int]]


def _counts(task: _Task) -> dict[str, int]:
    return {
        "queries": int(task.counted.sum()),
        "queries_without_relevant": int((~task.counted).sum()),
        "gallery": len(task.positive),
        "classes": len(task.places),
    }


def _draw(
    query_labels: np.ndarray,
    shown: Shown,
    difficult_as: DifficultAs,
    negatives: Sequence[int | None],
    seed: int,
    class_names: Sequence[str],
) -> _Task:
    """Draws the negatives of each class that is asked for."""
    positive, left_out = _reading(shown, difficult_as)
    counted = np.any(positive[:, query_labels], axis=0)
    if not counted.any():
        raise ValueError(
            f"none of {len(query_labels)} queries has a positive among {len(positive)} photos; "
            "choose queries and photos that share classes"
        )
    labels = query_labels[counted]
    places = {
        label: _places(positive[:, label], left_out[:, label], [seed, label])
        for label in np.unique(labels).tolist()
    }
    sizes = [_sizes(count, places, class_names) for count in negatives]
    return _Task(counted, labels, positive, places, sizes)


def _reading(shown: Shown, difficult_as: DifficultAs) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positives and the photos left out of each class, [n, k] bool each."""
    nobody = np.zeros_like(shown.easy)
    if difficult_as == "positive":
        return shown.easy | shown.difficult, nobody
    return shown.easy, shown.difficult & ~shown.easy if difficult_as == "left_out" else nobody


class _Places(NamedTuple):
    """The number of negatives with which each photo joins a class's gallery."""

    joins: np.ndarray  # [n] int: 0 for a positive, i + 1 for the negative drawn as number i
    negatives: int  # number of all; photos left out join above any number


def _places(positive: np.ndarray, left_out: np.ndarray, seed: Sequence[int]) -> _Places:
    """Draws the order in which a class's negatives join: its first ones are those of any gallery."""
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(~positive & ~left_out))
    joins = np.where(positive, 0, len(positive) + 1)
    joins[drawn] = np.arange(1, len(drawn) + 1)
    return _Places(joins, len(drawn))


def _sizes(
    count: int | None, places: Mapping[int, _Places], class_names: Sequence[str]
) -> dict[int, int]:
    """Returns the number of negatives that each class has in one gallery."""
    for label, place in places.items():
        if count is not None and count > place.negatives:
            raise ValueError(
                f"the class {class_names[label]} has {place.negatives} negatives, {count} are asked "
                "for; take more photos (all splits) or fewer negatives"
            )
    return {label: p.negatives if count is None else count for label, p in places.items()}


Curve = dict[str, dict[str, list[dict[str, Any]]]]  # {number: {class: points}}


def _evaluated(
    queries: np.ndarray, gallery: np.ndarray, task: _Task, k: int, class_names: Sequence[str]
) -> tuple[Curve, dict[str, Measure]]:
    """Returns the curves of the classes, and each number over all queries and the most negatives."""
    names = [at_cutoff(reading, k) for reading in READINGS]
    scores = _scores(np.asarray(queries)[task.counted], gallery, task, names)
    curve = {name: _curves([s.values[name] for s in scores], task, class_names) for name in names}
    return curve, {name: bootstrap(scores[-1].values[name]) for name in names}


def _scores(
    queries: np.ndarray, gallery: np.ndarray, task: _Task, metrics: Sequence[str]
) -> list[RankingScores]:
    """Scores all queries in the gallery of each size; distances are measured once for all sizes."""
    blocks: list[list[RankingScores]] = [[] for _ in task.sizes]
    for rows, distances in distance_blocks(queries, gallery):
        labels = task.labels[rows].tolist()
        joins = np.stack([task.places[label].joins for label in labels])  # [b, n]
        relevant = task.positive[:, labels].T
        for size, scores in zip(task.sizes, blocks, strict=True):
            inside = joins <= np.array([size[label] for label in labels])[:, None]
            # Photos outside come last and are not relevant: no score sees them.
            ranking = rank_by_distance(np.where(inside, distances, np.float32(np.inf)))
            scores.append(ranking_scores(ranking, relevant, metrics=metrics))
    return [functools.reduce(RankingScores.__add__, scores) for scores in blocks]


def _curves(
    values: Sequence[np.ndarray], task: _Task, class_names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Returns a number's points {class: one per size}, given its values [q] at each size."""
    return {
        class_names[label]: [
            {
                "negatives": size[label],
                "gallery": int(task.positive[:, label].sum()) + size[label],
                **bootstrap(own[task.labels == label])._asdict(),
            }
            for size, own in zip(task.sizes, values, strict=True)
        ]
        for label in task.places
    }


def _largest(curve: Curve) -> dict[str, Measure]:
    """Returns each class's number with the most negatives."""
    return {
        f"{name}/{class_name}": Measure(*(points[-1][x] for x in Measure._fields))
        for name, classes in curve.items()
        for class_name, points in classes.items()
    }


def _check(
    queries: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    shown: Shown,
    class_names: Sequence[str],
) -> None:
    n, classes = len(gallery), len(class_names)
    if query_labels.shape != (len(queries),):
        raise ValueError(
            f"{len(queries)} queries need as many classes, got {query_labels.shape}; "
            "give each query one"
        )
    for name, matrix in shown._asdict().items():
        if matrix.shape != (n, classes) or matrix.dtype != bool:
            raise ValueError(
                f"shown.{name} is {matrix.dtype} {matrix.shape}, expected bool ({n}, {classes}); "
                "give one row per photo and one column per class"
            )
    if len(wrong := query_labels[(query_labels < 0) | (query_labels >= classes)]):
        raise ValueError(
            f"a query has the class {wrong[0]}, expected 0 to {classes - 1}; "
            "take labels and names from one list of classes"
        )


def _check_options(difficult_as: str, negatives: Sequence[int | None]) -> None:
    if difficult_as not in get_args(DifficultAs):
        raise ValueError(
            f"difficult_as={difficult_as!r} is unknown; choose one of "
            f"{', '.join(get_args(DifficultAs))}"
        )
    counts = [math.inf if count is None else count for count in negatives]
    if not counts or counts != sorted(set(counts)) or counts[0] < 0:
        raise ValueError(
            f"negatives={tuple(negatives)}: expected at least one size, ascending from 0, None (all) last; "
            "correct it"
        )
