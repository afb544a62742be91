"""A folder, a zip or a tar of files -> what lies in it, listed in natural order and read one by one."""

import collections
import dataclasses
import errno
import lzma
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from data_builders.archives import (
    ARCHIVES,
    COMPRESSED_TARS,
    open_zip,
    plain_tar,
    tar_entries,
    zip_entries,
)
from data_builders.faults import BadFile, Skip
from dsf_jax.data.files import decode_text
from dsf_jax.data.picture_folders import is_system_folder, is_utf8, printable
from dsf_jax.data.pictures import SUFFIXES

MAX_FILE_BYTES = 512 * 2**20
# Deflate shrinks at most 1032 times; a blank drawing in PNG or SVG shrinks ten times again at most.
MAX_RATIO = 200
_RATIO_FROM = 2**20  # a small file bombs nobody
_ENCRYPTED = 0x1


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """One file of a source; small and picklable, so that worker processes open it themselves.

    Attributes:
      name: its path inside the source, "png/airplane/1.png", in NFC.
      where: its name in messages, "sketches_png.zip: png/airplane/1.png".
      source: the folder or archive on disk.
      entry: what the file is called there: a relative path, the index of the zip's entry, or the
        place (offset, size) of its bytes in the tar.
    """

    name: str
    where: str
    source: Path
    entry: str | int | tuple[int, int]

    @property
    def path(self) -> PurePosixPath:
        """The name as a path, for its parts."""
        return PurePosixPath(self.name)

    def read(self) -> bytes:
        """Reads the whole file.

        Raises:
          BadFile: when it is encrypted, damaged, larger than `MAX_FILE_BYTES` or shrunk more than
            `MAX_RATIO` times, or its name is not UTF-8, as that of a record has to be.
          OSError: when it cannot be read.
        """
        if not is_utf8(self.name):
            raise self._misnamed()
        if isinstance(self.entry, int):
            return self._read_zip(self.entry)
        if isinstance(self.entry, tuple):
            offset, size = self.entry
            self._check_size(size)
            with self.source.open("rb") as archive:
                archive.seek(offset)
                data = archive.read(size)
            if len(data) < size:
                raise BadFile(self.where, "cut short: the archive ends before the file does")
            return data
        path = self.source / self.entry
        self._check_size(path.stat().st_size)
        return path.read_bytes()

    def read_text(self) -> str:
        """Reads the whole file as text; see `decode_text`.

        Raises:
          BadFile: as `read`, and when it is in another encoding than UTF-8.
          OSError: when it cannot be read.
        """
        try:
            return decode_text(self.read(), self.where)
        except BadFile:
            raise
        except ValueError as error:
            reason, _, remedy = str(error).removeprefix(f"{self.where} is ").rpartition("; ")
            raise BadFile(self.where, reason, remedy) from error

    def fault_of_place(self) -> BadFile | None:
        """Returns what is wrong with the file's path where its folder is to name its class."""
        if not is_utf8(self.name):
            return self._misnamed()
        if len(self.path.parts) < 2:
            return BadFile(
                self.where, "lies in no class folder", "put it into a folder of its class"
            )
        return None

    def _read_zip(self, index: int) -> bytes:
        archive = open_zip(self.source, os.getpid())
        info = archive.infolist()[index]
        if info.flag_bits & _ENCRYPTED:
            raise BadFile(self.where, "encrypted", "unpack the zip and give the folder")
        self._check_size(info.file_size)
        if info.file_size > max(_RATIO_FROM, MAX_RATIO * info.compress_size):
            raise BadFile(
                self.where,
                f"a decompression bomb: shrunk more than {MAX_RATIO} times",
                f"remove it ({info.file_size} bytes from {info.compress_size})",
            )
        try:
            return archive.read(info)
        except (
            zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError,
        ) as error:  # fmt: skip
            # bz2 gives no number; a damaged directory leads to a place before the file.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            raise BadFile(self.where, f"damaged in the zip ({error})") from error

    def _misnamed(self) -> BadFile:
        return BadFile(self.where, "its name is not UTF-8", "rename it")

    def _check_size(self, size: int) -> None:
        if size > MAX_FILE_BYTES:
            raise BadFile(
                self.where, f"larger than {MAX_FILE_BYTES} bytes", f"remove it ({size} bytes)"
            )


