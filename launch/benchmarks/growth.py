"""How searching grows with the gallery and voting with the views, each measured in a process of its own."""

import concurrent.futures
import functools
import multiprocessing
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from dsf_jax.images.views import sketch_views
from dsf_jax.recognition.voting import single_angle
from dsf_jax.retrieval.euclidean import search
from launch.benchmarks.growth_training import status_bytes
from launch.benchmarks.network import alexnet
from launch.benchmarks.search import TOP, unit_vectors
from launch.benchmarks.sketches import points_of, strokes
from launch.benchmarks.timing import Timing, seconds_in_turn, timing
from launch.benchmarks.work import Setting

ITEMS, SMALL_ITEMS = (10_000, 100_000, 1_000_000), (1000, 2000)
FEATURES, QUERIES = 1024, 64
VIEWS, SMALL_VIEWS = (1, 2, 6, 18), (1, 2)
WATCHED = 0.005  # seconds between two looks at the memory


class SearchGrowth(NamedTuple):
    """A search in a process of its own, the gallery a mapped file of float16.

    Attributes:
      items: n.
      seconds: time of 64 queries.
      own_bytes: the most memory besides the file's pages while it searched, less that before.
      file_bytes: size of the gallery.
    """

    items: int
    seconds: Timing
    own_bytes: int
    file_bytes: int


class VotingGrowth(NamedTuple):
    """A vote of the first views.

    Attributes:
      views: v.
      seconds: time for one sketch.
    """

    views: int
    seconds: Timing


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a function in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *arguments).result()


def grow_search(rounds: int, *, small: bool = False) -> list[SearchGrowth]:
    """Searches ever more items, each gallery in a temporary file.

    Args:
      rounds: timings.
      small: few items, to try things out.

    Returns:
      What was measured.
    """
    grown = []
    for items in tqdm(SMALL_ITEMS if small else ITEMS, desc="growth of searching"):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "gallery.npy"
            _write(path, items)
            grown.append(in_fresh_process(_searched, path, rounds))
    return grown


def _write(path: pathlib.Path, items: int) -> None:
    """Writes a gallery block by block: the largest is 2 GB, and float32 would be 4."""
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (items, FEATURES))
    first = 0
    for block in unit_vectors(np.random.default_rng(0), items, FEATURES):
        rows[first : first + len(block)] = block
        first += len(block)
    rows.flush()


def _searched(path: pathlib.Path, rounds: int) -> SearchGrowth:
    jax.config.update("jax_platforms", "cpu")
    gallery = np.load(path, mmap_mode="r")
    queries = np.concatenate(list(unit_vectors(np.random.default_rng(1), QUERIES, FEATURES)))
    before = status_bytes("RssAnon")
    with _Watch() as watch:
        call = {"search": lambda: search(queries, gallery, TOP)}
        seconds = timing(seconds_in_turn(call, rounds)["search"])
    return SearchGrowth(len(gallery), seconds, watch.most - before, gallery.nbytes)


class _Watch:
    """Looks at the memory of this process, mapped files apart, now and again."""

    def __enter__(self) -> "_Watch":
        self.most, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.is_set():
            self.most = max(self.most, status_bytes("RssAnon"))
            time.sleep(WATCHED)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def grow_voting(rounds: int, *, small: bool = False) -> list[VotingGrowth]:
    """Votes with ever more views of one sketch.

    Args:
      rounds: timings.
      small: few views, to try things out.

    Returns:
      What was measured.
    """
    model = alexnet(Setting())
    views = sketch_views(points_of(strokes()))

    def vote(number: int) -> jax.Array:
        each = single_angle(model, {"drawing": views[:number]})
        return each.mean(axis=0).block_until_ready()

    chosen = SMALL_VIEWS if small else VIEWS
    calls = {str(v): functools.partial(vote, v) for v in chosen}
    each = seconds_in_turn(calls, rounds)
    return [VotingGrowth(v, timing(each[str(v)])) for v in chosen]
