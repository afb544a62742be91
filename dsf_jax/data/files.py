"""Reads texts that people wrote; writes files atomically, one process at a time."""

import codecs
import contextlib
import fcntl
import os
import pathlib
import unicodedata
from collections.abc import Iterator

# A UTF-32 mark begins with that of UTF-16.
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a text file; see `decode_text`.

    Raises:
      ValueError: when it is in another encoding.
      OSError: when it cannot be read.
    """
    return decode_text(pathlib.Path(path).read_bytes(), str(path))


def decode_text(content: bytes, where: str) -> str:
    r"""Decodes what a person or a spreadsheet wrote: UTF-8, or what a byte-order mark says.

    Args:
      content: bytes of the file.
      where: name of the file in messages.

    Returns:
      The text without its mark, in NFC: names that look the same are the same.

    Raises:
      ValueError: when it is in another encoding.

    >>> decode_text(b"\xef\xbb\xbfcat", "classes.txt")
    'cat'
    """
    encoding = next((e for mark, e in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        other = ", but perhaps Windows-1252 or Latin-1" if encoding == "utf-8" else ""
        raise ValueError(
            f"{where} is not {encoding.removesuffix('-sig').upper()} text{other}: it cannot have the "
            f"byte 0x{content[error.start]:02x} at {error.start}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(
            f"{where} is not UTF-8 text: it holds zero bytes, as UTF-16 without a byte-order mark "
            "does; save it as UTF-8"
        )
    return unicodedata.normalize("NFC", text)


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file through a temporary one next to it, which a failure removes.

    Args:
      path: file that is replaced if it exists.
      content: text, written as UTF-8, or bytes.

    Raises:
      OSError: when it cannot be written; the old file, if any, is as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def directory_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Locks a folder against other processes that do; a killed process's lock goes with it.

    Args:
      folder: folder to lock, made if absent.

    Raises:
      OSError: when another process holds it.
    """
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OSError(
            f"{folder} is being written by another process; wait for it or choose another folder"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
