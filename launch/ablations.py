r"""Measures the choices that the paper leaves open, each against its alternatives on the same examples.

How a drawing becomes the network's input: a linear classifier of a pretrained network's pool5, fold by fold.

python -m launch.ablations --what=input --checkpoint=runs/ported --sketches=tu_berlin/sketch --data_dir=data

How many angles vote, on sketches that the checkpoint was not trained on:

python -m launch.ablations --what=angles --checkpoint=runs/S/fold2 --sketches=tu_berlin/sketch:fold2 --data_dir=data

Which activations make a feature, before or after ReLU, normalised before or after they are joined:

python -m launch.ablations --what=features --checkpoint=runs/S+I+E/fold2 --sketches=tu_berlin/sketch:fold2 \
    --photo_sets=sketchy/photo:test --data_dir=data

Which edge maps of photos a network knows that was trained on sketches alone:

python -m launch.ablations --what=edges --checkpoint=runs/S/fold2 --photo_sets=sketchy/photo:test --data_dir=data
"""

from absl import flags

from dsf_jax.data import datasets
from dsf_jax.data.class_maps import read_class_map
from dsf_jax.data.mixtures import DRAWN, EDGE_PRESERVING
from dsf_jax.data.records import Records
from dsf_jax.evaluation.extractors import shown_to
from dsf_jax.paper import ablations
from dsf_jax.paper.tables import ResultTable, markdown
from dsf_jax.training.model_sources import open_model
from launch import common, shared_flags

_WHAT = flags.DEFINE_enum(
    "what",
    None,
    ["input", "angles", "features", "edges"],
    "input: thinned or not, canvas or bounding box, polarity, interpolation. angles: how many vote. "
    "features: before or after ReLU, joined before or after normalising. edges: detector and "
    "threshold.",
    required=True,
)
_CHECKPOINT = shared_flags.define_checkpoint()
_DATA_DIR = shared_flags.define_data_dir()
_SKETCHES = shared_flags.define_sketches(("tu_berlin/sketch",))
_PHOTOS = shared_flags.define_photo_sets(())
_SPLIT = shared_flags.define_split("test")
_CLASSES = shared_flags.define_classes()
_CLASS_MAP = shared_flags.define_class_map()
TAKES = {
    "input": (_SKETCHES, _CLASSES),
    "angles": (_SKETCHES, _SPLIT, _CLASS_MAP),
    "features": (_SKETCHES, _PHOTOS, _SPLIT, _CLASS_MAP),
    "edges": (_PHOTOS, _SPLIT, _CLASS_MAP),
}


def _made() -> ResultTable:
    """Measures what --what names."""
    model = open_model(_CHECKPOINT.value)
    if _WHAT.value == "input":
        classes = datasets.read_class_list(_CLASSES.value)
        folds = ablations.open_folds(_DATA_DIR.value, _SKETCHES.value)
        return ablations.compare_inputs(model, folds, classes)
    class_map = read_class_map(_CLASS_MAP.value)
    if _WHAT.value == "features":
        sets = [*_drawings(), *_photographs()]
        mixture = shown_to(model, sets, datasets.all_classes(sets, class_map), class_map)
        return ablations.compare_features(model, mixture)
    if model.config.resizing != EDGE_PRESERVING:
        raise ValueError(
            f"--what={_WHAT.value} moves points, and {_CHECKPOINT.value} was trained with "
            f"resizing={model.config.resizing}; name a checkpoint of {EDGE_PRESERVING}"
        )
    compare, opened = {
        "angles": (ablations.compare_angles, _drawings),
        "edges": (ablations.compare_edges, _photographs),
    }[_WHAT.value]
    return compare(model, shown_to(model, opened(), model.class_names, class_map))


def _drawings() -> list[Records]:
    return datasets.open_datasets(_DATA_DIR.value, _SKETCHES.value, _SPLIT.value, DRAWN)


def _photographs() -> list[Records]:
    names = common.given(_PHOTOS, _WHAT)
    return datasets.open_datasets(_DATA_DIR.value, names, _SPLIT.value, ("photo",))


def main() -> None:
    """Compares what the flags name."""
    print(markdown(_made()), end="")


if __name__ == "__main__":
    common.run(main, common.Choice(_WHAT, TAKES))
