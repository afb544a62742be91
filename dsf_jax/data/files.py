"""Writes files atomically, one process at a time."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
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
def only_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
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
