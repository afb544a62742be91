"""The choices that the paper leaves open, each against its alternatives on the same examples."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from dsf_jax.data.batches import Batch, content, mapped
from dsf_jax.data.datasets import DataSetSpec
from dsf_jax.data.mixtures import Examples, Mixture, mix, small_drawing
from dsf_jax.data.records import Records, list_datasets, open_records
from dsf_jax.evaluation.baselines import fit_linear
from dsf_jax.evaluation.protocols.category_retrieval import PROTOCOL, category_scores
from dsf_jax.evaluation.protocols.tu_berlin import accuracies
from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.statistics import bootstrap_with_differences, describe_bootstrap
from dsf_jax.images.points import ink_of, pad_points, points_from_image, points_from_ink
from dsf_jax.images.resize import BINARY_PEN, PEN, edge_preserving_resize
from dsf_jax.models.edge_detector import canny_edges, edges_from
from dsf_jax.models.hed import HED_FAINTEST, hed_strengths
from dsf_jax.models.hed_weights import read_hed
from dsf_jax.models.model import Model
from dsf_jax.paper.tables import Cell, ResultRow, ResultTable
from dsf_jax.recognition.voting import single_angle
from dsf_jax.retrieval.features import extract

PROBED = "pool5"  # the last layer that is pretrained where the fully connected ones are random
BATCH_SIZE = 32


# --- How a drawing becomes the network's input ---


def input_forms(size: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Lists methods that turn a drawing's image [h, w, 1] uint8 into the network's input [size, size]
    uint8, the default first.
    """

    def drawn(points: np.ndarray, pen: float = PEN) -> np.ndarray:
        return np.asarray(edge_preserving_resize(pad_points([points])[0], size=size, pen=pen))

    def default(image: np.ndarray, pen: float = PEN) -> np.ndarray:
        return drawn(points_from_image(image[..., 0]), pen)

    return {
        f"default: pen {PEN:g} wide, thinned, whole canvas, black on white": default,
        "pen 1 wide": functools.partial(default, pen=1.0),
        "pen 2 wide": functools.partial(default, pen=2.0),
        "binary map": functools.partial(default, pen=BINARY_PEN),
        "all equally dark": lambda image: drawn(points_from_image(image[..., 0])[:, :2]),
        "not thinned": lambda image: drawn(points_from_image(image[..., 0], thinned=False)),
        "bounding box": lambda image: default(_cropped(image)),
        "white on black": lambda image: 255 - default(image),
        "bilinear": functools.partial(small_drawing, resizing="bilinear", size=size),
        "cubic": functools.partial(small_drawing, resizing="cubic", size=size),
        "bilinear, not anti-aliased": lambda image: _sampled(image[..., 0], size),
    }


