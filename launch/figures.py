r"""Draws what the paper shows, of your own model: a figure, and its numbers on standard output.

python -m launch.figures --what=inversion --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --out=inversion.png
python -m launch.figures --what=report --checkpoint=runs/S+I/fold2 --before=runs/ported --data_dir=data \
    --sketches=tu_berlin/sketch:fold2 --photo_sets=hust_si/photo:test --class_map=map.json --out=report.html

Four more need no network: a sheet of prepared records, a run's curves, how the library's times grow, and
how soon a search helps while one draws.

python -m launch.figures --what=records --dataset=openmoji/sketch --data_dir=data --out=sheet.png
python -m launch.figures --what=curves --run_dir=runs/quickstart --out=curves.png
python -m launch.figures --what=benchmark --results=launch/benchmarks/recorded.json --out=growth.png
python -m launch.figures --what=early_drawings --results=scores/early_drawings-run-L7-0123.json --out=early.png
"""

import functools
import json
import pathlib
import unicodedata
from collections.abc import Callable
from typing import Any

from absl import flags
from matplotlib.figure import Figure

from dsf_jax.data import datasets
from dsf_jax.data.class_maps import read_class_map
from dsf_jax.data.mixtures import DRAWN
from dsf_jax.data.records import Records, open_records
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.protocols.early_drawings import early_curves
from dsf_jax.evaluation.results import read_result
from dsf_jax.insight.benchmark_plots import recorded_growth
from dsf_jax.insight.descent import InversionConfig, phases_of
from dsf_jax.insight.overviews import records_sheet, run_curves
from dsf_jax.insight.plots import retrieval_curves, save_figure
from dsf_jax.paper import figures, network_figures
from dsf_jax.paper.figure_inputs import FigureInputs, PaperFigure
from dsf_jax.paper.figure_report import write_report
from dsf_jax.paper.inversion_figure import inversion
from dsf_jax.training.model_sources import open_model
from launch import common, shared_flags

COUNTS = {"records": 50, "resizing": 3, "retrieval": 6, "inversion": 2}

_WHAT = flags.DEFINE_enum(
    "what",
    None,
    ["activations", "benchmark", "curves", "early_drawings", "records", "filters", "inversion", "report", "resizing", "retrieval",
     "views"],
    "resizing, views, retrieval, activations, filters, inversion: Figs. 1, 2, 5, 6, 7 and 8 of the "
    "paper; views without --checkpoint shows no votes. report: all of them as one HTML file. "
    "records: a sheet of random records, drawings next to "
    "the map that their points give. curves: loss and accuracy of a run. benchmark: time and memory against "
    "size. early_drawings: a result of launch.evaluate --what=early_drawings. With --help, lists its own flags only.",
    required=True,
)  # fmt: skip
_OUT = flags.DEFINE_string(
    "out", None, "PNG file, of a report HTML; never overwritten.", required=True
)
_CHECKPOINT = shared_flags.define_checkpoint(required=False)
_BEFORE = flags.DEFINE_string(
    "before", None, "Checkpoint that fine-tuning started from, to compare with."
)
_DATA_DIR = shared_flags.define_data_dir()
_SKETCHES = shared_flags.define_sketches()
_PHOTOS = shared_flags.define_photo_sets()
_SPLIT = flags.DEFINE_string(
    "split", None, "Split of data sets named without one; by default test, for records train."
)
_CLASS_MAP = shared_flags.define_class_map()
_SHOWN_CLASSES = flags.DEFINE_list(
    "shown_classes", [], "Classes to show; by default drawn at random."
)
_COUNT = flags.DEFINE_integer(
    "count",
    None,
    f"How many to show: records ({COUNTS['records']}), sketches of resizing ({COUNTS['resizing']}), "
    f"queries ({COUNTS['retrieval']}), sketches and as many photos of inversion ({COUNTS['inversion']}).",
    lower_bound=1,
)
_TOP = shared_flags.define_top()
_LAYER = shared_flags.define_layer()
_PAIRS = flags.DEFINE_integer(
    "pairs", 200, "Largest number of pairs of sketch and photo to measure.", lower_bound=2
)
_INVERTED_LAYERS = flags.DEFINE_list(
    "inverted_layers", None, "Layers to reconstruct from; by default the backbone's."
)
flags.register_validator(
    "inverted_layers",
    lambda layers: layers is None or bool(layers),
    "is empty; name one layer at least, or omit the flag",
)
_STEPS = flags.DEFINE_integer(
    "steps", 400, "Steps of inversion: an eighth at the full learning rate, then less and less.",
    lower_bound=4,
)  # fmt: skip
_RESTARTS = flags.DEFINE_integer(
    "restarts", 1, "Restarts of inversion from other noise; the best is shown.", lower_bound=1
)
_SEED = shared_flags.define_seed()
_DATASET = flags.DEFINE_string("dataset", None, "A prepared data set, openmoji/sketch.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the run.")
_RESULTS = flags.DEFINE_string(
    "results",
    None,
    "File that launch.benchmark --what=growth --json=FILE wrote, or launch.evaluate --out=FOLDER.",
)

