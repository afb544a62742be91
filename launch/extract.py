r"""Computes a checkpoint's features of prepared data sets into files; run again to go on.

python -m launch.extract --checkpoint=runs/quickstart --data_dir=runs/quickstart/data \
    --datasets=openmoji/sketch:test,openmoji/photo:test --out=runs/quickstart/features

Each data set gets a folder OUT/NAME/SPLIT: LAYER.npy [n, d] float32 per layer, labels.npy [n] int32 in
the data set's own numbering, source_ids.json, and, when all is there, features.json. They are
read back with dsf_jax.retrieval.feature_files.open_features.
"""

import pathlib

from absl import flags

from dsf_jax.data.datasets import DataSetSpec
from dsf_jax.retrieval.feature_files import extract_records
from dsf_jax.retrieval.features import feature_sizes
from dsf_jax.training.model_sources import open_model
from dsf_jax.training.parallel import is_primary
from launch import common, distributed, shared_flags

_CHECKPOINT = shared_flags.define_checkpoint()
_DATA_DIR = shared_flags.define_data_dir()
_DATASETS = shared_flags.define_datasets()
_SPLIT = shared_flags.define_split("test")
_LAYERS = shared_flags.define_layers()
_OUT = flags.DEFINE_string("out", None, "Folder that gets a folder per data set.", required=True)
_BATCH_SIZE = shared_flags.define_batch_size()


def main() -> None:
    """Extracts what the flags name; data sets that are done already are passed over."""
    distributed.join()
    opened = [
        DataSetSpec.parse(text).open(_DATA_DIR.value, _SPLIT.value).read("source_id")
        for text in _DATASETS.value
    ]
    model = open_model(_CHECKPOINT.value)
    layers = tuple(_LAYERS.value or model.backbone.compared_features)
    model.backbone.check_features(layers)
    sizes = feature_sizes(model, layers)
    widths = ", ".join(f"{layer} ({d})" for layer, d in sizes.items())
    for records in opened:
        folder = pathlib.Path(_OUT.value) / records.name / records.split
        extract_records(folder, model, records, layers=layers, batch_size=_BATCH_SIZE.value)
        if is_primary():
            title = f"{records.name} [{records.split}]"
            print(f"{title}: {len(records)} examples, {widths}, in {folder}")


if __name__ == "__main__":
    common.run(main)
