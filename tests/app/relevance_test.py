"""Relevance feedback and the scale of distances, against hand-worked cases."""

import numpy as np
import pytest
import scipy.stats

from dsf_jax.app.relevance import DistanceSample, VectorSample, rocchio, step_bounds


def test_rocchio_by_hand():
    q = np.array([3.0, 4.0], np.float32)
    none = np.zeros((0, 2), np.float32)
    np.testing.assert_array_equal(rocchio(q, none, none), q)
    liked, disliked = np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 10.0]])
    # (3, 4) + .75 (2, 0) - .15 (0, 10) = (4.5, 2.5), of length 5.148, brought to 5
    np.testing.assert_allclose(rocchio(q, liked, disliked), [4.3711, 2.4284], rtol=1e-4)
    np.testing.assert_array_equal(rocchio(q * 0, none, none), [0, 0])


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


def test_steps_are_quantiles_of_how_the_gallerys_own_nearest_stand_out():
    bounds = step_bounds(np.arange(101))
    assert bounds == pytest.approx((25, 50, 75, 95))
    sample = VectorSample.of(np.eye(3, dtype=np.float32), 3)
    assert sample.steps(99.0) == 1  # not calibrated
    sample = sample._replace(bounds=bounds)
    assert [sample.steps(x) for x in (-5, 24, 25, 49, 50, 75, 94, 95, 500)] == [
        1, 1, 2, 2, 3, 4, 4, 5, 5,
    ]  # fmt: skip
    assert step_bounds([]) == (np.inf,) * 4


def test_a_sample_measures_euclidean_distances():
    rng = np.random.default_rng(0)
    vectors, query = rng.standard_normal((20, 6)).astype(np.float32), np.ones(6, np.float32)
    expected = np.sort(np.linalg.norm(vectors.astype(np.float64) - query, axis=1))
    sample = VectorSample.of(vectors, 20)
    np.testing.assert_allclose(sample.distances(query).distances, expected, rtol=1e-5)
    assert sample.distances(vectors[3]).distances[0] == pytest.approx(0, abs=1e-3)
