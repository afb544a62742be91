"""Ends a process that waits for another one in vain: a collective that one process never enters keeps
the others in the runtime, where no exception and no signal's handler reaches them.
"""

import collections
import contextlib
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SLOW = 10  # times as long may last what is no step: the start with its compilation, a save
FACTOR = 3  # times as long as the longest step so far may a step last
GRACE = 10.0  # seconds for a step that is under way when a signal comes
PATIENCE = 5.0  # seconds that the reader of a full pipe has for the last line
_POLL = 0.25


class Watchdog:
    """Watches a run's steps and saves from a thread of its own."""

    def __init__(self, seconds: float, end: Callable[[str], Any]) -> None:
        """Gets ready to watch.

        Args:
          seconds: time that a step may last, or `FACTOR` times the longest step so far if that is
            longer; `SLOW` times as much is for what is no step.
          end: called with what is wrong, in another thread than the run's; it ends the process.
        """
        self._seconds, self._end = seconds, end
        self._changing = threading.RLock()  # what is watched: both threads do
        self._under_way: collections.deque[tuple[int, Any]] = collections.deque()
        self._what, self._slow, self._longest = "the start", True, 0.0
        self._since = math.inf  # what is prepared before the first step may take hours
        self._signal: tuple[int, float] | None = None
        self._hears, self._told = socket.socketpair()
        self._told.setblocking(False)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def step(self, number: int, result: Any) -> None:
        """Takes an array that is ready when a step has been computed."""
        self._under_way.append((number, result))

    @contextlib.contextmanager
    def slow(self, what: str) -> Iterator[None]:
        """Watches what is no step, such as "the save of step 5"."""
        self._enter(what, slow=True)
        yield
        self._enter("a step", slow=False)

    @contextlib.contextmanager
    def watches(self) -> Iterator[None]:
        """Watches, and hears the signals that a handler hears too late while the run is in the runtime;
        afterwards, for the end of the last save.
        """
        self._enter("the start", slow=True)
        before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            self._enter("the last save", slow=True)

    def close(self) -> None:
        """Stops watching."""
        self._closed.set()
        self._thread.join()
        self._hears.close()
        self._told.close()

    def _enter(self, what: str, *, slow: bool) -> None:
        with self._changing:
            self._what, self._slow, self._since = what, slow, time.monotonic()

    def _watch(self) -> None:
        while not self._closed.is_set():
            ready, _, _ = select.select([self._hears], [], [], _POLL)
            if ready:
                for number in self._hears.recv(64):
                    if number in (signal.SIGTERM, signal.SIGINT):
                        self._signal = self._signal or (number, time.monotonic())
            self._note_steps()
            with self._changing:
                wrong = self._wrong(time.monotonic())
            if wrong:
                self._end(wrong)
                return

    def _note_steps(self) -> None:
        """Takes the time of the steps that have been computed since."""
        while self._under_way and self._under_way[0][1].is_ready():
            number, _ = self._under_way.popleft()
            with self._changing:
                now = time.monotonic()
                if not self._slow:
                    self._longest = max(self._longest, now - self._since)
                if not self._slow or self._what == "the start":
                    self._enter(f"the step after {number}", slow=False)

    def _wrong(self, now: float) -> str | None:
        """Describes what lasts too long; None while nothing does."""
        usual = FACTOR * self._longest
        if self._signal is not None:
            number, came = self._signal
            grace = self._seconds if self._slow else max(GRACE, usual)
            waited = now - max(self._since, came)
            if waited > grace:
                name = signal.Signals(number).name
                return f"{name} came, and {self._what} has not ended for {waited:.0f} s since"
        limit = max(self._seconds, usual) * (SLOW if self._slow else 1)
        waited = now - self._since
        if waited > limit:
            return f"{self._what} has not ended after {waited:.0f} s, more than {limit:.0f} s"
        return None


def exit_with(line: str) -> None:
    """Prints a line and ends this process at once, whatever its main thread is doing; without the line
    where nobody reads what it prints, and the pipe is full.
    """
    if select.select([], [2], [], PATIENCE)[1]:
        os.write(2, f"\nerror: {line}\n".encode()[: select.PIPE_BUF])
    os._exit(1)
