"""Accuracy of sketch recognition, single angle and voted over 18 views (Tables 1 and 2 of the paper).

TU-Berlin's protocol is three folds, trained on two and tested on one, all three ways, and the mean
of the three: one record a fold, joined by `join_folds`. Any labelled set of sketches will do.
"""

import collections
import hashlib
import io
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from dsf_jax.data.batches import Group, content, evaluation_groups
from dsf_jax.data.files import write_whole
from dsf_jax.evaluation.results import (
    ResultRecord,
    bootstrap,
    bootstrap_interval,
    over_folds,
    own_configuration,
)
from dsf_jax.images.views import VIEW_ANGLES
from dsf_jax.models.alexnet import AlexNet, Params
from dsf_jax.recognition.voting import single_angle, vote

PROTOCOL = "tu_berlin"
BATCH_SIZE = 32
WAYS = {"single_angle": single_angle, "voting": vote}
MOST_CONFUSED = 20


def tu_berlin(
    model: AlexNet,
    params: Params,
    examples: Sequence[dict[str, Any]],
    *,
    class_names: Sequence[str],
    size: int,
    configuration: Mapping[str, Any],
    progress: str | os.PathLike[str] | None = None,
) -> ResultRecord:
    """Classifies every example twice, by one view and by vote.

    Args:
      model: the network.
      params: its parameters.
      examples: drawings (or photos), labelled in the network's classes.
      class_names: [k] of the network's classes.
      size: h = w of the network's input.
      configuration: what else the result depends on, for the record: checkpoint, data, ...
      progress: folder for class probabilities, from which a killed evaluation goes on; see
        `class_probabilities`.

    Returns:
      The record of `accuracies`.

    Raises:
      ValueError: when there are no examples, or the network has other classes.
    """
    if not len(examples):
        raise ValueError("there are no examples to classify; choose a split that has some")
    if len(class_names) != model.num_classes:
        raise ValueError(
            f"class_names has {len(class_names)} names, the network {model.num_classes} classes; "
            "give the names in its model card"
        )
    labels = np.empty(len(examples), np.int32)
    guesses = {way: np.empty(len(examples), np.int32) for way in WAYS}
    blocks = class_probabilities(model, params, examples, size=size, progress=progress)
    for rows, block_labels, probabilities in blocks:
        labels[rows] = block_labels
        for i, way in enumerate(WAYS):
            guesses[way][rows] = probabilities[:, i].argmax(axis=-1)
    whole = own_configuration(configuration, size=size, views=len(VIEW_ANGLES))
    return accuracies(labels, guesses, class_names=class_names, configuration=whole)