def _sampled(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes a drawing [h, w] by linear interpolation between the four pixels around each new one,
    as OpenCV does by default: when it shrinks, pixels in between are never looked at.
    """
    side = max(image.shape)
    square = np.full((side, side), 255, np.uint8)
    top, left = ((side - n) // 2 for n in image.shape)
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    step = side / size
    return np.asarray(
        Image.fromarray(square).transform(
            (size, size),
            Image.Transform.AFFINE,
            (step, 0, 0, 0, step, 0),
            Image.Resampling.BILINEAR,
            fillcolor=255,
        )
    )


def _cropped(image: np.ndarray) -> np.ndarray:
    """Cuts a drawing [h, w, 1] uint8 down to its ink: its longer side then fills the canvas."""
    ink = ink_of(image[..., 0])
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def open_folds(data_dir: str, datasets: Sequence[str]) -> list[Records]:
    """Opens a data set's folds, one `Records` per fold.

    Args:
      data_dir: folder of prepared records.
      datasets: name of the data set, the only one.

    Raises:
      ValueError: there are several names, a split is named, or the data set is not cut into folds.
    """
    if len(datasets) != 1 or DataSetSpec.parse(datasets[0]).split:
        raise ValueError(
            f"sketches={','.join(datasets)}: forms of input are classified on all folds of one data set; "
            "name one, without a split"
        )
    (name,) = datasets
    splits = [s for s in list_datasets(data_dir).get(name, ()) if s.startswith("fold")]
    if len(splits) < 2:
        raise ValueError(
            f"{name} in {data_dir} has {len(splits)} folds, expected at least 2; name a data set that "
            "is cut into folds, tu_berlin/sketch"
        )
    return [open_records(data_dir, name, split) for split in splits]


def compare_inputs(
    model: Model, folds: Sequence[Records], classes: list[str] | None
) -> ResultTable:
    """Classifies each fold's sketches by a linear classifier that the other folds taught, for each
    form of input.

    Args:
      model: network whose `PROBED` is classified.
      folds: folds of sketches, two or more.
      classes: classes that are taken; None for all.

    Returns:
      The table: accuracy, and the difference to the default on the same sketches.
    """
    mixed = [mix([fold], classes or folds[0].class_names).drawings for fold in folds]
    labels = np.concatenate([drawings.labels for drawings in mixed])
    names = classes or list(folds[0].class_names)
    guesses = {}
    for form, make in input_forms(model.size).items():
        features = [
            extract(
                model,
                drawings.resized_by(make),
                layers=(PROBED,),
                label=f"{form}, {fold.split}",
            )[PROBED]
            for fold, drawings in zip(folds, mixed, strict=True)
        ]
        guesses[form] = np.concatenate(list(_cross_validated(features, mixed, len(names))))
    record = accuracies(guesses, labels, class_names=names, configuration={})
    return _compared(f"Accuracy of a linear classifier of {PROBED}", "accuracy", record)


def _cross_validated(
    features: Sequence[np.ndarray], folds: Sequence[Examples], classes: int
) -> Iterator[np.ndarray]:
    """Yields each fold's guesses."""
    labels = [fold.labels for fold in folds]
    for held_out, unseen in enumerate(features):
        others = [i for i in range(len(folds)) if i != held_out]
        classifier = fit_linear(
            np.concatenate([features[i] for i in others]),
            np.concatenate([labels[i] for i in others]),
            classes=classes,
        )
        yield classifier.classes(unseen)


# --- How many angles vote ---


def angle_choices() -> dict[str, tuple[list[float], list[bool]]]:
    """Lists sets of views as (angles in degrees, flips), the default first; each angle is plain and
    flipped, but for the single view.
    """

    def fan(count: int, reach: float) -> tuple[list[float], list[bool]]:
        angles = np.linspace(-reach, reach, count) if count > 1 else np.zeros(1)
        return np.repeat(angles, 2).tolist(), [False, True] * count

    return {
        "default: 9 angles to 45, flipped too": fan(9, 45.0),
        "upright": ([0.0], [False]),
        "upright, flipped too": fan(1, 0.0),
        "3 angles to 45, flipped too": fan(3, 45.0),
        "5 angles to 45, flipped too": fan(5, 45.0),
        "17 angles to 45, flipped too": fan(17, 45.0),
        "9 angles to 22.5, flipped too": fan(9, 22.5),
        "5 angles to 11.25, flipped too": fan(5, 11.25),
        "9 angles to 45, not flipped": (np.linspace(-45.0, 45.0, 9).tolist(), [False] * 9),
    }


def compare_angles(model: Model, mixture: Mixture) -> ResultTable:
    """Classifies sketches by the votes of different sets of views; each view is classified once.

    Args:
      model: network that was not trained on the sketches.
      mixture: the sketches, in the network's classes.
    """
    choices = angle_choices()
    pairs = sorted({pair for choice in choices.values() for pair in zip(*choice, strict=True)})
    angles, flips = (np.array(x) for x in zip(*pairs, strict=True))
    probabilities = np.concatenate(
        list(_view_probabilities(model, mixture, angles.astype(np.float32), flips))
    )
    guesses = {
        name: probabilities[:, [pairs.index(pair) for pair in zip(*choice, strict=True)]]
        .mean(axis=1)
        .argmax(axis=1)
        for name, choice in choices.items()
    }
    record = accuracies(
        guesses, mixture.drawings.labels, class_names=mixture.class_names, configuration={}
    )
    return _compared("Accuracy of the vote of different views", "accuracy", record)


def _view_probabilities(
    model: Model, mixture: Mixture, angles: np.ndarray, flips: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields [b, v, k], with a progress bar."""

    def classify(batch: Batch) -> jax.Array:
        return _classified(model, _turned(model, batch["points"], angles, flips))

    batch_size = min(BATCH_SIZE, len(mixture.drawings))
    for block in mapped(mixture.drawings, classify, batch_size=batch_size, label="views"):
        yield block.outputs


@jax.jit
def _turned(model: Model, points: jax.Array, angles: jax.Array, flips: jax.Array) -> jax.Array:
    """[b, p, 3] -> [b, v, size, size]."""
    turn = functools.partial(edge_preserving_resize, size=model.size, pen=model.config.pen)
    views = jax.vmap(turn, in_axes=(None, 0, 0))
    return jax.vmap(views, in_axes=(0, None, None))(points, angles, flips)


@jax.jit
def _classified(model: Model, views: jax.Array) -> jax.Array:
    """[b, v, h, w] -> [b, v, k], one example after the other."""
    return jax.lax.map(lambda images: jax.nn.softmax(model(images)[0]), views)


# --- Which activations make a feature ---


def compare_features(model: Model, mixture: Mixture) -> ResultTable:
    """Retrieves photos by sketches of their class with each feature there is.

    Args:
      model: network that was not trained on sketches or photos.
      mixture: sketches and photos.

    Returns:
      The table: mAP, and the difference to the backbone's default feature over the same queries.
    """
    default = model.backbone.default_feature
    layers = (default, *(layer for layer in model.backbone.features if layer != default))
    embedded = functools.partial(extract, model, layers=layers)
    queries = embedded(mixture.drawings, label="sketches")
    gallery = embedded(mixture.photos, label="photos")
    labels = mixture.drawings.labels
    precisions = {}
    for layer in layers:
        scores = category_scores(queries[layer], labels, gallery[layer], mixture.photos.labels)
        precisions[layer] = scores.values["mAP"][scores.counted]
    numbers = bootstrap_with_differences(precisions, "mAP")
    counts = {"queries": len(precisions[default]), "gallery": len(mixture.photos)}
    interval = describe_bootstrap("queries")
    record = ResultRecord(PROTOCOL, numbers, {}, counts, interval, {})
    return _compared("Retrieval by different features", "mAP", record)


# --- Which edges of a photo look like a sketch ---


def edge_maps(photos: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Finds the edges of photos [h, w, 3] uint8 by several methods, [h, w] bool each, the default first;
    HED runs once.
    """
    bar = tqdm(hed_strengths(*read_hed(None), photos), total=len(photos), unit="image", desc="HED")
    strengths = list(bar)
    maps = {
        f"HED, above {threshold} of the strongest edge": [
            edges_from(s, threshold=threshold, faintest=HED_FAINTEST) for s in strengths
        ]
        for threshold in (0.9, 0.7, 0.5, 0.3)
    }
    maps["HED, above 0.9 literally"] = [edges_from(s, normalise="none") for s in strengths]
    return maps | {"Canny": [canny_edges(photo) for photo in photos]}


def compare_edges(model: Model, mixture: Mixture) -> ResultTable:
    """Classifies the edge maps of photos as the sketches that the network was trained on.

    Args:
      model: network that was trained on sketches.
      mixture: the photos, in the network's classes.
    """
    labels = mixture.photos.labels
    guesses = {}
    for name, maps in edge_maps([example["photo"] for example in mixture.photos]).items():
        drawings = [
            {"points": points_from_ink(edges), "label": int(label)}
            for edges, label in zip(maps, labels, strict=True)
        ]
        blocks = mapped(
            drawings,
            lambda batch: single_angle(model, content(batch)),
            batch_size=min(BATCH_SIZE, len(drawings)),
            label=name,
        )
        guesses[name] = np.concatenate([block.outputs.argmax(axis=1) for block in blocks])
    record = accuracies(guesses, labels, class_names=model.class_names, configuration={})
    return _compared("Photos' edge maps, classified by a network of sketches", "accuracy", record)


# --- Tables ---


def _compared(title: str, number: str, record: ResultRecord) -> ResultTable:
    """Makes one row per choice: its number, and the difference to the first one's."""
    names = [name.partition("/")[2] for name in record.numbers if " minus " not in name]
    rows = []
    for name in names:
        difference = record.numbers.get(f"{number}/{name} minus {names[0]}")
        rows.append(
            ResultRow(
                name, (Cell(None, record.numbers[f"{number}/{name}"]), Cell(None, difference))
            )
        )
    counts = ", ".join(f"{n} {name}" for name, n in record.counts.items())
    notes = (f"[low, high]: {record.interval}.", f"Evaluated: {counts}.")
    return ResultTable(
        title, (number, f"minus {names[0].partition(':')[0]}"), tuple(rows), 3, notes
    )
