"""The per-example work of a builder, on all cores of one machine, in order."""

import collections
import contextlib
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting worker processes takes a second or two: below this number of items they would come too
# late.
_FEW_ITEMS = 64
_CHUNK = 16
# Chunks under way per process: enough that none waits, few enough that results do not pile up in
# memory when whoever takes them is slower.
_AHEAD = 4

_ended: ctypes.c_bool  # in a worker alone: what processes share is given to them as they start


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, processes: int | None = None
) -> Iterator[Result]:
    """Yields `function(item)` of every item, in the order of the items, computed on all cores.

    Args:
      function: a pure function at the top level of a module that is cheap to import: every worker
        imports it again.
      items: arguments of the function.
      processes: number of worker processes; by default one per core, and none at all for few items.

    Yields:
      The results in order. The first exception of `function` ends the work and is raised here as it
      is. Ctrl-C ends it after the items that are being worked on.
    """
    if processes is None:
        processes = 1 if len(items) < _FEW_ITEMS else _cores()
    if processes == 1:
        yield from map(function, items)
        return
    # "spawn", because forking a process in which JAX runs threads may hang.
    context = multiprocessing.get_context("spawn")
    ended = context.RawValue(ctypes.c_bool, False)
    pool = ProcessPoolExecutor(processes, context, _start_worker, (ended,))
    try:
        yield from _results(pool, function, items, ahead=_AHEAD * processes)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, probably for want of memory; free some, or start fewer "
            "processes (a script that builds needs the guard `if __name__ == '__main__':`)"
        ) from error
    finally:
        ended.value = True
        # What Ctrl-C left unread is ended by garbage collection, perhaps in the pool's own thread, which
        # cannot wait for itself.
        with contextlib.suppress(RuntimeError):
            pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows


def _results(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    ahead: int,
) -> Iterator[Result]:
    """Yields results in order, with `ahead` chunks under way."""
    chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
    under_way: collections.deque[Future[list[Result]]] = collections.deque()

    def submit(number: int) -> None:
        with _interrupts_later():  # a chunk that finds no idle worker starts one
            for chunk in itertools.islice(chunks, number):
                under_way.append(pool.submit(_map_chunk, function, chunk))

    submit(ahead)
    while under_way:
        results = under_way.popleft().result()
        submit(1)
        yield from results


@contextlib.contextmanager
def _interrupts_later() -> Iterator[None]:
    """Lets Ctrl-C wait for the end of the block, and keeps it from processes that start in it.

    A worker whose start is interrupted may run without being known to the pool. It then takes the
    message to end that is meant for another one, which is waited for in vain. And a worker that
    Ctrl-C meets before `_start_worker` prints a traceback.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is None:  # nothing interrupts, or not Python's
        yield
        return
    came: list[int] = []
    with contextlib.ExitStack() as undo:
        usual = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
        undo.callback(signal.signal, signal.SIGINT, usual)
        if sys.platform != "win32":  # whose processes inherit no mask
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            undo.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        yield
    for number in came:
        signal.raise_signal(number)


def _map_chunk(function: Callable[[Item], Result], chunk: Sequence[Item]) -> list[Result]:
    """Does a chunk in a worker, or a part of it that nobody takes once the work has ended."""
    return [function(item) for item in chunk if not _ended.value]


def _start_worker(ended: ctypes.c_bool) -> None:
    """Leaves the answer to Ctrl-C to the parent process, and ends with it.

    Args:
      ended: is true in all processes when nobody waits for results any more.
    """
    global _ended
    _ended = ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers: they would wait for work for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