_DRAWINGS = (_DATA_DIR, _SKETCHES, _SPLIT, _CLASS_MAP, _SHOWN_CLASSES, _SEED)
_INPUTS = (_CHECKPOINT, *_DRAWINGS, _PHOTOS)
TAKES = {
    "records": (_DATA_DIR, _DATASET, _SPLIT, _COUNT, _SEED),
    "curves": (_RUN_DIR,),
    "benchmark": (_RESULTS,),
    "early_drawings": (_RESULTS,),
    "resizing": (*_DRAWINGS, _COUNT),
    "views": (_CHECKPOINT, *_DRAWINGS),
    "retrieval": (*_INPUTS, _COUNT, _TOP, _LAYER),
    "activations": (*_INPUTS, _BEFORE, _PAIRS),
    "filters": (_CHECKPOINT, _BEFORE, _DATA_DIR),
    "inversion": (*_INPUTS, _COUNT, _INVERTED_LAYERS, _STEPS, _RESTARTS),
    "report": (*_INPUTS, _BEFORE, _COUNT, _TOP, _LAYER, _PAIRS, _INVERTED_LAYERS, _STEPS, _RESTARTS),
}  # fmt: skip


def _sketches() -> list[Records]:
    return datasets.open_datasets(_DATA_DIR.value, _SKETCHES.value, _SPLIT.value or "test", DRAWN)


def _photos() -> list[Records]:
    return datasets.open_datasets(
        _DATA_DIR.value, _PHOTOS.value, _SPLIT.value or "test", ("photo",)
    )


def _network(checkpoint: str) -> NamedModel:
    name = "/".join(pathlib.Path(checkpoint).parts[-2:])
    return NamedModel(name, open_model(checkpoint))


def _inputs() -> FigureInputs:
    """Opens the checkpoints and, where they are used, the data."""
    what = _WHAT.value
    return FigureInputs(
        network=_network(common.given(_CHECKPOINT, _WHAT)),
        sketches=[] if what == "filters" else _sketches(),
        photos=[] if what in ("filters", "views") else _photos(),
        before=_network(_BEFORE.value) if _BEFORE.value else None,
        class_map=read_class_map(_CLASS_MAP.value),
        classes=_shown_classes(),
        seed=_SEED.value,
    )


def _shown_classes() -> list[str]:
    """Returns the classes to show, in NFC as the names of data sets are."""
    return [unicodedata.normalize("NFC", name) for name in _SHOWN_CLASSES.value]


def _without_checkpoint(what: str) -> PaperFigure:
    """Makes the figures of the paper that show drawings only."""
    sketches = _sketches()
    options: dict[str, Any] = {
        "class_map": read_class_map(_CLASS_MAP.value),
        "classes": _shown_classes(),
        "seed": _SEED.value,
    }
    if what == "views":
        return figures.views_alone(sketches, **options)
    return figures.resizing(sketches, count=_COUNT.value or COUNTS["resizing"], **options)


def _of_the_paper(inputs: FigureInputs) -> dict[str, Callable[[], PaperFigure]]:
    """Lists the paper's figures, in its order."""
    config = InversionConfig(
        phases=phases_of(_STEPS.value), restarts=_RESTARTS.value, seed=_SEED.value
    )
    return {
        "resizing": functools.partial(_without_checkpoint, "resizing"),
        "views": functools.partial(figures.views, inputs),
        "retrieval": functools.partial(
            figures.retrieval,
            inputs,
            count=_COUNT.value or COUNTS["retrieval"],
            top=_TOP.value,
            layer=_LAYER.value,
        ),
        "activations": functools.partial(network_figures.activations, inputs, pairs=_PAIRS.value),
        "filters": functools.partial(network_figures.filters, inputs),
        "inversion": functools.partial(
            inversion,
            inputs,
            count=_COUNT.value or COUNTS["inversion"],
            layers=_INVERTED_LAYERS.value,
            config=config,
        ),
    }


def _without_network(what: str) -> Figure:
    """Draws what shows no number of the paper's."""
    if what == "curves":
        return run_curves(common.given(_RUN_DIR, _WHAT))
    if what == "benchmark":
        return recorded_growth(common.given(_RESULTS, _WHAT))
    if what == "early_drawings":
        curves = early_curves(read_result(common.given(_RESULTS, _WHAT)))
        return retrieval_curves(
            curves, score="share of drawings", along="% of the strokes that are drawn"
        )
    dataset, split = common.given(_DATASET, _WHAT), _SPLIT.value or "train"
    records = open_records(_DATA_DIR.value, dataset, split)
    return records_sheet(records, count=_COUNT.value or COUNTS["records"], seed=_SEED.value)


def _draw(what: str, out: pathlib.Path) -> dict[str, Any]:
    """Makes one of the paper's figures, or all of them; returns the numbers."""
    if what == "resizing" or (what == "views" and _CHECKPOINT.value is None):
        figure = _without_checkpoint(what)
    else:
        inputs = _inputs()
        makers = _of_the_paper(inputs)
        if what == "report":
            return write_report(inputs, makers, out)
        figure = makers[what]()
    save_figure(figure.figure, out)
    return figure.numbers()


def main() -> None:
    """Draws what the flags name."""
    what, out = _WHAT.value, pathlib.Path(_OUT.value)
    ending = ".html" if what == "report" else ".png"
    if out.suffix.lower() != ending:
        raise ValueError(f"--out={out} must end in {ending} for --what={what}; rename it")
    common.new_file(_OUT.value)
    if what in ("benchmark", "curves", "early_drawings", "records"):
        save_figure(_without_network(what), out)
        print(f"written to {out}")
        return
    numbers = _draw(what, out)
    print(json.dumps({"what": what, "written": str(out)} | numbers, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    common.run(main, common.Choice(_WHAT, TAKES))
