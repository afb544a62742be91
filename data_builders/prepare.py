"""Runs a builder: the data set is built completely, or not at all and one line says why."""

import contextlib
import errno
import re
import shutil
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.builder import DomainAbsent
from data_builders.registry import builder_class, configurations
from dsf_jax.data.files import directory_lock

_HALF_BUILT = "incomplete.*"  # TFDS's name for the folder it writes into


def prepare(builder: tfds.core.DatasetBuilder, **options: Any) -> None:
    """Builds a data set, unless it is there already.

    TFDS writes into a folder `incomplete.*` next to the final one, renames it at the very end, and
    removes it on any exception: what lies in the final place is whole. What a killed build left
    behind is removed here.

    Args:
      builder: any builder of data_builders.
      **options: options of TFDS's `download_and_prepare`.

    Raises:
      OSError: when the disk is full, or another process is building the same data set here;
        whatever else goes wrong, the builder's own error.
    """
    root = Path(builder.data_dir_root) / builder.name
    with directory_lock(root):
        for left in Path(builder.data_dir).parent.glob(_HALF_BUILT):
            shutil.rmtree(left)
        try:
            builder.download_and_prepare(**options)
        except (OSError, RuntimeError) as error:  # array_record reports a full disk as RuntimeError
            # The second is TFDS's own, when the disk is full before it begins.
            if not re.search("No space left on device|Not enough disk space", str(error)):
                raise
            raise OSError(
                errno.ENOSPC,
                "no space left; free some or choose another data_dir",
                builder.data_dir,
            ) from error
        finally:
            _remove_if_bare(root)


def build(name: str, data_dir: Path, **options: Any) -> None:
    """Builds all configurations of a data set that are not there yet, and prints the outcome of each.

    Args:
      name: one of `DATASETS`.
      data_dir: folder of prepared records; created if absent.
      **options: options of the builder.

    Raises:
      FileNotFoundError: when the source has nothing of any configuration.
    """
    absent = []
    for config in configurations(name):
        builder = builder_class(name)(config=config, data_dir=data_dir, **options)
        there = builder.is_prepared()
        try:
            prepare(builder)
        except DomainAbsent as error:
            absent.append(str(error))
            print(f"{name}/{config}: left out, {error}")
            continue
        _print_outcome(builder, "there already" if there else "built")
    if len(absent) == len(configurations(name)):
        raise FileNotFoundError(f"nothing to build: {'; '.join(absent)}")


def _print_outcome(builder: tfds.core.DatasetBuilder, done: str) -> None:
    """Prints the splits of a data set, and what was skipped."""
    splits = builder.info.splits.items()
    counts = ", ".join(f"{split} {info.num_examples}" for split, info in splits)
    written = (
        f"{builder.name}/{builder.builder_config.name}"  # as --datasets and --photo_sets take it
    )
    print(f"{written}: {counts} ({done}, {builder.data_dir})")
    if skipped := str(getattr(builder, "skipped", "")):
        print(f"{written}: {skipped}")


def _remove_if_bare(root: Path) -> None:
    """Removes the folder of a data set of which nothing has been built, and TFDS's empty ones."""
    if not any(path.is_file() and path.parent.name != ".config" for path in root.rglob("*")):
        shutil.rmtree(root, ignore_errors=True)
    for empty in (root.parent / "downloads" / "extracted", root.parent / "downloads"):
        with contextlib.suppress(OSError):  # it is not there, or holds something
            empty.rmdir()
