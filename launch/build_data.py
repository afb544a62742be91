"""Builds a data set into a folder of records.

python -m launch.build_data --dataset=openmoji --data_dir=data
"""

import pathlib

from absl import flags

from launch import command, stages

_DATASET = flags.DEFINE_enum(
    "dataset", None, sorted(stages.DATASETS), "Which data set.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder that the prepared records go to.")


def main() -> None:
    """Builds the data set that the flags name."""
    stages.build(_DATASET.value, pathlib.Path(_DATA_DIR.value))


if __name__ == "__main__":
    command.run(main)
