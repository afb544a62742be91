r"""Scores a checkpoint on prepared data sets, or makes one of the paper's tables.

python -m launch.evaluate --what=retrieval --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --sketches=openmoji/sketch --photos=openmoji/photo --split=test

The paper's tables and Fig. 4, from runs that launch.train left, with all folds, in runs/S, runs/S+I, ...
(runs/S-bilinear and runs/S-cubic for the rows of those resizings); what is missing is named with the way to get it:

python -m launch.evaluate --table=1 --runs=runs --data_dir=data --out=tables
python -m launch.evaluate --figure=4 --runs=runs --data_dir=data --out=tables

Category retrieval on any prepared data, checkpoints beside hand-made descriptors:

python -m launch.evaluate --table=retrieval --sketches=tu_berlin/sketch:fold2 --photos=sketchy/photo:test \
    --checkpoints=S=runs/S/fold2,S+I=runs/S+I/fold2 --pretrained=runs/ported --class_map=map.json

With --out, and with tables, each result is kept in a file of its own, and a command that was killed goes on
where it was.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from dsf_jax.data import datasets
from dsf_jax.data.files import write_whole
from dsf_jax.data.mixtures import DRAWN
from dsf_jax.data.records import Records
from dsf_jax.evaluation import evaluate
from dsf_jax.evaluation.results import ResultRecord, as_dict
from dsf_jax.insight.plots import retrieval_curves, save_figure
from dsf_jax.paper import runs
from dsf_jax.paper.tables import FIGURE_4_NUMBER, Table, csv_text, markdown
from dsf_jax.training.checkpoints import load_model
from launch import common

_WHAT = flags.DEFINE_enum(
    "what",
    "retrieval",
    ["recognition", "retrieval"],
    "With --checkpoint. recognition: accuracy on sketches of the checkpoint's classes, single angle "
    "and voted. retrieval: sketches as queries against photos of the same classes.",
)
_TABLE = flags.DEFINE_enum(
    "table",
    None,
    ["1", "2", "3", "retrieval"],
    "The paper's table with ours beside it, or a table of category retrieval on any data.",
)
_FIGURE = flags.DEFINE_enum("figure", None, ["4"], "The paper's figure, and its numbers.")
_CHECKPOINT = common.define_checkpoint(required=False)
_DATA_DIR = common.define_data_dir()
_SKETCHES = flags.DEFINE_list(
    "sketches",
    None,
    "Prepared data sets of sketches, NAME or NAME:SPLIT; by default openmoji/sketch, and for the "
    "paper's tables the paper's.",
)
_PHOTOS = flags.DEFINE_list("photos", None, "Prepared data sets of photos, likewise.")
_SPLIT = common.define_split("test")
_CLASS_MAP = common.define_class_map()
_RUNS = flags.DEFINE_string(
    "runs", "runs", f"Tables: folder of runs; results are kept in its folder {runs.RESULTS}."
)
_FOLDS = flags.DEFINE_list("folds", ["0", "1", "2"], "Tables 1 to 3, figure: folds to evaluate.")
_CHECKPOINTS = flags.DEFINE_list(
    "checkpoints", [], "Table retrieval: checkpoints to compare, as NAME=FOLDER."
)
_PRETRAINED = flags.DEFINE_string(
    "pretrained", None, "Tables, figure: what launch.port_weights wrote; its pool5 is a baseline."
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder. With --checkpoint, of the results, one JSON file each; of tables, of Markdown, CSV and "
    "PNG. Nothing is overwritten.",
)


@flags.multi_flags_validator(
    ["checkpoint", "table", "figure"],
    message="--checkpoint must be given, unless a table or a figure is asked for",
)
def _something(values: Mapping[str, Any]) -> bool:
    return any(values.values())


@flags.multi_flags_validator(
    ["class_map", "table", "figure"],
    message="--class_map is not for the paper's tables, whose data sets have one set of classes; leave it out",
)
def _no_map(values: Mapping[str, Any]) -> bool:
    return not values["class_map"] or (
        not values["figure"] and values["table"] in (None, "retrieval")
    )


@flags.multi_flags_validator(
    ["checkpoint", "table", "figure"],
    message="ask for one: --checkpoint with --what, --table, or --figure",
)
def _one_thing(values: Mapping[str, Any]) -> bool:
    return sum(value is not None for value in values.values()) <= 1


flags.register_validator(
    "folds",
    lambda folds: folds and all(f.isdecimal() for f in folds) and len({*folds}) == len(folds),
    "must be numbers, each once",
)


def main() -> None:
    """Evaluates as the flags say."""
    if _TABLE.value or _FIGURE.value:
        name = f"table{_TABLE.value}" if _TABLE.value else f"figure{_FIGURE.value}"
        _write_table(name.replace("tableretrieval", "retrieval"))
        return
    out = _OUT.value and pathlib.Path(_OUT.value)
    results = [as_dict(record) for record in _evaluate(_CHECKPOINT.value or "", out or None)]
    print(json.dumps(results, indent=1, ensure_ascii=False))


def _evaluate(checkpoint: str, out: pathlib.Path | None) -> list[ResultRecord]:
    """Scores one checkpoint."""
    class_map = datasets.read_class_map(_CLASS_MAP.value)
    sketches = _sketches()
    photos = _photos() if _WHAT.value == "retrieval" else []
    name = "/".join(pathlib.Path(checkpoint).parts[-2:])  # the same from wherever it is named
    network = evaluate.Network(name, *load_model(checkpoint))
    if photos:
        made = evaluate.retrieval(network, sketches, photos, class_map=class_map, results=out)
        return list(made.values())
    return [evaluate.recognise(network, sketches, class_map=class_map, results=out)]


def _sketches() -> list[Records]:
    names = _SKETCHES.value or ["openmoji/sketch"]
    return evaluate.open_sets(_DATA_DIR.value, names, _SPLIT.value, DRAWN)


def _photos() -> list[Records]:
    names = _PHOTOS.value or ["openmoji/photo"]
    return evaluate.open_sets(_DATA_DIR.value, names, _SPLIT.value, ("photo",))


def _write_table(name: str) -> None:
    """Makes a table, prints it, and writes it where --out says."""
    files: dict[str, pathlib.Path] = {}
    if _OUT.value:
        folder = pathlib.Path(_OUT.value)
        folder.mkdir(parents=True, exist_ok=True)
        kinds = ("md", "csv", "png") if _FIGURE.value else ("md", "csv")
        files = {kind: folder / f"{name}.{kind}" for kind in kinds}
        for path in files.values():
            common.new_file(str(path))
    table, curves = _made()
    print(markdown(table), end="")
    for kind, text in (("md", markdown(table)), ("csv", csv_text(table))):
        if kind in files:
            write_whole(files[kind], text)
    if "png" in files and curves:
        save_figure(retrieval_curves(curves, score=FIGURE_4_NUMBER), files["png"])


def _made() -> tuple[Table, dict[str, Any]]:
    """Makes the table that is asked for, and the curves of the figure."""
    setup = runs.Setup(
        pathlib.Path(_RUNS.value),
        _DATA_DIR.value,
        tuple(map(int, _FOLDS.value)),
        _PRETRAINED.value,
    )
    if _TABLE.value == "retrieval":
        checkpoints = _named_checkpoints()
        table = runs.retrieval_table(
            setup,
            _sketches(),
            _photos(),
            checkpoints,
            class_map=datasets.read_class_map(_CLASS_MAP.value),
        )
        return table, {}
    sketches, photos = _single(_SKETCHES), _single(_PHOTOS)
    if _FIGURE.value:
        return runs.figure_4(setup, **sketches, **photos)
    if _TABLE.value == "3":
        return runs.table_3(setup, **sketches, **photos), {}
    make = runs.table_1 if _TABLE.value == "1" else runs.table_2
    return make(setup, **sketches), {}


def _single(flag: flags.FlagHolder[list[str] | None]) -> dict[str, str]:
    """The one data set that a table of the paper is to be made of instead of the paper's."""
    if flag.value is None:
        return {}
    if len(flag.value) != 1:
        raise ValueError(
            f"--{flag.name} names {len(flag.value)} data sets; the paper's tables take one each"
        )
    if ":" in flag.value[0] and _TABLE.value in ("1", "2"):
        raise ValueError(
            f"--{flag.name}={flag.value[0]} names a split; leave it out: --folds says which are tested"
        )
    return {flag.name: flag.value[0]}


def _named_checkpoints() -> dict[str, str]:
    named = dict(spec.partition("=")[::2] for spec in _CHECKPOINTS.value)
    if "" in {*named, *named.values()} or len(named) < len(_CHECKPOINTS.value):
        raise ValueError(
            f"--checkpoints={','.join(_CHECKPOINTS.value)} must be NAME=FOLDER,..., each name once; "
            "correct it"
        )
    return named


if __name__ == "__main__":
    common.run(main, common.Choice(_WHAT, {"retrieval": (_PHOTOS,)}))
