"""The builders by name: every folder here that holds NAME/NAME_dataset_builder.py."""

import importlib
from pathlib import Path

import tensorflow_datasets as tfds

_SUFFIX = "_dataset_builder.py"

DATASETS: tuple[str, ...] = tuple(
    sorted(path.parent.name for path in Path(__file__).parent.glob(f"*/*{_SUFFIX}"))
)


def builder_class(name: str) -> type[tfds.core.GeneratorBasedBuilder]:
    """Imports a builder; only then are the packages needed that it renders or parses with.

    Args:
      name: one of `DATASETS`.

    Raises:
      ValueError: for another name; lists the known ones.
      ImportError: when a package that the builder needs is not installed.
    """
    if name not in DATASETS:
        raise ValueError(f"data set {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    return importlib.import_module(f"data_builders.{name}.{name}{_SUFFIX[:-3]}").Builder


def configurations(name: str) -> tuple[str, ...]:
    """Returns the names of a builder's configurations, in the order they are built in."""
    return tuple(config.name for config in builder_class(name).BUILDER_CONFIGS)
