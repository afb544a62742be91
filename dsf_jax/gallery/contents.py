"""What a gallery's rows are of: folders that were synced, and files that are copies of each other."""

import pathlib
from typing import NamedTuple

from dsf_jax.gallery.store import Store


class Contents(NamedTuple):
    """What a gallery's rows are of.

    Attributes:
      files: number of files.
      folders: number of files by the folder that was synced, sorted by its path.
      copies: sorted paths of the files of each picture that has several.
    """

    files: int
    folders: dict[str, int]
    copies: list[list[str]]

    @property
    def extra(self) -> int:
        """Returns the number of files that are copies of one that is listed."""
        return sum(len(paths) - 1 for paths in self.copies)


def read_contents(store: Store) -> Contents:
    """Reads which files a store's rows are of."""
    columns = store.columns(("path", "id", "folder")).sort_by("path").to_pydict()
    folders: dict[str, int] = {}
    paths: dict[str, list[str]] = {}
    for path, key, folder in zip(columns["path"], columns["id"], columns["folder"], strict=True):
        root = _root(pathlib.Path(path), folder or "")
        folders[root] = folders.get(root, 0) + 1
        paths.setdefault(key, []).append(path)
    copies = [several for several in paths.values() if len(several) > 1]
    return Contents(len(columns["path"]), dict(sorted(folders.items())), copies)


def _root(path: pathlib.Path, folder: str) -> str:
    """Returns the folder that was synced; `folder` is the path of the file's own, relative to it."""
    return str(path.parents[len([name for name in folder.split("/") if name])])
