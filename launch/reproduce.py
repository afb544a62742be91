r"""Makes the paper's tables and Fig. 4 again, our results next to its numbers.

From runs that launch.train left, with all folds, in runs/S, runs/S+I, ... (runs/S-bilinear and runs/S-cubic for
the rows of those resizings); what is missing is named with the way to get it:

python -m launch.reproduce --table=1 --runs=runs --data_dir=data --out=tables
python -m launch.reproduce --figure=4 --runs=runs --data_dir=data --out=tables

Category retrieval on any prepared data, checkpoints next to hand-crafted descriptors:

python -m launch.reproduce --table=retrieval --sketches=tu_berlin/sketch:fold2 --photo_sets=sketchy/photo:test \
    --checkpoints=S=runs/S/fold2,S+I=runs/S+I/fold2 --pretrained=runs/ported --class_map=map.json

The same among classes that the checkpoints were not trained on (launch.train --unseen=sketchy-25):

python -m launch.reproduce --table=retrieval --unseen=sketchy-25 --checkpoints=S+I=runs/seen \
    --sketches=sketchy/sketch:train+test --photo_sets=sketchy/photo:train+test

Each result is kept in a file of its own, and a command that was killed goes on where it was.
"""

import pathlib
from typing import Any

from absl import flags

from dsf_jax.data import datasets
from dsf_jax.data.class_maps import read_class_map
from dsf_jax.data.files import write_atomic
from dsf_jax.data.mixtures import DRAWN
from dsf_jax.data.records import Records
from dsf_jax.data.unseen import read_unseen
from dsf_jax.evaluation.zero_shot import ZeroShot
from dsf_jax.insight.plots import retrieval_curves, save_figure
from dsf_jax.paper import runs
from dsf_jax.paper.numbers import FIGURE_4_NUMBER
from dsf_jax.paper.run_checks import RESULTS, ReproductionConfig
from dsf_jax.paper.tables import ResultTable, csv_text, markdown
from launch import common, shared_flags

_TABLE = flags.DEFINE_enum(
    "table",
    None,
    ["1", "2", "3", "retrieval"],
    "The paper's table with ours next to it, or a table of category retrieval on any data. With --help, "
    "lists its own flags only.",
)
_FIGURE = flags.DEFINE_enum("figure", None, ["4"], "The paper's figure, and its numbers.")
_DATA_DIR = shared_flags.define_data_dir()
_SKETCHES = flags.DEFINE_list(
    "sketches",
    None,
    "Prepared data sets of sketches, NAME or NAME:SPLIT; by default the paper's, and for category retrieval "
    "openmoji/sketch.",
)
_PHOTOS = flags.DEFINE_list(
    "photo_sets",
    None,
    "Prepared data sets of photos, NAME or NAME:SPLIT; by default the paper's, and for category retrieval "
    "openmoji/photo.",
)
_SPLIT = shared_flags.define_split("test")
_CLASS_MAP = shared_flags.define_class_map()
_UNSEEN = shared_flags.define_unseen("asked for alone, among photos of their own")
_GENERALISED = shared_flags.define_generalised()
_RUNS = flags.DEFINE_string(
    "runs", "runs", f"Folder of runs; results are kept in its folder {RESULTS}."
)
_FOLDS = flags.DEFINE_list("folds", ["0", "1", "2"], "Folds to evaluate.")
_CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "Checkpoints to compare, as NAME=FOLDER.")
_PRETRAINED = flags.DEFINE_string(
    "pretrained", None, "What launch.port_weights wrote; its pool5 is a baseline."
)
_OUT = flags.DEFINE_string(
    "out", None, "Folder of the Markdown, CSV and PNG files; nothing is overwritten."
)

flags.register_multi_flags_validator(
    ["table", "figure"], lambda values: any(values.values()), "--table or --figure must be given"
)
flags.register_multi_flags_validator(
    ["table", "figure"], lambda values: not all(values.values()), "ask for one: --table or --figure"
)
flags.register_multi_flags_validator(
    ["class_map", "checkpoints", "unseen", "split", "figure"],
    lambda values: (
        not values["figure"]
        or not any(flag.present for flag in (_CLASS_MAP, _CHECKPOINTS, _UNSEEN, _SPLIT))
    ),
    "--class_map, --checkpoints, --unseen and --split are for --table=retrieval only; omit them",
)
flags.register_validator(
    "folds",
    lambda folds: folds and all(f.isdecimal() for f in folds) and len({*folds}) == len(folds),
    "must be numbers, each once",
)


