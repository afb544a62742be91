"""Rows of exact search: distances from a gallery of unit vectors, the nearest 150."""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsf_jax.retrieval.euclidean import search as exact_search
from dsf_jax.retrieval.sharded import Shard
from launch.benchmarks.work import Setting, Work, checked, relative_difference

TOP = 150
ITEMS, SIZES, QUERIES = 100_000, (1024, 8192), (1, 64, 1024)
SMALL_ITEMS, SMALL_SIZES, SMALL_QUERIES = 2000, (64,), (1, 8)
BLOCK = 4096  # rows made at a time
PEER_QUERIES = 64  # whose distances NumPy and PyTorch hold at a time


# Queries [q, d] -> squared distances [q, k] and rows [q, k], both nearest first, from a gallery in place.
Peer = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def unit_vectors(rng: np.random.Generator, n: int, d: int) -> Iterator[np.ndarray]:
    """Makes n random vectors of length 1, blocks [m, d] float32."""
    for first in range(0, n, BLOCK):
        block = rng.standard_normal((min(BLOCK, n - first), d), dtype=np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def search(setting: Setting) -> Iterator[Work]:
    """The nearest 150 of 100,000, for every feature size and number of queries."""
    n, top = (SMALL_ITEMS if setting.small else ITEMS), (10 if setting.small else TOP)
    for d in SMALL_SIZES if setting.small else SIZES:
        rng = np.random.default_rng(0)
        gallery = np.empty((n, d), np.float32)
        first = 0
        for block in unit_vectors(rng, n, d):
            gallery[first : first + len(block)] = block
            first += len(block)
        peers = _peers(setting, gallery, top)
        # Each side in its own form: FAISS's index copies it as well.
        ours = Shard.of(jnp.asarray(gallery))
        for q in SMALL_QUERIES if setting.small else QUERIES:
            queries = np.concatenate(list(unit_vectors(rng, q, d)))
            yield _work(queries, ours, peers, top)


def _work(queries: np.ndarray, gallery: Shard, peers: dict[str, Peer], top: int) -> Work:
    (q, d), n = queries.shape, len(gallery.rows)
    ours = functools.partial(exact_search, queries, gallery.rows, top, squares=gallery.squares)
    found = ours()
    differences = {}
    for name, peer in peers.items():
        distances, rows = peer(queries)
        difference = relative_difference(found.squared_distances, distances)
        differences[name] = checked(difference, "distances", name)
        checked(_others(found.indices, rows), "neighbours", name)
    return Work(
        f"search {n} x {d}, {q} queries",
        ours,
        q,
        "queries",
        {name: functools.partial(peer, queries) for name, peer in peers.items()},
        differences,
        flops=2.0 * q * n * d,
        moved=gallery.rows.nbytes + queries.nbytes,
    )


def _others(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Fraction of the rows [q, k] found that the other did not find."""
    return float(np.mean([1 - np.isin(a, b).mean() for a, b in zip(ours, theirs, strict=True)]))


def _peers(setting: Setting, gallery: np.ndarray, top: int) -> dict[str, Peer]:
    peers: dict[str, Peer] = {}
    if faiss := setting.peer("faiss"):
        faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
        index = faiss.IndexFlatL2(gallery.shape[1])
        index.add(gallery)
        peers["FAISS"] = lambda q: index.search(q, top)
    if usearch := setting.peer("usearch"):
        peers["USearch"] = functools.partial(_usearch, usearch, gallery, top)
    torch = setting.peer("torch")
    if torch and jax.default_backend() == "gpu":
        peers["PyTorch"] = _torch_search(torch, gallery, top)
    if setting.peer("numpy"):
        peers["NumPy"] = _numpy_search(gallery, top)
    return peers


def _usearch(
    usearch: Any, gallery: np.ndarray, top: int, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    threads = len(os.sched_getaffinity(0))
    metric = usearch.MetricKind.L2sq
    found = usearch.search(gallery, queries, top, metric, exact=True, threads=threads)
    shape = (len(queries), top)  # of one query it gives no batch
    return found.distances.reshape(shape), found.keys.reshape(shape)


def _numpy_search(gallery: np.ndarray, top: int) -> Peer:
    squares = np.einsum("nd,nd->n", gallery, gallery)  # known before, as ours are

    def find(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for first in range(0, len(queries), PEER_QUERIES):
            some = queries[first : first + PEER_QUERIES]
            distances = squares - 2 * some @ gallery.T + (some**2).sum(axis=1, keepdims=True)
            rows = np.argpartition(distances, top - 1, axis=1)[:, :top]
            nearest = np.take_along_axis(distances, rows, axis=1)
            order = np.argsort(nearest, axis=1)
            parts.append([np.take_along_axis(x, order, axis=1) for x in (nearest, rows)])
        distances, rows = (np.concatenate(x) for x in zip(*parts, strict=True))
        return distances, rows

    return find


def _torch_search(torch: Any, gallery: np.ndarray, top: int) -> Peer:
    """On the GPU, where FAISS is seldom installed; float32 products, as ours."""
    rows = torch.from_numpy(gallery).cuda()
    squares = (rows**2).sum(1)

    def find(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked = torch.from_numpy(queries).cuda()
        distances = squares[None] - 2 * asked @ rows.T + (asked**2).sum(1)[:, None]
        nearest, found = distances.topk(top, dim=1, largest=False)
        return nearest.cpu().numpy(), found.cpu().numpy()

    return find
