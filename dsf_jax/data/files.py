"""Reads texts that people wrote; writes files atomically, one process at a time."""

import codecs
import contextlib
import errno
import os
import pathlib
import shutil
import socket
import sys
import unicodedata
from collections.abc import Iterator

if sys.platform != "win32":
    import fcntl

# A UTF-32 mark begins with that of UTF-16.
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# In a folder whose disk has no locks, and on Windows, where files have them alone.
LOCK_FILE = ".lock"
# What a disk without locks answers (Lustre without -o flock, some FUSE and NFS).
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}

_held: set[pathlib.Path] = set()  # this process's lock files


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
    except BaseException as error:
        with contextlib.suppress(OSError):  # of a folder that is no folder, or cannot be entered
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:  # of a name that nobody gave
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def expand_home(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns a path with the home folder in place of ~. The ~ of a user who is not known stays, where
    pathlib raises a RuntimeError.
    """
    return pathlib.Path(os.path.expanduser(path))  # noqa: PTH111


def real_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the absolute path that a path leads to, ~ expanded. A link that leads to itself stays, where
    pathlib raises a RuntimeError.
    """
    return pathlib.Path(os.path.realpath(expand_home(path)))


def user_cache() -> pathlib.Path | None:
    """Returns the folder of what may be made or fetched again, $XDG_CACHE_HOME/dsf_jax or
    ~/.cache/dsf_jax; None where the user has no home folder.
    """
    given = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = os.path.expanduser("~")  # noqa: PTH111  # pathlib's raises where there is none
    # Its specification has relative paths ignored.
    caches = given if given.is_absolute() else None if home == "~" else pathlib.Path(home, ".cache")
    return caches and caches / "dsf_jax"


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Makes a folder that appears under its name when it is complete, and not at all when what fills it
    fails.

    Args:
      path: path of the folder, which must not exist.

    Yields:
      The folder to fill, beside it.

    Raises:
      FileExistsError: when the folder is there already.
    """
    folder = pathlib.Path(path).absolute()
    if folder.exists():
        raise FileExistsError(f"{folder} exists, and nothing is overwritten; choose another name")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir()
        yield part
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextlib.contextmanager
def directory_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Locks a folder against other processes that do; a killed process's lock goes with it.

    Where the disk has no locks (Lustre without -o flock, some FUSE), a file in the folder stands for one.
    What a killed process leaves of that is taken over on the same machine, and named on another.

    Args:
      folder: folder to lock, made if absent.

    Raises:
      OSError: when another process holds it.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locked:
        if not _lock(folder, locked):
            locked.enter_context(_lock_file(folder))
        yield


_TAKEN = "{} is being written by another process; wait for it or choose another folder"


def _lock(folder: pathlib.Path, locked: contextlib.ExitStack) -> bool:
    """Locks a folder until `locked` is left; returns whether it can be locked at all."""
    if sys.platform == "win32":
        return _lock_on_windows(folder, locked)
    descriptor = os.open(folder, os.O_RDONLY)
    locked.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(_TAKEN.format(folder)) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _lock_on_windows(folder: pathlib.Path, locked: contextlib.ExitStack) -> bool:
    """Locks a file in a folder until `locked` is left, as folders cannot be locked there."""
    import filelock  # required on Windows alone

    lock = filelock.FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise OSError(_TAKEN.format(folder)) from error
    locked.callback(lock.release)
    return True


@contextlib.contextmanager
def _lock_file(folder: pathlib.Path) -> Iterator[None]:
    """Locks a folder by a file in it, which names the process that holds it."""
    path = folder.resolve() / LOCK_FILE
    own = f"{socket.gethostname()} {os.getpid()}"
    try:
        _create(path, own)
    except FileExistsError:
        holder = _holder(path)
        if path in _held or not _is_gone(holder):
            raise OSError(
                f"{folder} is being written by process {holder[1]} on {holder[0]}, says {path}; wait "
                "for it, choose another folder, or remove that file if the process is gone"
            ) from None
        path.unlink(missing_ok=True)
        _create(path, own)
    _held.add(path)
    try:
        yield
    finally:
        _held.remove(path)
        path.unlink(missing_ok=True)


def _create(path: pathlib.Path, content: str) -> None:
    """Writes a file; FileExistsError when another process has it."""
    with path.open("x", encoding="utf-8") as file:
        file.write(content)


def _holder(path: pathlib.Path) -> tuple[str, str]:
    """Returns the machine and the process that a lock's file names."""
    try:
        machine, _, process = path.read_text(encoding="utf-8").partition(" ")
    except OSError:
        machine, process = "", ""
    return machine or "an unknown machine", process or "?"


def _is_gone(holder: tuple[str, str]) -> bool:
    """Returns whether a process is known to have ended: one of this machine that is not there."""
    machine, process = holder
    if machine != socket.gethostname() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return int(process) == os.getpid()  # a number that was given again
