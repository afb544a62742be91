r"""Trains AlexNet on prepared data sets; run the same command again to go on where it stopped.

python -m launch.train --data_dir=data --init=runs/ported --run_dir=runs/emoji \
    --datasets=openmoji/sketch,openmoji/photo,openmoji/edge --mixture=S+I+E
"""

import pathlib
from typing import get_args

import jax
from absl import flags

from dsf_jax.data.mixtures import MIXTURES
from dsf_jax.models.alexnet import Variant
from dsf_jax.training.loop import TrainConfig
from launch import command, stages

command.define_flags(TrainConfig)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")
_DATASETS = flags.DEFINE_list(
    "datasets", None, "Prepared data sets, each of one domain, as NAME or NAME:SPLIT: "
    "tu_berlin/sketch:fold0+fold1,hust_si/photo.",
    required=True,
)  # fmt: skip
_SPLIT = flags.DEFINE_string("split", "train", "Split of the data sets to train on.")
_MIXTURE = flags.DEFINE_enum(
    "mixture", "S+I+E", list(MIXTURES), "Domains to train on: S sketches, I photos, E edge maps."
)
_CLASSES = flags.DEFINE_string(
    "classes", None, "File of class names, one a line; by default those that the sketches show."
)
_CLASS_MAP = flags.DEFINE_string(
    "class_map",
    None,
    'JSON file of synonyms: {"class": {"data set": ["its names of it"]}}, '
    "a data set being what stands before the / of its name: sketchy, edge_maps.",
)
_INIT = flags.DEFINE_string(
    "init",
    None,
    f"Checkpoint to start from (see launch.port_weights), or {stages.RANDOM}.",
    required=True,
)
_VARIANT = flags.DEFINE_enum(
    "variant", "caffe", get_args(Variant), f"Which AlexNet, with --init={stages.RANDOM}."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of the run: checkpoints, metrics, configuration.", required=True
)


def main() -> None:
    """Trains as the flags say."""
    config = command.config_from_flags(TrainConfig)
    mixture = stages.open_mixture(
        _DATA_DIR.value,
        _DATASETS.value,
        _SPLIT.value,
        _MIXTURE.value,
        class_names=stages.read_class_list(_CLASSES.value),
        class_map=stages.read_class_map(_CLASS_MAP.value),
    )
    print(mixture.per_class())
    print(mixture)
    card, params = stages.starting_point(
        _INIT.value, _VARIANT.value, mixture.class_names, config.seed
    )
    print(f"{card.variant} AlexNet on {jax.device_count()} {jax.default_backend()} device(s)")
    result = stages.train_on(config, mixture, card, params, pathlib.Path(_RUN_DIR.value))
    done = "trained" if result.finished else "stopped by a signal; run the same command to go on"
    print(f"step {int(result.state.step)}: {done}, saved in {_RUN_DIR.value}")


if __name__ == "__main__":
    command.run(main)