def main() -> None:
    """Makes a table, prints it, and writes it where --out says."""
    files = _files(f"figure{_FIGURE.value}" if _FIGURE.value else f"table{_TABLE.value}")
    table, curves = _made()
    print(markdown(table), end="")
    for kind, text in (("md", markdown(table)), ("csv", csv_text(table))):
        if kind in files:
            write_atomic(files[kind], text)
    if "png" in files and curves:
        save_figure(retrieval_curves(curves, score=FIGURE_4_NUMBER), files["png"])


def _files(name: str) -> dict[str, pathlib.Path]:
    """Names the files to write, {kind: path}, none of which may exist."""
    if not _OUT.value:
        return {}
    folder = pathlib.Path(_OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ("md", "csv", "png") if _FIGURE.value else ("md", "csv")
    files = {k: folder / f"{name.replace('tableretrieval', 'retrieval')}.{k}" for k in kinds}
    for path in files.values():
        common.new_file(str(path))
    return files


def _made() -> tuple[ResultTable, dict[str, Any]]:
    """Makes the table that is asked for, and the curves of the figure."""
    folds = tuple(map(int, _FOLDS.value))
    config = ReproductionConfig(
        pathlib.Path(_RUNS.value), _DATA_DIR.value, folds, _PRETRAINED.value
    )
    if _TABLE.value == "retrieval":
        checkpoints = _named_checkpoints()
        class_map = read_class_map(_CLASS_MAP.value)
        sketches = _opened(_SKETCHES.value or ["openmoji/sketch"], DRAWN)
        photos = _opened(_PHOTOS.value or ["openmoji/photo"], ("photo",))
        unseen = read_unseen(_UNSEEN.value)
        zero_shot = ZeroShot(unseen, _GENERALISED.value) if unseen else None
        return runs.compare_retrieval(
            config, sketches, photos, checkpoints, class_map=class_map, zero_shot=zero_shot
        ), {}
    own = _single("sketches", _SKETCHES)
    pair = own | _single("photos", _PHOTOS)
    if _FIGURE.value:
        return runs.reproduce_figure_4(config, **pair)
    if _TABLE.value == "3":
        return runs.reproduce_table_3(config, **pair), {}
    make = runs.reproduce_table_1 if _TABLE.value == "1" else runs.reproduce_table_2
    return make(config, **own), {}


def _opened(names: list[str], domains: tuple[str, ...]) -> list[Records]:
    return datasets.open_datasets(_DATA_DIR.value, names, _SPLIT.value, domains)


def _single(argument: str, flag: flags.FlagHolder[list[str] | None]) -> dict[str, str]:
    """Returns the one data set that a table of the paper is made of instead of the paper's, as an
    argument.
    """
    if flag.value is None:
        return {}
    if len(flag.value) != 1:
        raise ValueError(
            f"--{flag.name} names {len(flag.value)} data sets; the paper's tables take one each"
        )
    if ":" in flag.value[0] and _TABLE.value in ("1", "2"):
        raise ValueError(
            f"--{flag.name}={flag.value[0]} names a split; omit it: --folds says which are tested"
        )
    return {argument: flag.value[0]}


def _named_checkpoints() -> dict[str, str]:
    named = dict(spec.partition("=")[::2] for spec in _CHECKPOINTS.value)
    if "" in {*named, *named.values()} or len(named) < len(_CHECKPOINTS.value):
        raise ValueError(
            f"--checkpoints={','.join(_CHECKPOINTS.value)} must be NAME=FOLDER,..., each name once; "
            "correct it"
        )
    return named


if __name__ == "__main__":
    takes = {
        "1": (_FOLDS,),
        "2": (_FOLDS, _PRETRAINED),
        "3": (_FOLDS, _PHOTOS, _PRETRAINED),
        "retrieval": (
            _PHOTOS, _SPLIT, _CLASS_MAP, _CHECKPOINTS, _UNSEEN, _GENERALISED, _PRETRAINED,
        ),
    }  # fmt: skip
    common.run(main, common.Choice(_TABLE, takes))
