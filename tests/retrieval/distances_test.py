"""Distances of blocks against the plain formula, ties, and what has no distance."""

import numpy as np
import pytest

from dsf_jax.retrieval import distances


def test_ties_rank_in_gallery_order() -> None:
    table = np.array([[1, 0, 1, 0, 1], [2, 2, 2, 2, 2]], np.float32)
    order = distances.rank_by_distance(table)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(order, [[1, 3, 0, 2, 4], [0, 1, 2, 3, 4]])


@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_distances_of_any_blocks(monkeypatch, block) -> None:
    monkeypatch.setattr(distances, "GALLERY_BLOCK", 5)
    monkeypatch.setattr(distances, "QUERY_BLOCK", block)
    rng = np.random.default_rng(0)
    queries, gallery = rng.standard_normal((7, 6)), rng.standard_normal((12, 6))
    found = list(distances.distance_blocks(queries.astype("f4"), gallery.astype("f4")))
    assert [rows.start for rows, _ in found] == list(range(0, 7, block))
    expected = ((queries[:, None] - gallery[None]) ** 2).sum(-1)
    np.testing.assert_allclose(np.concatenate([d for _, d in found]), expected, rtol=1e-5)


@pytest.mark.parametrize("block", [100, 1000])
def test_equal_rows_tie_wherever_they_stand(monkeypatch, block) -> None:
    """Rounding of a matrix product depends on a row's place in its block."""
    monkeypatch.setattr(distances, "GALLERY_BLOCK", block)
    rng = np.random.default_rng(0)
    queries, gallery = (np.abs(rng.standard_normal((n, 4096), np.float32)) for n in (20, 103))
    gallery[[1, 60, 101, 102]] = gallery[[40, 40, 40, 99]]
    ((_, found),) = distances.distance_blocks(queries, gallery)
    np.testing.assert_array_equal(found[:, [1, 60, 101]], found[:, [40, 40, 40]])
    np.testing.assert_array_equal(found[:, 102], found[:, 99])
    exact = np.square(queries[:, None].astype(np.float64) - gallery).sum(axis=2)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert len(np.unique(found[0])) == 99


def test_large_galleries_are_ranked_by_fewer_queries_at_a_time(monkeypatch) -> None:
    monkeypatch.setattr(distances, "MOST_DISTANCES", 25)
    blocks = distances.distance_blocks(np.zeros((5, 2), "f4"), np.zeros((10, 2), "f4"))
    assert [d.shape for _, d in blocks] == [(2, 10), (2, 10), (1, 10)]


def test_distances_that_cannot_be_are_refused() -> None:
    gallery = np.zeros((4, 3), np.float32)
    with pytest.raises(ValueError, match=r"queries \(2, 2\) and gallery \(4, 3\).* same layers"):
        next(distances.distance_blocks(np.zeros((2, 2), np.float32), gallery))
    gallery[2, 1] = np.nan
    with pytest.raises(ValueError, match="query 0 to gallery row 2 is not finite"):
        next(distances.distance_blocks(np.zeros((2, 3), np.float32), gallery))


def test_paired_distances_are_those_of_single_pairs_bit_by_bit() -> None:
    """Wherever a pair stands: equal images of the Eitz benchmark tie by it."""
    rng = np.random.default_rng(1)
    queries, rows = (rng.standard_normal((n, 4096), np.float32) for n in (3, 40))
    rows[[7, 30]] = rows[11]
    owner = rng.integers(0, 3, 40).astype(np.int32)
    owner[[7, 11, 30]] = 2
    found = np.asarray(distances.paired_distances(queries, owner, rows))
    assert found[7] == found[11] == found[30]
    for i in (0, 11, 39):
        own = distances.paired_distances(queries, owner[i : i + 1], rows[i : i + 1])
        np.testing.assert_array_equal(own, found[i : i + 1])
    expected = np.square(queries[owner].astype(np.float64) - rows).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
