"""Zips and tars -> what lies in them, and where; whatever is not whole or could lead out is refused.

Nothing is ever unpacked to a path that an archive names. (A compressed tar, which cannot be read at
random, is decompressed to a plain one first.)
"""

import atexit
import bz2
import contextlib
import functools
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

_MAX_TAR_BYTES = 64 * 2**30

COMPRESSED_TARS: dict[str, Any] = {  # what opens them
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}
ARCHIVES = (".zip", ".tar", *COMPRESSED_TARS)
_UTF8_NAME = 0x800


def zip_entries(source: Path) -> Iterator[tuple[str, int]]:
    """Yields (name, index in the zip's directory) of every file.

    Raises:
      ValueError: when it is not a whole zip, or a name in it could lead out.
      OSError: when it cannot be read.
    """
    try:
        archive = open_zip(source, os.getpid())
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(
            f"{source} is not a whole zip ({error}); download it again or remove it"
        ) from error
    for index, info in enumerate(archive.infolist()):
        name = info.filename
        if not info.flag_bits & _UTF8_NAME:
            # Some programs write UTF-8 without saying so; zipfile then reads code page 437.
            with contextlib.suppress(UnicodeError):
                name = name.encode("cp437").decode("utf-8")
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        name = _checked_name(name, source, is_link=is_link)
        if not info.is_dir():
            yield name, index


def tar_entries(tar: Path, source: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields (name, place) of every file, its place being that of its bytes: (offset, size).

    Args:
      tar: the plain tar.
      source: its name in messages: the compressed one.

    Raises:
      ValueError: when it is not whole, or a name in it could lead out.
      OSError: when it cannot be read.
    """
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                name = _checked_name(member.name, source, is_link=member.issym() or member.islnk())
                if member.isreg():
                    yield name, (member.offset_data, member.size)
            end = archive.offset
    except tarfile.TarError as error:
        raise ValueError(
            f"{source} is not a whole tar ({error}); download it again or remove it"
        ) from error
    _check_end(tar, end, source)


def _check_end(tar: Path, end: int, source: Path) -> None:
    """Raises ValueError unless zeros follow the last member, with which every tar is to end: `tarfile` ends
    as quietly at a damaged header, and where a tar was cut short.
    """
    with tar.open("rb") as file:
        file.seek(end)
        block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise ValueError(
            f"{source} is not a whole tar (it has no end mark, as where it is cut short); download it "
            "again, or unpack it and give the folder"
        )
    if any(block):
        raise ValueError(
            f"{source} is not a whole tar (damaged at byte {end}); download it again or remove it"
        )


@functools.lru_cache(maxsize=8)
def plain_tar(source: Path, suffix: str) -> Path:
    """Decompresses a tar into a temporary file that goes when this process ends.

    Args:
      source: the compressed tar.
      suffix: one of `COMPRESSED_TARS`.

    Raises:
      ValueError: when it is not whole, or unpacks to too many bytes.
      OSError: when it cannot be read, or the disk is full.
    """
    folder = Path(tempfile.mkdtemp(prefix="dsf_jax_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    plain = folder / "plain.tar"
    try:
        with COMPRESSED_TARS[suffix](source, "rb") as packed, plain.open("wb") as out:
            written = 0
            while block := packed.read(2**20):
                written += out.write(block)
                if written > _MAX_TAR_BYTES:
                    raise ValueError(
                        f"{source} unpacks to more than {_MAX_TAR_BYTES} bytes; unpack it yourself "
                        "and give the folder"
                    )
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(
            f"{source} is not whole ({error}); download it again or remove it"
        ) from error
    return plain


@functools.lru_cache(maxsize=8)
def open_zip(source: Path, process: int) -> zipfile.ZipFile:
    """Opens a zip once per process: reading its directory takes longer than reading a file."""
    del process  # a forked process must not share its parent's file position
    return zipfile.ZipFile(source)


def _checked_name(name: str, source: Path, *, is_link: bool) -> str:
    """Returns an entry's name with slashes, in NFC.

    Raises:
      ValueError: when it is a link, or leads out of the archive.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    hostile = {
        "a link": is_link,
        "an absolute path": path.is_absolute(),
        'a path with ".."': ".." in path.parts,
        "a path with a drive letter": re.match(r"[A-Za-z]:", name) is not None,
    }
    for what, found in hostile.items():
        if found:
            raise ValueError(
                f"{source}: the entry {name!r} is {what}, which could lead out of the archive; "
                "get the archive from where it can be trusted, or unpack it and give the folder"
            )
    return unicodedata.normalize("NFC", str(path))