def source_files(source: Path, *, suffixes: Collection[str] = SUFFIXES) -> list[SourceFile]:
    """Lists the files of a folder, .zip or .tar (also .tar.gz, .tar.bz2, .tar.xz).

    Args:
      source: the folder or archive.
      suffixes: ends of the names of the files to list, ".png" or the like, in small letters; files
        with other suffixes, hidden ones and those in folders that systems keep are skipped.

    Returns:
      The files in natural order of their names: "2.png" before "10.png".

    Raises:
      FileNotFoundError: when there is no such source, or no such file in it.
      ValueError: when it is not an archive or folder, or when a name in it is absolute, has "..",
        a drive letter, or is a link (of a folder: a link that leads out of it).
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(
            f"{source} does not exist; name a folder, or a file ending in {', '.join(ARCHIVES)}"
        )
    entries = list(_entries(source))
    named = [
        SourceFile(
            name, printable(f"{source.name}: {name}"), source if place is None else place, entry
        )
        for name, place, entry in entries
        if name.lower().endswith(tuple(suffixes)) and not _is_hidden(name)
    ]
    if not named:
        raise FileNotFoundError(
            f"{source} holds no file ending in {', '.join(sorted(suffixes))} among its "
            f"{len(entries)} files; name another folder or archive"
        )
    return sorted(named, key=lambda file: natural_order(file.name))


def natural_order(name: str) -> tuple[tuple[int, str] | str, ...]:
    """Returns a key to sort names by, in which numbers count as numbers: "a/2" before "a/10"."""
    parts: list[tuple[int, str] | str] = []
    for i, part in enumerate(re.split(r"([0-9]+)", name)):
        # The digits themselves distinguish "01" from "1", so that the order is total.
        parts.append((int(part), part) if i % 2 else part)
    return tuple(parts)


def class_folders(
    files: Iterable[SourceFile], skip: Skip, *, level: Literal["first", "last"] = "last"
) -> dict[str, list[SourceFile]]:
    """Groups files by the class that a folder of their path names.

    Args:
      files: files of one source.
      skip: what is done with a file that lies in no folder, or whose name is not UTF-8.
      level: "last" takes the folder right above the file, so that leading folders do not matter
        ("png/airplane/1.png" is an airplane); "first" the first folder of the path, so that a class
        may have folders of its own ("airplane/2024/1.png" is one, too).

    Returns:
      {class name: its files}, class names in natural order, files in the given order.
    """
    classes = collections.defaultdict(list)
    for file in files:
        if fault := file.fault_of_place():
            skip(fault)
            continue
        classes[file.path.parts[0 if level == "first" else -2].strip()].append(file)
    return {name: classes[name] for name in sorted(classes, key=natural_order)}


def below(
    files: Iterable[SourceFile], folder: str, *, siblings: Collection[str] = ()
) -> list[SourceFile]:
    """Returns the files of a folder of the source, named from there on.

    The folder is looked for at every depth, and taken at the shallowest one where it, or one of its
    siblings, occurs: an archive may hold everything in a folder of its own, while a class that
    happens to be called "photos" is not mistaken for the photos.

    Args:
      files: files of one source.
      folder: its path, as "photos" or "VOC2007/JPEGImages", in small or capital letters.
      siblings: names of folders that lie next to it.
    """
    files = list(files)
    depths = {file: _depth(file, folder) for file in files}
    known = [
        depth for name in siblings for file in files if (depth := _depth(file, name)) is not None
    ]
    shallowest = min(
        [*known, *(depth for depth in depths.values() if depth is not None)], default=0
    )
    length = len(PurePosixPath(folder).parts)
    return [
        dataclasses.replace(file, name=PurePosixPath(*file.path.parts[depth + length :]).as_posix())
        for file, depth in depths.items()
        if depth is not None and depth == shallowest
    ]


def only_one(files: Sequence[SourceFile], name: str, source: Path) -> SourceFile:
    """Returns the one file whose path ends in `name`.

    Raises:
      FileNotFoundError: when there is none.
      ValueError: when there are several.
    """
    found = [file for file in files if f"/{file.name}".endswith(f"/{name}")]
    if not found:
        raise FileNotFoundError(f"{source} holds no file {name}; see the builder's README")
    if len(found) > 1:
        raise ValueError(
            f"{source} holds {len(found)} files {name} ({found[0].name}, {found[1].name}, ...); "
            "leave one"
        )
    return found[0]


def _depth(file: SourceFile, folder: str) -> int | None:
    """Counts the folders above the first occurrence of a folder in a file's path."""
    wanted = [part.lower() for part in PurePosixPath(folder).parts]
    folders = [part.lower() for part in file.path.parts[:-1]]
    starts = range(len(folders) - len(wanted) + 1)
    return next((i for i in starts if folders[i : i + len(wanted)] == wanted), None)


def _entries(
    source: Path,
) -> Iterator[tuple[str, Path | None, str | int | tuple[int, int]]]:
    """Yields (name, the file to read from if not the source, entry) of every regular file."""
    lower = source.name.lower()
    compressed = next((end for end in COMPRESSED_TARS if lower.endswith(end)), None)
    if source.is_dir():
        yield from ((name, None, entry) for name, entry in _folder_entries(source))
    elif lower.endswith(".zip"):
        yield from ((name, None, entry) for name, entry in zip_entries(source))
    elif lower.endswith(".tar"):
        yield from ((name, None, entry) for name, entry in tar_entries(source, source))
    elif compressed:
        plain = plain_tar(source, compressed)
        yield from ((name, plain, entry) for name, entry in tar_entries(plain, source))
    else:
        raise ValueError(
            f"{source} is neither a folder nor a file ending in {', '.join(ARCHIVES)}; unpack it "
            "and give the folder"
        )


def _folder_entries(source: Path) -> Iterator[tuple[str, str]]:
    root = source.resolve()
    for folder, folders, files in os.walk(source, onerror=_raise):
        for name in folders:
            if (path := Path(folder, name)).is_symlink():
                raise ValueError(
                    f"{path} is a link to a folder, which is not followed; put the folder itself there"
                )
        for name in files:
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ValueError(
                    f"{path} is a link out of {source}; put the file itself there or remove it"
                )
            if stat.S_ISREG(path.lstat().st_mode) or path.is_symlink():  # no pipes or sockets
                entry = path.relative_to(source).as_posix()
                yield unicodedata.normalize("NFC", entry), entry


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") for part in parts) or any(map(is_system_folder, parts[:-1]))


def _raise(error: OSError) -> None:
    raise error
