"""A folder -> the picture files in it and below, and what else lies there, so that nothing is missed
in silence.
"""

import errno
import fnmatch
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dsf_jax.data.files import expand_home, real_path
from dsf_jax.data.picture_formats import HEAD_BYTES, RAW_SUFFIXES, format_of, remedy
from dsf_jax.data.pictures import SUFFIXES

# Thumbnails, bins and indexes that operating systems and network disks keep among a person's files.
SYSTEM_FOLDERS = frozenset(
    (
        "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle",
        "@sharebin", "@tmp", "__macosx", "lost+found", "network trash folder", "recycler",
        "system volume information", "temporary items",
    )
)  # fmt: skip
SYSTEM_FILES = frozenset(("desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"))
# Pictures by their suffixes; those whose content is of no format that is read are named.
OTHER_PICTURES = RAW_SUFFIXES | frozenset(
    (
        ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".jpc",
        ".j2c", ".jfif", ".jpe", ".jfi", ".jpg_large", ".mpo", ".jps", ".svg", ".svgz", ".apng",
        ".dib", ".ico", ".icns", ".tga", ".pcx", ".dds", ".exr", ".hdr", ".pbm", ".pgm", ".pnm",
        ".ppm", ".qoi", ".psd", ".psb", ".xcf", ".kra", ".ora", ".ai", ".eps",
    )
)  # fmt: skip
# Pictures to their content: downloads that are not complete, and thumbnails of cameras' videos.
NO_PICTURES = frozenset((".crdownload", ".download", ".part", ".partial", ".tmp", ".thm"))


class Kind(NamedTuple):
    """A kind of what is passed over.

    Attributes:
      name: suffix, or what it is.
      remedy: what to do to have it read; "" for what is no picture.
    """

    name: str
    remedy: str = ""


CONVERT = "convert them to JPEG or PNG"
NO_SUFFIX = Kind("without a suffix")
SYSTEM = Kind("files and folders that systems keep")
GALLERY = Kind("folders of a gallery")
EXCLUDED = Kind("excluded")
DANGLING = Kind("links that lead nowhere")
READ_ALREADY = Kind("links to folders that are read already")
SPECIAL = Kind("neither files nor folders")
NUM_NAMED = 3  # paths that a message names
# What a system answers for a path at which there is nothing; ELOOP is a link that leads to itself.
NOWHERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class FolderListing(NamedTuple):
    """What lies in a folder and below, except for what is hidden.

    Attributes:
      pictures: paths of the picture files, sorted.
      passed_over: paths of everything else that is no folder, by kind.
      unreadable: files and folders that could not be looked at.
    """

    pictures: list[pathlib.Path]
    passed_over: dict[Kind, list[pathlib.Path]]
    unreadable: list[pathlib.Path]


