"""Folders of pictures -> which picture files there are, and what each holds."""

import collections
import hashlib
import io
import itertools
import os
import pathlib
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsf_jax.data.files import real_path
from dsf_jax.data.mixtures import LEAST_SIDE, square_photo
from dsf_jax.data.picture_folders import NOWHERE, Kind, is_utf8, list_pictures, printable
from dsf_jax.data.picture_formats import MissingLibraryError
from dsf_jax.data.pictures import decode_shrunk

THUMBNAIL_SIDE = 256  # pixels of the longer side
THREADS = min(4, os.cpu_count() or 1)  # each may hold one decoded picture of 300 MB


class PictureFile(NamedTuple):
    """A picture file, not yet read.

    Attributes:
      path: absolute path.
      label: name of the folder it lies in, in NFC; None directly in the root.
      folder: path of that folder relative to the root, with slashes, in NFC; "" for the root.
      bytes: size of the file.
      mtime_ns: time of the last write, in nanoseconds.
    """

    path: str
    label: str | None
    folder: str
    bytes: int
    mtime_ns: int


class PictureContent(NamedTuple):
    """What a picture file holds.

    Attributes:
      id: SHA-256 of the file's bytes, hexadecimal.
      file: the file, as it was when it was read.
      photo: [256, 256, 3] uint8; None where the id was known already, and all that follows too.
      thumbnail: JPEG, no side longer than `THUMBNAIL_SIDE`.
      width: width of the picture as it was decoded, upright; of one that is shrunk, of what it is shrunk to.
      height: height of it.
    """

    id: str
    file: PictureFile
    photo: np.ndarray | None = None
    thumbnail: bytes = b""
    width: int = 0
    height: int = 0


class UnreadableFile(NamedTuple):
    """A file that gave no picture.

    Attributes:
      file: the file, as it was found.
      reason: one line that names it.
      is_gone: whether it holds something else than a picture now, so that what was stored of it is void.
        Otherwise it could not be read this time.
    """

    file: PictureFile
    reason: str
    is_gone: bool


class CrawlResult(NamedTuple):
    """What a crawl found.

    Attributes:
      root: absolute path of the folder.
      files: the picture files, sorted by path.
      unreadable: paths of files and folders that could not be looked at.
      passed_over: paths of everything else, by kind.
      exclude: patterns of what was passed over although it may be a picture.
    """

    root: pathlib.Path
    files: list[PictureFile]
    unreadable: list[pathlib.Path]
    passed_over: dict[Kind, list[pathlib.Path]]
    exclude: tuple[str, ...] = ()


def crawl(folder: str | os.PathLike[str], *, exclude: Sequence[str] = ()) -> CrawlResult:
    """Lists the picture files of a folder and its sub-folders.

    Args:
      folder: folder of pictures; which of its files are seen, `list_pictures` describes.
      exclude: patterns of files and folders that are passed over, see `is_excluded`.

    Returns:
      Files, and paths that were passed over or could not be looked at.

    Raises:
      FileNotFoundError: when the folder does not exist or holds no picture: an empty folder is far more
        often a disk that is not mounted than a wish to forget all pictures.
    """
    root = real_path(folder)
    pictures, passed_over, unreadable = list_pictures(root, exclude=exclude)
    files: list[PictureFile] = []
    for path in pictures:
        try:
            file = stat_file(path, root)
        except OSError:
            unreadable.append(path)
            continue
        if file:
            files.append(file)
    return CrawlResult(root, sorted(files), unreadable, passed_over, tuple(exclude))


def stat_file(path: pathlib.Path, root: pathlib.Path) -> PictureFile | None:
    """Returns a file's path, size and time as the file system reports them; None for no regular file.

    Args:
      path: absolute path.
      root: a folder that it lies in.

    Raises:
      OSError: when the file system cannot say: a folder without permission, a disk that fails.
    """
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in NOWHERE:
            return None
        raise
    if not stat.S_ISREG(status.st_mode):
        return None
    folder = path.parent.relative_to(root).as_posix()
    folder = "" if folder == "." else one_form(folder)
    label = one_form(path.parent.name) if folder else None
    return PictureFile(str(path), label, folder, status.st_size, storable_time(status.st_mtime_ns))


def one_form(name: str) -> str:
    """Returns a name in the one of Unicode's forms that names are compared in (NFC)."""
    return unicodedata.normalize("NFC", name)


def storable_time(nanoseconds: int) -> int:
    """Returns a time in 64 bits; times before 1677 and after 2262, of clocks that are wrong, wrap around."""
    return (nanoseconds + 2**63) % 2**64 - 2**63


def read_ahead(
    files: Iterable[PictureFile], is_known: Callable[[str], bool], ahead: int
) -> Iterator[PictureContent | UnreadableFile]:
    """Reads files in order, some of them ahead in threads while the caller works.

    Args:
      files: picture files; consumed only as far as they are read.
      is_known: returns whether an id is known; such a picture is not decoded.
      ahead: number of files that are read ahead at most.

    Yields:
      One result per file.
    """
    pending: collections.deque[Future[PictureContent | UnreadableFile]] = collections.deque()
    files = iter(files)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")
    try:
        while True:
            for file in itertools.islice(files, ahead - len(pending)):
                pending.append(pool.submit(read_file, file, is_known))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_file(
    file: PictureFile, is_known: Callable[[str], bool]
) -> PictureContent | UnreadableFile:
    """Reads one file; whatever is wrong with it becomes a result."""
    if not is_utf8(file.path):
        reason = f"{printable(file.path)}: its name is not UTF-8; rename it"
        return UnreadableFile(file, reason, is_gone=False)
    try:
        return _read(file, is_known)
    except FileNotFoundError:
        # Perhaps with its whole disk: what becomes of its row is for the next crawl to say.
        reason = f"{file.path} vanished before it was read; run again, which looks where it is"
        return UnreadableFile(file, reason, is_gone=False)
    except OSError as error:
        reason = f"{file.path}: {error.strerror or error}; fix it and run again"
        return UnreadableFile(file, reason, is_gone=False)
    except MissingLibraryError as error:
        return UnreadableFile(file, str(error), is_gone=False)
    except ValueError as error:
        return UnreadableFile(file, str(error), is_gone=True)


def _read(file: PictureFile, is_known: Callable[[str], bool]) -> PictureContent:
    with pathlib.Path(file.path).open("rb") as opened:
        before = os.fstat(opened.fileno())
        file = file._replace(bytes=before.st_size, mtime_ns=storable_time(before.st_mtime_ns))
        content_id = hashlib.file_digest(opened, "sha256").hexdigest()
        if is_known(content_id):
            return PictureContent(content_id, file)
        opened.seek(0)
        picture, width, height = decode_shrunk(opened, file.path, least_side=LEAST_SIDE)
        after = os.fstat(opened.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(0, "was written to while it was read")
    photo, thumbnail = square_photo(picture), encode_thumbnail(picture)
    return PictureContent(content_id, file, photo, thumbnail, width, height)


def encode_thumbnail(picture: np.ndarray) -> bytes:
    """Encodes a picture as a JPEG no side of which is longer than `THUMBNAIL_SIDE`.

    Args:
      picture: [h, w, 3] uint8.
    """
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG")
    return out.getvalue()
