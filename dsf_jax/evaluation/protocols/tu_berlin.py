"""Accuracy of sketch recognition, single angle and voted over 18 views (Tables 1 and 2 of the paper).

TU-Berlin's protocol is three folds, trained on two and tested on one, all three ways, and the mean
of the three: one record per fold, joined by `join_folds`. Any labelled set of sketches will do.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsf_jax.evaluation.results import ResultRecord, over_folds, own_configuration
from dsf_jax.evaluation.statistics import bootstrap_with_differences, describe_bootstrap
from dsf_jax.images.views import VIEW_ANGLES

PROTOCOL = "tu_berlin"
MOST_CONFUSED = 20


def tu_berlin(
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    configuration: Mapping[str, Any],
) -> ResultRecord:
    """Scores what a network answers to sketches, by one view and by vote.

    Args:
      probabilities: {"single_angle": [n, k], "voting": [n, k]}; may be mapped files.
      labels: [n] int, the true classes.
      class_names: [k] names of the network's classes.
      configuration: everything else that the result depends on, for the record: checkpoint, data, ...

    Returns:
      The record of `accuracies`, for the most probable classes.

    Raises:
      ValueError: when there are no examples, or the network has other classes.
    """
    if not len(labels):
        raise ValueError("there are no examples to classify; choose a split that has some")
    for method, own in probabilities.items():
        if own.shape != (len(labels), len(class_names)):
            raise ValueError(
                f"the probabilities of {method} are {list(own.shape)}, expected {len(labels)} examples "
                f"of {len(class_names)} classes; take them from the network whose class names these are"
            )
    guesses = {method: own.argmax(axis=1) for method, own in probabilities.items()}
    whole = own_configuration(configuration, views=len(VIEW_ANGLES))
    return accuracies(guesses, labels, class_names=class_names, configuration=whole)


def accuracies(
    guesses: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    configuration: Mapping[str, Any],
) -> ResultRecord:
    """Scores the guesses of any classifiers.

    Args:
      guesses: {method: [n] int}, "single_angle" and "voting" or others; the last one's confusions are
        listed.
      labels: [n] int, the true classes.
      class_names: [k] names of the classes.
      configuration: everything that the result depends on, for the record.

    Returns:
      The accuracy of each method, and its gain over the first one, with bootstrap intervals over the
      examples. Details: "per_class" {class: {"examples", method: accuracy}} of the classes that have
      examples, "confusions" {class: {class taken for: count}}, and "most_confused", the most frequent
      of these.

    Raises:
      ValueError: when there are no examples, the guesses do not fit them, or a label has no name.
    """
    _check(guesses, labels, len(class_names))
    hits = {method: (guess == labels).astype(np.float64) for method, guess in guesses.items()}
    last = list(guesses.values())[-1]
    return ResultRecord(
        PROTOCOL,
        bootstrap_with_differences(hits, "accuracy"),
        dict(configuration),
        {"examples": len(labels), "classes": len(class_names)},
        describe_bootstrap("examples"),
        _details(_per_class(labels, hits, class_names), _confusions(labels, last, class_names)),
    )


def _check(guesses: Mapping[str, np.ndarray], labels: np.ndarray, classes: int) -> None:
    if not len(labels):
        raise ValueError("there are no examples to score; choose a split that has some")
    for method, guess in guesses.items():
        if guess.shape != labels.shape:
            raise ValueError(
                f"guesses[{method!r}] has shape {guess.shape}, the labels {labels.shape}; "
                "give one guess per example"
            )
    for name, given in {"labels": labels, **guesses}.items():
        if len(wrong := given[(given < 0) | (given >= classes)]):
            raise ValueError(
                f"{name} holds the class {wrong[0]}, expected 0 to {classes - 1}; "
                "take labels and names from one list of classes"
            )


def _details(
    per_class: dict[str, dict[str, Any]], confusions: dict[str, dict[str, int]]
) -> dict[str, Any]:
    pairs = [(count, a, b) for a, taken in confusions.items() for b, count in taken.items()]
    pairs.sort(key=lambda pair: (-pair[0], *pair[1:]))
    most = [{"class": a, "taken_for": b, "examples": n} for n, a, b in pairs[:MOST_CONFUSED]]
    return {"per_class": per_class, "most_confused": most, "confusions": confusions}


def _per_class(
    labels: np.ndarray, hits: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    counts = np.bincount(labels, minlength=len(class_names))
    sums = {method: np.bincount(labels, x, minlength=len(counts)) for method, x in hits.items()}
    return {
        class_names[k]: {"examples": int(counts[k])}
        | {method: float(own[k] / counts[k]) for method, own in sums.items()}
        for k in np.flatnonzero(counts).tolist()
    }


def _confusions(
    labels: np.ndarray, guesses: np.ndarray, class_names: Sequence[str]
) -> dict[str, dict[str, int]]:
    wrong = np.flatnonzero(labels != guesses)
    pairs = collections.Counter(
        (class_names[labels[i]], class_names[guesses[i]]) for i in wrong.tolist()
    )
    return _nested(pairs)


def _nested(pairs: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (name, taken_for), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        nested.setdefault(name, {})[taken_for] = count
    return nested


def join_folds(records: Sequence[ResultRecord]) -> ResultRecord:
    """Joins the records of the folds: `over_folds`, and the details over all examples of all folds.

    Args:
      records: one per fold, of `tu_berlin` or `accuracies`.

    Returns:
      The joined record.

    Raises:
      ValueError: when the records are not folds of one evaluation.
    """
    joined = over_folds(records)
    confusions: collections.Counter[tuple[str, str]] = collections.Counter()
    for record in records:
        for name, taken in record.details["confusions"].items():
            confusions.update({(name, taken_for): count for taken_for, count in taken.items()})
    folds = [
        {"numbers": {name: m.value for name, m in r.numbers.items()}, "counts": r.counts}
        for r in records
    ]
    per_class = _joined_classes([record.details["per_class"] for record in records])
    details = {"folds": folds} | _details(per_class, _nested(confusions))
    return dataclasses.replace(joined, details=details)


def _joined_classes(folds: Sequence[Mapping[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Computes the accuracies of each class over the examples of all folds."""
    examples: collections.Counter[str] = collections.Counter()
    hits: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for fold in folds:
        for name, scores in fold.items():
            examples[name] += scores["examples"]
            for method in scores.keys() - {"examples"}:
                # Back to whole examples: the accuracy is their quotient, rounded in its last digit.
                hits[method][name] += round(scores[method] * scores["examples"])
    return {
        name: {"examples": count} | {method: hits[method][name] / count for method in sorted(hits)}
        for name, count in sorted(examples.items())
    }