def list_pictures(folder: str | os.PathLike[str], *, exclude: Sequence[str] = ()) -> FolderListing:
    """Lists the picture files of a folder and its sub-folders.

    Files whose suffix is one of `SUFFIXES` are not opened. Of all others, the content decides.

    A link to a folder elsewhere is followed, each folder being read once: links to folders that are
    read anyway, and to those that hold the folder itself, are passed over.

    Args:
      folder: folder to walk; what is hidden, and what systems keep there, is passed over.
      exclude: patterns of files and folders that are passed over, too, see `is_excluded`.

    Returns:
      Picture files, and all others.

    Raises:
      FileNotFoundError: when the folder does not exist or holds no picture.
    """
    root = expand_home(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; name an existing folder of pictures")
    walk = _Walk(root, exclude)
    listing = FolderListing(sorted(walk.pictures), walk.passed_over, sorted(walk.unreadable))
    if not listing.pictures:
        raise FileNotFoundError(_without_pictures(root, listing))
    return listing


def check_apart(folders: Sequence[str | os.PathLike[str]]) -> None:
    """Raises ValueError when one of several folders lies in another, or is the same."""
    places = [(real_path(folder), folder) for folder in folders]
    for i, (place, folder) in enumerate(places):
        for j, (other, holder) in enumerate(places):
            if i != j and place.is_relative_to(other):
                raise ValueError(
                    f"{printable(folder)} lies in {printable(holder)}, or is the same folder; name each "
                    "folder once, and none that lies in another"
                )


def is_system_folder(name: str) -> bool:
    """Returns whether a folder's name is one that systems keep their own files in."""
    name = name.lower()
    return name in SYSTEM_FOLDERS or name.startswith(".@__")


def is_excluded(path: pathlib.PurePath, patterns: Sequence[str]) -> bool:
    """Returns whether a path, or a folder on its way, matches one of some patterns.

    Args:
      path: path relative to the folder that is walked.
      patterns: names with `*`, `?` and `[...]` as in a shell; those with a slash are paths, in which `*`
        stands for slashes, too. Upper and lower case differ; the forms of Unicode do not.

    >>> is_excluded(pathlib.PurePath("2024/raw/a.png"), ["raw"])
    True
    >>> is_excluded(pathlib.PurePath("2024/raw/a.png"), ["raw/*.png"])
    False
    """
    places = [unicodedata.normalize("NFC", p.as_posix()) for p in (path, *path.parents)][:-1]
    for pattern in patterns:
        wanted = unicodedata.normalize("NFC", pattern).removeprefix("./").strip("/")
        is_path = "/" in wanted
        for place in places:
            if fnmatch.fnmatchcase(place if is_path else place.rpartition("/")[2], wanted):
                return True
    return False


def is_utf8(name: str) -> bool:
    r"""Returns whether a name, perhaps of a file, is text that can be written.

    >>> is_utf8("caf\udce9")  # as Python has the bytes of another encoding
    False
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(path: str | os.PathLike[str]) -> str:
    """Formats a path, whose name need not be text everywhere nor of one line, for a message."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def unreadable_line(path: str | os.PathLike[str]) -> str:
    """Formats that a path could not be looked at."""
    return f"{printable(path)} cannot be read; change its permissions, or check its disk"


def missed_pictures(
    passed_over: Mapping[Kind, list[pathlib.Path]], root: pathlib.Path
) -> Iterator[str]:
    """Yields one line per kind of picture that was passed over because it is not read here."""
    for kind, paths in passed_over.items():
        if kind.remedy:
            yield (
                f"passed over {len(paths)} {kind.name}: {_names(paths, root)}; to have them read, "
                f"{kind.remedy}"
            )


def summary(passed_over: Mapping[Kind, list[pathlib.Path]], root: pathlib.Path) -> str:
    """Formats how much of each kind was passed over; what is no picture is named by example."""
    parts = []
    for kind, paths in passed_over.items():
        example = "" if kind.remedy else f" ({_names(paths, root)})"
        parts.append(f"{len(paths)} {kind.name}{example}")
    return ", ".join(parts)


class _Walk:
    """One walk through a folder; collects what `FolderListing` has."""

    def __init__(self, root: pathlib.Path, exclude: Sequence[str]) -> None:
        """Walks the folder, then the folders elsewhere that links in it lead to."""
        self._root, self._exclude = root, exclude
        self.pictures: list[pathlib.Path] = []
        self.unreadable: list[pathlib.Path] = []
        self._passed_over: dict[Kind, list[pathlib.Path]] = {}
        self._read: set[str] = set()  # real paths
        self._links: list[pathlib.Path] = []
        real = os.path.realpath(root)
        holders = {str(path) for path in pathlib.Path(real).parents}
        self._walk(root, real)
        while self._links:
            # Those found behind links come last, whatever their names: a path must not change with them.
            links, self._links = sorted(self._links), []
            for link in links:
                target = os.path.realpath(link)
                if target in self._read or target in holders:
                    self._pass_over(READ_ALREADY, link)
                else:
                    self._walk(link, target)

    @property
    def passed_over(self) -> dict[Kind, list[pathlib.Path]]:
        """Returns what was passed over, kinds and paths sorted."""
        return {kind: sorted(self._passed_over[kind]) for kind in sorted(self._passed_over)}

    def _walk(self, start: pathlib.Path, real: str) -> None:
        pending = [(start, real)]
        while pending:
            folder, real = pending.pop()
            if real in self._read:
                continue
            self._read.add(real)
            for entry in self._entries(folder):
                path = folder / entry.name
                if is_excluded(path.relative_to(self._root), self._exclude):
                    self._pass_over(EXCLUDED, path)
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if not self._is_foreign(path):
                            pending.append((path, os.path.join(real, entry.name)))  # noqa: PTH118
                    else:
                        self._look_at(entry, path)
                except OSError:
                    self.unreadable.append(path)

    def _entries(self, folder: pathlib.Path) -> list[os.DirEntry[str]]:
        """Lists a folder without what is hidden; one that cannot be listed is noted."""
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if not entry.name.startswith(".")]
        except OSError:
            self.unreadable.append(folder)
            return []

    def _is_foreign(self, folder: pathlib.Path) -> bool:
        """Notes a folder that no person puts pictures in."""
        kind = GALLERY if folder.suffix == ".lance" else SYSTEM
        if kind == SYSTEM and not is_system_folder(folder.name):
            return False
        self._pass_over(kind, folder)
        return True

    def _look_at(self, entry: os.DirEntry[str], path: pathlib.Path) -> None:
        """Notes a file or a link."""
        if entry.is_symlink():
            try:
                path.stat()
            except OSError as error:
                if error.errno not in NOWHERE:
                    raise
                return self._pass_over(DANGLING, path)
            if entry.is_dir():
                return self._links.append(path)
        if not entry.is_file():
            return self._pass_over(SPECIAL, path)
        if path.suffix.lower() in SUFFIXES:
            return self.pictures.append(path)
        kind = _kind(path)
        return self._pass_over(kind, path) if kind else self.pictures.append(path)

    def _pass_over(self, kind: Kind, path: pathlib.Path) -> None:
        self._passed_over.setdefault(kind, []).append(path)


