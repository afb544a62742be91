"""The whole method on OpenMoji, whose pictures install with pip: data, start values, scores before and
after training, figures, report. `launch.quickstart` calls these one after the other.

Two networks, the paper's and a later one, train on the line drawings, colour pictures and edge maps of
the training emoji, then find the picture of each unseen emoji from its line drawing.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsf_jax.data import quickstart
from dsf_jax.data.datasets import open_mixture
from dsf_jax.data.mixtures import DRAWN, Mixture, mix
from dsf_jax.data.records import Records, open_records
from dsf_jax.evaluation import evaluate
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.store import METHOD, stored
from dsf_jax.images.points import CANVAS, pad_points, points_from_image
from dsf_jax.images.resize import LARGEST_SIZE, edge_preserving_resize
from dsf_jax.insight.plots import ranked_results, resizing, save_figure, training_curves
from dsf_jax.models.embedding import DIMENSION
from dsf_jax.models.model import Model, with_classes, with_embedding
from dsf_jax.models.weights_port import PortReport
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import extract
from dsf_jax.training import start
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.losses import loss_named
from dsf_jax.training.metrics_log import read_metrics


class Network(NamedTuple):
    """One of the networks that are trained, in a run folder of its own.

    Attributes:
      title: its name in the report.
      folder: its run, within the quickstart's folder.
      source: package that its start values come from.
      backbone: name of the architecture.
      partial: whether the package lacks layers.
      config: how it is trained: the trunk is frozen, to fit a laptop.
    """

    title: str
    folder: str
    source: str
    backbone: str
    partial: bool
    config: TrainConfig


ALEXNET = Network(
    "AlexNet",
    ".",
    start.LPIPS,
    "torchvision",
    partial=True,
    config=TrainConfig(
        pressure_spread=0.0,
        epochs=8,
        train_layers="fc",
        cached_views=2,
        dropout_rate=0.0,
        schedule="constant",
        bias_multiplier=1.0,
        save_every=100,
    ),
)
LITE0 = Network(
    "EfficientNet-Lite0",
    quickstart.SECOND,
    "efficientnet-lite0",
    "efficientnet-lite0",
    partial=False,
    config=TrainConfig(
        pressure_spread=0.0,
        epochs=60,
        train_layers="head",
        loss="cosine",
        cached_views=1,
        dropout_rate=0.0,
        schedule="cosine",
        learning_rate=0.003,
        save_every=500,
    ),
)
FINE_PEN = 2.0  # with steady strokes: frozen trunks of photos find fewer emoji by wider outlines
RECOGNISED = 40  # training classes that are recognised again: voting costs 18 forward passes each
UNSEEN_ANGLE, UNSEEN_SCALE = 5.6, 0.9  # half way between two of the 18 views, and smaller
SHOWN = 8  # queries in the picture of ranked results
COMPARED = (50, 128)  # test drawings in the picture of resizings
NUMBERS = ("recall@1", "recall@10", "mAP")  # in the report
RESULTS = "results"  # within a run's folder: JSON files


class Scores(NamedTuple):
    """What was measured.

    Attributes:
      retrieved: retrieval of unseen emoji, {network and when: {feature: result}}.
      recognised: recognition of training emoji in unseen views, by the paper's network.
    """

    retrieved: Mapping[str, Mapping[str, ResultRecord]]
    recognised: ResultRecord


def training_data(run_dir: pathlib.Path) -> Mixture:
    """Opens the training emoji, which data_builders' "openmoji" prepares in `quickstart.data_dir`."""
    return open_mixture(str(quickstart.data_dir(run_dir)), quickstart.DATASETS, "train", "S+I+E")


