"""Folders of pictures, as a gallery sees them: which files there are, and what is in each."""

import collections
import hashlib
import io
import itertools
import os
import pathlib
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsf_jax.data.mixtures import square_photo
from dsf_jax.data.pictures import SUFFIXES, decode_picture

THUMBNAIL = 256  # pixels of its longest side
THREADS = min(4, os.cpu_count() or 1)  # each may hold one decoded picture of 300 MB


class File(NamedTuple):
    """A picture file, not yet read.

    Attributes:
      path: absolute.
      label: name of the folder it lies in; None directly in the root.
      folder: that folder's path relative to the root, with slashes; "" for the root.
      bytes: its size.
      mtime_ns: when it was last written.
    """

    path: str
    label: str | None
    folder: str
    bytes: int
    mtime_ns: int


class Content(NamedTuple):
    """What a picture file holds.

    Attributes:
      id: SHA-256 of its bytes, hexadecimal.
      file: as it was when it was read.
      photo: [256, 256, 3] uint8; None where the id was known already, and all that follows too.
      thumbnail: JPEG, no side longer than `THUMBNAIL`.
      width: of the original, upright.
      height: of the original, upright.
    """

    id: str
    file: File
    photo: np.ndarray | None = None
    thumbnail: bytes = b""
    width: int = 0
    height: int = 0


class Unreadable(NamedTuple):
    """A file that gave no picture.

    Attributes:
      file: as it was found.
      reason: one line that names it.
      gone: whether what was known of it before does not hold any more: it is not there, or holds
        something else now. Otherwise it could not be read this time.
    """

    file: File
    reason: str
    gone: bool


class Walk(NamedTuple):
    """The picture files below a folder, sorted by path, and what could not be looked at."""

    files: list[File]
    closed: list[str]


def walk(root: pathlib.Path) -> Walk:
    """Lists the picture files of a folder and its sub-folders without opening them.

    Hidden files and folders are passed over, and links to folders are not followed.

    Args:
      root: absolute.

    Raises:
      FileNotFoundError: when the folder does not exist or holds no picture: an empty folder is far more
        often a disk that is not mounted than a wish to forget all pictures.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; name an existing folder of pictures")
    files: list[File] = []
    closed: list[str] = []

    def note(error: OSError) -> None:
        closed.append(str(error.filename))

    for folder, names, entries in os.walk(root, onerror=note):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in entries:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                try:
                    file = describe(pathlib.Path(folder, name), root)
                except OSError as error:
                    note(error)
                    continue
                if file:
                    files.append(file)
    if not files:
        raise FileNotFoundError(
            f"{root} holds no picture ({', '.join(SUFFIXES)}); name a folder that does"
        )
    return Walk(sorted(files), closed)


def describe(path: pathlib.Path, root: pathlib.Path) -> File | None:
    """Describes a file by its path and what the file system says; None where it is no file.

    Args:
      path: absolute.
      root: a folder that it lies in.

    Raises:
      OSError: when it cannot be told: a folder without permission, a disk that fails.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    folder = path.parent.relative_to(root).as_posix()
    folder = "" if folder == "." else folder
    label = path.parent.name if folder else None
    return File(str(path), label, folder, status.st_size, status.st_mtime_ns)


def read_ahead(
    files: Iterable[File], is_known: Callable[[str], bool], ahead: int
) -> Iterator[Content | Unreadable]:
    """Reads files in order, some of them ahead in threads while the caller works.

    Args:
      files: consumed only as far as is read.
      is_known: of an id; such a picture is not decoded.
      ahead: how many files are read ahead at most.

    Yields:
      One result a file.
    """
    waiting: collections.deque[Future[Content | Unreadable]] = collections.deque()
    files = iter(files)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")
    try:
        while True:
            for file in itertools.islice(files, ahead - len(waiting)):
                waiting.append(pool.submit(read, file, is_known))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read(file: File, is_known: Callable[[str], bool]) -> Content | Unreadable:
    """Reads one file; whatever is wrong with it becomes a result."""
    try:
        file.path.encode()  # not all bytes that Linux takes for a name are text
        return _read(file, is_known)
    except UnicodeEncodeError:
        name = os.fsencode(file.path).decode(errors="backslashreplace")
        return Unreadable(file, f"{name}: its name is not UTF-8; rename it", gone=False)
    except FileNotFoundError:
        reason = f"{file.path} vanished while it was to be read; the next run will see it gone"
        return Unreadable(file, reason, gone=True)
    except OSError as error:
        reason = f"{file.path}: {error.strerror or error}; mend it and run again"
        return Unreadable(file, reason, gone=False)
    except ValueError as error:
        return Unreadable(file, str(error), gone=True)


def _read(file: File, is_known: Callable[[str], bool]) -> Content:
    with pathlib.Path(file.path).open("rb") as opened:
        before = os.fstat(opened.fileno())
        file = file._replace(bytes=before.st_size, mtime_ns=before.st_mtime_ns)
        content_id = hashlib.file_digest(opened, "sha256").hexdigest()
        if is_known(content_id):
            return Content(content_id, file)
        opened.seek(0)
        picture = decode_picture(opened, file.path)
        after = os.fstat(opened.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(0, "was written to while it was read")
    height, width, _ = picture.shape
    return Content(content_id, file, square_photo(picture), thumbnail(picture), width, height)


def thumbnail(picture: np.ndarray) -> bytes:
    """Makes a JPEG no side of which is longer than `THUMBNAIL`.

    Args:
      picture: [h, w, 3] uint8.
    """
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG")
    return out.getvalue()