def _kind(path: pathlib.Path) -> Kind | None:
    """Returns the kind of a file that has no suffix of `SUFFIXES`; None for a picture that is read.

    Raises:
      OSError: when it may be a picture, and cannot be opened.
    """
    suffix = path.suffix.lower()
    if path.name.lower() in SYSTEM_FILES:
        return SYSTEM
    if suffix not in NO_PICTURES and (format := _format(path, suffix)):
        todo = remedy(format)
        name = printable(suffix) if suffix in OTHER_PICTURES else f"{format} named {suffix or 'so'}"
        return Kind(name, todo) if todo else None
    if not suffix:
        return NO_SUFFIX
    return Kind(printable(suffix), CONVERT if suffix in OTHER_PICTURES else "")


def _format(path: pathlib.Path, suffix: str) -> str | None:
    """Returns the format of a file's content; None for no picture."""
    try:
        with path.open("rb") as file:
            format = format_of(file.read(HEAD_BYTES))
    except OSError:
        if suffix in OTHER_PICTURES:
            raise
        return None
    return "RAW" if format == "TIFF" and suffix in RAW_SUFFIXES else format


def _names(paths: Iterable[pathlib.Path], root: pathlib.Path) -> str:
    """Formats the first few of some paths relative to a folder, and the number of the others."""
    names = [printable(path.relative_to(root)) for path in paths]
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def _without_pictures(root: pathlib.Path, listing: FolderListing) -> str:
    """Formats that a folder holds no picture, and what it holds instead."""
    if root in listing.unreadable:
        return unreadable_line(root)
    kinds = ", ".join((*SUFFIXES, "..."))
    if GALLERY in listing.passed_over:
        return (
            f"{root} holds a gallery and no picture ({kinds}); name a folder of pictures as photos, and "
            "this one as the gallery"
        )
    rest = summary(listing.passed_over, root)
    closed = "".join(f", {printable(path)} cannot be read" for path in listing.unreadable)
    rest = f", only {rest}" if rest else ""
    return f"{root} holds no picture ({kinds}){rest}{closed}; name a folder that does"