def start_model(network: Network, mixture: Mixture) -> tuple[Model, PortReport]:
    """Makes a network with the start values of its package, and random ones where that has none.

    Args:
      network: which one.
      mixture: training data, whose classes are the network's.

    Returns:
      The model and the report of what was loaded.
    """
    names, config = mixture.class_names, network.config
    model, report = start.ported(
        network.source,
        network.backbone,
        num_classes=len(names) if network.partial else None,
        partial=network.partial,
        seed=config.seed,
    )
    model = model.replace(config=model.config._replace(pen=FINE_PEN))
    if network.partial:  # nothing of the classifier was loaded
        return model.replace(config=model.config._replace(class_names=names)), report
    if loss_named(config.loss).embedding:
        model = with_embedding(model, DIMENSION, seed=config.seed)
    return with_classes(model, names, seed=config.seed), report


def retrieve(named: NamedModel, run_dir: pathlib.Path) -> dict[str, ResultRecord]:
    """Retrieves the unseen emoji's pictures by their drawings, {layer: result}; see `stored`."""
    sketches, photos = _test_records(run_dir)
    return evaluate.retrieval(named, [sketches], [photos], results=run_dir / RESULTS)


def recognise(named: NamedModel, mixture: Mixture, run_dir: pathlib.Path) -> ResultRecord:
    """Classifies some of the training drawings in a view that training never showed; see `stored`."""
    chosen = np.linspace(0, len(mixture.class_names) - 1, RECOGNISED).astype(int)
    rows = [int(np.flatnonzero(mixture.drawings.labels == label)[0]) for label in chosen]
    digests = {count.source: count.digest for count in mixture.counts if count.domain in DRAWN}
    configuration = {
        "method": METHOD,
        **named.configuration(),
        "data": {"drawings": digests, "rows": rows},
        "view": f"turned by {UNSEEN_ANGLE}, scaled by {UNSEEN_SCALE}",
    }

    def make(progress: pathlib.Path) -> dict[str, ResultRecord]:
        examples = [unseen_view(mixture.drawings[row]) for row in rows]
        labels = mixture.drawings.labels[rows]
        result = evaluate.recognition(
            named, examples, labels, configuration=configuration, progress=progress
        )
        return {"recognition": result}

    return stored(run_dir / RESULTS, {"recognition": configuration}, make)["recognition"]


def unseen_view(example: Mapping[str, Any]) -> dict[str, Any]:
    """Draws a sketch again, turned and smaller than in any of the 18 views."""
    drawn = edge_preserving_resize(
        pad_points([example["points"]])[0], UNSEEN_ANGLE, False, UNSEEN_SCALE,
        size=LARGEST_SIZE, pen=FINE_PEN,
    )  # fmt: skip
    return {"points": points_from_image(np.asarray(drawn)), "label": example["label"]}


def draw(model: Model, run_dir: pathlib.Path) -> None:
    """Draws ranked results, the resizing comparison and the paper's network's training curves into the
    run's folder, unless they are there.
    """
    paths = [run_dir / f"{name}.png" for name in ("ranked_results", "resizing", "curves")]
    if all(path.exists() for path in paths):
        return
    sketches, photos = _test_records(run_dir)
    save_figure(_ranking(model, sketches, photos), paths[0])
    save_figure(resizing([_fine_pen(sketches[i]["points"]) for i in COMPARED]), paths[1])
    save_figure(training_curves(read_metrics(run_dir)), paths[2])


def report(
    mixture: Mixture,
    scores: Scores,
    loaded: Mapping[str, PortReport],
    *,
    seconds: float,
    gigabytes: float,
) -> str:
    """Formats the results as Markdown.

    Args:
      mixture: training data.
      scores: what was measured.
      loaded: reports of the start values, by the network's title.
      seconds: time that all took.
      gigabytes: memory that all took.

    Returns:
      The text, with the figures of `draw` beside it.
    """
    counts, seen = _results(scores)[0].counts, scores.recognised
    single, voted = (
        seen.numbers[f"accuracy/{method}"].value for method in ("single_angle", "voting")
    )
    return f"""# Quickstart: from a line drawing to its picture

`python -m launch.quickstart` took {seconds:.0f} s and at most {gigabytes:.1f} GiB of memory.

## Unseen emoji: the picture of a line drawing among {counts["gallery"]} pictures

None of these {counts["queries"]} emoji, neither drawing nor picture, was trained on. mAP is the
non-interpolated average precision over the whole gallery, equal distances in gallery order; each query has one relevant picture.

{retrieval_table(scores)}

![ranked results](ranked_results.png)

## Training emoji in unseen views

{seen.counts["examples"]} of the {seen.counts["classes"]} training drawings, turned by {UNSEEN_ANGLE} degrees and scaled by
{UNSEEN_SCALE}, which no training view was: AlexNet's accuracy {single:.3f} by a single angle,
{voted:.3f} by the vote of 18 views.

{_how(mixture, loaded)}"""


