"""A gallery's store brought up to date with a folder of pictures, or with some files."""

import os
import pathlib
from collections.abc import Iterable, Sequence

from dsf_jax.gallery.crawl import PictureFile, crawl, stat_file
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.store import Store
from dsf_jax.gallery.synchroniser import Changes, Report, Synchroniser


def sync_folder(
    store: Store, embedder: Embedder, folder: str | os.PathLike[str], report: Report
) -> Changes:
    """Brings a store up to date with a folder: see `Gallery.sync`."""
    root = pathlib.Path(folder).expanduser().resolve()
    synchroniser = Synchroniser(store, embedder, report)
    known = list(synchroniser.known)
    found = crawl(root)
    missing = set(known).difference(file.path for file in found.files)
    synchroniser.write(found.files)
    # Looked for again: writing may have taken hours, and a file that was missing may be back.
    lost = [path for path in missing if _is_lost(pathlib.Path(path), root, found.unreadable)]
    synchroniser.delete(lost)
    synchroniser.compact()
    return synchroniser.changes(
        f"{path} cannot be read; change its permissions, or check its disk"
        for path in found.unreadable
    )


def sync_files(
    store: Store, embedder: Embedder, paths: Iterable[str | os.PathLike[str]]
) -> Changes:
    """Adds files to a store or updates their rows: see `Gallery.add`."""
    synchroniser = Synchroniser(store, embedder, lambda line: None)
    absolute = [pathlib.Path(path).expanduser().resolve() for path in paths]
    files = {path: _stat(path) for path in absolute}
    synchroniser.write([file for file in files.values() if file])
    return synchroniser.changes(
        f"{path} is not a file that can be read" for path in absolute if not files[path]
    )


def _is_lost(path: pathlib.Path, root: pathlib.Path, unreadable: Sequence[str]) -> bool:
    """Returns whether a known file of a folder does not exist any more, as far as can be seen."""
    if not path.is_relative_to(root) or any(path.is_relative_to(folder) for folder in unreadable):
        return False
    try:
        return stat_file(path, root) is None
    except OSError:  # it is there, or a disk fails: what was stored of it stays
        return False


def _stat(path: pathlib.Path) -> PictureFile | None:
    """Looks at a file; None where there is none, or one that cannot be looked at."""
    try:
        return stat_file(path, path.parent)
    except OSError:
        return None
