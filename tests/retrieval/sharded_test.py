"""Search in shards, over devices and processes, equals search in the whole.

As a script, `python -m tests.retrieval.sharded_test GALLERY PORT PROCESS`, one process of two.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.gallery import synchroniser
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.retrieval import sharded
from dsf_jax.retrieval.euclidean import Neighbours, search
from dsf_jax.retrieval.sharded import Shard, merge, own_rows, place, search_processes, search_shards
from tests.retrieval.gallery_member import EMBEDDER, D, coarse, picture, save

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent


def integers(seed, *shape):
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


@hypothesis.given(
    cuts=st.sampled_from([(), (35,), (0, 69), (3, 3, 64)]),
    k=st.sampled_from([6, 80, 10**9]),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([np.float32, np.float16]),
)
@hypothesis.settings(max_examples=15, derandomize=True)
def test_shards_of_any_size(cuts, k, seed, dtype):
    queries, rows = integers(seed, 2, 4), integers(seed + 1, 70, 4).astype(dtype)
    wanted = search(queries, rows, k)
    found = search_shards(queries, [Shard.of(x) for x in np.split(rows, cuts)], k)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.squared_distances, wanted.squared_distances)
    moved = search_processes(queries, [Shard.of(rows)], k, first=20)
    np.testing.assert_array_equal(moved.indices, wanted.indices + 20)


@pytest.mark.parametrize("scale", [1e-3, 1e8])
def test_small_shards_of_any_length_of_vectors(scale):
    """What fills a shard up is never found, however near it lies."""
    rows = integers(0, 10, 4) * np.float32(scale)
    found = search_shards(rows[:3], [Shard.of(rows[:4]), Shard.of(rows[4:])], 7)
    wanted = search(rows[:3], rows, 7)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.squared_distances, wanted.squared_distances)


def test_nothing_to_find():
    found = search_shards(integers(0, 3, 4), [Shard.of(integers(1, 0, 4))], 5)
    assert found.indices.shape == found.squared_distances.shape == (3, 0)


def test_merging_prefers_the_near_then_the_first_and_drops_what_is_none():
    a = Neighbours(np.array([[1, 2, np.inf]], np.float32), np.array([[7, 8, -1]], np.int32))
    b = Neighbours(np.array([[0, 2, 2]], np.float32), np.array([[9, 3, 4]], np.int32))
    assert merge([a, b], 4).indices.tolist() == [[9, 7, 3, 4]]
    assert merge([a, b], 9).indices.tolist() == [[9, 7, 3, 4, 8]]


@pytest.mark.parametrize("n", [0, 1, 7, 100])
def test_processes_share_all_rows_evenly(n, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    parts = []
    for process in range(3):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        parts.append(own_rows(n))
    assert [i for part in parts for i in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_accelerators_each_get_a_part_that_fits(monkeypatch):
    """The virtual devices stand in for accelerators with 1 kB of memory each."""

    class Device:
        platform = "gpu"

        def __init__(self, real):
            self.real = real

        def memory_stats(self):
            return {"bytes_limit": 1000}

    devices = [Device(real) for real in jax.devices()[:3]]
    put = jax.device_put
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(jax, "device_put", lambda x, device=None: put(x, device and device.real))
    rows = integers(0, 50, 4)
    shards = place(rows)
    assert [len(shard.rows) for shard in shards] == [17, 17, 16]
    assert [len(shard.squares) for shard in shards] == [17, 17, 16]
    assert [shard.rows.devices() for shard in shards] == [{device.real} for device in devices]
    wanted = search(integers(1, 2, 4), rows, 5)
    found = search_shards(integers(1, 2, 4), shards, 5)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    assert place(integers(0, 2, 4))[0].rows.shape == (2, 4)
    too_many = integers(0, 400, 4)
    assert [shard.rows is too_many for shard in place(too_many)] == [True]


def test_a_cpu_reads_rows_where_they_lie():
    rows = integers(0, 50, 4)
    assert place(rows)[0].rows is rows


def test_few_rows_are_filled_up_to_one_shape_and_an_accelerators_blocks_are_large(monkeypatch):
    asked = []

    def watched(queries, rows, k, **options):
        asked.append((len(rows), {name: x for name, x in options.items() if name != "squares"}))
        assert len(options.get("squares", rows)) == len(rows)
        return search(queries, rows, k, **options)

    monkeypatch.setattr(sharded, "search", watched)
    monkeypatch.setattr(sharded, "DEVICE_BLOCK_BYTES", 300 * 16)
    for rows in (integers(1, 5, 4), integers(1, 6, 4), integers(1, 70, 4)):
        search_shards(integers(0, 1, 4), [Shard.of(rows)], 3)
    search_shards(integers(0, 1, 4), [Shard.of(jnp.asarray(integers(1, 700, 4)))], 3)
    assert asked == [(64, {"block": 64}), (64, {"block": 64}), (70, {}), (700, {"block": 300})]


def test_two_processes_find_what_one_does(tmp_path, monkeypatch):
    for seed in range(41):
        save(tmp_path / "photos" / f"{'ab'[seed % 2]}/{seed}.png", seed)
    gallery = Gallery.create(tmp_path / "gallery", EMBEDDER)
    monkeypatch.setattr(synchroniser, "COMMIT_EVERY", 20)
    gallery.sync(tmp_path / "photos")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.retrieval.sharded_test", gallery.uri, port, str(number)],
            cwd=ROOT, env=dict(os.environ, JAX_PLATFORMS="cpu"), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in told)
    assert (first.pop("held"), second.pop("held")) == (20, 21)
    assert first == second == json.loads(json.dumps(found_in(gallery)))


def found_in(gallery):
    """What both processes must find; the whole, a filter, and more than there is."""
    queries = np.concatenate([feature(3), feature(40)])
    searches = ({"k": 60}, {"k": 60, "folder": "a"}, {"k": 60, "labels": ("b",)})
    found = [gallery.search(queries, **search) for search in searches]
    ids = [match.picture.id for match in found[0][0][:5]]
    return {
        "matches": [[[(m.picture.path, m.distance) for m in ms] for ms in part] for part in found],
        "vectors": gallery.vectors(ids).tolist(),
    }


def feature(seed):
    return coarse(np.asarray(picture(seed).resize((256, 256)))[None])


def main(uri, port, process):
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
    gallery = Gallery.open(uri, sharded=True)
    gallery.refresh()
    found = found_in(gallery)
    assert gallery._snapshot._vectors.shape[1] == D
    print(json.dumps(found | {"held": len(gallery._snapshot._vectors)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
