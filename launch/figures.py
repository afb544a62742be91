"""Draws what the paper shows, of your own model: a picture, and its numbers on standard output.

python -m launch.figures --what=inversion --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --out=inversion.png
python -m launch.figures --what=report --checkpoint=runs/S+I/fold2 --before=runs/ported --data_dir=data \
    --sketches=tu_berlin/sketch:fold2 --photos=hust_si/photo:test --class_map=map.json --out=report.html

Three more need no network: a sheet of prepared records, a run's curves, and how the library's times
grow.

python -m launch.figures --what=records --dataset=openmoji/sketch --data_dir=data --out=sheet.png
python -m launch.figures --what=curves --run_dir=runs/quickstart --out=curves.png
python -m launch.figures --what=benchmark --results=launch/benchmarks/recorded.json --out=growth.png
"""

import itertools
import json
import pathlib
from typing import Any

import numpy as np
from absl import flags
from matplotlib.figure import Figure
from tqdm import tqdm

from dsf_jax.data import datasets
from dsf_jax.data.files import write_whole
from dsf_jax.data.mixtures import DRAWN
from dsf_jax.data.records import Records, open_records
from dsf_jax.evaluation import evaluate
from dsf_jax.images.points import pad_points
from dsf_jax.images.resize import edge_preserving_resize
from dsf_jax.insight.benchmark_plots import growth
from dsf_jax.insight.inversion import PHASES, InversionConfig
from dsf_jax.insight.plots import contact_sheet, save_figure, training_curves
from dsf_jax.insight.report import html_report
from dsf_jax.paper import figures, network_figures
from dsf_jax.retrieval.features import PAPER_LAYERS
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.metrics_log import read_metrics
from launch import common

PLAIN = ("benchmark", "curves", "records")
PAPER = ("resizing", "views", "retrieval", "activations", "filters", "inversion")
COUNTS = {"records": 50, "resizing": 3, "retrieval": 6, "inversion": 2}

_WHAT = flags.DEFINE_enum(
    "what",
    None,
    ["activations", "benchmark", "curves", "records", "filters", "inversion", "report", "resizing", "retrieval",
     "views"],
    "resizing, views, retrieval, activations, filters, inversion: Figs. 1, 2, 5, 6, 7 and 8 of the "
    "paper. report: all of them as one HTML file. records: a sheet of random records, drawings beside "
    "the map that their points give. curves: loss and accuracy of a run. benchmark: time and memory against "
    "size.",
    required=True,
)  # fmt: skip
_OUT = flags.DEFINE_string(
    "out", None, "PNG file, of a report HTML; never overwritten.", required=True
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "All but resizing: run or checkpoint folder; FOLDER:best, FOLDER:STEP."
)
_BEFORE = flags.DEFINE_string(
    "before",
    None,
    "activations, filters: the checkpoint that fine-tuning started from, to compare with.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")
_SKETCHES = flags.DEFINE_list(
    "sketches", ["openmoji/sketch"], "Prepared data sets of sketches, NAME or NAME:SPLIT."
)
_PHOTOS = flags.DEFINE_list("photos", ["openmoji/photo"], "Prepared data sets of photos, likewise.")
_SPLIT = flags.DEFINE_string(
    "split", None, "Split of data sets named without one; test, for records train."
)
_CLASS_MAP = flags.DEFINE_string(
    "class_map", None, "JSON file of synonyms, as launch.train takes it."
)
_CLASSES = flags.DEFINE_list("classes", [], "Classes to show; by default drawn at random.")
_COUNT = flags.DEFINE_integer(
    "count",
    None,
    f"How many to show: records ({COUNTS['records']}), sketches of resizing ({COUNTS['resizing']}), "
    f"queries ({COUNTS['retrieval']}), sketches and as many photos of inversion ({COUNTS['inversion']}).",
    lower_bound=1,
)
_TOP = flags.DEFINE_integer("top", 10, "retrieval: results of each query.", lower_bound=1)
_LAYER = flags.DEFINE_enum("layer", "L6+L7", list(PAPER_LAYERS), "retrieval: feature.")
_PAIRS = flags.DEFINE_integer(
    "pairs", 200, "activations: most pairs of sketch and photo to measure.", lower_bound=2
)
_LAYERS = flags.DEFINE_list(
    "layers", list(network_figures.INVERTED_LAYERS), "inversion: layers to reconstruct from."
)
_STEPS = flags.DEFINE_integer(
    "steps", 400, "inversion: an eighth at the full learning rate, then less and less.",
    lower_bound=4,
)  # fmt: skip
_RESTARTS = flags.DEFINE_integer(
    "restarts", 1, "inversion: from other noise; the best is shown.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the choice, and of inversion's noise.")
_DATASET = flags.DEFINE_string("dataset", None, "records: a prepared data set, openmoji/sketch.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "curves: folder of the run.")
_RESULTS = flags.DEFINE_string(
    "results", None, "benchmark: file that launch.benchmark --what=growth --json=FILE wrote."
)


def records_sheet(data_dir: str, dataset: str, split: str, *, count: int, seed: int) -> Figure:
    """Draws randomly chosen records, in order."""
    records = open_records(data_dir, dataset, split)
    chosen = np.random.default_rng(seed).permutation(len(records))[:count]
    shown = [records[int(i)] for i in sorted(chosen)]
    title = f"{records.name} [{split}]: {len(shown)} of {len(records)} records"
    images = [image for record in shown for image in _images(record)]
    each = len(images) // len(shown)
    captions = [r["class_name"] if i == 0 else "its points" for r in shown for i in range(each)]
    return contact_sheet(images, captions, title=title)


def _images(record: dict[str, Any]) -> list[np.ndarray]:
    """A photo; or a drawing, and the map that its points give."""
    if "points" not in record:
        return [record["image"]]
    points = pad_points([record["points"]])[0]
    return [record["image"][..., 0], np.asarray(edge_preserving_resize(points))]


def run_curves(run_dir: str) -> Figure:
    """Draws a run's curves."""
    metrics = read_metrics(run_dir)
    if not metrics:
        raise FileNotFoundError(
            f"{run_dir} holds no metrics; name the folder of a run of launch.train"
        )
    return training_curves(metrics)


def benchmark_growth(results: pathlib.Path) -> Figure:
    """Draws the growth that a benchmark measured."""
    if not results.is_file():
        raise FileNotFoundError(
            f"{results} is no file; name one that launch.benchmark --json wrote"
        )
    try:
        return growth(json.loads(results.read_text()))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{results} is no result of launch.benchmark --what=growth ({error!r}); name a file that its "
            "--json wrote"
        ) from error


