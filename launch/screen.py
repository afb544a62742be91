"""One screen for long work: a line per step with its bar, its time and its result. All else that is
printed meanwhile goes to a log file.
"""

import contextlib
import io
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

# A bar that a library refreshes: "\rfrozen layers:  29%|###".
_REFRESHED = re.compile(r"\r\s*([^\r\n]*?):?\s+(\d+)%\|")
_WIDE = 46  # characters of a step's name
_BAR = "{desc} |{bar:12}| {elapsed}"


class Screen:
    """Steps of long work on a terminal; where there is none, each step is a line once it is done."""

    def __init__(self, terminal: TextIO, steps: int) -> None:
        """Numbers `steps` steps from 1."""
        self._terminal, self._steps, self._number = terminal, steps, 0
        self._bar: tqdm | None = None
        self._name = ""

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Shows a step while it is worked on; what the list then holds is printed as its result."""
        self._number += 1
        self._name = f"{self._number}/{self._steps} {name}"
        started, result = time.monotonic(), list[str]()
        self._bar = tqdm(
            total=100,
            file=self._terminal,
            leave=False,
            disable=not self._terminal.isatty(),
            bar_format=_BAR,
        )
        self.advance("", 0)
        try:
            yield result
        finally:
            self._bar.close()
            self._bar = None
        seconds = time.monotonic() - started
        line = f"{self._name:{_WIDE}} {seconds:5.0f} s  {', '.join(result)}"
        print(line.rstrip(), file=self._terminal, flush=True)

    def advance(self, part: str, percent: int) -> None:
        """Moves the bar of the step to what a part of its work has done."""
        if self._bar is not None:
            name = f"{self._name}: {part}" if part else self._name
            self._bar.n = percent
            self._bar.set_description_str(f"{name[:_WIDE]:{_WIDE}}")


class _Log(io.TextIOBase):
    """Standard error of what runs within `logged`: a file, whose bars are shown on the screen."""

    def __init__(self, file: TextIO, screen: Screen) -> None:
        self._file, self._screen = file, screen

    def write(self, text: str) -> int:
        """Writes to the file; a refreshed bar moves the screen's."""
        if bar := _REFRESHED.match(text):
            self._screen.advance(bar[1], int(bar[2]))
        return self._file.write(text)

    def flush(self) -> None:
        """Writes what is kept to the disk."""
        self._file.flush()


@contextlib.contextmanager
def logged(path: pathlib.Path, steps: int) -> Iterator[Screen]:
    """Shows steps on the terminal, while everything else that is printed, by libraries in C++ and by
    other processes too, is added to a file.

    Args:
      path: the log file; its folder is made.
      steps: number of steps.

    Raises:
      OSError: when the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with (
        path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        os.fdopen(
            kept[0], "w", encoding=sys.stdout.encoding, errors="replace", buffering=1
        ) as terminal,
        _redirected(file, kept),
    ):
        screen = Screen(terminal, steps)
        with (
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(_Log(file, screen)),
        ):
            yield screen


@contextlib.contextmanager
def _redirected(file: TextIO, kept: list[int]) -> Iterator[None]:
    """Leads the process's standard streams into a file, and back to where they led."""
    for number in (1, 2):
        os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        for number, own in zip((1, 2), kept, strict=True):
            os.dup2(own, number)
        os.close(kept[1])
