r"""Computes a checkpoint's features of prepared data sets into files; run again to go on.

python -m launch.extract --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --datasets=openmoji/sketch:test,openmoji/photo:test --out=runs/quickstart/features

Each data set gets a folder OUT/NAME/SPLIT: LAYER.npy [n, d] float32 a layer, labels.npy [n] int32 in
the data set's own numbering, source_ids.json, and, when all is there, features.json. They are
read back with dsf_jax.retrieval.feature_files.open_features.
"""

import pathlib

from absl import flags

from dsf_jax.data.datasets import DataSetSpec
from dsf_jax.data.mixtures import mix
from dsf_jax.data.records import Records
from dsf_jax.models.alexnet import Params
from dsf_jax.retrieval.feature_files import extract_to_files
from dsf_jax.retrieval.features import LAYERS, PAPER_LAYERS, check_layers, feature_sizes
from dsf_jax.training.checkpoints import ModelCard, load_model
from dsf_jax.training.parallel import is_primary
from launch import common, distributed

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run or checkpoint folder.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")
_DATASETS = flags.DEFINE_list(
    "datasets",
    None,
    "Prepared data sets, each of one domain, as NAME or NAME:SPLIT.",
    required=True,
)
_SPLIT = flags.DEFINE_string("split", "test", "Split of data sets named without one.")
_LAYERS = flags.DEFINE_list(
    "layers", list(PAPER_LAYERS), f"Features to compute, of: {', '.join(LAYERS)}."
)
_OUT = flags.DEFINE_string("out", None, "Folder that gets a folder a data set.", required=True)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 64, "Images that are computed, and written, at a time.", lower_bound=1
)


def main() -> None:
    """Extracts what the flags name; data sets that are done already are passed over."""
    distributed.join()
    check_layers(_LAYERS.value)
    opened = [
        DataSetSpec.parse(text).open(_DATA_DIR.value, _SPLIT.value).read("source_id")
        for text in _DATASETS.value
    ]
    card, params = load_model(_CHECKPOINT.value)
    for records in opened:
        _extract(card, params, records, pathlib.Path(_OUT.value) / records.name / records.split)


def _extract(card: ModelCard, params: Params, records: Records, folder: pathlib.Path) -> None:
    """Extracts one data set."""
    domain, layers, model = records.domain, tuple(_LAYERS.value), card.network()
    mixture = mix([records], records.class_names, resizing=card.resizing, size=card.size)
    extract_to_files(
        folder,
        model,
        params,
        mixture.drawings if len(mixture.drawings) else mixture.photos,
        [record["source_id"] for record in records],
        configuration={
            "data_set": records.name,
            "version": records.folder.name,
            "digest": records.digest,
            "split": records.split,
            "domain": domain,
            "class_names": records.class_names,
            "variant": card.variant,
            "resizing": card.resizing,
        },
        layers=layers,
        batch_size=_BATCH_SIZE.value,
        size=card.size,
        label=f"{records.name} [{records.split}]",
    )
    if is_primary():
        sizes = feature_sizes(model, params, layers, size=card.size)
        widths = ", ".join(f"{layer} ({d})" for layer, d in sizes.items())
        print(f"{records.name} [{records.split}]: {len(records)} examples, {widths}, in {folder}")


if __name__ == "__main__":
    common.run(main)
