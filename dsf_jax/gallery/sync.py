"""A gallery's store brought up to date with a folder of pictures, or with some files."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable

from dsf_jax.data.files import expand_home, real_path
from dsf_jax.data.picture_folders import (
    DANGLING,
    is_excluded,
    is_system_folder,
    unreadable_line,
)
from dsf_jax.gallery.crawl import CrawlResult, PictureFile, crawl, one_form, stat_file
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.store import Store
from dsf_jax.gallery.synchroniser import AbsentFolder, Changes, Report, Synchroniser


def sync_folder(
    store: Store,
    embedder: Embedder,
    folder: str | os.PathLike[str] | CrawlResult,
    report: Report,
    *,
    prune: bool,
) -> Changes:
    """Brings a store up to date with a folder: see `Gallery.sync`."""
    found = folder if isinstance(folder, CrawlResult) else crawl(folder)
    synchroniser = Synchroniser(store, embedder, report)
    missing = set(synchroniser.known).difference(file.path for file in found.files)
    synchroniser.write(found.files)
    # Looked for again: writing may have taken hours, and a file that was missing may be back.
    missing.intersection_update(synchroniser.known)  # another process may have deleted some
    unwanted = _unwanted(missing, found)
    names = functools.cache(_names)
    lost = {path for path in missing - unwanted if _is_lost(pathlib.Path(path), found, names)}
    absent = {} if prune else _absent(lost, found, synchroniser)
    synchroniser.delete(unwanted | lost.difference(*absent.values()))
    synchroniser.compact()
    changes = synchroniser.changes(unreadable_line(path) for path in found.unreadable)
    folders = (AbsentFolder(name, len(paths)) for name, paths in sorted(absent.items()))
    return changes._replace(absent=tuple(folders))


def sync_files(
    store: Store, embedder: Embedder, paths: Iterable[str | os.PathLike[str]]
) -> Changes:
    """Adds files to a store or updates their rows: see `Gallery.add`."""
    synchroniser = Synchroniser(store, embedder, lambda line: None)
    absolute = [real_path(path) for path in paths]
    files = {path: _stat(path) for path in absolute}
    synchroniser.write([file for file in files.values() if file])
    synchroniser.delete(())
    return synchroniser.changes(
        f"{path} is not a file that can be read" for path in absolute if not files[path]
    )


def remove_folder(store: Store, folder: str | os.PathLike[str]) -> int:
    """Removes the rows of a folder that need not exist: see `Gallery.remove`."""
    both = expand_home(folder).absolute(), real_path(folder)
    roots = {one_form(str(path)).rstrip(os.sep) for path in both}
    paths = [
        path
        for path in store.columns(["path"])["path"].to_pylist()
        if any(one_form(path) == root or one_form(path).startswith(root + os.sep) for root in roots)
    ]
    store.delete("path", paths)
    store.compact(len(paths))
    return len(paths)


def _unwanted(paths: Iterable[str], found: CrawlResult) -> set[str]:
    """Chooses the known files of a folder that are not to be shown, though they may be there: what is
    excluded, what the crawl saw to be no picture, what it read by another path, and what lies where
    systems keep their own, which earlier versions indexed.
    """
    void = {
        path
        for kind, passed_over in found.passed_over.items()
        if not kind.remedy and kind != DANGLING  # where a link leads may come back
        for path in passed_over
    }

    def is_unwanted(path: pathlib.Path) -> bool:
        if not path.is_relative_to(found.root):
            return False
        place = path.relative_to(found.root)
        if is_excluded(place, found.exclude) or any(map(is_system_folder, place.parts[:-1])):
            return True
        return not void.isdisjoint((path, *path.parents))

    return {path for path in paths if is_unwanted(pathlib.Path(path))}


def _is_lost(
    path: pathlib.Path, found: CrawlResult, names: Callable[[pathlib.Path], frozenset[str]]
) -> bool:
    """Returns whether a known file of a folder is there no more, as far as can be seen. `names` is
    `_names`, perhaps remembered.
    """
    if not path.is_relative_to(found.root):
        return False
    if any(path.is_relative_to(folder) for folder in found.unreadable):
        return False
    try:
        if stat_file(path, found.root) is None:
            return True
        # Disks that take upper and lower case, or Unicode's forms, for one answer for the name that a
        # file had before it was renamed, too.
        places = (path, *path.parents)
        below = places[: places.index(found.root)]
        return any(place.name not in names(place.parent) for place in reversed(below))
    except OSError:  # it is there, or a disk fails: what was stored of it stays
        return False


def _names(folder: pathlib.Path) -> frozenset[str]:
    """Returns the names of what lies in a folder, as they are spelt there."""
    return frozenset(path.name for path in folder.iterdir())


def _absent(
    lost: Iterable[str], found: CrawlResult, synchroniser: Synchroniser
) -> dict[str, list[str]]:
    """Returns the lost files of folders that hold no picture any more: {uppermost such folder: paths}.

    A disk that is not mounted leaves an empty folder, or none. What was found again in another folder
    is not among them: it was moved.
    """
    in_use: set[str] = set()
    for file in found.files:
        _add_with_parents(os.path.dirname(file.path), in_use)  # noqa: PTH120
    ids = {
        synchroniser.known[file.path][0] for file in found.files if file.path in synchroniser.known
    }
    absent: dict[str, list[str]] = {}
    for path in sorted(lost):
        if synchroniser.known[path][0] in ids:
            continue
        folders = [
            str(folder) for folder in pathlib.Path(path).parents if str(folder) not in in_use
        ]
        if folders:
            absent.setdefault(folders[-1], []).append(path)
    return absent


def _add_with_parents(folder: str, folders: set[str]) -> None:
    while folder not in folders:
        folders.add(folder)
        folder = os.path.dirname(folder)  # noqa: PTH120


def _stat(path: pathlib.Path) -> PictureFile | None:
    """Looks at a file; None where there is none, or one that cannot be looked at."""
    try:
        return stat_file(path, path.parent)
    except OSError:
        return None
