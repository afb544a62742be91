"""Runs a builder: the data set is built completely, or not at all and one line says why."""

import contextlib
import errno
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.builder import DomainAbsent
from data_builders.registry import builder_class, configurations
from dsf_jax.data.files import directory_lock

_HALF_BUILT = "incomplete.*"  # TFDS's name for the folder it writes into
# What is rebuilt, in the folder of prepared records; and what it replaces, until it is removed.
_STAGING, _REPLACED = ".overwrite", "replaced."


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


def build(name: str, data_dir: Path, *, overwrite: bool = False, **options: Any) -> None:
    """Builds all configurations of a data set that are not there yet, and prints the outcome of each.

    Args:
      name: one of `DATASETS`.
      data_dir: folder of prepared records; created if absent.
      overwrite: build also what is there: it is replaced when all configurations are built, and
        stays as it is if one fails.
      **options: options of the builder.

    Raises:
      FileNotFoundError: when the source has nothing of any configuration.
      ValueError: when what is there was built with other options or from other content, and is not
        to be overwritten.
    """
    existed = data_dir.exists()
    try:
        _recover(data_dir, name)
        if overwrite:
            _rebuild(name, data_dir, options)
            return
        builders = _builders(name, data_dir, options)
        for builder in builders:
            builder.check_unchanged()  # before any other is built
            builder.notes.clear()  # they come again
        _each(builders, _prepare_and_print)
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # it holds something, or was not made
                data_dir.rmdir()


def _builders(name: str, folder: Path, options: Mapping[str, Any]) -> list[Any]:
    """Makes the builders of all configurations, which share what they find out about the source."""
    made = [
        builder_class(name)(config=config, data_dir=folder, **options)
        for config in configurations(name)
    ]
    for builder in made:
        builder.digests = made[0].digests
    return made


def _each(builders: Sequence[Any], run: Callable[[Any], None]) -> list[Any]:
    """Runs all builders whose domain the source has, and returns these."""
    absent = {}
    for builder in builders:
        try:
            run(builder)
        except DomainAbsent as error:
            absent[builder] = str(error)
            with contextlib.suppress(OSError):  # not empty: built from an earlier source
                Path(builder.data_dir).parent.rmdir()  # TFDS made it
            print(f"{_written(builder)}: left out, {error}")
    if len(absent) == len(builders):
        raise FileNotFoundError(f"nothing to build: {'; '.join(absent.values())}")
    return [builder for builder in builders if builder not in absent]


def _prepare_and_print(builder: Any) -> None:
    there = builder.is_prepared()
    prepare(builder)
    _print_outcome(builder, "there already" if there else "built", builder.data_dir)


def _rebuild(name: str, data_dir: Path, options: Mapping[str, Any]) -> None:
    """Builds all configurations in a folder of their own, then puts them into their places."""
    staging = data_dir / _STAGING
    with directory_lock(data_dir / name):
        try:
            builders = _builders(name, staging, options)
            for builder in builders:
                builder.home = data_dir
            downloads = str(data_dir / "downloads")
            made = _each(builders, lambda builder: prepare(builder, download_dir=downloads))
            for builder in builders:
                final = data_dir / Path(builder.data_dir).relative_to(staging)
                if builder in made:
                    _replace(final, Path(builder.data_dir))
                    _print_outcome(builder, "built", str(final))
                elif final.exists():
                    print(f"{_written(builder)}: {final}, of an earlier source, is left; remove it")
        finally:
            _remove_staging(data_dir, name)
            _remove_if_bare(data_dir / name)


def _replace(final: Path, made: Path) -> None:
    """Moves a data set to its place; the old one stays next to it until that is done."""
    old = final.with_name(f"{_REPLACED}{final.name}")
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        final.rename(old)
    try:
        made.rename(final)
    except BaseException:
        if old.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _recover(data_dir: Path, name: str) -> None:
    """Tidies up after a killed `_rebuild`: the old data set goes back unless the new one is there."""
    root = data_dir / name
    left = [*root.glob(f"{_REPLACED}*"), *root.glob(f"*/{_REPLACED}*")]
    if not left and not (data_dir / _STAGING / name).exists():
        return
    with directory_lock(root):
        for old in left:
            final = old.with_name(old.name.removeprefix(_REPLACED))
            if final.exists():
                shutil.rmtree(old)
            else:
                old.rename(final)
        _remove_staging(data_dir, name)


def _remove_staging(data_dir: Path, name: str) -> None:
    shutil.rmtree(data_dir / _STAGING / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # it is not there, or another data set is being built
        (data_dir / _STAGING).rmdir()


def _written(builder: tfds.core.DatasetBuilder) -> str:
    """Returns a data set's name as --datasets and --photo_sets take it."""
    return f"{builder.name}/{builder.builder_config.name}"


def _print_outcome(builder: Any, done: str, folder: str) -> None:
    """Prints the splits of a data set, what was skipped, and what else there is to say."""
    splits = builder.info.splits.items()
    counts = ", ".join(f"{split} {info.num_examples}" for split, info in splits)
    print(f"{_written(builder)}: {counts} ({done}, {folder})")
    skipped = str(getattr(builder, "skipped", ""))
    before = (builder.info.metadata or {}).get("skipped") or {}
    if not skipped and before:
        reasons = "; ".join(f"{count} {reason}" for reason, count in before.items())
        skipped = f"skipped {sum(before.values())} when it was built: {reasons}"
    for line in filter(None, (skipped, *builder.notes)):
        print(f"{_written(builder)}: {line}")


def _remove_if_bare(root: Path) -> None:
    """Removes the folder of a data set of which nothing has been built, and TFDS's empty ones."""
    if not any(path.is_file() and path.parent.name != ".config" for path in root.rglob("*")):
        shutil.rmtree(root, ignore_errors=True)
    for empty in (root.parent / "downloads" / "extracted", root.parent / "downloads"):
        with contextlib.suppress(OSError):  # it is not there, or holds something
            empty.rmdir()
