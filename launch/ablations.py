r"""Measures the choices that the paper leaves open, each against its alternatives on the same examples.

How a drawing becomes the network's input: a linear classifier of a pretrained network's pool5, fold by fold.

python -m launch.ablations --what=input --checkpoint=runs/ported --sketches=tu_berlin/sketch --data_dir=data

How many angles vote, on sketches that the checkpoint was not trained on:

python -m launch.ablations --what=angles --checkpoint=runs/S/fold2 --sketches=tu_berlin/sketch:fold2 --data_dir=data

Which activations make a feature, before or after ReLU, normalised before or after they are joined:

python -m launch.ablations --what=features --checkpoint=runs/S+I+E/fold2 --sketches=tu_berlin/sketch:fold2 \
    --photos=sketchy/photo:test --data_dir=data

Which edge maps of photos a network knows that was trained on sketches alone:

python -m launch.ablations --what=edges --checkpoint=runs/S/fold2 --photos=sketchy/photo:test --data_dir=data
"""

import functools

from absl import flags

from dsf_jax.data import datasets
from dsf_jax.data.mixtures import DRAWN, EDGE_PRESERVING
from dsf_jax.data.records import Records, list_datasets, open_records
from dsf_jax.evaluation.evaluate import Network, all_classes, open_sets, shown_to
from dsf_jax.paper import ablations
from dsf_jax.paper.tables import ResultTable, markdown
from dsf_jax.training.checkpoints import load_model
from launch import common

_WHAT = flags.DEFINE_enum(
    "what",
    None,
    ["input", "angles", "features", "edges"],
    "input: thinned or not, canvas or bounding box, polarity, interpolation. angles: how many vote. "
    "features: before or after ReLU, joined before or after normalising. edges: detector and "
    "threshold.",
    required=True,
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Run or checkpoint folder; FOLDER:best, FOLDER:STEP.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")
_SKETCHES = flags.DEFINE_list(
    "sketches",
    ["tu_berlin/sketch"],
    "input: a data set that is cut into folds; angles, features: data sets, NAME or NAME:SPLIT.",
)
_PHOTOS = flags.DEFINE_list("photos", [], "features, edges: data sets of photos, likewise.")
_SPLIT = flags.DEFINE_string("split", "test", "Split of data sets named without one.")
_CLASSES = flags.DEFINE_string(
    "classes", None, "input: file of class names, one a line; others are left out."
)
_CLASS_MAP = flags.DEFINE_string(
    "class_map", None, "features, edges: JSON file of synonyms, as launch.train takes it."
)


def _made() -> ResultTable:
    network = Network(_CHECKPOINT.value or "", *load_model(_CHECKPOINT.value or ""))
    if _WHAT.value == "input":
        return ablations.compare_inputs(network, _folds(), datasets.read_class_list(_CLASSES.value))
    class_map = datasets.read_class_map(_CLASS_MAP.value)
    opened = functools.partial(open_sets, _DATA_DIR.value, split=_SPLIT.value)
    if _WHAT.value == "features":
        sets = [
            *opened(_SKETCHES.value, domains=DRAWN),
            *opened(_given(_PHOTOS), domains=("photo",)),
        ]
        mixture = shown_to(network.card, sets, all_classes(sets, class_map), class_map)
        return ablations.compare_features(network, mixture)
    if network.card.resizing != EDGE_PRESERVING:
        raise ValueError(
            f"--what={_WHAT.value} moves points, and {network.name} was trained with "
            f"resizing={network.card.resizing}; name a checkpoint of {EDGE_PRESERVING}"
        )
    classes = network.card.class_names
    if _WHAT.value == "angles":
        sets = opened(_SKETCHES.value, domains=DRAWN)
        return ablations.compare_angles(network, shown_to(network.card, sets, classes, class_map))
    sets = opened(_given(_PHOTOS), domains=("photo",))
    return ablations.compare_edges(network, shown_to(network.card, sets, classes, class_map))


def _given(flag: flags.FlagHolder) -> list[str]:
    if not flag.value:
        raise ValueError(
            f"--what={_WHAT.value} needs --{flag.name}; name prepared data sets, NAME or NAME:SPLIT"
        )
    return flag.value


def _folds() -> list[Records]:
    """Opens the folds of the one data set of sketches."""
    if len(_SKETCHES.value) != 1 or ":" in _SKETCHES.value[0]:
        raise ValueError(
            f"--sketches={','.join(_SKETCHES.value)}: --what=input classifies all folds of one "
            "data set; name one, without a split"
        )
    (name,) = _SKETCHES.value
    splits = [s for s in list_datasets(_DATA_DIR.value).get(name, ()) if s.startswith("fold")]
    if len(splits) < 2:
        raise ValueError(
            f"{name} in {_DATA_DIR.value} has {len(splits)} folds, expected at least 2; name a data "
            "set that is cut into folds, tu_berlin/sketch"
        )
    return [open_records(_DATA_DIR.value, name, split) for split in splits]


def main() -> None:
    """Compares what the flags name."""
    print(markdown(_made()), end="")


if __name__ == "__main__":
    common.run(main)
