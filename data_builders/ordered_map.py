"""The per-example work of a builder, on all cores of one machine, in order."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting worker processes takes a second or two: below this number of items they would come too
# late.
_FEW_ITEMS = 64
_CHUNK = 16


def ordered_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, processes: int | None = None
) -> Iterator[Result]:
    """Yields `function(item)` of every item, in the order of the items, computed on all cores.

    Args:
      function: a pure function at the top level of a module that is cheap to import: every worker
        imports it anew.
      items: what to work on.
      processes: number of worker processes; by default one a core, and none at all for few items.

    Yields:
      The results in order. The first exception of `function` ends the work and is raised here as it
      is.
    """
    if processes is None:
        processes = 1 if len(items) < _FEW_ITEMS else len(os.sched_getaffinity(0))
    if processes == 1:
        yield from map(function, items)
        return
    # "spawn", because forking a process in which JAX runs threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            yield from pool.map(function, items, chunksize=_CHUNK)
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f"a worker process of {function.__name__} died, probably for want of memory; "
                "free some, or start fewer processes"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
