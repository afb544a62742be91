"""Builds a data set into a folder of records.

python -m launch.build_data --dataset=openmoji --data_dir=data
"""

import pathlib
import shutil

from absl import flags

from data_builders.prepare import prepare
from launch import command

BUILDERS = {"openmoji": ("sketch", "photo", "edge")}

_DATASET = flags.DEFINE_enum("dataset", None, sorted(BUILDERS), "Which data set.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder that the prepared records go to.")


def build(dataset: str, data_dir: pathlib.Path) -> None:
    """Builds all domains of a data set that are not there yet.

    Args:
      dataset: a name of `BUILDERS`.
      data_dir: made if absent.
    """
    from data_builders.openmoji.openmoji_dataset_builder import Builder

    for domain in BUILDERS[dataset]:
        builder = Builder(config=domain, data_dir=data_dir)
        folder = pathlib.Path(builder.data_dir)
        there = folder.exists()
        try:
            prepare(builder)
        except BaseException:
            if not there:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        counts = ", ".join(
            f"{split} {info.num_examples}" for split, info in builder.info.splits.items()
        )
        print(f"{dataset}/{domain}: {counts} ({'there already' if there else 'built'}, {folder})")


def main() -> None:
    """Builds the data set that the flags name."""
    build(_DATASET.value, pathlib.Path(_DATA_DIR.value))


if __name__ == "__main__":
    command.run(main)