def class_probabilities(
    model: AlexNet,
    params: Params,
    examples: Sequence[dict[str, Any]],
    *,
    size: int,
    progress: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Goes once through the examples, `BATCH_SIZE` at a time, with a progress bar.

    Args:
      model: the network.
      params: its parameters.
      examples: drawings or photos.
      size: h = w of the network's input.
      progress: folder with a file of probabilities a block. A file is named after the network, its
        parameters, the size and the block's content: what is there is taken, whichever run wrote
        it, and what differs in any of these is never taken. Remove it when the result is written.

    Yields:
      The rows of a block, labels [b] int32 and probabilities [b, 2, k] float32, by `WAYS`.

    Raises:
      ValueError: for a damaged file of probabilities.
    """
    folder = None if progress is None else pathlib.Path(progress)
    network = hashlib.sha256() if folder is None else _network_digest(model, params, size)
    batch_size = min(BATCH_SIZE, len(examples))
    with tqdm(total=len(examples), unit="image", desc="recognition") as bar:
        for group in evaluation_groups(examples, batch_size):
            path = folder and folder / f"{_block_digest(network, group)}.npy"
            if path and path.exists():
                block = _read_block(path, (batch_size, len(WAYS), model.num_classes))
            else:
                block = _classified(model, params, group, size)
                if path:
                    _write_block(path, block)
            first, real = int(group["example"][0]), int(group["weight"].sum())
            yield slice(first, first + real), group["label"][:real], block[:real]
            bar.update(real)


def _classified(model: AlexNet, params: Params, group: Group, size: int) -> np.ndarray:
    """[b, 2, k] float32."""
    ways = [way(model, params, content(group), size=size) for way in WAYS.values()]
    return np.stack([np.asarray(p, np.float32) for p in ways], axis=1)


def _network_digest(model: AlexNet, params: Params, size: int) -> "hashlib._Hash":
    digest = hashlib.sha256(f"{model!r} at {size}".encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.ravel().view(np.uint8).data)
    return digest


def _block_digest(network: "hashlib._Hash", group: Group) -> str:
    digest = network.copy()
    for name, array in content(group).items():
        digest.update(f"{name} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _write_block(path: pathlib.Path, probabilities: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, probabilities, allow_pickle=False)
    write_whole(path, file.getvalue())


def _read_block(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray:
    remedy = "remove it, and its block is computed again"
    try:
        with path.open("rb") as file:
            block = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} is no whole file of probabilities; {remedy}") from error
    if block.shape != shape or block.dtype != np.float32:
        raise ValueError(
            f"{path} holds {block.dtype} {block.shape}, expected float32 {shape}; {remedy}"
        )
    return block


def accuracies(
    labels: np.ndarray,
    guesses: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str],
    configuration: Mapping[str, Any],
) -> ResultRecord:
    """Scores guesses, of whichever classifier.

    Args:
      labels: [n] int, the true classes.
      guesses: {way: [n] int}, "single_angle" and "voting" or others; the last one's confusions are
        listed.
      class_names: [k].
      configuration: for the record.

    Returns:
      Accuracies of each way, and the gain of each way over the first, with bootstrap intervals over
      the examples. Details: "per_class" {class: {"examples", way: accuracy}} of the classes that
      have examples, "confusions" {class: {class taken for: how often}}, and "most_confused", the
      most frequent of these.

    Raises:
      ValueError: when there are no examples, the guesses do not fit them, or a label has no name.
    """
    if not len(labels):
        raise ValueError("there are no examples to score; choose a split that has some")
    for way, guess in guesses.items():
        if guess.shape != labels.shape:
            raise ValueError(
                f"guesses[{way!r}] has shape {guess.shape}, the labels {labels.shape}; "
                "give a guess an example"
            )
    classes = len(class_names)
    for name, given in {"labels": labels, **guesses}.items():
        if len(wrong := given[(given < 0) | (given >= classes)]):
            raise ValueError(
                f"{name} holds the class {wrong[0]}, expected 0 to {classes - 1}; "
                "take labels and names from one list of classes"
            )
    right = {way: (guess == labels).astype(np.float64) for way, guess in guesses.items()}
    first, *others = right
    numbers = {f"accuracy/{way}": bootstrap(hits) for way, hits in right.items()}
    for way in others:  # resampled as pairs: whether one beats the other on the same examples
        numbers[f"accuracy/{way} minus {first}"] = bootstrap(right[way] - right[first])
    voted = list(guesses.values())[-1]
    return ResultRecord(
        PROTOCOL,
        numbers,
        dict(configuration),
        {"examples": len(labels), "classes": classes},
        bootstrap_interval("examples"),
        _details(_per_class(labels, right, class_names), _confusions(labels, voted, class_names)),
    )


def _details(
    per_class: dict[str, dict[str, Any]], confusions: dict[str, dict[str, int]]
) -> dict[str, Any]:
    pairs = [(count, a, b) for a, taken in confusions.items() for b, count in taken.items()]
    pairs.sort(key=lambda pair: (-pair[0], *pair[1:]))
    most = [{"class": a, "taken_for": b, "examples": n} for n, a, b in pairs[:MOST_CONFUSED]]
    return {"per_class": per_class, "most_confused": most, "confusions": confusions}


def _per_class(
    labels: np.ndarray, right: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    counts = np.bincount(labels, minlength=len(class_names))
    hits = {way: np.bincount(labels, weights=x, minlength=len(counts)) for way, x in right.items()}
    return {
        class_names[k]: {"examples": int(counts[k])}
        | {way: float(x[k] / counts[k]) for way, x in hits.items()}
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
      records: one a fold, of `tu_berlin` or `accuracies`.

    Returns:
      The joined record.

    Raises:
      ValueError: when the records are not folds of one evaluation.
    """
    joined = over_folds(records)
    pairs: collections.Counter[tuple[str, str]] = collections.Counter()
    examples: collections.Counter[str] = collections.Counter()
    hits: dict[str, collections.Counter[str]] = {}
    for record in records:
        for name, taken in record.details["confusions"].items():
            pairs.update({(name, taken_for): count for taken_for, count in taken.items()})
        for name, scores in record.details["per_class"].items():
            examples[name] += scores["examples"]
            for way in scores.keys() - {"examples"}:
                # Back to whole examples: the accuracy is their quotient, rounded in its last digit.
                whole = round(scores[way] * scores["examples"])
                hits.setdefault(way, collections.Counter())[name] += whole
    per_class = {
        name: {"examples": count} | {way: hits[way][name] / count for way in sorted(hits)}
        for name, count in sorted(examples.items())
    }
    numbers = [{name: m.value for name, m in r.numbers.items()} for r in records]
    folds = [
        {"numbers": values, "counts": r.counts} for values, r in zip(numbers, records, strict=True)
    ]
    details = {"folds": folds} | _details(per_class, _nested(pairs))
    return ResultRecord(
        joined.protocol,
        joined.numbers,
        joined.configuration,
        joined.counts,
        joined.interval,
        details,
    )