def _given(flag: flags.FlagHolder) -> str:
    if flag.value is None:
        raise ValueError(f"--what={_WHAT.value} needs --{flag.name}; give it")
    return flag.value


def _count(what: str) -> int:
    return _COUNT.value or COUNTS[what]


def _sketches() -> list[Records]:
    return evaluate.open_sets(_DATA_DIR.value, _SKETCHES.value, _SPLIT.value or "test", DRAWN)


def _network(checkpoint: str) -> NamedModel:
    name = "/".join(pathlib.Path(checkpoint).parts[-2:])
    return NamedModel(name, load_model(checkpoint))


def _source() -> figures.Source:
    """Opens the checkpoints and the data."""
    checkpoint = _given(_CHECKPOINT)
    return figures.Source(
        network=_network(checkpoint),
        sketches=_sketches(),
        photos=evaluate.open_sets(
            _DATA_DIR.value, _PHOTOS.value, _SPLIT.value or "test", ("photo",)
        ),
        before=_network(_BEFORE.value) if _BEFORE.value else None,
        class_map=datasets.read_class_map(_CLASS_MAP.value),
        classes=_CLASSES.value,
        seed=_SEED.value,
    )


def inversion_config(steps: int, restarts: int, seed: int) -> InversionConfig:
    """The default course, its steps made fewer or more in proportion."""
    factors, counts = zip(*PHASES, strict=True)
    ends = [round(steps * end / sum(counts)) for end in itertools.accumulate(counts)]
    lengths = [end - begin for begin, end in itertools.pairwise([0, *ends])]
    phases = tuple(zip(factors, lengths, strict=True))
    return InversionConfig(phases=phases, restarts=restarts, seed=seed)


def draw(what: str, source: figures.Source | None) -> figures.Picture:
    """Makes one of the paper's figures; resizing alone needs no source."""
    if what == "resizing" or source is None:
        return figures.resizing(
            _sketches(),
            count=_count("resizing"),
            class_map=datasets.read_class_map(_CLASS_MAP.value),
            classes=_CLASSES.value,
            seed=_SEED.value,
        )
    if what == "views":
        return figures.views(source)
    if what == "retrieval":
        return figures.retrieval(source, count=_count(what), top=_TOP.value, layer=_LAYER.value)
    if what == "activations":
        return network_figures.activations(source, pairs=_PAIRS.value)
    if what == "filters":
        return network_figures.filters(source)
    config = inversion_config(_STEPS.value, _RESTARTS.value, _SEED.value)
    return network_figures.inversion(
        source, count=_count(what), layers=_LAYERS.value, config=config
    )


def report(source: figures.Source, out: pathlib.Path) -> dict[str, Any]:
    """Writes the page of all figures; returns their numbers."""
    made = {what: draw(what, source) for what in tqdm(PAPER, unit="picture", desc="report")}
    facts = {
        "checkpoint": source.network.identity(),
        "started from": source.before.identity() if source.before else None,
        "sketches": [f"{r.name} [{r.split}]" for r in source.sketches],
        "photos": [f"{r.name} [{r.split}]" for r in source.photos],
        "seed": source.seed,
    }
    sections = [picture.section() for picture in made.values()]
    write_whole(out, html_report(f"Inside {source.network.name}", facts, sections))
    return facts | {what: _numbers(picture) for what, picture in made.items()}


def _numbers(picture: figures.Picture) -> dict[str, Any]:
    return picture.facts | {"rows": picture.rows}


def main() -> None:
    """Draws what the flags name."""
    what, out = _WHAT.value, pathlib.Path(_OUT.value)
    ending = ".html" if what == "report" else ".png"
    if out.suffix.lower() != ending:
        raise ValueError(f"--out={out} must end in {ending} for --what={what}; rename it")
    common.new_file(_OUT.value)
    for flag in (_SKETCHES, _PHOTOS, _LAYERS):
        if not flag.value:
            raise ValueError(f"--{flag.name} is empty; name one at least, or leave the flag out")
    if what in PLAIN:
        save_figure(_plain_figure(what), out)
        print(f"written to {out}")
        return
    source = None if what == "resizing" else _source()
    if what == "report" and source:
        numbers = report(source, out)
    else:
        picture = draw(what, source)
        save_figure(picture.figure, out)
        numbers = _numbers(picture)
    print(json.dumps({"what": what, "written": str(out)} | numbers, indent=1, ensure_ascii=False))


def _plain_figure(what: str) -> Figure:
    """Draws what needs no network."""
    if what == "curves":
        return run_curves(_given(_RUN_DIR))
    if what == "benchmark":
        return benchmark_growth(pathlib.Path(_given(_RESULTS)))
    return records_sheet(
        _DATA_DIR.value,
        _given(_DATASET),
        _SPLIT.value or "train",
        count=_count("records"),
        seed=_SEED.value,
    )


if __name__ == "__main__":
    common.run(main)
