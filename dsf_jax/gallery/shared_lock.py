"""A lock that many readers share, and one writer has for itself."""

import contextlib
import threading
from collections.abc import Iterator


class SharedLock:
    """Any number of threads read at a time, or one writes; a writer that waits goes before new readers.

    A thread that reads must not read again within: a writer between the two would wait for both.
    """

    def __init__(self) -> None:
        """Makes a lock that nobody has."""
        self._changed = threading.Condition()
        self._readers = self._waiting = 0
        self._writing = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Has it for reading."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writing and not self._waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Has it for writing."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._writing and not self._readers)
                self._writing = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
