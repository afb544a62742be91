"""The official zip of Caltech-101 -> the archive of pictures that it holds."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from data_builders.sources import only_one, source_files

PICTURES = "101_ObjectCategories.tar.gz"


def pictures_of(source: Path) -> Path:
    """Returns what the pictures are read from: the archive that a source holds, or the source itself.

    Args:
      source: the official zip, that zip unpacked, the archive in it, or a folder or archive of class folders.

    Raises:
      OSError: when there is no such source, or the disk is full.
      ValueError: see `source_files`.
    """
    if source.name == PICTURES:
        return source
    try:
        held = source_files(source, suffixes=(PICTURES.lower(),))
    except FileNotFoundError:
        return source  # `source_files` says so if it does not exist
    inner = only_one(held, PICTURES, source)
    if isinstance(inner.entry, str):
        return inner.source / inner.entry
    return _taken_out(source, source.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _taken_out(source: Path, changed: int) -> Path:
    """Copies the archive out of another one, to a temporary file that goes when this process ends."""
    del changed  # part of the cache's key: another file may lie at the same path
    held = source_files(source, suffixes=(PICTURES.lower(),))
    folder = Path(tempfile.mkdtemp(prefix="dsf_jax_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / PICTURES
    copy.write_bytes(only_one(held, PICTURES, source).read())
    return copy
