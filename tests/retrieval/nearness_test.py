"""The standard of what is near, against hand-worked cases and scipy."""

import numpy as np
import pytest
import scipy.spatial
import scipy.stats

from dsf_jax.retrieval.nearness import DistanceSample, Nearness, spread


def test_deviations_and_ranks():
    distances = np.sort(np.random.default_rng(0).normal(10, 1, 1000))
    sample = DistanceSample(distances)
    z = scipy.stats.zscore(distances)
    for place in (0, 1, 5, 50, 500, 999):
        assert sample.deviations(distances[place]) == pytest.approx(-z[place])
        assert sample.percentile(distances[place]) == pytest.approx(1 - (place + 1) / 1000)
    assert sample.percentile(4.0) == pytest.approx(0.999)  # of a sample of 1000, no more is known
    assert sample.percentile(99.0) == 0
    assert DistanceSample(np.ones(3)).deviations(1.0) == 0  # all alike


def test_steps_by_bounds():
    nearness = Nearness.of(np.eye(3, dtype=np.float32), 3)
    assert nearness.steps(99.0) == 1  # not calibrated
    nearness = nearness._replace(bounds=(25, 50, 75, 95))
    assert [nearness.steps(x) for x in (-5, 24, 25, 49, 50, 75, 94, 95, 500)] == [
        1, 1, 2, 2, 3, 4, 4, 5, 5,
    ]  # fmt: skip


def test_one_picture_alone_is_no_standard():
    vectors = np.eye(1, 8, dtype=np.float32)
    alone = Nearness.calibrated(vectors, 1, lambda probes, k: [vectors])
    assert not alone.nothing_near(vectors[0], vectors)


def test_a_sample_measures_euclidean_distances():
    rng = np.random.default_rng(0)
    vectors, query = rng.standard_normal((20, 6)).astype(np.float32), np.ones(6, np.float32)
    expected = np.sort(np.linalg.norm(vectors.astype(np.float64) - query, axis=1))
    sample = Nearness.of(vectors, 20)
    np.testing.assert_allclose(sample.distances(query).distances, expected, rtol=1e-5)
    assert sample.distances(vectors[3]).distances[0] == pytest.approx(0, abs=1e-3)


def test_spread_is_the_mean_distance_of_pairs():
    vectors = np.random.default_rng(0).standard_normal((5, 7))
    assert spread(vectors) == pytest.approx(scipy.spatial.distance.pdist(vectors).mean())
    assert spread(vectors[:1]) == spread(vectors[:0]) == 0


def nearest_of(vectors):
    """Finds by plain distance; the number of searches is counted."""

    def find(queries, k):
        table = scipy.spatial.distance.cdist(queries, vectors)
        return [vectors[order[:k]] for order in table.argsort(axis=1)]

    return find


@pytest.fixture
def clusters():
    """Ten crowds of eight pictures."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((10, 1, 20)) * 5 + rng.standard_normal((10, 8, 20))).reshape(-1, 20)


def test_it_is_calibrated_by_the_pictures_own_nearest(clusters):
    nearness = Nearness.calibrated(clusters, 80, nearest_of(clusters))
    table = scipy.spatial.distance.cdist(clusters, clusters)
    order = table.argsort(axis=1)[:64]
    ahead = (table.mean(axis=1)[:64] - table[range(64), order[:, 1]]) / table.std(axis=1)[:64]
    np.testing.assert_allclose(nearness.bounds, np.quantile(ahead, (0.25, 0.5, 0.75, 0.95)))
    spreads = [scipy.spatial.distance.pdist(clusters[row[1:6]]).mean() for row in order]
    assert nearness.spread_bound == pytest.approx(np.quantile(spreads, 0.9))


def test_nothing_is_near_what_is_like_no_crowd(clusters):
    find = nearest_of(clusters)
    nearness = Nearness.calibrated(clusters, 80, find)
    rng = np.random.default_rng(1)
    inside = clusters[::8] + 0.3 * rng.standard_normal((10, 20))
    between = clusters.mean(axis=0) + rng.standard_normal((10, 20))
    far = [
        [
            nearness.nothing_near(query, near)
            for query, near in zip(some, find(some, 5), strict=True)
        ]
        for some in (inside, between)
    ]
    assert sum(far[0]) <= 1 and sum(far[1]) >= 9


def test_what_stands_out_is_near_however_unlike_the_others(clusters):
    nearness = Nearness.calibrated(clusters, 80, nearest_of(clusters))
    found = np.concatenate([clusters[:1], clusters[16::16]])
    assert spread(found) > nearness.spread_bound
    assert not nearness.nothing_near(clusters[0], found)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_pictures_have_a_standard(count):
    vectors = np.eye(3, dtype=np.float32)[:count]
    nearness = Nearness.calibrated(vectors, count, nearest_of(vectors))
    assert (nearness.bounds == (np.inf,) * 4) == (count == 1)
    nearness.nothing_near(vectors[0], vectors)
