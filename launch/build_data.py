"""Builds a data set into a folder of records.

python -m launch.build_data --dataset=openmoji --data_dir=data
python -m launch.build_data --dataset=sketch_photo_folders --source=my_pictures --data_dir=data
python -m launch.build_data --dataset=sketch_photo_folders --help
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any, get_args

from absl import flags

from data_builders.builder import NoOptions, RecordsBuilder
from data_builders.faults import OnError
from data_builders.prepare import build
from data_builders.registry import DATASETS, builder_class
from launch import common, shared_flags

_DATASET = flags.DEFINE_enum(
    "dataset",
    None,
    DATASETS,
    "Which data set; with --help, lists its own flags too.",
    required=True,
)
_SOURCE = shared_flags.define_source(
    "a path or an address, see the data set's README in data_builders.", required=False
)
_DATA_DIR = shared_flags.define_data_dir()
_ON_ERROR = flags.DEFINE_enum(
    "on_error",
    "raise",
    get_args(OnError),
    "A broken file stops the build, or is counted and omitted.",
)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Worker processes; by default one per core.", lower_bound=1
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Build again what is there; it is replaced when all is built, and stays as it is if that fails.",
)
_BEAM = flags.DEFINE_bool("beam", False, "Run as an Apache Beam pipeline instead.")


def main() -> None:
    """Builds the data set that the flags name."""
    data_dir = pathlib.Path(_DATA_DIR.value)
    build(_DATASET.value, data_dir, overwrite=_OVERWRITE.value, **builder_options())


def builder_options() -> dict[str, Any]:
    """Returns the builder's arguments that the flags give.

    Raises:
      ValueError: for a flag that the builder does not take.
    """
    builder = builder_class(_DATASET.value)
    if not issubclass(builder, RecordsBuilder):
        for flag in (_SOURCE, _ON_ERROR, _WORKERS, _BEAM):
            if flag.present:
                raise ValueError(f"{_DATASET.value} takes no --{flag.name}; omit it")
        return {}
    return {
        "source": _SOURCE.value,
        "options": shared_flags.config_from_flags(builder.OPTIONS),
        "on_error": _ON_ERROR.value,
        "processes": _WORKERS.value,
        "beam": _BEAM.value,
    }


def options_class(arguments: Sequence[str]) -> type:
    """Returns the options of the data set that a command line names, to define flags of.

    Flags must be defined before they are parsed, and which there are depends on one of them.
    """
    named = common.chosen(arguments, _DATASET.name)
    if named not in DATASETS:
        return NoOptions
    try:
        return getattr(builder_class(named), "OPTIONS", NoOptions)
    except ImportError:  # a missing package is reported when the builder is really needed
        return NoOptions


if __name__ == "__main__":
    shared_flags.define_flags(options_class(sys.argv))
    common.run(main)
