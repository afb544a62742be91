"""Crowds of equal rows across the last place: the answer is that of measuring every pair, at the cost of a few."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from dsf_jax.retrieval import close_rows, euclidean
from dsf_jax.retrieval.euclidean import search


@pytest.fixture
def passes(monkeypatch):
    """The number of queries of each further pass over the gallery; no query is measured against all rows."""
    counts = []
    further = euclidean.nearest_of_close
    monkeypatch.setattr(
        euclidean,
        "nearest_of_close",
        lambda q, *rest: (counts.append(len(q)), further(q, *rest))[1],
    )
    monkeypatch.setattr(euclidean, "_scan", lambda *_: pytest.fail("one query, all rows"))
    return counts


def brute_force(queries, gallery, k):
    """By NumPy, exact for small integers."""
    table = ((queries[:, None] - gallery[None].astype(np.float32)) ** 2).sum(axis=2)
    order = np.argsort(table, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(table, order, axis=1), order


@pytest.mark.slow
@hypothesis.given(
    q=st.sampled_from([2, 5]),  # few sizes: each is compiled
    n=st.just(301),
    k=st.sampled_from([1, 20]),
    distinct=st.integers(1, 12),
    block=st.sampled_from([64, 4096]),
    dtype=st.sampled_from([np.float32, np.float16]),
    seed=st.integers(0, 10**6),
)
@hypothesis.settings(
    max_examples=20, derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_equals_brute_force(passes, q, n, k, distinct, block, dtype, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (distinct, 3)).astype(dtype)
    gallery = rows[rng.integers(distinct, size=n)]
    queries = rng.integers(-2, 3, (q, 3)).astype(np.float32)
    found = search(queries, gallery, k, block=block)
    squares, order = brute_force(queries, gallery, k)
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_array_equal(found.squared_distances, squares)


@pytest.mark.slow
def test_one_more_pass_serves_all_queries_and_equal_rows_are_measured_once(passes, monkeypatch):
    rng = np.random.default_rng(4)
    gallery = rng.standard_normal((5000, 64), dtype=np.float32)
    gallery[100:] = gallery[100]
    queries = np.stack([gallery[7], *[gallery[100]] * 5])
    measured = []
    paired = close_rows.paired_distances
    monkeypatch.setattr(close_rows, "MEASURED", 4 * 64 * 8)  # eight rows at a time
    monkeypatch.setattr(
        close_rows,
        "paired_distances",
        lambda queries, owner, rows: (measured.append(len(owner)), paired(queries, owner, rows))[1],
    )
    found = search(queries, gallery, 5, block=1024)
    assert passes == [5]
    assert sum(measured) == 5 * 8  # five blocks, of five pairs each
    np.testing.assert_array_equal(found.indices[1:], np.tile(np.arange(100, 105), (5, 1)))
    assert not found.squared_distances[1:].any() and found.indices[0, 0] == 7