def retrieval_table(scores: Scores) -> str:
    """Formats how well unseen emoji are found, a row per network and feature, as a Markdown table."""
    rows = [
        f"| {name} | {feature} | "
        + " | ".join(f"{result.numbers[number].value:.3f}" for number in NUMBERS)
        + " |"
        for name, results in scores.retrieved.items()
        for feature, result in results.items()
    ]
    head = f"| network | feature | {' | '.join(NUMBERS)} |"
    return "\n".join([head, "|---" * (2 + len(NUMBERS)) + "|", *rows])


def _results(scores: Scores) -> list[ResultRecord]:
    return [result for results in scores.retrieved.values() for result in results.values()]


def _how(mixture: Mixture, loaded: Mapping[str, PortReport]) -> str:
    """Formats what was trained, on what and how."""
    start_values = "\n".join(str(report) for report in loaded.values())
    return f"""## How

```
{mixture}
{start_values}
```

{_training(ALEXNET)} {_training(LITE0)} The edge maps are Canny's.

![training curves](curves.png)

![resizing as in Fig. 1 of the paper](resizing.png)

All emojis designed by OpenMoji, the open-source emoji and icon project (openmoji.org). License: CC BY-SA 4.0. They
were taken apart into outlines and colours here; pictures made of them are under the same licence.
"""


def _training(network: Network) -> str:
    """Says how a network was trained."""
    config = network.config
    rate = config.learning_rate * config.fresh_multiplier
    return (
        f"{network.title} (`--train_layers={config.train_layers} --loss={config.loss}`): {config.cached_views} "
        f"random view(s) of each example passed the frozen layers once, the others were trained for "
        f"{config.epochs} epochs at batch {config.batch_size} and a learning rate of {rate:g} "
        f"({config.schedule}), without dropout."
    )


def _test_records(run_dir: pathlib.Path) -> tuple[Records, Records]:
    """Opens the drawings and the pictures of the test emoji."""
    data_dir = quickstart.data_dir(run_dir)
    sketches, photos = (
        open_records(data_dir, name, "test") for name in (quickstart.SKETCHES, quickstart.PHOTOS)
    )
    return sketches, photos


def _fine_pen(points: np.ndarray) -> np.ndarray:
    """Draws points as they lie on the canvas: lines of one pixel in 681, as thin as people draw."""
    drawing = np.full((CANVAS, CANVAS), 255, np.uint8)
    drawing[points[:, 1], points[:, 0]] = 0
    return drawing


def _ranking(model: Model, sketches: Records, photos: Records) -> Any:
    """Shows the ten nearest pictures of some unseen drawings, spread evenly over the test split."""
    mixture = mix([sketches, photos], sketches.class_names)
    chosen = np.linspace(0, len(mixture.drawings) - 1, SHOWN).astype(int)
    queries = _features(model, [mixture.drawings[int(i)] for i in chosen])
    nearest = search(queries, _features(model, mixture.photos), 10).indices
    hits = mixture.photos.labels[nearest] == mixture.drawings.labels[chosen][:, None]
    return ranked_results(
        [sketches[int(i)]["image"][..., 0] for i in chosen],
        [[photos[int(j)]["image"] for j in row] for row in nearest],
        hits.tolist(),
        title=f"unseen line drawings, and the nearest of {len(photos)} unseen pictures (framed: the same emoji)",
    )


def _features(model: Model, examples: Sequence[dict[str, Any]]) -> np.ndarray:
    """Computes the features that pictures are searched by."""
    (features,) = extract(model, examples).values()
    return features
