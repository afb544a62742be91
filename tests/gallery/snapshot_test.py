"""A newer version takes over what an older one holds: nothing is held twice, and all is found."""

import gc
import pathlib
import threading

import numpy as np
import pytest

from dsf_jax.gallery import snapshot
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.gallery.store import create_store
from dsf_jax.gallery.store_config import StoreConfig

pytestmark = pytest.mark.slow  # threads search while a gallery changes

STATUS, RESET = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")


def make(uri, d):
    return create_store(str(uri), StoreConfig("0" * 16, "L6", "x", d, d, "float32", ""))


def put(store, numbers, vectors):
    """Stores pictures of these numbers, in another order of paths than of numbers."""
    n = len(numbers)
    rows = {
        "path": [f"/p/{i * 7919 % 10007:05}.png" for i in numbers],
        "id": [f"{i:064}" for i in numbers],
        "label": [None] * n, "folder": [""] * n, "thumbnail": [b""] * n,
        **{name: [1] * n for name in ("bytes", "mtime_ns", "width", "height")},
    }  # fmt: skip
    store.put(rows, vectors)


def numbers_of(found):
    return [[int(one.picture.id) for one in row] for row in found]


@pytest.mark.parametrize("seed", range(4))
def test_after_any_changes_each_vector_is_its_pictures(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "MOVED_ROWS", 3)
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((60, 1024), dtype=np.float32)  # a page each
    store, here = make(tmp_path / "g", 1024), set(range(30))
    put(store, sorted(here), vectors[sorted(here)])
    gallery = Gallery.open(store.uri)
    for _ in range(4):
        assert numbers_of(gallery.nearest(vectors[sorted(here)], 1)) == [[i] for i in sorted(here)]
        gone = set(rng.choice(sorted(here), rng.integers(0, 9), replace=False).tolist())
        come = set(rng.choice(60, rng.integers(0, 30)).tolist()) - here
        if gone:
            store.delete("id", [f"{i:064}" for i in gone])
        if come:
            put(store, sorted(come), vectors[sorted(come)])
        here = here - gone | come
        gallery.refresh()
        keys = [f"{i:064}" for i in sorted(here)]
        np.testing.assert_array_equal(gallery.vectors(keys), vectors[sorted(here)])


def test_searches_during_refreshes_find_what_is_there(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((80, 1024), dtype=np.float32)
    store = make(tmp_path / "g", 1024)
    put(store, range(40), vectors[:40])
    gallery, wrong, end = Gallery.open(store.uri), [], threading.Event()

    def search():
        while not end.is_set():
            if numbers_of(gallery.nearest(vectors[:40], 1)) != [[i] for i in range(40)]:
                wrong.append(1)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(40, 50):
        put(store, [number], vectors[number : number + 1])
        gallery.refresh()
    end.set()
    for thread in threads:
        thread.join()
    assert not wrong and len(gallery) == 50


def mebibytes(name):
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


@pytest.mark.slow
def test_a_refresh_holds_no_vector_twice(tmp_path):
    try:
        RESET.write_text("5")  # the peak is counted from now
    except OSError:
        pytest.skip("only Linux counts a process's peak of memory again")
    n, d = 8000, 2048
    store, rng = make(tmp_path / "g", d), np.random.default_rng(0)
    for first in range(0, n, 2000):
        put(store, range(first, first + 2000), rng.standard_normal((2000, d), dtype=np.float32))
    gallery = Gallery.open(store.uri)
    gallery.nearest(np.zeros((1, d), np.float32), 1)
    put(store, [n], np.ones((1, d), np.float32))
    gc.collect()
    before = mebibytes("VmRSS")
    RESET.write_text("5")
    gallery.refresh()
    held = n * d * 4 / 2**20
    assert mebibytes("VmHWM") - before < 0.6 * held
    assert numbers_of(gallery.nearest(np.ones((1, d), np.float32), 1)) == [[n]]
